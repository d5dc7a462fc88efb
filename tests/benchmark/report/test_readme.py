import json
import shutil
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.report import group_figures
from benchmark.report.groups import group_rows
from benchmark.report.page import write_report
from benchmark.report.readme import BEGIN, END, results_block, stale, update
from benchmark.stored_results import collect_rows

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "results/reference"


@pytest.fixture
def readme(seeds_dir):
    path = seeds_dir / "README.md"
    path.write_text(f"before\n{BEGIN}\nOF BEFORE\n{END}\nafter\n")
    yield path
    path.unlink()


def test_the_block_is_written_between_the_markers(seeds_dir, readme):
    assert stale(readme, seeds_dir) == ["the block between the markers"]
    update(readme, seeds_dir)
    text = readme.read_text()
    assert text.startswith(f"before\n{BEGIN}\n") and text.endswith(f"{END}\nafter\n")
    assert "| Model " in text and "OF BEFORE" not in text
    assert stale(readme, seeds_dir) == []
    update(readme, seeds_dir)
    assert readme.read_text() == text


def test_the_block_has_tables_words_and_figures_that_are_there(seeds_dir):
    block = results_block(seeds_dir, seeds_dir.parent)
    assert "Quality (KID ×1000): best is ddpm-200" in block and "over n training seeds" in block
    for name in ("samples", "pareto", "radar"):
        assert f"({seeds_dir.name}/figures/mnist_quick_{name}.png)" in block
    assert "--multirun" in block and "Seed by seed" not in block


def test_a_number_that_changes_makes_the_readme_and_the_figures_stale(seeds_dir, readme):
    update(readme, seeds_dir)
    (path,) = seeds_dir.glob("runs/mnist/vae/seed10*/samplers/decoder/measurements/*/metrics.json")
    before = path.read_text()
    content = json.loads(before)
    content["row"]["kid_mean"] *= 1.001
    path.write_text(json.dumps(content))
    try:
        found = stale(readme, seeds_dir)
    finally:
        path.write_text(before)
    drawn = sorted({*group_figures.CAPTIONS} - {"frontier"})  # which needs three numbers of steps
    figures = [f"mnist_quick_{name}.png" for name in drawn]
    assert found == ["the block between the markers", *figures]


def test_missing_figures_are_stale(tmp_path, rows, results_dir, monkeypatch):
    monkeypatch.setattr("benchmark.report.page.draw_group", lambda *arguments: {})
    write_report(results_dir, rows)
    path = tmp_path / "README.md"
    path.write_text(f"{BEGIN}\n{END}\n")
    update(path, results_dir)
    assert stale(path, results_dir) == ["no figures of mnist_quick"]


def test_a_file_without_markers_is_refused(tmp_path, seeds_dir):
    path = tmp_path / "README.md"
    path.write_text("# Nothing\n")
    with pytest.raises(UserError, match="results: begin"):
        update(path, seeds_dir)
    assert path.read_text() == "# Nothing\n"


def test_the_readme_has_the_markers():
    text = (ROOT / "README.md").read_text()
    assert text.index(BEGIN) < text.index(END)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no results are published yet")
def test_the_readme_shows_the_published_results():
    assert stale(ROOT / "README.md", REFERENCE) == []


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no results are published yet")
def test_the_published_tables_follow_from_the_published_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.report.page.draw_group", lambda *arguments: {})
    copy = shutil.copytree(REFERENCE, tmp_path / "reference")
    rows = collect_rows(copy)
    assert group_rows(rows)
    for path in write_report(copy, rows):
        if path.suffix in (".md", ".tex", ".csv"):
            assert path.read_text() == (REFERENCE / path.name).read_text(), path.name
