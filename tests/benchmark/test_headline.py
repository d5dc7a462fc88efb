"""The headline is what the committed experiment chose."""

import json
from pathlib import Path

import pytest

from benchmark.headline import headline
from benchmark.validity.candidates import CANDIDATES
from benchmark.validity.sets import UNDAMAGED, applicable
from benchmark.validity.verdict import rank_candidates

RESULTS = Path(__file__).parents[2] / "results"
FIGURES = json.loads((RESULTS / "validity.json").read_text())
KINDS = pytest.mark.parametrize(
    ("has_classifier", "kind"), [(True, "with_classifier"), (False, "without_classifier")]
)


def committed_values():
    """The values of the deciding preset, as the verdict takes them."""
    preset = FIGURES["presets"][FIGURES["decided_by"]]

    def set_name(text):
        damage, strength = text.rsplit("|", 1)
        return damage, float(strength)

    values = {set_name(text): columns for text, columns in preset["values"].items()}
    return values, preset["spread_factor"]


@KINDS
def test_the_headline_is_what_the_experiment_chose(has_classifier, kind):
    assert headline(has_classifier) == FIGURES["headline"][kind]


@KINDS
def test_the_experiment_chose_by_its_rule(has_classifier, kind):
    values, spread_factor = committed_values()
    assert UNDAMAGED in values
    winner, *others = rank_candidates(
        values, applicable(10), spread_factor=spread_factor, has_classifier=has_classifier
    )
    assert len(others) == sum(has_classifier or not c.requires_classifier for c in CANDIDATES) - 1
    assert winner.column == FIGURES["headline"][kind]


@KINDS
def test_the_page_names_the_headline(has_classifier, kind):
    page = (RESULTS / "validity.md").read_text()
    (line,) = (
        line for line in page.splitlines() if f"Headline {kind.replace('_', ' a ')}:" in line
    )
    assert f"`{headline(has_classifier)}`" in line
