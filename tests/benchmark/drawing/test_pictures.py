from types import SimpleNamespace

import numpy as np
from PIL import Image

from benchmark.drawing.pictures import write_illustrations
from benchmark.results import Folder
from models.base import Animation, Illustration


def write(folder, **pictures):
    write_illustrations(Folder(folder), pictures)
    return {path.name: Image.open(path) for path in folder.iterdir()}


def test_animations_become_gifs_and_other_pictures_pngs(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 4, 8, 8, 1), "uint8")
    points = SimpleNamespace(points=np.zeros((3, 2)), classes=np.arange(3), x_label="", y_label="")
    written = write(tmp_path, way=Animation(frames), table=Illustration(frames), points=points)
    assert written.keys() == {"way.gif", "table.png", "points.png"}
    assert written["way.gif"].n_frames == 3
    assert written["way.gif"].size == (2 * 18 + 2, 2 * 18 + 2)  # 2 x 2 images, doubled


def test_an_animation_has_the_columns_that_it_asks_for(tmp_path):
    frames = np.zeros((2, 6, 8, 8, 3), "uint8")
    assert write(tmp_path, way=Animation(frames, columns=3))["way.gif"].size == (56, 38)


def test_the_captions_of_an_animation_stand_below_it(tmp_path):
    frames = np.zeros((2, 4, 8, 8, 1), "uint8")
    plain = write(tmp_path / "plain", way=Animation(frames))["way.gif"].size
    picture = Animation(frames, captions=("a", "b"))
    captioned = write(tmp_path / "captioned", way=picture)["way.gif"].size
    assert captioned[0] == plain[0] and captioned[1] > plain[1]


def test_few_images_are_drawn_larger(tmp_path):
    frames = np.zeros((2, 2, 8, 8, 1), "uint8")
    assert write(tmp_path, way=Animation(frames, columns=2))["way.gif"].size == (54, 28)
