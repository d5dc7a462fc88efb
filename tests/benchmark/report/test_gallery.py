import io

import pytest
from PIL import Image

from benchmark.report import gallery
from benchmark.report.gallery import Gallery
from benchmark.stored_results import StoredRow


def picture(kind):
    buffer = io.BytesIO()
    Image.new("L", (4, 4)).save(buffer, format=kind)
    return buffer.getvalue()


PICTURES = {"png": picture("PNG"), "gif": picture("GIF")}
SIZE = len(PICTURES["png"])


@pytest.fixture
def run(tmp_path):
    """Writes pictures of a run and of its two samplers; returns what the gallery is asked for."""

    def write(*names, samplers=("ddpm-200", "ddim-10"), key="run"):
        folder = tmp_path / "runs/mnist/ddpm" / key
        rows = []
        for sampler in samplers:
            row = folder / "samplers" / sampler / "measurements/0a0a0a0a"
            row.mkdir(parents=True, exist_ok=True)
            rows.append(StoredRow(tmp_path, row.relative_to(tmp_path).as_posix()))
        for file in names:
            (folder / file).write_bytes(PICTURES.get(file[-3:], b"text"))
        return rows[0].run, rows

    return write


def captions(shown):
    return [picture["caption"] for picture in shown["pictures"]]


def test_pictures_have_captions_and_stand_in_their_order(tmp_path, run):
    files = (
        "zebra.png",
        "another_view.png",
        "latents.png",
        "manifold.png",
        "samplers/ddim-10/interpolation.png",
        "samplers/ddpm-200/process.gif",
        "samplers/ddpm-200/zebra.png",
    )
    (shown,) = Gallery(tmp_path).show({"ddpm": run(*files)})
    assert shown["title"] == "ddpm"
    assert captions(shown) == [
        gallery.CAPTIONS["manifold"],
        gallery.CAPTIONS["latents"],
        "Another view.",
        "Zebra.",
        f"ddpm-200: {gallery.CAPTIONS['process']}",
        "ddpm-200: Zebra.",
        f"ddim-10: {gallery.CAPTIONS['interpolation']}",
    ]
    assert shown["pictures"][4]["uri"].startswith("data:image/gif;base64,")


def test_the_only_sampler_needs_no_name(tmp_path, run):
    folders = run("samplers/decoder/interpolation.png", samplers=["decoder"])
    (shown,) = Gallery(tmp_path).show({"vae": folders})
    assert captions(shown) == [gallery.CAPTIONS["interpolation"]]


def test_what_the_page_shows_elsewhere_is_not_repeated(tmp_path, run):
    folders = run("loss.png", "samplers/ddim-10/grid.png", "weights.npz", "run.json")
    assert Gallery(tmp_path).show({"ddpm": folders}) == []


def test_pictures_for_which_there_is_no_room_are_counted(tmp_path, run, monkeypatch):
    monkeypatch.setattr(gallery, "MAX_PAGE_BYTES", 5 * SIZE // 2)
    files = ("latents.png", "manifold.png")
    runs = {name: run(*files, key=name) for name in ("first", "second")}
    first, second = Gallery(tmp_path).show(runs)
    assert (len(first["pictures"]), first["num_left_out"]) == (2, 0)
    assert (len(second["pictures"]), second["num_left_out"]) == (0, 2)
    assert second["folder"].as_posix() == "runs/mnist/ddpm/second"


def test_a_picture_that_is_too_large_is_left_out(tmp_path, run, monkeypatch):
    monkeypatch.setattr(gallery, "MAX_PICTURE_BYTES", SIZE - 1)
    (shown,) = Gallery(tmp_path).show({"vae": run("manifold.png")})
    assert (shown["pictures"], shown["num_left_out"]) == ([], 1)


def test_of_many_runs_the_first_are_open(tmp_path, run):
    runs = {str(number): run("manifold.png", key=str(number)) for number in range(6)}
    shown = Gallery(tmp_path).show(runs)
    assert [each["is_open"] for each in shown] == [True] * 4 + [False] * 2


def test_rows_that_measure_the_same_samples_show_their_pictures_once(tmp_path, run):
    stored, rows = run("samplers/decoder/interpolation.png", samplers=["decoder"])
    (shown,) = Gallery(tmp_path).show({"vae": (stored, [*rows, *rows])})
    assert captions(shown) == [gallery.CAPTIONS["interpolation"]]
