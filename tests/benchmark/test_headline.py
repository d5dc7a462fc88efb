"""The headline is what the committed experiment chose."""

import json
from pathlib import Path

import pytest

from benchmark.headline import headline
from benchmark.validity.candidates import CANDIDATES
from benchmark.validity.page import write_page
from benchmark.validity.record import from_record
from benchmark.validity.sets import UNDAMAGED
from benchmark.validity.verdict import rank_candidates

RESULTS = Path(__file__).parents[2] / "results"
RECORD = json.loads((RESULTS / "validity.json").read_text())
KINDS = pytest.mark.parametrize(
    ("has_classifier", "kind"), [(True, "with_classifier"), (False, "without_classifier")]
)


@KINDS
def test_the_headline_is_what_the_experiment_chose(has_classifier, kind):
    assert headline(has_classifier) == RECORD["headline"][kind]


@KINDS
def test_the_experiment_chose_by_its_rule(has_classifier, kind):
    measured = from_record(RECORD["presets"])[RECORD["decided_by"]]
    assert UNDAMAGED in measured.values and len(measured.damages) == 8
    winner, *others = rank_candidates(
        measured.values,
        measured.damages,
        spread_factor=measured.plan.spread_factor,
        has_classifier=has_classifier,
    )
    assert len(others) == sum(has_classifier or not c.requires_classifier for c in CANDIDATES) - 1
    assert winner.column == RECORD["headline"][kind]


def test_the_page_follows_from_the_record():
    assert write_page(RECORD) == (RESULTS / "validity.md").read_text()


@KINDS
def test_the_page_names_the_headline(has_classifier, kind):
    page = (RESULTS / "validity.md").read_text()
    (line,) = (
        line for line in page.splitlines() if f"Headline {kind.replace('_', ' a ')}:" in line
    )
    assert f"`{headline(has_classifier)}`" in line
