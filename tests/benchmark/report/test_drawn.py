import hashlib
import json
import shutil

import numpy as np
import pytest

from benchmark.report import page
from benchmark.report.drawn import RECORD
from benchmark.report.page import write_report
from benchmark.stored_results import collect_rows


@pytest.fixture
def folder(seeds_dir, tmp_path):
    """Results whose report is written."""
    for name in ("runs", "sanity", "figures"):
        shutil.copytree(seeds_dir / name, tmp_path / name)
    write_report(tmp_path, collect_rows(tmp_path))
    return tmp_path


@pytest.fixture
def drawn(monkeypatch):
    """The stems of the groups whose figures are drawn anew, which give empty files."""
    stems = []

    def draw(results_dir, group, *arguments):
        stems.append(group.stem)
        return {"pareto.png": b"png"}

    monkeypatch.setattr(page, "draw_group", draw)
    return stems


def figures(folder):
    return {path.name: path.read_bytes() for path in (folder / "figures").glob("*.p*")}


def report(folder, **options):
    write_report(folder, collect_rows(folder), **options)


def test_what_has_not_changed_is_not_drawn_again(folder, drawn):
    before = figures(folder)
    report(folder)
    assert not drawn and figures(folder) == before


def change_a_number(folder):
    path = next(folder.glob("runs/mnist/vae/*/samplers/*/measurements/*/metrics.json"))
    measured = json.loads(path.read_text())
    measured["row"]["kid_mean"] = 0.5
    path.write_text(json.dumps(measured))


def change_a_history(folder):
    path = next(folder.glob("runs/mnist/vae/*/history.csv"))
    path.write_text(path.read_text().replace("1", "2"))


def change_samples(folder):
    path = next(folder.glob("runs/mnist/vae/*/samplers/*/samples.npy"))
    images = np.load(path)
    np.save(path, images[:-1])


def change_a_figure(folder):
    next(folder.glob("figures/*_pareto.png")).write_bytes(b"another")


def remove_a_figure(folder):
    next(folder.glob("figures/*_radar.png")).unlink()


def remove_a_run(folder):
    shutil.rmtree(next(folder.glob("runs/mnist/vae/*")))


def damage_the_record(folder):
    (folder / "figures" / RECORD).write_text('{"mnist_quick": []}')


def name_a_figure(folder, name):
    """Has the record name one more figure, which is there."""
    path = folder / "figures" / RECORD
    record = json.loads(path.read_text())
    figure = folder / "figures" / f"mnist_quick_{name}"
    figure.parent.mkdir(exist_ok=True)
    figure.write_bytes(b"foreign")
    digest = hashlib.sha256(b"foreign").hexdigest()
    record["mnist_quick"]["pictures"][name] = digest
    path.write_text(json.dumps(record))


def name_a_foreign_figure(folder):
    name_a_figure(folder, "portrait.png")


def name_a_file_of_another_kind(folder):
    name_a_figure(folder, "pareto.html")


def name_a_figure_of_another_folder(folder):
    name_a_figure(folder, "sweep_a/portrait.png")


CHANGES = (
    change_a_number,
    change_a_history,
    change_samples,
    change_a_figure,
    remove_a_figure,
    remove_a_run,
    damage_the_record,
    name_a_foreign_figure,
    name_a_file_of_another_kind,
    name_a_figure_of_another_folder,
)


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_drawn_again(folder, drawn, change):
    change(folder)
    report(folder)
    assert drawn == ["mnist_quick"]


def test_other_test_images_are_drawn(folder, drawn):
    images = np.zeros((10, 28, 28, 1), np.uint8)
    report(folder, real_images={"mnist": images})
    report(folder, real_images={"mnist": images})
    assert drawn == ["mnist_quick"]
    report(folder, real_images={"mnist": images + 1})
    assert drawn == ["mnist_quick"] * 2


def test_beside_a_damaged_file_figures_are_drawn_each_time(folder, drawn):
    next(folder.glob("runs/mnist/vae/*/history.csv")).write_bytes(b"")
    for _ in range(2):
        report(folder)
    assert drawn == ["mnist_quick"] * 2
    assert "history.csv" in (folder / "report.html").read_text()
