"""Whether what a run will write fits onto the disk."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from benchmark.errors import EnvironmentProblem
from benchmark.files import free_bytes

# The weights, their two moments, their average, and the best weights so far.
PARTS_OF_A_CHECKPOINT = 5
CHECKPOINTS_AT_ONCE = 3  # two that are kept and one being written
BYTES_OF_FEATURES = 4 * 2048  # per image, in an encoder's last layer


def needed_bytes(model: keras.Model, samplings: Sequence[Any], num_samples: int) -> int:
    """Estimates the most that a run writes besides its report, in bytes.

    Args:
        model: The model that is trained.
        samplings: The sets of samples that are made (see `benchmark.sampling`).
        num_samples: Images per set.
    """
    weights = sum(math.prod(variable.shape) * 4 for variable in model.weights)
    training = (CHECKPOINTS_AT_ONCE * PARTS_OF_A_CHECKPOINT + 2) * weights
    images = num_samples * math.prod(model.image_shape)
    features = num_samples * BYTES_OF_FEATURES
    # While a set is being made, it is on disk twice, as shards and as one file.
    return training + images + len(samplings) * (images + features)


def check_disk(path: Path, needed: int) -> None:
    """Rejects a run that would fill the disk.

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
