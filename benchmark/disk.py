"""Whether what a run will write fits onto the disk."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from benchmark.errors import EnvironmentProblem
from benchmark.files import free_bytes

# Of the weights: two moments and an average of each, and the best ones so far, as well.
PARTS_OF_A_CHECKPOINT = 5
CHECKPOINTS_AT_ONCE = 3  # the two that are kept and the one that is written
BYTES_OF_FEATURES = 4 * 2048  # of an image, in an encoder's last layer


def needed_bytes(model: keras.Model, samplings: Sequence[Any], num_samples: int) -> int:
    """About what a run writes at the most, in bytes, besides its report.

    Args:
        model: The model that is trained.
        samplings: The sets of samples that are made (see `benchmark.sampling`).
        num_samples: Images in each of them.
    """
    weights = sum(math.prod(variable.shape) * 4 for variable in model.weights)
    training = (CHECKPOINTS_AT_ONCE * PARTS_OF_A_CHECKPOINT + 2) * weights
    images = num_samples * math.prod(model.image_shape)
    features = num_samples * BYTES_OF_FEATURES
    # A set that is being made lies there twice, as shards and as one file.
    return training + images + len(samplings) * (images + features)


def check_disk(path: Path, needed: int) -> None:
    """Refuses a run that would fill the disk.

    Args:
        path: The run's folder.
        needed: What `needed_bytes` returns.

    Raises:
        EnvironmentProblem: If there is less room than the run needs.
    """
    free = free_bytes(path)
    if free < needed:
        raise EnvironmentProblem(
            f"{path} is on a disk with {free:,} free bytes, and this run needs about {needed:,}: "
            "choose another folder with results_dir=<folder>"
        )
