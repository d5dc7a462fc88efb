import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark.report import page, published, tables
from benchmark.report.gallery import CAPTIONS
from benchmark.report.page import write_report

KINDS = ("pareto", "radar", "samples", "class_histograms", "loss")


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
def written(results_dir, rows):
    return {path.name: path for path in write_report(results_dir, rows)}


def test_report_writes_tables_figures_and_page(results_dir, written):
    figures = {f"mnist_quick_{kind}.png" for kind in KINDS}
    names = {"trilemma.csv", "trilemma.md", "trilemma.tex", "report.html"}
    assert set(written) == names | figures
    for name in figures:
        image = Image.open(written[name])
        assert written[name].parent == results_dir / "figures"
        assert min(image.size) > 300 and written[name].stat().st_size < 300_000
    assert {path.name for path in results_dir.iterdir() if path.is_file()} == names


def test_report_is_the_same_when_written_again(results_dir, rows, written):
    before = {name: path.read_bytes() for name, path in written.items()}
    for path in write_report(results_dir, rows.sample(frac=1, random_state=0).sort_index()):
        assert path.read_bytes() == before[path.name]


def test_page_is_self_contained(written):
    text = written["report.html"].read_text()
    page = Page(text)
    assert len(page.sources) == len(KINDS) + 1
    assert all(source.startswith("data:image/") for source in page.sources)
    assert any(source.startswith("data:image/gif") for source in page.sources)
    assert "http" not in re.sub(r"data:[^\"]*", "", text)


def test_page_tells_provenance_and_definitions(written):
    text = written["report.html"].read_text()
    for words in ("a1b2c3d4", "a processor", "3.15.0", "Bińkowski et al. 2018", "<dt>NFE</dt>"):
        assert words in text


def test_page_tells_the_time_by_stage(results_dir, rows, written):
    text = written["report.html"].read_text()
    assert text.count("<h3>Time by stage</h3>") == 1 and "Training</th>" in text
    assert text.count('<td class="right">1.2 min</td>') == 2 * 3  # of three runs, and their totals
    for path in results_dir.glob("runs/*/*/*/run.json"):
        path.write_text("{}")
    write_report(results_dir, rows)
    assert "Time by stage" not in (results_dir / "report.html").read_text()


def test_page_escapes_what_runs_say(results_dir, rows):
    rows.loc[0, "notes"] = "<script>alert(1)</script>"
    write_report(results_dir, rows)
    assert "<script>" not in (results_dir / "report.html").read_text()


def pictures_of(text):
    """The captions of the pictures of each run on a page, by the run's title."""
    runs = re.findall(r'<details class="run".*?<summary>(.*?)</summary>(.*?)</details>', text, re.S)
    return {
        title: re.findall(r"<figcaption>(.*?)</figcaption>", content) for title, content in runs
    }


def test_page_embeds_the_pictures_of_the_runs_but_no_second_loss(results_dir, rows):
    folder = results_dir / "runs/mnist/vae/0e0e0e0e"
    for name in ("manifold", "loss", "samplers/decoder/grid", "samplers/decoder/interpolation"):
        Image.new("L", (4, 4)).save(folder / f"{name}.png")
    write_report(results_dir, rows)
    found = pictures_of((results_dir / "report.html").read_text())
    assert found == {
        "ddpm": [f"ddpm-200: {CAPTIONS['process']}"],
        "vae": [CAPTIONS["manifold"], CAPTIONS["interpolation"]],
    }


def test_of_seeds_the_first_shows_its_pictures(results_dir, rows):
    seeds = [
        rows[rows["model"] == "vae"].assign(
            seed=seed, run=f"seed{seed}", path=f"runs/mnist/vae/seed{seed}/samplers/decoder"
        )
        for seed in (0, 1)
    ]
    for seed in (0, 1):
        folder = results_dir / f"runs/mnist/vae/seed{seed}"
        (folder / "samplers/decoder").mkdir(parents=True)
        (folder / "run.json").write_text("{}")
        Image.new("L", (4, 4)).save(folder / "manifold.png")
    write_report(results_dir, pd.concat([rows[rows["model"] != "vae"], *seeds]))
    found = pictures_of((results_dir / "report.html").read_text())
    assert set(found) == {"ddpm", "vae seed 0"}


def test_an_option_that_was_varied_has_a_figure(results_dir, rows):
    vae = rows[rows["model"] == "vae"]
    varied = [
        vae.assign(overrides=f"model.latent_dim={value}", run=f"run{value}", path="")
        for value in (2, 4)
    ]
    (results_dir / "runs/mnist/vae/0e0e0e0e/config.yaml").write_text("model: {latent_dim: 16}")
    paths = write_report(results_dir, pd.concat([*varied, rows]))
    (figure,) = (path for path in paths if "sweep" in path.name)
    assert figure.name == "mnist_quick_sweep_model.latent_dim.png"
    assert "KID against model.latent_dim" in (results_dir / "report.html").read_text()
    write_report(results_dir, rows)
    assert not figure.exists()


