import io

import numpy as np
import pandas as pd
import pytest

from benchmark.report import panels, tables
from benchmark.report.columns import KEYS
from benchmark.report.groups import group_rows
from benchmark.report.verdict import verdict


def cell(table, title, line=0):
    return table.body[line][table.titles.index(title)]


def table_of(rows):
    (group,) = group_rows(rows)
    return tables.build_table(group)


def by_model(rows):
    (group,) = group_rows(rows)
    return tables.table_by_model(group)


def one_row(rows, **values):
    return table_of(rows.iloc[:1].assign(**values))


def test_csv_keeps_every_number_exactly(rows):
    rows["kid_mean"] = np.random.default_rng(0).normal(size=len(rows))
    text = tables.to_csv(rows.assign(extra=1.5))
    read = pd.read_csv(io.StringIO(text), dtype={"kid_mean": str})
    assert list(read.columns) == [*KEYS, "extra"]
    np.testing.assert_array_equal(read["kid_mean"].map(float), rows["kid_mean"])
    assert ",200," in text.splitlines()[1]


def test_csv_has_all_groups_and_diverged_rows(rows, diverged_row):
    other = rows.iloc[[0, 3, 5]].assign(protocol="another")
    rows = pd.concat([rows, other, diverged_row])
    assert len(tables.to_csv(rows).splitlines()) == 1 + len(rows)


def test_the_csv_by_model_has_mean_deviation_and_number_of_seeds(seeds):
    read = pd.read_csv(io.StringIO(tables.to_csv_by_model(group_rows(seeds))))
    found = read.set_index(["model", "sampler", "column"]).loc[("vae", "decoder", "kid_mean")]
    kids = seeds.loc[seeds["model"] == "vae", "kid_mean"]
    assert found["mean"] == pytest.approx(kids.mean(), rel=1e-12)
    assert found["std"] == pytest.approx(kids.std(ddof=1), rel=1e-12)
    assert (found["num_seeds"], found["standing"]) == (3, "worse")
    checks = read[read["model"] == "noise"]
    assert len(checks) and checks["standing"].isna().all() and (checks["num_seeds"] == 1).all()


def test_a_line_by_model_has_mean_deviation_and_number_of_seeds(seeds):
    table = by_model(seeds)
    assert [line[:3] for line in table.body][0] == ["dcgan", "generator", "3"]
    kids = 1e3 * seeds.loc[seeds["model"] == "dcgan", "kid_mean"]
    assert cell(table, "KID ×1000 ↓") == f"{kids.mean():.2f} ± {kids.std(ddof=1):.2f}"
    assert "standard deviation over n training seeds (10, 11, 12)" in table.note
    assert len(table.body) == 5 and len(table.sanity) == 3


def test_numbers_alike_in_all_seeds_and_checks_have_no_deviation(seeds):
    table = by_model(seeds)
    assert cell(table, "NFE ↓") == "1" and cell(table, "Modes (of 10) ↑") == "10"
    kid = table.titles.index("KID ×1000 ↓")
    assert [line[kid] for line in table.sanity] == ["0.20", "221.30", "400.00"]


def test_numbers_alike_have_no_deviation_where_their_mean_is_rounded(seeds):
    """The standard deviation of three times 0.1 is 2e-17, by the formula."""
    seeds.loc[seeds["model"] == "dcgan", "gflops_per_pass"] = 0.1
    line = next(line for line in group_rows(seeds)[0].lines if line.label.startswith("dcgan"))
    assert line.values("gflops_per_pass").std(ddof=1) > 0.0
    assert line.std("gflops_per_pass") == 0.0


def test_modes_that_seeds_differ_in_have_a_decimal(seeds):
    seeds.loc[seeds["model"] == "dcgan", "modes_covered"] = [9, 10, 10]
    assert cell(by_model(seeds), "Modes (of 10) ↑") == "9.7 ± 0.6"


def test_sampling_seeds_are_averaged_within_a_training_seed(seeds):
    vae = seeds["model"] == "vae"
    again = seeds[vae].assign(sampling_seed=1, kid_mean=2 * seeds.loc[vae, "kid_mean"])
    table = by_model(pd.concat([seeds, again], ignore_index=True))
    line = [line[0] for line in table.body].index("vae")
    kids = 1.5e3 * seeds.loc[vae, "kid_mean"]
    assert cell(table, "n", line) == "3"
    assert cell(table, "KID ×1000 ↓", line) == f"{kids.mean():.2f} ± {kids.std(ddof=1):.2f}"


