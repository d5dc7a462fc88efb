import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmark import compare
from benchmark.compare import ONE_SEED, SAME, UNTESTED, chance, differences, find, pairs
from benchmark.errors import UserError
from benchmark.report.columns import column
from benchmark.report.groups import group_rows

REFERENCE = "results/reference"


@pytest.fixture
def line(seeds):
    """A line of the model `ddpm` with three seeds, whose columns a test replaces."""

    def build(count=3, device="cpu", **columns):
        rows = seeds[seeds["model"] == "ddpm"]
        rows = rows[rows["sampler"] == rows["sampler"].iloc[0]]
        rows = rows.iloc[:count].assign(latency_device=device, **columns)
        (group,) = group_rows(rows)
        (found,) = group.lines
        return found

    return build


def cells_of(key, one, two):
    (cells,) = differences([column(key)], one, two)
    return cells


def test_the_better_side_is_named_where_the_seeds_tell_them_apart(line):
    one, two = line(fid=[5.0, 5.1, 4.9]), line(fid=[3.0, 3.1, 2.9])
    assert cells_of("fid", one, two) == [
        "FID ↓",
        "5.00 ± 0.10",
        "3.00 ± 0.10",
        "-2.00",
        "B is better",
    ]
    assert cells_of("fid", two, one)[-1] == "A is better"
    assert cells_of("fid", one, line(fid=[5.1, 4.8, 5.2]))[-1] == SAME
    high = line(coverage=[0.9, 0.91, 0.9])
    assert cells_of("coverage", line(coverage=[0.5, 0.52, 0.51]), high)[-1] == "B is better"


def test_one_seed_is_tested_as_one_more_of_the_others(line):
    several, one = line(fid=[5.0, 5.2, 4.8, 5.1][:3]), line(1, fid=[6.9])
    scale = np.std([5.0, 5.2, 4.8], ddof=1) * np.sqrt(4 / 3)
    expected = 2 * stats.t.sf((6.9 - 5.0) / scale, 2)
    assert chance(column("fid"), several, one) == pytest.approx(expected)
    assert chance(column("fid"), one, several) == pytest.approx(expected)


def test_single_seeds_are_judged_by_their_standard_errors(line):
    one, two = (line(1, kid_mean=[mean], kid_se=[0.001]) for mean in (0.010, 0.012))
    expected = 2 * stats.norm.sf(0.002 / (0.001 * np.sqrt(2)))
    assert chance(column("kid_mean"), one, two) == pytest.approx(expected)
    assert cells_of("kid_mean", one, two)[-1] == SAME
    assert cells_of("coverage", one, two)[-1] == UNTESTED  # nobody knows its error


def test_times_of_two_machines_are_not_compared(line):
    fast, slow = (
        line(latency_ms_per_image_p50=[t, t + 0.1, t + 0.2], device=device)
        for t, device in ((1.0, "a card"), (9.0, "cpu"))
    )
    assert cells_of("latency_ms_per_image_p50", slow, fast)[-1] == UNTESTED
    assert cells_of("network_passes", slow, fast)[-1] == SAME
    same = line(latency_ms_per_image_p50=[1.0, 1.1, 1.2])
    assert cells_of("latency_ms_per_image_p50", slow, same)[-1] == "B is better"


def test_tests_are_corrected_for_the_number_of_columns(line):
    columns = [column("fid"), column("coverage")]
    one = line(fid=[1.0, 1.2, 1.4], coverage=[0.5, 0.6, 0.7])
    two = line(fid=[1.5, 1.7, 1.9], coverage=[0.5, 0.6, 0.7])
    p_value = chance(column("fid"), one, two)
    assert 0.025 < p_value < 0.05
    assert differences(columns[:1], one, two)[0][-1] == "A is better"
    assert differences(columns, one, two)[0][-1] == SAME


class TestPublishedResults:
    """What is published has models, runs and a folder to compare."""

    def test_models_and_samplers_are_found_by_name(self):
        assert set(find("ddpm", REFERENCE).rows["sampler"]) >= {"ddpm-100", "ddim-25"}
        assert set(find("ddpm/ddim-25", REFERENCE).rows["sampler"]) == {"ddim-25"}
        with pytest.raises(UserError, match="nor a model with results in 'results/reference'.*vae"):
            find("vea", REFERENCE)
        with pytest.raises(UserError, match="ddpm has ddim-25, ddpm-100"):
            find("ddpm/nosuch", REFERENCE)

    def test_a_run_is_found_by_its_folder(self):
        path = find("vae", REFERENCE).rows["path"].iloc[0]
        run = find("/".join([REFERENCE, *path.split("/")[:4]]), "nowhere")
        assert run.rows["seed"].nunique() == 1 and not run.is_folder

    def test_a_folder_is_the_same_as_itself(self, capsys):
        assert compare.main([REFERENCE, REFERENCE]) == 0
        text = capsys.readouterr().out
        assert "is better" not in text and "only in" not in text
        assert "mnist, preset quick" in text and "stacked_mnist, preset quick" in text

    def test_two_models_are_compared(self, capsys):
        assert compare.main(["ddpm/ddpm-100", "vae", f"results_dir={REFERENCE}"]) == 0
        text = capsys.readouterr().out
        assert "A: ddpm-100; B: vae decoder-mean" in text
        (line,) = (line for line in text.splitlines() if "classifier FID" in line)
        assert "A is better" in line

    def test_single_runs_come_with_a_warning(self, capsys):
        one, two = (f"{REFERENCE}/{'/'.join(path.split('/')[:4])}" for path in self.paths())
        assert compare.main([one, two]) == 0
        assert " ".join(ONE_SEED.split()[:6]) in capsys.readouterr().out

    def paths(self):
        rows = find("vae", REFERENCE).rows
        return rows[rows["sampling_seed"] == 0].drop_duplicates("seed")["path"].iloc[:2]


def test_lines_of_folders_are_paired_by_all_that_names_them(seeds):
    (group,) = group_rows(seeds)
    found = pairs(group.lines, group.lines, by_model=True)
    assert all(one.label == two.label for one, two in found)
    assert len(found) == len(group.lines)


def test_lines_without_a_partner_are_named(seeds, capsys):
    (ours,), (theirs,) = (group_rows(seeds[seeds["model"] == model]) for model in ("ddpm", "vae"))
    compare.show_group(ours, theirs, by_model=True)
    text = capsys.readouterr().out
    assert "only in A: ddpm" in text and "only in B: vae" in text


def test_models_without_a_common_sampler_are_compared_each_with_each(line):
    one, two = line(sampler="decoder"), line(sampler="generator")
    assert pairs([one], [two], by_model=False) == [(one, two)]
    assert pairs([one], [two], by_model=True) == []


@pytest.mark.parametrize("arguments", [[], ["vae"], ["a", "b", "c"], ["a", "b", "seed=1"]])
def test_other_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        compare.main(arguments)
    assert end.value.code == 2
    assert "Usage: python -m benchmark.compare" in capsys.readouterr().err


def test_what_was_measured_otherwise_is_not_compared(seeds, tmp_path, monkeypatch):
    tables = {"one": seeds.assign(dataset="mnist"), "two": seeds.assign(dataset="cifar10")}
    monkeypatch.setattr(compare, "collect_rows", lambda folder: pd.DataFrame(tables[folder.name]))
    for name in tables:
        (tmp_path / name).mkdir()
    one, two = (find(str(tmp_path / name), "nowhere") for name in tables)
    with pytest.raises(UserError, match="no dataset, preset and protocol in common"):
        compare.compare(one, two)
