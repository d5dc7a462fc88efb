import pandas as pd
import pytest

from benchmark.errors import UserError
from benchmark.report.command import main
from benchmark.report.rows import is_sanity
from benchmark.report.trials import write_trials
from tests.benchmark.conftest import build_rows, write_results


def trials(seed=100):
    rows = build_rows()
    return rows.assign(seed=rows["seed"].where(is_sanity(rows), seed))


def test_each_trial_has_its_command_and_its_number_the_best_first(tmp_path):
    rows = trials()
    rows.loc[rows["model"] == "dcgan", "overrides"] = "model=dcgan model.widths=[8,16]"
    log = pd.read_csv(write_trials(rows, tmp_path / "log.csv"))
    assert len(log) == (~is_sanity(rows)).sum()
    (dcgan,) = log.loc[log["command"].str.contains("model=dcgan"), "command"]
    assert dcgan == (
        "python -m benchmark dataset=mnist preset=quick model=dcgan seed=100 'model.widths=[8,16]'"
    )
    for _, part in log.groupby("sampler"):
        assert part.iloc[:, 3].is_monotonic_increasing


def test_trials_are_added_to_those_in_the_log(tmp_path):
    """Run folders need not be kept; a trial that is made again takes its own place."""
    rows = trials()
    others = rows[rows["model"] != "dcgan"]
    path = write_trials(rows[rows["model"] == "dcgan"], tmp_path / "log.csv")
    write_trials(others, path)
    write_trials(others, path)
    expected = pd.read_csv(write_trials(rows, tmp_path / "all.csv"))
    pd.testing.assert_frame_equal(pd.read_csv(path), expected)


@pytest.mark.parametrize(("seed", "refused"), [(0, False), (9, False), (10, True), (99, True)])
def test_seeds_of_results_are_refused(tmp_path, seed, refused):
    if refused:
        with pytest.raises(UserError, match=f"Received: seed={seed}"):
            write_trials(trials(seed), tmp_path / "log.csv")
    else:
        assert write_trials(trials(seed), tmp_path / "log.csv").exists()


def test_the_command_line_writes_the_log(tmp_path, capsys):
    write_results(tmp_path / "results", trials())
    assert main([str(tmp_path / "results"), f"trials={tmp_path}/tuning/all.csv"]) == 0
    assert capsys.readouterr().out.strip() == f"{tmp_path}/tuning/all.csv"
    assert (tmp_path / "tuning/all.csv").read_text().startswith("command,sampler,status,")
