import json

import pandas as pd
import pytest

from benchmark.report import columns, tables
from benchmark.report.columns import COLUMNS, column, shown_in
from benchmark.report.definitions import TERMS, definitions


def test_keys_and_titles_are_distinct():
    assert len(set(columns.KEYS)) == len(COLUMNS)
    titles = [each.title for each in COLUMNS if each.title]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("each", COLUMNS, ids=columns.KEYS)
def test_a_description_holds_together(each):
    assert set(each.tables.split()) <= {columns.MODELS, columns.SEEDS, columns.TERMINAL}
    assert each.better in ("", columns.LOWER, columns.HIGHER)
    if each.tables:
        assert each.title and each.meaning and each.form is not None
    beside = [each.beside[0]] if each.beside else []
    ends = [f"{each.key}_low", f"{each.key}_high"] if each.interval else []
    for key in [each.error] * bool(each.error) + beside + ends:
        assert key in columns.KEYS


def test_headings_point_to_the_better_side():
    assert column("kid_mean").heading == "KID ×1000 ↓"
    assert column("coverage").heading == "Coverage ↑"
    assert column("vendi").heading == "Vendi"
    assert column("kid_mean").name == "KID" and column("rejected_fraction").name == "Rejected"


def test_an_unknown_number_is_shown_under_its_key():
    assert column("novelty").heading == "novelty" and column("novelty").tables == columns.BOTH


def test_shown_columns_are_those_that_were_measured(rows):
    complete = tables.complete(rows)
    keys = [each.key for each in shown_in(columns.MODELS, complete, "kid_mean")]
    assert keys[:3] == ["kid_mean", "density", "rejected_fraction"]
    assert "vendi" not in keys and "path" not in keys


def test_any_column_can_be_the_headline(rows):
    complete = tables.complete(rows.assign(confident_fraction=0.9))
    shown = shown_in(columns.MODELS, complete, "confident_fraction")
    assert shown[0].key == "confident_fraction" and shown[0].title


def test_what_rows_have_is_defined(rows):
    titles = [title for title, _, _ in definitions(tables.complete(rows.assign(copied_fraction=0)))]
    assert "Copied %" in titles
    assert "KID ×1000" in titles and "± and n" in titles and "Vendi" not in titles


def test_a_new_column_is_described_in_no_second_place():
    """No source but columns.py has the title of a column."""
    from pathlib import Path

    folder = Path(columns.__file__).parent
    for path in [*folder.glob("*.py"), *folder.glob("templates/*")]:
        if path.name in ("columns.py", "published.py"):
            continue
        text = path.read_text()
        for each in COLUMNS:
            if " " in each.title or "/" in each.title:
                assert json.dumps(each.title, ensure_ascii=False) not in text, path


def test_definitions_of_nothing_are_the_terms():
    assert definitions(pd.DataFrame()) == list(TERMS)
