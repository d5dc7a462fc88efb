import time

import pytest

from benchmark import machine
from benchmark.report.stages import stage_table
from benchmark.results import RunFolder
from benchmark.stages import summary, timed

SECONDS = {
    "data": 0.5,
    "training": 120.0,
    "sampling": {"ddpm-200": 30.0, "ddim-10": 1.5},
    "latency": {"ddpm-200": 60.0, "ddim-10": 6.0},
    "sanity rows": 2.0,
    "report": 3.0,
    "waiting": 40.0,
}


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path, "mnist", "ddpm", "key")


def test_the_time_of_a_stage_adds_up_over_stops(folder):
    folder.update_state(status="training")
    with pytest.raises(KeyboardInterrupt), timed(folder, "sampling", "ddim-10"):
        time.sleep(0.05)
        raise KeyboardInterrupt
    folder.add_seconds("sampling", 2.0, "ddim-10")
    folder.add_seconds("sampling", 1.0, "ddpm-200")
    folder.add_seconds("data", 1.0)
    folder.add_seconds("data", 0.5)
    stages = folder.state["stage_seconds"]
    assert stages["data"] == 1.5 and stages["sampling"]["ddpm-200"] == 1.0
    assert 2.05 <= stages["sampling"]["ddim-10"] < 3.0
    assert folder.state["status"] == "training"


def test_no_stage_includes_the_time_of_waiting(folder):
    with timed(folder, "data"), machine.paused():
        time.sleep(0.1)
    assert folder.state["stage_seconds"]["data"] < 0.05


def test_a_line_tells_the_total_and_each_stage():
    assert summary(SECONDS) == (
        "this run took 3.7 min: data 0.5 s, training 2.0 min, sampling 32 s (ddpm-200 30 s, "
        "ddim-10 1.5 s), latency 1.1 min (ddpm-200 1.0 min, ddim-10 6.0 s), sanity rows 2.0 s, "
        "report 3.0 s; waited 40 s for other runs"
    )
    assert summary({"data": 0.5, "waiting": 0.0}) == "this run took 0.5 s: data 0.5 s"


def test_the_table_has_a_line_for_each_sampler():
    table = stage_table({"ddpm": SECONDS, "an old run": {}, "vae": {"data": 1.0, "training": 2.0}})
    assert table.titles == [
        "Run", "Data", "Training", "Sanity rows", "Sampler", "Sampling", "Latency", "Waiting",
        "Total",
    ]  # fmt: skip
    assert table.body == [
        ["ddpm", "0.5 s", "2.0 min", "2.0 s", "ddpm-200", "30 s", "1.0 min", "40 s", "3.7 min"],
        ["", "", "", "", "ddim-10", "1.5 s", "6.0 s", "", ""],
        ["vae", "1.0 s", "2.0 s", "", "", "", "", "", "3.0 s"],
    ]
    assert [title for title, right in zip(table.titles, table.right, strict=True) if not right] == [
        "Run",
        "Sampler",
    ]


def test_runs_that_nobody_timed_have_no_table():
    assert stage_table({"an old run": {}}) is None