def test_a_collapse_is_told_at_the_head_of_every_table(results_dir, rows):
    rows.loc[rows["model"] == "dcgan", "modes_covered"] = 2
    write_report(results_dir, rows)
    told = "Mode collapse: dcgan generator (2 of 10 modes covered)."
    assert f"**{told}**" in (results_dir / "trilemma.md").read_text()
    assert f'<p class="warning">{told}</p>' in (results_dir / "report.html").read_text()
    assert rf"\textbf{{{told}}}" in (results_dir / "trilemma.tex").read_text()
    note = "mode collapse: 2 of 10 modes covered"
    assert note in (results_dir / "trilemma.csv").read_text()


def test_real_images_stand_above_the_samples(results_dir, rows, monkeypatch):
    shown = []
    monkeypatch.setattr(page, "sample_strips", lambda strips, colors: shown.append(strips))
    real = np.full((20, 28, 28, 1), 7, np.uint8)
    write_report(results_dir, rows, real_images={"mnist": real})
    write_report(results_dir, rows)
    assert list(shown[0])[0] == list(shown[1])[0] == "test images"
    assert (shown[0]["test images"] == 7).all() and len(shown[0]["test images"]) == 10
    stored = np.load(results_dir / rows["path"][5] / "samples.npy")
    np.testing.assert_array_equal(shown[1]["test images"], stored[:10])


def test_tables_of_two_protocols_are_kept_apart(results_dir, rows):
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


def test_figures_that_no_longer_hold_are_removed(results_dir, rows, written):
    kept = [results_dir / "figures" / name for name in ("cifar10_quick_pareto.png", "mine.png")]
    for path in kept:
        path.write_bytes(b"")
    other = rows.iloc[[0]].assign(protocol="another", path="")
    write_report(results_dir, pd.concat([rows, other], ignore_index=True))
    assert not written["mnist_quick_pareto.png"].exists()
    assert all(path.exists() for path in kept)


def test_a_diverged_run_is_shown_with_its_losses(results_dir, rows, diverged_row):
    folder = results_dir / "runs/mnist/dcgan/beefbeef"
    folder.mkdir()
    losses = {"step": [1, 2], "images_seen": [64, 128], "loss": [1.0, np.nan]}
    pd.DataFrame(losses).to_csv(folder / "history.csv", index=False)
    write_report(results_dir, pd.concat([rows, diverged_row], ignore_index=True))
    assert "| diverged " in (results_dir / "trilemma.md").read_text()
    assert "dcgan seed 1" in (results_dir / "report.html").read_text()


def test_samples_made_elsewhere_are_shown_with_their_source(results_dir, rows, external_row):
    folder = results_dir / external_row["path"][0]
    folder.mkdir(parents=True)
    np.save(folder / "samples.npy", np.full((12, 28, 28, 1), 99, np.uint8))
    details = {"generated_histogram": [500] * 10, "real_histogram": [500] * 10}
    (folder / "metrics.json").write_text(json.dumps({"details": {"mode_coverage": details}}))
    (folder / "run.json").write_text(json.dumps({"source": {"sha256": "5a5a5a5a"}}))
    Image.new("L", (4, 4)).save(folder / "grid.png")
    paths = write_report(results_dir, pd.concat([rows, external_row], ignore_index=True))
    assert {path.name for path in paths} >= {f"mnist_quick_{kind}.png" for kind in KINDS}
    text = (results_dir / "report.html").read_text()
    assert "my_model (run e0e0e0e0)" in text and "5a5a5a5a" in text
    assert "my_model: grid" not in text
    write_report(results_dir / "alone", external_row.assign(path=""))
    assert "my model" in (results_dir / "alone/trilemma.tex").read_text()


def test_rows_without_folders_still_make_a_report(tmp_path, rows, diverged_row):
    write_report(tmp_path, rows.assign(path=np.nan))
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "mnist_quick_pareto.png",
        "mnist_quick_radar.png",
    }
    write_report(tmp_path / "diverged", diverged_row)
    assert not (tmp_path / "diverged/figures").exists()


def test_latex_escapes_and_balances(results_dir, rows):
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


def test_published_figures_stand_below_stacked_mnist_alone(results_dir, rows):
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


def test_published_figures_are_rows_of_no_result(results_dir, rows):
    stacked = rows.assign(dataset="stacked_mnist")
    write_report(results_dir, stacked)
    text = (results_dir / "trilemma.csv").read_text()
    assert not any(row.model in text or row.source in text for row in published.ROWS)
    assert len(text.splitlines()) == 1 + len(rows)
    (group,) = tables.group_rows(stacked)
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


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_no_results_is_one_line_and_exit_code_2(tmp_path, capsys, folder):
    (tmp_path / "empty").mkdir()
    assert page.main([str(tmp_path / folder)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert str(tmp_path / folder) in captured.err and "python -m benchmark" in captured.err


@pytest.mark.parametrize("arguments", [["--help"], ["a", "b"]])
def test_wrong_arguments_show_the_usage(capsys, arguments):
    assert page.main(arguments) == 2
    assert "Usage" in capsys.readouterr().err


def test_main_writes_the_report_of_a_folder(results_dir, rows, capsys, monkeypatch):
    monkeypatch.setattr(page, "collect_rows", lambda folder: rows)
    assert page.main([str(results_dir)]) == 0
    assert str(results_dir / "report.html") in capsys.readouterr().out


def test_report_runs_as_a_module_without_tensorflow(tmp_path):
    code = "import sys, benchmark.report.page; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
