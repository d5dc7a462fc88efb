import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark.report import group_figures, page, published
from benchmark.report.drawn import RECORD
from benchmark.report.gallery import CAPTIONS
from benchmark.report.group_figures import CAPTIONS as CAPTIONS_OF_FIGURES
from benchmark.report.groups import group_rows
from benchmark.report.page import write_report
from benchmark.report.stored import shown_runs
from benchmark.stored_results import collect_rows

DOCUMENTS = ("trilemma.md", "trilemma.tex", "report.html")
KINDS = ("pareto", "radar", "samples", "class_histograms", "learning", "loss")


class Page(HTMLParser):
    """Collects what a page embeds, and checks that its elements are closed in order."""

    VOID = {"meta", "img", "br", "link", "input", "hr"}

    def __init__(self, text):
        super().__init__()
        self.sources, self._open = [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


@pytest.fixture
def undrawn(monkeypatch):
    """With one empty file for all figures, which take most of a report's time."""
    monkeypatch.setattr(page, "draw_group", lambda *arguments: {"pareto.png": b"png"})


@pytest.fixture
def sweeps_alone(monkeypatch):
    """Without any figures but those of sweeps."""
    drawn = ("pareto", "radar", "_draw_samples", "_draw_histograms", "learning_curves")
    for name in (*drawn, "_draw_losses"):
        monkeypatch.setattr(group_figures, name, lambda *arguments, **options: None)


def test_report_writes_tables_figures_and_page(seeds_dir):
    names = {
        "trilemma.csv", "trilemma_by_model.csv", "trilemma.md", "trilemma.tex", "report.html",
    }  # fmt: skip
    assert {path.name for path in seeds_dir.iterdir() if path.is_file()} == names
    figures = {path.name: path for path in (seeds_dir / "figures").glob("*.p*")}
    assert set(figures) == {f"mnist_quick_{kind}.png" for kind in KINDS}
    for path in figures.values():
        assert min(Image.open(path).size) > 300 and path.stat().st_size < 300_000


def test_report_is_the_same_when_written_again(seeds_dir, tmp_path):
    rows = collect_rows(seeds_dir).sample(frac=1, random_state=0)
    shutil.copytree(seeds_dir / "runs", tmp_path / "runs")
    shutil.copytree(seeds_dir / "sanity", tmp_path / "sanity")
    for path in write_report(tmp_path, rows):
        if path.name != "trilemma.csv":  # it keeps the order of its rows
            assert path.read_bytes() == (seeds_dir / path.relative_to(tmp_path)).read_bytes(), path


def test_page_is_self_contained(seeds_dir):
    text = (seeds_dir / "report.html").read_text()
    page = Page(text)
    cards = text.split("<h3>Model by model</h3>")[1]
    assert len(page.sources) == len(KINDS) + cards.count("<img ") > len(KINDS)
    assert all(source.startswith("data:image/") for source in page.sources)
    assert any(source.startswith("data:image/gif") for source in page.sources)
    assert "http" not in re.sub(r"data:[^\"]*", "", text)


def test_page_tells_provenance_and_definitions(seeds_dir):
    text = (seeds_dir / "report.html").read_text()
    for words in ("seed10a1", "a processor", "3.15.0", "Bińkowski et al. 2018", "<dt>NFE</dt>"):
        assert words in text


def test_every_document_has_means_marks_and_what_they_tell(seeds_dir):
    texts = {name: (seeds_dir / name).read_text() for name in DOCUMENTS}
    best = "12.38 ± 0.62"
    assert f"**{best}**" in texts["trilemma.md"]
    assert f"<b>{best}</b>" in texts["report.html"]
    assert r"\textbf{12.38 $\pm$ 0.62}" in texts["trilemma.tex"]
    tie = re.search(r"14.19 ± 0.7\d", texts["trilemma.md"])[0]
    assert f"{tie} † |" in texts["trilemma.md"] and f"{tie} †</td>" in texts["report.html"]
    assert tie.replace("±", r"$\pm$") + r"$^\dagger$" in texts["trilemma.tex"]
    for name in ("trilemma.md", "report.html"):
        assert "Quality (KID ×1000): best is ddpm-200" in texts[name]
        assert "results/validity.md" in texts[name]
    for text in texts.values():
        assert "over n training seeds" in text


def test_seeds_stand_in_tables_of_their_own(seeds_dir):
    text = (seeds_dir / "trilemma.md").read_text()
    models, rows = text.split("### Seed by seed")
    assert "| n" in models and "Seed" not in models.split("\n\n")[3]
    assert len(re.findall(r"^\| dcgan ", models, re.M)) == 2
    assert len(re.findall(r"^\| dcgan ", rows, re.M)) == 2 * 3
    assert "KID ×1000 ↓ ± se" in rows and "Rejected % ↓ (95 %)" in rows


def test_page_tells_the_time_by_stage(results_dir, rows, undrawn):
    write_report(results_dir, rows)
    text = (results_dir / "report.html").read_text()
    assert text.count("<summary>Time by stage</summary>") == 3 and "Training</th>" in text
    assert text.count('<td class="right">1.2 min</td>') == 2 * 3  # of three runs, and their totals
    for path in results_dir.glob("runs/*/*/*/run.json"):
        path.write_text("{}")
    write_report(results_dir, rows)
    assert "Time by stage" not in (results_dir / "report.html").read_text()


def test_page_escapes_what_runs_say(results_dir, rows, undrawn):
    rows.loc[0, "notes"] = "<script>alert(1)</script>"
    write_report(results_dir, rows)
    assert "<script>alert" not in (results_dir / "report.html").read_text()


def pictures_of(text):
    """The captions of the pictures of each run on a page, by the run's title."""
    runs = re.findall(r'<details class="run".*?<summary>(.*?)</summary>(.*?)<details>', text, re.S)
    return {
        title: re.findall(r"<figcaption>(.*?)</figcaption>", content) for title, content in runs
    }


def test_page_has_a_card_with_the_pictures_of_each_run(results_dir, rows, undrawn):
    folder = results_dir / "runs/mnist/vae/0e0e0e0e"
    for name in ("manifold", "loss", "samplers/decoder/grid", "samplers/decoder/interpolation"):
        Image.new("L", (4, 4)).save(folder / f"{name}.png")
    write_report(results_dir, rows)
    found = pictures_of((results_dir / "report.html").read_text())
    names = ("grid", "manifold", "interpolation", "loss")
    assert found["vae"] == [CAPTIONS[name] for name in names]
    assert f"ddpm-200: {CAPTIONS['process']}" in found["ddpm"]


def test_of_seeds_the_first_shows_its_pictures_losses_and_samples(seeds_dir):
    found = pictures_of((seeds_dir / "report.html").read_text())
    assert set(found) == {f"{model} seed 10" for model in ("dcgan", "ddpm", "vae")}
    text = (seeds_dir / "report.html").read_text()
    for kind in ("samples", "class_histograms", "loss"):
        assert f"{CAPTIONS_OF_FIGURES[kind]} Of seed 10." in text


def test_an_option_that_was_varied_has_a_figure(results_dir, rows, sweeps_alone):
    vae = rows[rows["model"] == "vae"]
    varied = [
        vae.assign(overrides=f"model.latent_dim={value}", run=f"run{value}", path="")
        for value in (2, 4)
    ]
    (results_dir / "runs/mnist/vae/0e0e0e0e/config.yaml").write_text("model: {latent_dim: 16}\n")
    paths = write_report(results_dir, pd.concat([*varied, rows]))
    (figure,) = (path for path in paths if "sweep" in path.name)
    assert figure.name == "mnist_quick_sweep_model.latent_dim.png"
    assert "KID against model.latent_dim" in (results_dir / "report.html").read_text()
    write_report(results_dir, rows)
    assert not figure.exists()


def test_a_collapse_is_told_at_the_head_of_every_table(results_dir, rows, undrawn):
    rows.loc[rows["model"] == "dcgan", "modes_covered"] = 2
    write_report(results_dir, rows)
    told = "Mode collapse: dcgan generator (2 of 10 modes covered)."
    assert f"**{told}**" in (results_dir / "trilemma.md").read_text()
    assert f'<p class="warning">{told}</p>' in (results_dir / "report.html").read_text()
    assert rf"\textbf{{{told}}}" in (results_dir / "trilemma.tex").read_text()
    note = "mode collapse: 2 of 10 modes covered"
    assert note in (results_dir / "trilemma.csv").read_text()


def test_real_images_stand_above_the_samples(seeds_dir, monkeypatch):
    shown = []
    monkeypatch.setattr(group_figures, "sample_strips", lambda strips, colors: shown.append(strips))
    (group,) = group_rows(collect_rows(seeds_dir))
    real = np.full((20, 28, 28, 1), 7, np.uint8)
    for images in (real, None):
        group_figures._draw_samples(seeds_dir, group, {}, images)
    labels = ["test images", *(line.label for line in group.lines if not line.is_check)]
    assert list(shown[0]) == list(shown[1]) == labels
    assert (shown[0]["test images"] == 7).all() and len(shown[0]["test images"]) == 10
    stored = np.load(next(seeds_dir.glob("sanity/mnist/test_images/*/samples.npy")))
    np.testing.assert_array_equal(shown[1]["test images"], stored[:10])
    first = np.load(next(seeds_dir.glob("runs/mnist/vae/seed10*/samplers/decoder/samples.npy")))
    np.testing.assert_array_equal(shown[1]["vae decoder"], first[:10])


def test_tables_of_two_protocols_are_kept_apart(results_dir, rows, undrawn):
    other = rows.iloc[[0, 3, 5]].assign(protocol="another encoder; N=5000", path="")
    both = pd.concat([rows, other], ignore_index=True)
    paths = write_report(results_dir, both)
    text = (results_dir / "trilemma.md").read_text()
    assert "2 sections" in text and text.count("| Model ") == 4
    stems = {
        re.match(r"mnist_quick_[0-9a-f]{4}_", path.name)[0]
        for path in paths
        if path.suffix == ".png"
    }
    assert len(stems) == 2


def test_figures_that_no_longer_hold_are_removed(results_dir, rows, undrawn):
    (results_dir / "figures").mkdir()
    kept = ("cifar10_quick_pareto.png", "mine.png", "mine.pdf")
    stale = ("mnist_quick_radar.png", "mnist_quick_pareto.pdf")
    for name in (*kept, *stale):
        (results_dir / "figures" / name).write_bytes(b"")
    write_report(results_dir, rows)
    names = {path.name for path in (results_dir / "figures").iterdir()}
    assert names == {*kept, "mnist_quick_pareto.png", RECORD}


def test_a_diverged_run_is_shown_with_its_losses(results_dir, rows, diverged_row, undrawn):
    folder = results_dir / "runs/mnist/dcgan/beefbeef"
    folder.mkdir()
    counts = {"step": [1, 2], "images_seen": [64, 128], "seconds": [1.0, 2.0]}
    losses = {**counts, "loss": [1.0, np.nan]}
    pd.DataFrame(losses).to_csv(folder / "history.csv", index=False)
    both = pd.concat([rows, diverged_row], ignore_index=True)
    write_report(results_dir, both)
    assert "| diverged " in (results_dir / "trilemma.md").read_text()
    assert "dcgan seed 1" in (results_dir / "report.html").read_text()
    (group,) = group_rows(both)
    runs = shown_runs(results_dir, group)
    assert list(runs) == ["dcgan seed 0", "dcgan seed 1", "ddpm", "vae"]
    assert len(runs["dcgan seed 1"][0].history) == 2


def test_samples_made_elsewhere_are_shown_with_their_source(
    results_dir, rows, external_row, undrawn
):
    folder = results_dir / external_row["path"][0]
    folder.mkdir(parents=True)
    samples = folder.parents[1]
    np.save(samples / "samples.npy", np.full((12, 28, 28, 1), 99, np.uint8))
    details = {"generated_histogram": [500] * 10, "real_histogram": [500] * 10}
    numbers = {"mode_coverage": {"details": details}}
    (folder / "metrics.json").write_text(json.dumps({"row": {}, "numbers": numbers}))
    (samples / "run.json").write_text(json.dumps({"source": {"sha256": "5a5a5a5a"}}))
    Image.new("L", (4, 4)).save(samples / "grid.png")
    both = pd.concat([rows, external_row], ignore_index=True)
    write_report(results_dir, both)
    (group,) = group_rows(both)
    strips = group_figures._of_lines(results_dir, group, lambda row: row.samples(10))
    assert (strips["my_model external"] == 99).all()
    text = (results_dir / "report.html").read_text()
    assert "Environment (run e0e0e0e0)" in text and "5a5a5a5a" in text
    assert pictures_of(text)["my_model"] == [CAPTIONS["grid"]]
    write_report(results_dir / "alone", external_row.assign(path=""))
    assert "my model" in (results_dir / "alone/trilemma.tex").read_text()


def test_rows_without_folders_still_make_a_report(tmp_path, rows, diverged_row):
    write_report(tmp_path, rows.assign(path=np.nan))
    assert {path.name for path in (tmp_path / "figures").glob("*.png")} == {
        "mnist_quick_pareto.png",
        "mnist_quick_radar.png",
    }
    write_report(tmp_path / "diverged", diverged_row)
    assert not (tmp_path / "diverged/figures").exists()


def test_latex_escapes_and_balances(results_dir, rows, undrawn):
    rows.loc[0, "notes"] = r"50 % of {a_b} & \c ~ ^ #1 $"
    rows.loc[1, "kid_mean"] = -0.0001
    write_report(results_dir, rows)
    text = (results_dir / "trilemma.tex").read_text()
    assert (
        r"50 \% of \{a\_b\} \& \textbackslash{}c \textasciitilde{} \textasciicircum{} \#1 \$"
        in text
    )
    assert r"$-$0.10 $\pm$ 1.10" in text
    assert re.findall(r"\\begin\{(.*?)\}", text)[0] == "table*"
    for name in ("table*", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") > 0
    assert text.isascii()


def test_published_figures_stand_below_stacked_mnist_alone(results_dir, rows, undrawn):
    write_report(results_dir, rows)
    tables_of = ("trilemma.md", "trilemma.tex", "report.html")
    texts = {name: (results_dir / name).read_text() for name in tables_of}
    assert not any("PacGAN" in text or published.TITLE in text for text in texts.values())
    both = pd.concat([rows, rows.assign(dataset="stacked_mnist")], ignore_index=True)
    write_report(results_dir, both)
    for name in tables_of:
        text = (results_dir / name).read_text()
        assert text.count(published.NOTE) == 1
        assert text.count(published.TITLE) >= 1
        after = text[text.index(published.NOTE) :]
        for row in published.ROWS:
            cells = r"\W+(?:td|class|right|\W)*".join(
                re.escape(cell) for cell in (row.model, f"{row.modes:,}", row.kl, row.source)
            )
            assert re.search(cells, after), row
    Page((results_dir / "report.html").read_text())


def test_published_figures_are_rows_of_no_result(results_dir, rows, undrawn):
    stacked = rows.assign(dataset="stacked_mnist")
    write_report(results_dir, stacked)
    text = (results_dir / "trilemma.csv").read_text()
    assert not any(row.model in text or row.source in text for row in published.ROWS)
    assert len(text.splitlines()) == 1 + len(rows)
    (group,) = group_rows(stacked)
    assert set(group.rows["model"]) == set(rows["model"])


def test_published_figures_are_those_of_the_papers():
    # Huang et al. 2024, Table 3: modes, KL.
    expected = {
        "DCGAN": (99, 3.40),
        "WGAN-GP": (959, 0.73),
        "PacGAN": (992, 0.28),
        "StyleGAN2": (940, 0.42),
        "VAEBM": (1000, 0.087),
        "DDGAN": (1000, 0.071),
        "MEG": (1000, 0.031),
        "R3GAN": (1000, 0.029),
    }
    assert {row.model: (row.modes, float(row.kl)) for row in published.ROWS} == expected


def test_report_runs_as_a_module_without_tensorflow(tmp_path):
    code = "import sys, benchmark.report.command; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_page_of_thirty_runs_weighs_less_than_three_megabytes(tmp_path, rows):
    vae, noise = rows[rows["model"] == "vae"], np.random.default_rng(0)
    runs = []
    for number in range(30):
        folder = tmp_path / f"runs/mnist/vae/{number:08d}"
        samples = folder / "samplers/decoder"
        path = samples / "measurements/0a0a0a0a"
        path.mkdir(parents=True)
        for picture in (
            samples / "grid.png",
            samples / "interpolation.png",
            folder / "latents.png",
        ):
            Image.fromarray(noise.integers(0, 255, (300, 300), "uint8")).save(picture)
        (folder / "config.yaml").write_text("model:\n  name: vae\ncache_dir: /somewhere\n" * 100)
        names = {"overrides": f"model.beta={number}", "run": f"{number:08d}"}
        runs.append(vae.assign(path=path.relative_to(tmp_path).as_posix(), **names))
    write_report(tmp_path, pd.concat(runs))
    text = (tmp_path / "report.html").read_text()
    assert len(text) < 3_000_000 and "/somewhere" not in text
    pictures = re.findall(r'<img src="([^"]*)" alt="vae', text)
    assert len(pictures) == 90
    linked = [path for path in pictures if not path.startswith("data:")]
    assert 60 < len(linked) < 90 and all((tmp_path / path).is_file() for path in linked)
