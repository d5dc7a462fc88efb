import io

import numpy as np
import pandas as pd
import pytest

from benchmark.report import tables
from benchmark.report.rows import is_sanity
from benchmark.results import COLUMNS


def with_other_protocol(rows):
    """The rows, and some of them measured by another encoder."""
    other = rows.iloc[[0, 3, 5]].assign(protocol="inception_v3 imagenet @299; N=5000")
    return pd.concat([rows, other], ignore_index=True)


def cell(table, title, line=0):
    return table.body[line][table.titles.index(title)]


def table_of(rows):
    (group,) = tables.group_rows(rows)
    return tables.build_table(group)


def one_row(rows, **values):
    return table_of(rows.iloc[:1].assign(**values))


def test_csv_keeps_every_number_exactly(rows):
    rows["kid_mean"] = np.random.default_rng(0).normal(size=len(rows))
    text = tables.to_csv(rows.assign(extra=1.5))
    read = pd.read_csv(io.StringIO(text), dtype={"kid_mean": str})
    assert list(read.columns) == [*COLUMNS, "extra"]
    np.testing.assert_array_equal(read["kid_mean"].map(float), rows["kid_mean"])
    assert ",200," in text.splitlines()[1]


def test_csv_has_all_groups_and_diverged_rows(rows, diverged_row):
    rows = pd.concat([with_other_protocol(rows), diverged_row])
    assert len(tables.to_csv(rows).splitlines()) == 1 + len(rows)


def test_protocols_never_share_a_table(rows):
    groups = tables.group_rows(with_other_protocol(rows))
    assert [len(group.rows) for group in groups] == [8, 3]
    for group in groups:
        assert set(group.rows["protocol"]) == {group.protocol}
    stems = [group.stem for group in groups]
    assert len(set(stems)) == 2
    assert all(stem.startswith("mnist_quick_") and len(stem) == 16 for stem in stems)


@pytest.mark.parametrize("column", ["dataset", "preset"])
def test_datasets_and_presets_never_share_a_table(rows, column):
    rows.loc[0, column] = "other"
    groups = tables.group_rows(rows)
    assert len(groups) == 2
    assert {group.stem for group in groups} == {
        "mnist_quick",
        "other_quick" if column == "dataset" else "mnist_other",
    }


def test_sanity_rows_follow_dataset_and_protocol_and_stand_last(rows):
    rows.loc[0, "preset"] = "standard"
    for group in tables.group_rows(rows):
        assert is_sanity(group.rows).tolist()[-3:] == [True, True, True]
        assert not is_sanity(group.rows)[:-3].any()
    rows.loc[0, "dataset"] = "fashion_mnist"
    assert not is_sanity(tables.group_rows(rows)[0].rows).any()


def test_sanity_rows_measured_twice_stand_once(rows):
    rows = pd.concat([rows, rows.iloc[5:]], ignore_index=True)
    assert len(table_of(rows).sanity) == 3


def test_several_tables_are_explained(rows):
    assert tables.why_apart(tables.group_rows(rows)) == ""
    groups = tables.group_rows(with_other_protocol(rows))
    text = tables.why_apart(groups)
    assert "2 sections" in text and "protocol" in text and "encoder" in text
    assert len(set(tables.titles(groups))) == 2


def test_a_diverged_row_is_shown_without_numbers(rows, diverged_row):
    table = table_of(pd.concat([rows, diverged_row], ignore_index=True))
    (line,) = (line for line in table.body if "diverged" in line)
    assert line[table.titles.index("Seed")] == "1"
    assert set(line[table.titles.index("NFE") : -1]) == {"–"}
    assert line[-1] == "[1]"
    assert table.footnotes == ["diverged: loss was nan at step 6"]


def test_a_diverged_row_alone_has_a_table(diverged_row):
    assert len(table_of(diverged_row).body) == 1


