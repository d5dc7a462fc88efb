"""The InceptionV3 network and its ways of getting weights; imports Keras, so import it late."""

import re
from pathlib import Path

import keras
import numpy as np
from keras import ops

NUM_FEATURES = 2048


def build_inception(*, image_size: int) -> keras.Model:
    """InceptionV3 (Szegedy et al. 2016) up to the global average, with random weights.

    Args:
        image_size: height and width of its input, 75 or more.

    Returns:
        Model `(N, image_size, image_size, 3)` in [-1, 1] -> `(N, 2048)`.
    """
    return keras.applications.InceptionV3(
        include_top=False,
        weights=None,
        input_shape=(image_size, image_size, 3),
        pooling="avg",
    )


def load_quantized_weights(network: keras.Model, path: str | Path) -> None:
    """Puts the weights of an 8-bit npz file (layout: metrics/weights/README.md) into the network.

    Args:
        network: what `build_inception` returned.
        path: the file.

    Raises:
        ValueError: if an array is missing or has another shape.
    """
    with np.load(path, allow_pickle=False) as arrays:

        def restore(name: str) -> np.ndarray:
            parts = [f"{name}:{part}" for part in ("codes", "scale", "min")]
            missing = [part for part in parts if part not in arrays]
            if missing:
                raise ValueError(f"{path} holds no InceptionV3 weights: `{missing[0]}` is missing")
            codes, scale, minimum = (arrays[part] for part in parts)
            return (codes * scale + minimum).astype(np.float32)

        convolutions = _in_order_of_creation(network, keras.layers.Conv2D)
        normalizations = _in_order_of_creation(network, keras.layers.BatchNormalization)
        for i, layer in enumerate(convolutions, start=1):
            layer.set_weights([restore(f"conv2d_{i}/kernel")])
        for i, layer in enumerate(normalizations, start=1):
            prefix = f"batch_normalization_{i}"
            layer.set_weights(
                [restore(f"{prefix}/{n}") for n in ("beta", "moving_mean", "moving_variance")]
            )


def load_keras_weights(network: keras.Model, path: str | Path) -> None:
    """Puts the weights of a Keras .h5 or .weights.h5 file into the network.

    Raises:
        ValueError: if the file is not one of InceptionV3 without its top.
    """
    try:
        network.load_weights(path)
    except Exception as error:  # h5py and Keras raise many kinds
        raise ValueError(
            f"{path} is no Keras weights file of InceptionV3 without its top ({error})"
        ) from error


def _in_order_of_creation(network: keras.Model, kind: type) -> list:
    """Layers of one kind by the rank of the number in their automatic names.

    `network.layers` is ordered by depth instead, and the numbers go on counting in a process.
    """

    def number(layer) -> int:
        digits = re.search(r"_(\d+)$", layer.name)
        return int(digits.group(1)) if digits else 0

    return sorted((layer for layer in network.layers if isinstance(layer, kind)), key=number)


def build_encoder_network(inception: keras.Model, *, image_size: int) -> keras.Model:
    """Prepends tiling to three channels, resizing and scaling, so that the host sends raw bytes.

    Args:
        inception: what `build_inception` returned.
        image_size: height and width of its input.

    Returns:
        Model: uint8 `(N, H, W, 1 or 3)` of any size -> float32 `(N, 2048)`.
    """

    class Preprocess(keras.layers.Layer):
        def call(self, images):
            images = ops.cast(images, "float32")
            if images.shape[-1] == 1:
                images = ops.repeat(images, 3, axis=-1)
            images = ops.image.resize(
                images, (image_size, image_size), interpolation="bilinear", antialias=False
            )
            return images / 127.5 - 1.0

    return keras.Sequential([Preprocess(), inception])
