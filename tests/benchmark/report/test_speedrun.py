import json
import math

import numpy as np
import pandas as pd
import pytest

from benchmark.headline import VALIDATION_REJECTED
from benchmark.report.groups import group_rows
from benchmark.report.learning import histories_of
from benchmark.report.speedrun import GOALS, Goal, seconds_to, speedrun_table

CLASSIFIER = "classifier 0a0a0a0a @28"
HEADLINE = "fid_digits"
GOAL = Goal(10.0, 0.3)


def history(values, rejected, seconds=(10.0, 20.0, 30.0)):
    return pd.DataFrame(
        {"seconds": seconds, f"validation_{HEADLINE}": values, VALIDATION_REJECTED: rejected}
    )


@pytest.mark.parametrize(
    ("values", "rejected", "expected"),
    [
        ([20.0, 9.0, 5.0], [0.5, 0.25, 0.2], 20.0),
        ([20.0, 9.0, 5.0], [0.5, 0.35, 0.2], 30.0),  # both at the same checkpoint
        ([10.0, 12.0, 12.0], [0.3, 0.4, 0.4], 10.0),  # at most; and the first counts
        ([9.0, 20.0, 11.0], [0.4, 0.1, 0.1], math.inf),
        ([np.nan, np.nan, 5.0], [np.nan, np.nan, 0.1], 30.0),
    ],
)
def test_both_numbers_are_reached_at_one_checkpoint(values, rejected, expected):
    assert seconds_to(history(values, rejected), HEADLINE, GOAL) == expected


@pytest.fixture
def table_of(seeds, tmp_path, monkeypatch):
    """The table of a model whose seeds reach the only goal after so many seconds."""
    monkeypatch.setitem(GOALS, HEADLINE, (GOAL,))

    def table(reached, measured=True):
        rows = seeds.assign(
            headline=HEADLINE, fid_digits=5.0, classifier=f"{CLASSIFIER}, accuracy 99%"
        )
        (group,) = group_rows(rows)
        paths = rows.loc[rows["model"] == "vae"].drop_duplicates("run")["path"]
        assert len(paths) == len(reached)
        for path, seconds in zip(paths, reached, strict=True):
            folder = tmp_path.joinpath(*path.split("/")[:4])
            folder.mkdir(parents=True, exist_ok=True)
            never = math.isinf(seconds)
            told = history([99.0, 50.0 if never else 9.0, 50.0 if never else 5.0], [0.9, 0.2, 0.1])
            told["seconds"] = [1.0, 2000.0 if never else seconds, 9000.0]
            told["step"] = [10, 20, 30]
            told["images_seen"] = [640, 1280, 1920]
            told = told if measured else told.drop(columns=VALIDATION_REJECTED)
            told.to_csv(folder / "history.csv", index=False)
            (folder / "run.json").write_text(
                json.dumps({"validation": {"instrument": CLASSIFIER, "sampler": "any"}})
            )
        return speedrun_table(histories_of(tmp_path, group), group)

    return table


def test_a_cell_is_the_median_over_seeds_between_the_fastest_and_the_slowest(table_of):
    table = table_of([90.0, 30.0, 60.0])
    assert table.titles == ["Model", "n", "classifier FID ≤ 10, rejected ≤ 30%"]
    assert table.body == [["vae", "3", "1.0 min (30 s–1.5 min)"]]


def test_a_seed_that_never_gets_there_is_the_slowest(table_of):
    assert table_of([90.0, math.inf, 60.0]).body[0][2] == "1.5 min (1.0 min–not reached)"
    assert table_of([90.0, math.inf, math.inf]).body[0][2] == "not reached (1 of 3)"
    assert table_of([math.inf] * 3).body[0][2] == "not reached"


def test_there_is_no_table_of_what_was_not_measured(table_of, seeds, tmp_path):
    assert table_of([90.0, 30.0, 60.0], measured=False) is None
    (group,) = group_rows(seeds)  # no goals for its headline
    assert speedrun_table(histories_of(tmp_path, group), group) is None