def test_description_names_what_the_numbers_rest_on(rows):
    (group,) = tables.group_rows(rows)
    text = tables.describe(group)
    for fact in ("mnist", "quick", "1f3a9c2e", "N=5000", "reference", "device cpu"):
        assert fact in text


def test_times_of_different_devices_are_told_apart(rows):
    rows.loc[0, "device"] = "gpu"
    (group,) = tables.group_rows(rows)
    assert any("devices" in warning for warning in tables.warnings(group))
    table = tables.build_table(group)
    devices = {line[1]: line[table.titles.index("Device")] for line in table.body}
    assert devices["ddpm-200"] == "gpu" and devices["ddim-50"] == "cpu"


def test_columns_that_tell_rows_apart_appear_only_then(rows):
    for title in ("Seed", "Overrides", "Run", "Device"):
        assert title not in table_of(rows).titles
    again = pd.concat([rows, rows.iloc[[3]].assign(seed=1)], ignore_index=True)
    assert "Seed" in table_of(again).titles
    again = rows.iloc[[3, 3]].assign(overrides=["", "model.beta=4"])
    assert "Overrides" in table_of(again).titles
    again = rows.iloc[[3, 3]].assign(run=["aaaa", "bbbb"])
    assert "Run" in table_of(again).titles


def test_rows_stand_in_the_order_of_the_numbers_in_their_overrides(rows):
    overrides = [f"model.latent_dim={value}" for value in (16, 2, 100, 4)]
    (group,) = tables.group_rows(rows.iloc[[3] * 4].assign(overrides=overrides))
    found = [text.partition("=")[2] for text in group.rows["overrides"]]
    assert found == ["2", "4", "16", "100"]


def test_equal_notes_share_a_number(rows):
    table = table_of(rows.iloc[:3].assign(notes=["busy host", "no classifier", "busy host"]))
    assert [line[-1] for line in table.body] == ["[1]", "[2]", "[1]"]
    assert table.footnotes == ["busy host", "no classifier"]


@pytest.mark.parametrize(
    ("column", "value", "title", "text"),
    [
        ("network_passes", 1000, "NFE", "1,000"),
        ("latency_ms_per_pass_p50", 0.41234, "ms/pass", "0.412"),
        ("latency_ms_per_image_p50", 772.4, "ms/image", "772"),
        ("images_per_second", 12345.6, "images/s", "12,346"),
        ("kid_mean", -0.00012, "KID ×1000", "-0.12 ± 1.10"),
        ("kid_mean", -0.000001, "KID ×1000", "0.00 ± 1.10"),
        ("kid_digits_mean", 0.0203, "digit KID ×1000", "20.30"),
        ("modes_covered", 9, "Modes", "9/10"),
        ("mode_kl", 0.01234, "KL (floor 0.0009)", "0.0123"),
        ("rejected_share", 0.0512, "Rejected %", "5.1"),
        ("recall", 0.65449, "Recall", "0.654"),
        ("density", 1.25, "Density", "1.250"),
        ("num_parameters", 1_120_000, "Parameters", "1.12 M"),
        ("num_parameters", 412_345, "Parameters", "412 k"),
        ("num_parameters", 871, "Parameters", "871"),
        ("gflops_per_pass", 0.12097, "GFLOPs/pass", "0.121"),
        ("gflops_per_pass", 1234.5, "GFLOPs/pass", "1,234"),
        ("peak_memory_mb", 1807.88, "Peak memory", "1,808 MB"),
        ("peak_memory_mb", np.nan, "Peak memory", "–"),
        ("train_seconds", 4.25, "Train time", "4.2 s"),
        ("train_seconds", 181, "Train time", "3.0 min"),
        ("train_seconds", 9000, "Train time", "2.5 h"),
        ("coverage", np.nan, "Coverage", "–"),
        ("kid_mean", np.nan, "KID ×1000", "–"),
    ],
)
def test_numbers_are_rounded_to_what_a_reader_can_use(rows, column, value, title, text):
    assert cell(one_row(rows, **{column: value}), title) == text


