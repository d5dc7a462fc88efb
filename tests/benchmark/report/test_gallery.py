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


def captions(pictures):
    return [picture["caption"] for picture in pictures]


def test_pictures_have_captions_and_stand_in_their_order(tmp_path, run):
    files = (
        "zebra.png",
        "another_view.png",
        "latents.png",
        "loss.png",
        "manifold.png",
        "samplers/ddim-10/interpolation.png",
        "samplers/ddpm-200/process.gif",
        "samplers/ddpm-200/zebra.png",
        "samplers/ddim-10/grid.png",
        "weights.npz",
        "run.json",
    )
    shown = Gallery(tmp_path).show({"ddpm": run(*files)})["ddpm"]
    assert captions(shown) == [
        f"ddim-10: {gallery.CAPTIONS['grid']}",
        gallery.CAPTIONS["manifold"],
        gallery.CAPTIONS["latents"],
        f"ddpm-200: {gallery.CAPTIONS['process']}",
        f"ddim-10: {gallery.CAPTIONS['interpolation']}",
        gallery.CAPTIONS["loss"],
        "Another view.",
        "Zebra.",
        "ddpm-200: Zebra.",
    ]
    assert shown[3]["uri"].startswith("data:image/gif;base64,")
    assert not any(picture["is_linked"] for picture in shown)


def test_the_only_sampler_needs_no_name(tmp_path, run):
    folders = run("samplers/decoder/interpolation.png", samplers=["decoder"])
    assert captions(Gallery(tmp_path).show({"vae": folders})["vae"]) == [
        gallery.CAPTIONS["interpolation"]
    ]


def test_what_has_no_room_is_linked_and_grids_come_first(tmp_path, run, monkeypatch):
    monkeypatch.setattr(gallery, "EMBEDDED_BYTES", 100 + 2 * 7 * SIZE // 2)
    names = ("first", "second with % and #")
    runs = {
        name: run("manifold.png", "latents.png", "samplers/ddim-10/grid.png", key=name)
        for name in names
    }
    shown = Gallery(tmp_path, num_groups=2, num_bytes=100).show(runs)
    assert [[picture["is_linked"] for picture in shown[name]] for name in names] == [
        [False, False, True],
        [False, True, True],
    ]
    assert shown[names[1]][1]["uri"] == (
        "runs/mnist/ddpm/second%20with%20%25%20and%20%23/manifold.png"
    )


def test_rows_that_measure_the_same_samples_show_their_pictures_once(tmp_path, run):
    stored, rows = run("samplers/decoder/interpolation.png", samplers=["decoder"])
    shown = Gallery(tmp_path).show({"vae": (stored, [*rows, *rows])})
    assert captions(shown["vae"]) == [gallery.CAPTIONS["interpolation"]]