def test_of_single_seeds_the_deviation_is_the_standard_error_and_named(rows):
    table = by_model(rows)
    assert "n" not in table.titles
    assert cell(table, "KID ×1000 ↓ ± se") == "35.60 ± 1.10"
    assert cell(table, "Density ↑") == "0.612"
    assert "standard error" in table.note
    rows["kid_se"] = np.nan
    assert cell(by_model(rows), "KID ×1000 ↓") == "35.60"


def test_the_best_is_marked_and_what_cannot_be_told_from_it(seeds):
    table = by_model(seeds)
    kid = table.titles.index("KID ×1000 ↓")
    marks = {
        table.body[line][1]: mark for (line, place), mark in table.marks.items() if place == kid
    }
    assert marks == {"ddpm-200": "best", "ddim-50": "tie"}


def test_checks_and_columns_without_direction_have_no_best(seeds):
    seeds.loc[seeds["model"] == "test_images", "density"] = 5.0
    table = by_model(seeds)
    density = table.titles.index("Density ↑")
    (best,) = (
        place for place, mark in table.marks.items() if place[1] == density and mark == "best"
    )
    assert table.body[best[0]][1] == "ddpm-200"
    for title in ("Parameters", "Modes (of 10) ↑"):  # the latter are all alike
        assert table.titles.index(title) not in {place for _, place in table.marks}


def test_single_seeds_have_a_best_and_no_ties(rows):
    assert set(by_model(rows).marks.values()) == {"best"}


def test_the_headline_stands_first_among_the_quality(seeds):
    seeds["kid_digits_mean"] = 0.02
    assert by_model(seeds).keys[3:5] == ["kid_mean", "kid_digits_mean"]
    assert by_model(seeds.assign(headline="density")).keys[3] == "density"


def test_a_metric_without_an_entry_stands_under_its_key_at_the_end(seeds):
    for table in (by_model(seeds.assign(novelty=0.25)), table_of(seeds.assign(novelty=0.25))):
        assert table.titles[-1] == "novelty" and cell(table, "novelty") == "0.250"
        assert panels.split(table)[0].titles[-1] == "novelty"
    assert "remark" not in table_of(seeds.assign(remark="good")).titles


def test_fid_is_shown_where_it_was_measured(rows):
    assert "FID ↓" not in by_model(rows).titles
    assert cell(by_model(rows.assign(fid=1.234, fid_digits=5.0)), "FID ↓") == "1.23"


def test_a_diverged_row_is_shown_without_numbers(rows, diverged_row):
    both = pd.concat([rows, diverged_row], ignore_index=True)
    for table in (table_of(both), by_model(both)):
        (line,) = (line for line in table.body if "diverged" in line)
        assert set(line[table.titles.index("NFE ↓") : -1]) == {"–"}
        assert line[-1] == "[1]"
        assert table.footnotes == ["diverged: loss was nan at step 6"]


def test_a_diverged_row_alone_has_a_table(diverged_row):
    assert len(table_of(diverged_row).body) == len(by_model(diverged_row).body) == 1


def test_columns_that_tell_rows_apart_appear_only_then(rows):
    for title in ("Seed", "Overrides", "Run", "Device"):
        assert title not in table_of(rows).titles
    again = pd.concat([rows, rows.iloc[[3]].assign(seed=1)], ignore_index=True)
    assert cell(table_of(again), "Seed", 4) == "0"
    again = rows.iloc[[3, 3]].assign(overrides=["", "model.beta=4"])
    assert "Overrides" in table_of(again).titles
    assert [line[2] for line in by_model(again).body] == ["–", "model.beta=4"]
    again = rows.iloc[[3, 3]].assign(run=["aaaa", "bbbb"])
    assert "Run" in table_of(again).titles
    again = rows.iloc[[3, 3]].assign(sampling_seed=[0, 1])
    assert cell(table_of(again), "Sampling seed", 1) == "1"
    rows.loc[0, "latency_device"] = "gpu"
    assert "Device" in table_of(rows).titles


def test_times_of_several_machines_have_no_best_and_say_their_machine(rows):
    def marked(table):
        return {table.keys[column] for _, column in table.marks}

    times = {"latency_ms_per_image_p50", "images_per_second"}
    (one,) = group_rows(rows)
    (two,) = group_rows(rows.assign(latency_device=["gpu", *["cpu"] * 7]))
    assert times <= marked(tables.table_by_model(one)) - marked(tables.table_by_model(two))
    assert "kid_mean" in marked(tables.table_by_model(two))
    assert not any("times from" in text for text in tables.table_by_model(one).footnotes)
    assert {"times from cpu", "times from gpu"} <= set(tables.table_by_model(two).footnotes)
    assert any(text.startswith("Speed") for text in verdict(one))
    assert not any(text.startswith("Speed") for text in verdict(two))


