"""Any image dataset of TensorFlow Datasets (TFDS), by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import console
from benchmark.datasets.base import ImageDataset, check_flip, flip_in_training
from benchmark.datasets.cache import Allocate, load_cached
from benchmark.datasets.resize import (
    DESCRIPTION,
    check_crop_size,
    check_image_size,
    resize_images,
)
from benchmark.datasets.tfds_builder import find_builder, prepare
from benchmark.datasets.tfds_splits import HOLD_OUT_EVERY, Batch, Split, choose_splits
from benchmark.errors import UserError

BATCH_SIZE = 512


def load_tfds(
    *,
    name: str,
    source: str | Path | None = None,
    train_split: str | None = None,
    test_split: str | None = None,
    crop_size: int | None = None,
    image_size: int | None = None,
    horizontal_flip: bool = False,
    cache_dir: str | Path,
) -> ImageDataset:
    """Loads an image dataset of TFDS, downloading it if it is not prepared.

    Takes the feature `image` (or the only image feature) and the feature `label` (or the only
    class label).

    Args:
        name: Name as TFDS spells it: `cifar10`, `emnist/letters`, `cifar10:3.0.2`.
        source: Folder of prepared TFDS data, or of the dataset's original archives; `None` for
            TFDS's own folder (`TFDS_DATA_DIR`, else `~/tensorflow_datasets`).
        train_split: Training examples in TFDS's grammar of splits, such as
            `train[:80%]+validation`; `None` for `train`.
        test_split: Test examples, likewise; `None` for `test` or, without such a split, for every
            tenth training example, always the same ones, which are then not trained on.
        crop_size: Side in pixels of the central square to cut from each picture; `None` for the
            largest one.
        image_size: Side of the images in pixels, to which the squares are scaled; `None` keeps
            the crops or, without `crop_size`, the pictures as stored, which must then be of one
            size.
        horizontal_flip: Whether training mirrors half of the images, drawn afresh each time.
        cache_dir: Folder of all caches.

    Returns:
        An `ImageDataset` of grey or RGB images, named without the version: `emnist-letters`.

    Raises:
        UserError: If there is no such dataset or split, or it has no images that can be used.
        EnvironmentProblem: If it must be downloaded but cannot be.
    """
    check_image_size(image_size)
    check_crop_size(crop_size)
    check_flip(horizontal_flip)
    builder = find_builder(name, source)
    fields = _find_fields(builder, crop_size, image_size)
    if not builder.is_prepared():
        prepare(builder, source)
    splits = choose_splits(builder, train_split=train_split, test_split=test_split)

    def decode(allocate: Allocate) -> tuple[str, ...]:
        for array_prefix, split in splits.items():
            _fill_split(builder, fields, array_prefix, split, allocate)
        return fields.class_names

    dataset_name, _ = builder.info.full_name.rsplit("/", 1)
    dataset = load_cached(
        name=dataset_name.replace("/", "-"),
        source=[builder.info.full_name, _file_stamps(Path(builder.data_dir))],
        preprocessing={
            "crop_size": crop_size,
            "image_size": image_size,
            "resize": DESCRIPTION,
            "splits": {key: split.instruction for key, split in splits.items()},
            "hold_out_every": None if splits["test"].takes_tenth is None else HOLD_OUT_EVERY,
        },
        cache_dir=cache_dir,
        decode=decode,
    )
    return flip_in_training(dataset) if horizontal_flip else dataset


@dataclass(frozen=True)
class _Fields:
    """Which features are read, and how they are processed."""

    image: str
    label: str | None
    class_names: tuple[str, ...]
    crop_size: int | None
    image_size: int | None
    image_shape: tuple[int, ...]
    one_size: bool


def _find_fields(builder: Any, crop_size: int | None, image_size: int | None) -> _Fields:
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
    if one_size:
        check_crop_size(crop_size, *stored_shape[:2])
    side = image_size or crop_size
    if side is None and not one_size:
        raise UserError(
            f"TFDS's {full_name} holds images of several sizes. "
            "Set dataset.image_size=<pixels>, for example 64."
        )
    return _Fields(
        image=image,
        label=label,
        class_names=tuple(features[label].names) if label else (),
        crop_size=crop_size,
        image_size=image_size,
        image_shape=(side or stored_shape[0], side or stored_shape[1], stored_shape[2]),
        one_size=one_size,
    )


def _pick(features: Any, kind: type, usual_name: str) -> str | None:
    names = [key for key, feature in features.items() if isinstance(feature, kind)]
    if usual_name in names:
        return usual_name
    return names[0] if len(names) == 1 else None


def _fill_split(
    builder: Any, fields: _Fields, array_prefix: str, split: Split, allocate: Allocate
) -> None:
    images = allocate(f"{array_prefix}_images", (split.num_examples, *fields.image_shape))
    labels = allocate(f"{array_prefix}_labels", (split.num_examples,))
    batches = split.select(_read(builder, fields, split.instruction))
    start = 0
    with console.progress(f"{array_prefix} image", split.num_examples) as update:
        for some_images, some_labels in batches:
            stop = start + len(some_images)
            images[start:stop] = resize_images(
                some_images, fields.image_size, crop_size=fields.crop_size
            )
            labels[start:stop] = some_labels
            update(start := stop)


def _read(builder: Any, fields: _Fields, instruction: str) -> Iterator[Batch]:
    import tensorflow_datasets as tfds

    wanted = {name: True for name in (fields.image, fields.label) if name}
    examples = builder.as_dataset(
        split=instruction,
        decoders=tfds.decode.PartialDecoding(wanted),
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        shuffle_files=False,
    )
    for batch in tfds.as_numpy(examples.batch(BATCH_SIZE if fields.one_size else 1)):
        images = batch[fields.image]
        yield images, batch[fields.label] if fields.label else np.zeros(len(images), np.int64)


def _file_stamps(folder: Path) -> list[tuple[str, int, int]]:
    # A dataset that was prepared again is decoded again.
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
