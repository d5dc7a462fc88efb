"""Any image dataset of TensorFlow Datasets (TFDS), by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.datasets.base import ImageDataset
from benchmark.datasets.cache import Allocate, load_cached
from benchmark.datasets.resize import DESCRIPTION, check_image_size, resize_images
from benchmark.datasets.tfds_builder import find_builder, prepare
from benchmark.errors import UserError

HOLD_OUT_EVERY = 10
BATCH_SIZE = 512

Batch = tuple[np.ndarray, np.ndarray]


def load_tfds(
    *,
    name: str,
    source: str | Path | None = None,
    image_size: int | None = None,
    cache_dir: str | Path,
) -> ImageDataset:
    """Loads an image dataset of TFDS, downloading it if it is not prepared.

    Takes the feature `image` (or the only image feature) and the feature `label` (or the only
    class label); the splits `train` and `test`. Where there is no `test`, every tenth training
    example is held out: the same ones each time.

    Args:
        name: Name in the spelling of TFDS: `cifar10`, `emnist/letters`, `cifar10:3.0.2`.
        source: Folder of prepared TFDS data, or of the dataset's original archives; `None` for
            TFDS's own folder (`TFDS_DATA_DIR`, else `~/tensorflow_datasets`).
        image_size: Side of the images in pixels after a central crop; `None` keeps them as stored,
            which needs images of one size.
        cache_dir: Folder of all caches.

    Returns:
        An `ImageDataset` of grey or RGB images, named without the version: `emnist-letters`.

    Raises:
        UserError: If there is no such dataset, or no images in it that can be used.
        EnvironmentProblem: If it must be fetched and cannot be.
    """
    check_image_size(image_size)
    builder = find_builder(name, source)
    fields = _find_fields(builder, image_size)
    if not builder.is_prepared():
        prepare(builder, source)
    _check_splits(builder)

    def decode(allocate: Allocate) -> tuple[str, ...]:
        for split in ("train", "test"):
            _fill_split(builder, fields, split, allocate)
        return fields.class_names

    dataset_name, _ = builder.info.full_name.rsplit("/", 1)
    return load_cached(
        name=dataset_name.replace("/", "-"),
        source=[builder.info.full_name, _file_stamps(Path(builder.data_dir))],
        preprocessing={
            "image_size": image_size,
            "resize": DESCRIPTION,
            "hold_out_every": None if "test" in builder.info.splits else HOLD_OUT_EVERY,
        },
        cache_dir=cache_dir,
        decode=decode,
    )


@dataclass(frozen=True)
class _Fields:
    """Which features are read, and what becomes of them."""

    image: str
    label: str | None
    class_names: tuple[str, ...]
    image_size: int | None
    image_shape: tuple[int, ...]
    one_size: bool


def _find_fields(builder: Any, image_size: int | None) -> _Fields:
    import tensorflow_datasets as tfds

    features, full_name = builder.info.features, builder.info.full_name
    image = _pick(features, tfds.features.Image, "image")
    if image is None:
        raise UserError(
            f"TFDS's {full_name} must have an image feature, `image` or a single other one. "
            f"Received: {', '.join(features)}."
        )
    label = _pick(features, tfds.features.ClassLabel, "label")
    stored_shape, dtype = features[image].shape, features[image].np_dtype
    if stored_shape[-1] not in (1, 3) or dtype != np.uint8:
        raise UserError(
            f"TFDS's {full_name} must hold uint8 images, grey or RGB. "
            f"Received: {np.dtype(dtype)} of shape {stored_shape}."
        )
    one_size = None not in stored_shape
    if image_size is None and not one_size:
        raise UserError(
            f"TFDS's {full_name} holds images of several sizes. "
            "Set dataset.image_size=<pixels>, for example 64."
        )
    return _Fields(
        image=image,
        label=label,
        class_names=tuple(features[label].names) if label else (),
        image_size=image_size,
        image_shape=(image_size or stored_shape[0], image_size or stored_shape[1], stored_shape[2]),
        one_size=one_size,
    )


def _pick(features: Any, kind: type, usual_name: str) -> str | None:
    names = [key for key, feature in features.items() if isinstance(feature, kind)]
    if usual_name in names:
        return usual_name
    return names[0] if len(names) == 1 else None


def _check_splits(builder: Any) -> None:
    splits = builder.info.splits
    if "train" not in splits or splits["train"].num_examples < HOLD_OUT_EVERY:
        raise UserError(
            f"TFDS's {builder.info.full_name} needs a split `train` of at least {HOLD_OUT_EVERY} "
            f"examples. Received the splits: {', '.join(splits) or 'none'}."
        )


def _fill_split(builder: Any, fields: _Fields, split: str, allocate: Allocate) -> None:
    num_examples, batches = _open_split(builder, fields, split)
    images = allocate(f"{split}_images", (num_examples, *fields.image_shape))
    labels = allocate(f"{split}_labels", (num_examples,))
    start = 0
    for some_images, some_labels in batches:
        stop = start + len(some_images)
        images[start:stop] = resize_images(some_images, fields.image_size)
        labels[start:stop] = some_labels
        start = stop


def _open_split(builder: Any, fields: _Fields, split: str) -> tuple[int, Iterator[Batch]]:
    splits = builder.info.splits
    if "test" in splits:
        return splits[split].num_examples, _read(builder, fields, split)
    batches = _read(builder, fields, "train")
    num_examples = splits["train"].num_examples
    num_held_out = num_examples // HOLD_OUT_EVERY
    if split == "test":
        return num_held_out, _every_tenth(batches, held_out=True)
    return num_examples - num_held_out, _every_tenth(batches, held_out=False)


def _every_tenth(batches: Iterator[Batch], *, held_out: bool) -> Iterator[Batch]:
    # Not the last tenth: a dataset stored class by class would lose whole classes.
    start = 0
    for images, labels in batches:
        is_tenth = (start + np.arange(len(images))) % HOLD_OUT_EVERY == HOLD_OUT_EVERY - 1
        chosen = is_tenth == held_out
        yield images[chosen], labels[chosen]
        start += len(images)


def _read(builder: Any, fields: _Fields, split: str) -> Iterator[Batch]:
    import tensorflow_datasets as tfds

    wanted = {name: True for name in (fields.image, fields.label) if name}
    examples = builder.as_dataset(
        split=split,
        decoders=tfds.decode.PartialDecoding(wanted),
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        shuffle_files=False,
    )
    for batch in tfds.as_numpy(examples.batch(BATCH_SIZE if fields.one_size else 1)):
        images = batch[fields.image]
        yield images, batch[fields.label] if fields.label else np.zeros(len(images), np.int64)


def _file_stamps(folder: Path) -> list[tuple[str, int, int]]:
    # A dataset that was prepared anew is decoded anew.
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
