"""Pictures of how a model learns: samples from the same latents during training."""

from typing import Any

import keras
import numpy as np
from PIL import Image

from benchmark.drawing import figures
from benchmark.results import RunFolder
from benchmark.sampling import NotFinite, generate

SHARDS = "pictures"  # subfolder of a run, removed when its training ends
ANIMATION = "learning.gif"
NUM_COLUMNS = 5  # and as many rows
MOST_FRAMES = 40
LARGEST_DOUBLED = 32  # pixels; larger images are shown as they are
FRAME_MS, HOLD_MS = 300, 3000


class LearningPictures:
    """Samples from the same latents at checkpoints and stores the images in the run's folder.

    Args:
        model: The `models.base.GenerativeModel` that trains.
        run: Where the pictures go.
        method: How to sample cheaply (see `models.samplers`); `None` is the model's own way.
        every: Checkpoints from one picture to the next; the last checkpoint always has one.
    """

    def __init__(self, model: keras.Model, *, run: RunFolder, method: Any, every: int) -> None:
        self.run = run
        self.sampler = model.sampler(method)
        self.inputs = self.sampler.inputs(0, NUM_COLUMNS**2)
        self.every = every

    def is_due(self, checkpoint: int, num_checkpoints: int) -> bool:
        """Whether there is a picture of checkpoint number `checkpoint`, counted from 1."""
        return checkpoint % self.every == 0 or checkpoint == num_checkpoints

    def take(self, checkpoint: int, *, step: int, images_seen: int) -> Image.Image | None:
        """Samples with the model's current weights; `None` if the samples are not finite."""
        try:
            images = generate(self.sampler, self.inputs)
        except NotFinite:
            return None
        arrays = {
            "images": images,
            "step": np.array(step),
            "images_seen": np.array(images_seen),
        }
        self.run.write_arrays(f"{SHARDS}/{checkpoint:05d}.npz", arrays)
        return figures.image_grid(images, columns=NUM_COLUMNS, scale=scale_of(images))


def scale_of(images: np.ndarray) -> int:
    """The factor by which images of shape (count, height, width, channels) are enlarged."""
    return 2 if images.shape[1] <= LARGEST_DOUBLED else 1


def build_pictures(builder: Any, model: keras.Model, folder: RunFolder) -> LearningPictures | None:
    """Builds what takes pictures during training; `None` if that is off."""
    every = builder.settings["training"]["pictures_every"]
    if every is None:
        return None
    return LearningPictures(
        model, run=folder, method=builder.build_validation_method(), every=every
    )


def write_animation(run: RunFolder) -> None:
    """Draws the stored pictures, at most `MOST_FRAMES` of them, as one GIF."""
    names = sorted(path.name for path in (run.path / SHARDS).glob("[0-9]*.npz"))
    chosen = np.linspace(0, len(names) - 1, min(len(names), MOST_FRAMES)).round().astype(int)
    shards = [run.recall_arrays(f"{SHARDS}/{names[index]}") for index in chosen]
    pictures = [shard for shard in shards if shard is not None]
    if not pictures:
        return
    frames = np.stack([picture["images"] for picture in pictures])
    captions = [
        f"step {picture['step']:,}, {picture['images_seen']:,} images seen" for picture in pictures
    ]
    gif = figures.animation(
        frames,
        columns=NUM_COLUMNS,
        scale=scale_of(frames[0]),
        captions=captions,
        frame_ms=FRAME_MS,
        hold_ms=HOLD_MS,
    )
    run.write_image(ANIMATION, gif)
