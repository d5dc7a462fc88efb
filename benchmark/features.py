"""Features of the reference images, encoded once for each content and kept between runs."""

import json
from typing import Any

import numpy as np

from benchmark import console
from benchmark.provenance import code_version
from benchmark.results import Folder, digest

ENCODERS_CODE = ("metrics/base.py", "metrics/inception.py")


def reference_features(
    encoder: Any, images: np.ndarray, *, source: dict[str, Any], cache: Folder
) -> np.ndarray:
    """Returns the features of the reference images, from the cache where they are there.

    What the features depend on is their key: what the images are, the encoder's recipe and its
    code. A damaged file, or one that was put under a name not its own, is made again.

    Args:
        encoder: A `metrics.base.Encoder`.
        images: uint8 `(N, H, W, C)`.
        source: What the images are, ready for JSON: dataset, split, number, draw.
        cache: Folder of all caches.

    Returns:
        float32 `(N, D)`.
    """
    own_code = f"{type(encoder).__module__.replace('.', '/')}.py"
    code = code_version([*ENCODERS_CODE, own_code])
    key = json.dumps({**source, **encoder.recipe, "code": code}, sort_keys=True)
    folder, name = Folder(cache.path / "features"), f"{encoder.name}_{digest(key)}"
    features = recall(folder, f"{name}.npz", key)
    if features is None:
        with folder.waiting_lock(name):  # another process may be encoding the same images
            features = recall(folder, f"{name}.npz", key)
            if features is None:
                features = encode(encoder, images, "reference images")
                folder.write_arrays(f"{name}.npz", {"features": features, "key": np.array(key)})
    return features


def recall(folder: Folder, name: str, key: str) -> np.ndarray | None:
    arrays = folder.recall_arrays(name)
    if arrays is None:
        return None
    if str(arrays.get("key")) != key:
        console.say(
            f"warning: {folder.path / name} holds other features than its name says; "
            "they are made again",
            style="yellow",
        )
        return None
    return arrays["features"]


def encode(encoder: Any, images: np.ndarray, what: str) -> np.ndarray:
    """Encodes images, showing how far it is."""
    console.say(f"encoding {len(images)} {what} ({encoder.label})")
    with console.progress("image", len(images)) as update:
        return encoder(images, lambda done, _: update(done))
