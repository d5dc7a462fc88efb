"""Features of images, encoded once and cached between runs."""

import json
from typing import Any

import numpy as np

from benchmark import console
from benchmark.provenance import module_version
from benchmark.results import Folder, digest

FEATURES = "features"  # the folder of features, in the cache and beside samples


def reference_features(
    encoder: Any, images: np.ndarray, *, source: dict[str, Any], cache: Folder
) -> np.ndarray:
    """Returns the features of real images, from the cache of all runs if it has them.

    Args:
        encoder: A `metrics.base.Encoder`.
        images: uint8 `(N, H, W, C)`.
        source: What the images are, ready for JSON: dataset, split, number, draw.
        cache: Folder of all caches.

    Returns:
        float32 `(N, D)`.
    """
    folder = Folder(cache.path / FEATURES)
    return kept_features(encoder, images, source, folder, what="real images")


def kept_features(
    encoder: Any, images: np.ndarray, source: dict[str, Any], folder: Folder, *, what: str
) -> np.ndarray:
    """Returns the features of images, from a folder if it has them.

    Their key is everything they depend on: what the images are, the encoder's recipe and its code.
    A damaged file, or one under the wrong name, is replaced.

    Args:
        encoder: A `metrics.base.Encoder`.
        images: uint8 `(N, H, W, C)`.
        source: What the images are, ready for JSON.
        folder: Where the features are kept.
        what: What to call the images in messages.

    Returns:
        float32 `(N, D)`.
    """
    key = json.dumps({**source, **instrument_recipe(encoder)}, sort_keys=True)
    name = f"{encoder.name}_{digest(key)}"
    features = recall(folder, f"{name}.npz", key)
    if features is None:
        with folder.waiting_lock(name):  # another process may be encoding the same images
            features = recall(folder, f"{name}.npz", key)
            if features is None:
                features = encode(encoder, images, what)
                folder.write_arrays(f"{name}.npz", {"features": features, "key": np.array(key)})
    return features


def instrument_recipe(instrument: Any) -> dict[str, Any]:
    """All that an encoder's features or a classifier's verdicts depend on besides the images."""
    return {**instrument.recipe, "code": module_version(type(instrument).__module__)}


def recall(folder: Folder, name: str, key: str) -> np.ndarray | None:
    arrays = folder.recall_arrays(name)
    if arrays is None:
        return None
    if str(arrays.get("key")) != key:
        console.say(
            f"warning: {folder.path / name} holds features other than its name says; "
            "they are computed again",
            style="yellow",
        )
        return None
    return arrays["features"]


def encode(encoder: Any, images: np.ndarray, what: str) -> np.ndarray:
    """Encodes images, showing progress."""
    console.say(f"encoding {len(images)} {what} ({encoder.label})")
    with console.progress("image", len(images)) as update:
        return encoder(images, lambda done, _: update(done))
