import numpy as np
import pandas as pd
import pytest

from benchmark.report import groups, tables
from benchmark.report.collapse import note_collapses, warning


def noted(rows, **values):
    """The note of the DCGAN's row, with these values."""
    index = rows.index[rows["model"] == "dcgan"][0]
    rows = tables.complete(rows)
    for name, value in values.items():
        rows.loc[index, name] = value
    return note_collapses(rows).loc[index, "notes"]


@pytest.mark.parametrize(
    ("modes", "note"),
    [(10, ""), (6, ""), (5, "mode collapse: 5 of 10 modes covered"), (np.nan, "")],
)
def test_half_of_the_modes_is_a_collapse(rows, modes, note):
    assert noted(rows, modes_covered=modes) == note


@pytest.mark.parametrize(("vendi", "collapsed"), [(3.9, True), (4.1, False), (np.nan, False)])
def test_a_third_of_the_real_vendi_score_is_a_collapse(rows, vendi, collapsed):
    rows.loc[rows["model"] == "test_images", "vendi"] = 12.0
    note = "mode collapse: Vendi score 3.9 (test images: 12.0)"
    assert noted(rows, vendi=vendi) == (note if collapsed else "")


def test_the_note_opens_the_others_and_tells_of_rejected_samples(rows):
    note = noted(rows, modes_covered=2, rejected_fraction=0.91, notes="busy host")
    assert note == ("mode collapse: 2 of 10 modes covered, 91 % of the samples rejected; busy host")


def test_as_many_modes_as_so_few_samples_can_show_are_no_collapse(rows):
    rows = rows.assign(num_modes=1000, modes_covered=240)
    assert noted(rows) == ""
    rows.loc[rows["model"] == "test_images", "modes_covered"] = np.nan
    assert noted(rows) == "mode collapse: 240 of 1,000 modes covered"


def test_test_images_of_another_protocol_say_nothing(rows):
    rows.loc[rows["model"] == "test_images", ["vendi", "protocol"]] = [12.0, "another"]
    assert noted(rows, vendi=1.0) == ""


def test_sanity_rows_are_left_as_they_are(rows):
    rows.loc[rows["status"] == "sanity", "modes_covered"] = 1
    assert not note_collapses(tables.complete(rows))["notes"].str.contains("collapse").any()


def test_a_row_is_noted_once(rows):
    rows = tables.complete(rows.assign(modes_covered=1))
    pd.testing.assert_frame_equal(rows, tables.complete(rows))


def test_tables_and_csv_tell_it_and_the_warning_names_the_row(rows):
    rows.loc[rows["model"] == "dcgan", "modes_covered"] = 2
    (group,) = tables.group_rows(rows)
    assert warning(group.lines) == "Mode collapse: dcgan generator (2 of 10 modes covered)."
    assert warning(group.lines) in groups.warnings(group)
    assert tables.build_table(group).footnotes == ["mode collapse: 2 of 10 modes covered"]
    assert "mode collapse: 2 of 10 modes covered" in tables.to_csv(rows)
    assert len(group.rows) == len(rows)


def test_seeds_that_collapsed_are_counted(seeds):
    seeds.loc[(seeds["model"] == "dcgan") & (seeds["seed"] > 10), "modes_covered"] = 2
    (group,) = tables.group_rows(seeds)
    told = "Mode collapse: dcgan generator in 2 of 3 rows (2 of 10 modes covered)."
    assert warning(group.lines) == told
    (note,) = tables.table_by_model(group).footnotes
    assert note == "seeds 11, 12: mode collapse: 2 of 10 modes covered"


def test_without_collapse_there_is_no_warning(rows):
    (group,) = tables.group_rows(rows)
    assert warning(group.lines) == ""
    assert groups.warnings(group) == []
