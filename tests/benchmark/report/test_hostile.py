"""A results folder from a stranger, or from a disk that fails: shown as far as it can be."""

import json
import re
import resource
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmark import console
from benchmark.report import command, group_figures
from benchmark.report.page import write_report
from benchmark.report.publish import publish
from benchmark.stored_results import collect_rows
from tests.benchmark.conftest import build_rows, write_results

OWN_PROGRAM = Path(command.__file__).parent / "templates" / "page.js"
SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
NAMES = (
    SCRIPT, IMAGE, "../../../escaped", "a\nb\n\n\\end{table*}", "$x^2", r"\input{/etc/passwd}",
    "a|b", "100 % & more # _ ~", "[a](javascript:alert(1))", "{{ 7 * 7 }} <% if %>", "−ä漢🙂",
)  # fmt: skip
TEXTS = ("sampler", "overrides", "notes", "preset", "protocol", "kid_encoder", "run", "checkpoint")
KEPT_AS_THEY_ARE = re.compile(r"\\(?:[&%$#_{}'\"]|text\w+|times|pm|rightarrow|\w+arrow|dagger)")


class Tags(HTMLParser):
    """Collects the attributes of a page's elements, and the contents of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.attributes, self.scripts = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.attributes |= {name for name, _ in attributes}
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.scripts[-1] += data


@pytest.fixture
def told(monkeypatch):
    texts = []
    monkeypatch.setattr(console, "say", lambda text, style="": texts.append(text))
    return texts


@pytest.fixture
def unrendered(monkeypatch):
    """Figures are put together but not drawn, which takes most of a report's time."""
    monkeypatch.setattr(group_figures, "_rendered", lambda *arguments: b"png")


def reported(folder, rows):
    """The documents of a results folder that has these rows, by name."""
    write_report(folder, rows)
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("column", ["model", "dataset", *TEXTS])
@pytest.mark.parametrize("first", [0, len(NAMES) // 2])
def test_hostile_names_do_nothing(tmp_path, told, first, column):
    """Each row has another one."""
    folder, rows = tmp_path / "a" / "b" / "c" / "results", build_rows()
    write_results(folder, rows)
    rows[column] = rows[column].astype(object)
    chosen = rows.index[rows["status"] != "sanity"] if column == "model" else rows.index
    names = [NAMES[(first + index) % len(NAMES)] for index in range(len(chosen))]
    rows.loc[chosen, column] = names
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(folder)}
    texts = reported(folder, rows)
    page = Tags(texts["report.html"])
    *data, program = page.scripts
    assert program.strip() == OWN_PROGRAM.read_text().strip() and all(map(json.loads, data))
    assert "onerror" not in page.attributes
    assert "<script" not in texts["trilemma.md"] and "](javascript" not in texts["trilemma.md"]
    assert texts["trilemma.tex"].count(r"\end{table*}") == texts["trilemma.tex"].count(
        r"\begin{table*}"
    )
    assert r"\input" not in texts["trilemma.tex"]
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(folder)} == before
    for table in re.findall(r"(?m)(?:^\|.*\n)+", texts["trilemma.md"]):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(counts) == 1


def test_a_disk_without_room_for_the_report_is_one_line(results_dir, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(SystemExit) as end:
            command.main([str(results_dir)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    error = capsys.readouterr().err
    assert end.value.code == 3 and error.startswith("error: ") and error.count("\n") == 1
    assert "trilemma.csv cannot be written (File too large): it needs " in error


FILES = ("run.json", "config.yaml", "history.csv", "grid.png", "samples.npy", "metrics.json")


@pytest.mark.parametrize("content", [b"", b"\x00\xff{", b"[]", b"{}"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_in_the_report_and_the_rest_is_shown(
    results_dir, told, unrendered, name, content
):
    path = next(path for path in sorted(results_dir.rglob(name)) if "ddpm" in path.parts)
    path.write_bytes(content)
    rows = collect_rows(results_dir)
    texts = reported(results_dir, rows)
    if (name, content) == ("run.json", b"{}"):  # of a run that has not begun
        return
    relative = path.relative_to(results_dir).as_posix()
    assert "<h2>Damaged files</h2>" in texts["report.html"]
    assert relative in texts["report.html"] and relative in texts["trilemma.md"]
    assert sum(str(path) in text for text in told) == 1
    assert {"ddpm", "vae", "dcgan"} <= set(rows["model"])


def test_a_report_of_whole_files_speaks_of_no_damage(results_dir, rows, unrendered):
    texts = reported(results_dir, collect_rows(results_dir))
    assert "Damaged" not in texts["report.html"] and "Damaged" not in texts["trilemma.md"]


def test_damaged_files_are_not_published(results_dir, tmp_path, told, unrendered):
    path = next(results_dir.glob("runs/*/vae/*/config.yaml"))
    path.write_text("model: [")
    publish(results_dir, tmp_path / "published")
    assert not (tmp_path / "published" / path.relative_to(results_dir)).exists()
    assert "vae" in (tmp_path / "published" / "trilemma.md").read_text()


@pytest.mark.parametrize(
    "details",
    [
        {"generated_histogram": "abc"},
        {"generated_histogram": [1, 2], "real_histogram": [1]},
        {"generated_histogram": [None], "real_histogram": [1]},
        {"generated_histogram": [1], "real_histogram": {}},
        [],
        "abc",
    ],
)
def test_details_of_another_kind_are_passed_over(results_dir, told, unrendered, details):
    for path in results_dir.glob("runs/*/vae/*/samplers/*/measurements/*/metrics.json"):
        content = json.loads(path.read_text())
        content["numbers"] = {"mode_coverage": {"details": details}}
        path.write_text(json.dumps(content))
    reported(results_dir, collect_rows(results_dir))
