"""What a run's own state says of a run that did not end."""

import math

import pytest

from benchmark.outcomes import (
    BEGUN,
    FAILURE,
    KILLED,
    forget_failure,
    objective,
    recorded_failure,
    settled,
)
from benchmark.results import Folder, RunFolder
from benchmark.stored_results import collect_rows, damages

ROW = {"dataset": "mnist", "model": "vae", "seed": 0}


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path, "mnist", "vae", "0123456789abcdef")


def statuses(tmp_path):
    rows = collect_rows(tmp_path)
    return list(zip(rows["status"], rows["notes"], strict=True)) if len(rows) else []


def test_a_run_that_goes_on_has_no_row_and_one_that_was_killed_has(folder, tmp_path):
    with folder.lock(), recorded_failure(folder, lambda: ROW):
        assert statuses(tmp_path) == []
        as_it_was_killed = folder.state
        assert not settled(folder.path, as_it_was_killed).keys() & {BEGUN, FAILURE}
    assert statuses(tmp_path) == [] and not folder.state[BEGUN]
    folder.update_state(**as_it_was_killed)
    assert statuses(tmp_path) == [("failed", KILLED)]
    folder.update_state(**settled(folder.path, folder.state), **{BEGUN: None})
    assert statuses(tmp_path) == [("failed", KILLED)]
    forget_failure(folder)
    assert statuses(tmp_path) == []


def test_a_run_that_was_stopped_has_no_row(folder, tmp_path):
    with pytest.raises(KeyboardInterrupt), recorded_failure(folder, lambda: ROW):
        raise KeyboardInterrupt
    assert statuses(tmp_path) == []


def test_an_error_is_the_reason(folder, tmp_path):
    with pytest.raises(ZeroDivisionError), recorded_failure(folder, lambda: ROW):
        raise ZeroDivisionError("no\nloss")
    assert statuses(tmp_path) == [("failed", "ZeroDivisionError: no loss")]


def test_a_state_whose_row_is_none_is_named_as_damaged(folder, tmp_path):
    folder.update_state(**{BEGUN: ["no row"]})
    with folder.lock():
        assert statuses(tmp_path) == []
    assert damages[folder.path / "run.json"] == "it has no row"


class TestObjective:
    def measured(self, folder, sampler, **row):
        row = {"num_samples": 100, "headline": "fid_digits", **row}
        target = Folder(folder.path / "samplers" / sampler / "measurements" / "0a0a")
        target.write_json("metrics.json", {"row": row, "numbers": {}})

    def test_it_is_the_headline_of_the_best_sampler(self, folder):
        self.measured(folder, "ddim-5", fid_digits=7.5, kid_mean=0.001)
        self.measured(folder, "ddpm-100", fid_digits=3.5, kid_mean=0.002)
        assert objective(folder, 100) == 3.5

    def test_other_numbers_of_samples_do_not_count(self, folder):
        self.measured(folder, "ddim-5", fid_digits=7.5)
        assert objective(folder, 200) == math.inf

    def test_kid_takes_the_place_of_a_headline_that_was_not_measured(self, folder):
        self.measured(folder, "ddim-5", kid_mean=0.25)
        assert objective(folder, 100) == 0.25