def test_equal_notes_share_a_number(rows):
    table = table_of(rows.iloc[:3].assign(notes=["busy host", "no classifier", "busy host"]))
    assert [line[-1] for line in table.body] == ["[1]", "[2]", "[1]"]
    assert table.footnotes == ["busy host", "no classifier"]


def test_notes_of_seeds_say_whose_they_are(seeds):
    seeds.loc[seeds["seed"] == 11, "notes"] = "busy host"
    assert by_model(seeds).footnotes == ["seed 11: busy host"]
    assert by_model(seeds.assign(notes="slow")).footnotes == ["slow"]
    assert "Notes" not in by_model(seeds.assign(notes="")).titles


def test_notes_that_differ_in_numbers_are_joined(seeds):
    seeds["notes"] = seeds["seed"].map({10: "timings vary by 1.5", 12: "timings vary by 1.75"})
    seeds["notes"] = seeds["notes"].fillna("")
    assert by_model(seeds).footnotes == ["seeds 10, 12: timings vary by 1.5 to 1.75"]
    everywhere = seeds["seed"].map({10: "2 of 9", 11: "10 of 9", 12: "3 of 9"})
    assert by_model(seeds.assign(notes=everywhere)).footnotes == ["2 to 10 of 9"]
    large = seeds["seed"].map({10: "900 s", 11: "1,450 s", 12: "1,200 s"})
    assert by_model(seeds.assign(notes=large)).footnotes == ["900 to 1,450 s"]
    digits = seeds["seed"].map({10: "run 12345678", 11: "run 12345679", 12: "run 12345679"})
    footnote = "seed 10: run 12345678; seeds 11, 12: run 12345679"
    assert by_model(seeds.assign(notes=digits)).footnotes == [footnote]
    named = seeds["seed"].map({10: "run 12ab", 11: "run 13ab", 12: "run 13ab"})
    footnote = "seed 10: run 12ab; seeds 11, 12: run 13ab"
    assert by_model(seeds.assign(notes=named)).footnotes == [footnote]


@pytest.mark.parametrize(
    ("column", "value", "title", "text"),
    [
        ("network_passes", 1000, "NFE ↓", "1,000"),
        ("latency_ms_per_pass_p50", 0.41234, "ms/pass ↓", "0.412"),
        ("latency_ms_per_image_p50", 772.4, "ms/image ↓", "772"),
        ("images_per_second", 12345.6, "images/s ↑", "12,346"),
        ("kid_mean", -0.00012, "KID ×1000 ↓ ± se", "-0.12 ± 1.10"),
        ("kid_mean", -0.000001, "KID ×1000 ↓ ± se", "0.00 ± 1.10"),
        ("kid_digits_mean", 0.0203, "classifier KID ×1000 ↓", "20.30"),
        ("modes_covered", 9, "Modes (of 10) ↑", "9"),
        ("mode_kl", 0.01234, "KL (floor 0.0009) ↓", "0.0123"),
        ("rejected_fraction", 0.0512, "Rejected % ↓ (95 %)", "5.1 (4.4–5.6)"),
        ("recall", 0.65449, "Recall ↑", "0.654"),
        ("density", 1.25, "Density ↑", "1.250"),
        ("num_parameters", 1_120_000, "Parameters", "1.12 M"),
        ("num_parameters", 412_345, "Parameters", "412 k"),
        ("num_parameters", 871, "Parameters", "871"),
        ("gflops_per_pass", 0.12097, "GFLOPs/pass", "0.121"),
        ("gflops_per_pass", 1234.5, "GFLOPs/pass", "1,234"),
        ("peak_memory_mb", 1807.88, "Peak memory ↓", "1,808 MB"),
        ("images_seen", 576_000, "Images seen", "576 k"),
        ("images_seen", 25_600_000, "Images seen", "25.6 M"),
        ("train_pflops", 0.06626, "Training PFLOPs", "0.0663"),
        ("train_pflops", 4321.0, "Training PFLOPs", "4,321"),
        ("train_seconds", 4.25, "Train time ↓", "4.2 s"),
        ("train_seconds", 181, "Train time ↓", "3.0 min"),
        ("train_seconds", 9000, "Train time ↓", "2.5 h"),
    ],
)
def test_numbers_are_rounded_to_what_a_reader_can_use(rows, column, value, title, text):
    assert cell(one_row(rows, **{column: value}), title) == text


