"""Training curves and samples for TensorBoard, where it is installed (the `tensorboard` extra)."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

EVENTS = "tensorboard"  # the folder of a run that TensorBoard reads


class EventWriter:
    """Writes a training's history and samples for TensorBoard.

    A resumed training adds a file: TensorBoard reads them all and shows the later of two values for
    the same step. Without TensorBoard nothing is written.

    Args:
        folder: Where the files go.
    """

    def __init__(self, folder: Path) -> None:
        is_installed = importlib.util.find_spec("tensorboard") is not None
        self._writer = tf.summary.create_file_writer(str(folder)) if is_installed else None

    def write(
        self, step: int, values: Mapping[str, float], samples: Image.Image | None = None
    ) -> None:
        """Writes scalars, and a picture of samples if given, for a step."""
        if self._writer is None:
            return
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
            if samples is not None:
                pixels = np.atleast_3d(np.asarray(samples))
                tf.summary.image("samples", pixels[np.newaxis])
        self._writer.flush()
