"""Many runs at once in one results folder, and results of many runs."""

import json
import shutil
import time

import pandas as pd
import pytest

from benchmark.report.page import write_report
from benchmark.stored_results import collect_rows
from tests.benchmark.conftest import build_rows, write_results
from tests.faults.test_kills import commands, finish

__all__ = ["commands"]  # the fixture
pytestmark = [pytest.mark.faults, pytest.mark.slow]
NUM_RUNS = 10


def test_runs_that_share_a_folder_lose_no_row_and_tear_no_table(commands, tmp_path):
    runs = [
        commands("vae", tmp_path, 0, "after", f"seed={seed}", "training.validation.every=2")
        for seed in range(NUM_RUNS)
    ]
    for process in runs:
        finish(process)
    rows = collect_rows(tmp_path).query("model == 'vae'")
    assert sorted(rows["seed"]) == sorted(2 * list(range(NUM_RUNS)))  # last and best weights
    table = pd.read_csv(tmp_path / "trilemma.csv")
    assert sorted(table.query("model == 'vae'")["seed"]) == sorted(rows["seed"])
    for path in tmp_path.rglob("*.json"):
        json.loads(path.read_text())


@pytest.mark.parametrize("count", [100, 1000])
def test_a_report_of_many_runs_is_written_and_stays_small(tmp_path, count):
    """How long it takes is in the output; seeds are lines of one table, and share its figures."""
    first = build_rows()
    write_results(tmp_path, first)
    (run,) = tmp_path.glob("runs/mnist/vae/*")
    for seed in range(1, count):
        copy = run.parent / f"{seed:08x}"
        shutil.copytree(run, copy)
        for path in copy.glob("samplers/*/measurements/*/metrics.json"):
            content = json.loads(path.read_text())
            content["row"] |= {"seed": float(seed), "run": copy.name}
            path.write_text(json.dumps(content))
    start = time.perf_counter()
    rows = collect_rows(tmp_path)
    collected = time.perf_counter() - start
    write_report(tmp_path, rows)
    print(f"{count} runs: {collected:.1f} s to read, {time.perf_counter() - start:.1f} s in all")
    assert len(rows) == len(first) + count - 1
    assert (tmp_path / "report.html").stat().st_size < 12_000_000