def test_what_a_row_lacks_is_missing_and_what_all_lack_is_no_column(rows):
    rows.loc[0, ["coverage", "rejected_fraction_low"]] = np.nan
    table = table_of(rows)
    line = [line[1] for line in table.body].index("ddpm-200")
    assert cell(table, "Coverage ↑", line) == "–"
    assert cell(table, "Rejected % ↓ (95 %)", line) == "5.0"
    assert not any("Peak memory" in title for title in table.titles)


def test_different_floors_stand_in_the_cells(rows):
    table = table_of(rows.iloc[:2].assign(mode_kl_floor=[0.0009, 0.002], mode_kl=0.01))
    assert cell(table, "KL ↓", 1) == "0.0100 (floor 0.0020)"


def test_split_keeps_every_column_once_and_marks_with_their_cells(seeds):
    table = by_model(seeds)
    quality, speed = panels.split(table)
    assert speed.titles[:3] == quality.titles[:3] == ["Model", "Sampler", "n"]
    assert sorted(speed.titles + quality.titles[3:]) == sorted(table.titles)
    assert speed.titles[-2:] == ["Parameters", "Train time ↓"]
    assert not speed.sanity and len(quality.sanity) == 3
    place = speed.titles.index("images/s ↑")
    assert cell(speed, "images/s ↑", 4).startswith("4,194")
    assert speed.marks[4, place] == "best"


def test_what_training_takes_stands_beside_its_time(seeds):
    table = by_model(seeds.assign(images_seen=576_000.0, train_pflops=0.0663))
    assert table.titles[-3:] == ["Train time ↓", "Images seen", "Training PFLOPs"]
    assert cell(table, "Images seen") == "576 k"
    assert table.titles[-3:] == panels.split(table)[1].titles[-3:]


def test_the_terminal_shows_the_headline_first_and_no_size(rows):
    table = table_of(rows.assign(fid_digits=1.5, headline="fid_digits"))
    quality, speed = panels.summarize(table, "fid_digits")
    assert "images/s ↑" in speed.titles and "Coverage ↑" in quality.titles
    assert quality.keys[2] == "fid_digits"
    assert not {"gflops_per_pass", "peak_memory_mb"} & {*speed.keys, *quality.keys}


def test_numbers_fit_a_terminal_without_their_errors(rows):
    table = table_of(rows.assign(kid_digits_mean=13.4, kid_digits_se=1))
    quality, speed = panels.summarize(table, "kid_digits_mean")
    assert cell(quality, "KID\n×1000 ↓") == "35.60" and cell(quality, "Rejected\n% ↓") == "5.0"
    assert cell(quality, "classifier\nKID ×1000 ↓") == "13,400.00" and "KL ↓" in quality.titles
    for table in (quality, speed):
        lines = [table.titles, *table.body, *table.sanity]
        widths = [
            max(len(part) for cell in column for part in cell.split("\n"))
            for column in zip(*lines, strict=True)
        ]
        assert sum(widths) + 2 * len(widths) < 90


def test_the_terminal_shows_speed_only_where_there_is_one(rows, external_row):
    assert [len(part.body) for part in panels.summarize(table_of(rows))] == [5, 5]
    (quality,) = panels.summarize(table_of(external_row))
    assert "kid_mean" in quality.keys


def test_checkpoints_are_shown_where_a_row_is_of_the_best_weights(rows):
    last = rows.assign(checkpoint=["last"] * 5 + [""] * 3)
    assert "Checkpoint" not in table_of(last).titles
    best = last.iloc[:1].assign(checkpoint="best")
    both = pd.concat([best, last], ignore_index=True)
    for table in (table_of(both), by_model(both)):
        assert [cell(table, "Checkpoint", line) for line in (1, 2, 3)] == ["last", "best", "last"]
        assert "Run" not in table.titles
        assert {line[table.titles.index("Checkpoint")] for line in table.sanity} == {"–"}
        assert all("Checkpoint" in part.titles for part in panels.summarize(table))


def test_samples_made_elsewhere_stand_among_the_models(rows, external_row):
    other = external_row.assign(run="f0f0f0f0", kid_mean=0.5)
    table = by_model(pd.concat([rows, external_row, other], ignore_index=True))
    lines = [line for line in table.body if line[0] == "my model"]
    assert [line[1] for line in lines] == ["external"] * 2
    assert all(line[-1] == "[1]" for line in lines)
    assert {line[table.titles.index("Run")] for line in lines} == {"e0e0e0e0", "f0f0f0f0"}
    assert {line[table.titles.index("NFE ↓")] for line in lines} == {"–"}
