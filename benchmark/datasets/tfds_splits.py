"""Which examples of a TFDS dataset are for training, and which for testing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.errors import UserError

HOLD_OUT_EVERY = 10

Batch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Split:
    """Some examples of a prepared dataset.

    Attributes:
        instruction: Which ones, in TFDS's grammar of splits.
        num_examples: How many of them are taken.
        takes_tenth: `True` to take every tenth of them, `False` to take all others, `None` to
            take them all.
    """

    instruction: str
    num_examples: int
    takes_tenth: bool | None = None

    def select(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yields the selected examples of batches of images and labels."""
        if self.takes_tenth is None:
            yield from batches
            return
        # Not the last tenth: a dataset stored class by class would lose whole classes.
        start = 0
        for images, labels in batches:
            is_tenth = (start + np.arange(len(images))) % HOLD_OUT_EVERY == HOLD_OUT_EVERY - 1
            chosen = is_tenth == self.takes_tenth
            yield images[chosen], labels[chosen]
            start += len(images)


def choose_splits(
    builder: Any, *, train_split: str | None, test_split: str | None
) -> dict[str, Split]:
    """Chooses where the training and the test images are read from.

    Args:
        builder: A prepared `tfds.core.DatasetBuilder`.
        train_split: Training examples in TFDS's grammar of splits; `None` for `train`.
        test_split: Test examples; `None` for `test` or, where there is none, for every tenth
            training example, which is then not trained on.

    Returns:
        The `Split` of `train` and of `test`.

    Raises:
        UserError: If the dataset has no such splits, or too few examples in them.
    """
    train = _find(builder, "train_split", train_split or "train")
    if test_split is None and "test" not in builder.info.splits:
        return _hold_out(builder, train)
    return {"train": train, "test": _find(builder, "test_split", test_split or "test")}


def _find(builder: Any, option: str, instruction: str) -> Split:
    splits = builder.info.splits
    try:
        num_examples = splits[str(instruction)].num_examples
    except ValueError as error:
        reason = str(error).strip().splitlines()[-1].split(". Should be")[0].rstrip(".")
        raise _refusal(builder, f"dataset.{option}={instruction}", reason) from error
    if not num_examples:
        raise _refusal(builder, f"dataset.{option}={instruction}", "it has no examples")
    return Split(str(instruction), num_examples)


def _hold_out(builder: Any, train: Split) -> dict[str, Split]:
    num_held_out = train.num_examples // HOLD_OUT_EVERY
    if not num_held_out:
        raise _refusal(
            builder,
            f"dataset.train_split={train.instruction}",
            f"there is no `test`, and {train.num_examples} examples are too few to hold one out",
        )
    num_left = train.num_examples - num_held_out
    return {
        "train": Split(train.instruction, num_left, takes_tenth=False),
        "test": Split(train.instruction, num_held_out, takes_tenth=True),
    }


def _refusal(builder: Any, setting: str, reason: str) -> UserError:
    splits = builder.info.splits
    held = ", ".join(f"{name} ({splits[name].num_examples:,} examples)" for name in splits)
    return UserError(
        f"{setting}: {reason}. TFDS's {builder.info.full_name} has the splits: {held or 'none'}. "
        "Write them as train, train[:80%] or train+validation."
    )