def test_different_floors_stand_in_the_cells(rows):
    table = table_of(rows.iloc[:2].assign(mode_kl_floor=[0.0009, 0.002], mode_kl=0.01))
    assert cell(table, "KL (floor)", 1) == "0.0100 (0.0020)"


def test_markdown_is_aligned_as_plain_text(rows):
    rows.loc[0, "notes"] = "a | b"
    table = table_of(rows.assign(overrides=["a|b"] + [""] * 7))
    lines = tables.to_markdown(table).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    numbers = [title for title, right in zip(table.titles, table.right, strict=True) if right]
    assert lines[1].count("-:") == len(numbers)


def test_split_keeps_every_column_once(rows):
    table = table_of(rows)
    speed, quality = tables.split(table)
    assert speed.titles[:2] == quality.titles[:2] == ["Model", "Sampler"]
    assert sorted(speed.titles + quality.titles[2:]) == sorted(table.titles)
    assert [line[1] for line in quality.body] == [line[1] for line in table.body]
    size = ["Parameters", "GFLOPs/pass", "Peak memory", "Train time"]
    assert speed.titles[-4:] == size and not set(size) & set(quality.titles)


def test_the_terminal_shows_no_size(rows):
    speed, quality = tables.summarize(table_of(rows))
    assert "images/s" in speed.titles and "Coverage" in quality.titles
    assert not {"GFLOPs/pass", "Peak memory"} & {*speed.titles, *quality.titles}


def test_checkpoints_are_shown_where_a_row_is_of_the_best_weights(rows):
    last = rows.assign(checkpoint=["last"] * 5 + [""] * 3)
    assert "Checkpoint" not in table_of(last).titles
    best = last.iloc[:1].assign(checkpoint="best", path="runs/mnist/ddpm/a1b2c3d4/samplers/x@best")
    table = table_of(pd.concat([best, last], ignore_index=True))
    assert [cell(table, "Checkpoint", line) for line in (1, 2, 3)] == ["last", "best", "last"]
    assert "Run" not in table.titles
    assert {line[table.titles.index("Checkpoint")] for line in table.sanity} == {tables.MISSING}
    assert all("Checkpoint" in part.titles for part in tables.summarize(table))


def test_there_is_no_column_for_notes_without_notes(rows):
    assert "Notes" not in table_of(rows).titles


def test_samples_made_elsewhere_stand_among_the_models(rows, external_row):
    both = pd.concat([rows, external_row], ignore_index=True)
    (group,) = tables.group_rows(both)
    table = tables.build_table(group)
    (line,) = (line for line in table.body if line[0] == "my model")
    assert line[1] == "external" and line[-1] == "[1]"
    assert set(line[table.titles.index("NFE") : table.titles.index("KID ×1000")]) == {"–"}
    assert tables.warnings(group) == []


def test_the_terminal_shows_speed_only_where_there_is_one(rows, external_row):
    assert [len(part.body) for part in tables.summarize(table_of(rows))] == [5, 5]
    (quality,) = tables.summarize(table_of(external_row))
    assert "KID ×1000" in quality.titles


def test_checks_measured_as_the_models_were_are_preferred(rows):
    rows["judge"] = "new"
    older = rows[rows["status"] == "sanity"].assign(judge="old", kid_mean=9.0)
    (group,) = tables.group_rows(pd.concat([older, rows], ignore_index=True))
    checks = group.rows[group.rows["status"] == "sanity"]
    assert len(checks) == 3
    assert set(checks["judge"]) == {"new"}
    assert not tables.warnings(group)


def test_rows_measured_by_other_code_are_warned_of(rows):
    rows["judge"] = ["old", *["new"] * (len(rows) - 1)]
    (group,) = tables.group_rows(rows)
    assert "another version of their code" in " ".join(tables.warnings(group))
