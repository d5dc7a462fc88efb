"""Trained weights that come with the program, a small file for each model.

    python -m benchmark.pretrained <run folder>

makes such a file of a run: what sampling needs of its weights, in half precision, with its
configuration. To put it into the package, move it into this folder and its SHA-256 into `PACKAGED`.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import UserError
from benchmark.report.publish import without_folders
from metrics.encoders import check_sha256

# The models in the package, with the SHA-256 of their files.
PACKAGED: dict[str, str] = {
    "ddpm": "49bca803e0ebad1472317cf6034ea5e4e06b9b8168d8a6ca379b6d50753f01a1",
    "distilled": "aa3d71586c3d25b272467cbfab7b90cb9aa8f830700af13be586227cf979be8b",
    "flow": "41f492b5a4bd6671f3611e070dd815d75b54ec8ab859c7aca1c1b263505bcf18",
    "meanflow": "79d008db4581dea86329c1b9b52e844a154d3c9bd92ac3011d453274c06c04c4",
    "r3gan": "e10d79b2e5f1a513e6df4e4829c2d0250068198f9df396ef8b2bb1cf9941edb4",
}
FOLDER = Path(__file__).parent
CONFIG = "config"


def pack(settings: dict[str, Any], image_shape: tuple[int, ...], sampler: Any) -> bytes:
    """The file of a trained model: the weights that sampling needs, and how to build it.

    Args:
        settings: The configuration of its run.
        image_shape: `(height, width, channels)`.
        sampler: One of its samplers, all of which use the same weights.

    Returns:
        The bytes of an npz: `config`, a JSON text, and the float16 arrays `0`, `1`, ...
    """
    config = {**without_folders(settings), "image_shape": list(image_shape)}
    halves = {str(i): array.astype("float16") for i, array in enumerate(weights_of(sampler))}
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {CONFIG: np.array(json.dumps(config)), **halves}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def load(name: str) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The configuration and the weights of a model in the package.

    Raises:
        UserError: If there is none of that name.
        ValueError: If its file is missing or damaged.
    """
    if name not in PACKAGED:
        known = f", only those of {', '.join(PACKAGED)}" if PACKAGED else ""
        raise UserError(f"no weights of model={name} are packaged{known}; give run=<run folder>")
    path = FOLDER / f"{name}.npz"
    check_sha256(path, PACKAGED[name])
    with np.load(path, allow_pickle=False) as file:
        config = json.loads(str(file[CONFIG]))
        return config, [file[str(index)] for index in range(len(file.files) - 1)]


def weights_of(sampler: Any) -> list[np.ndarray]:
    """The weights that a sampler uses."""
    return [weight for part in sampler.parts for weight in part.get_weights()]


def set_weights(sampler: Any, arrays: list[np.ndarray]) -> None:
    """Puts what `weights_of` returned into a sampler of the same configuration."""
    rest = list(arrays)
    for part in sampler.parts:
        count = len(part.weights)
        part.set_weights(rest[:count])
        rest = rest[count:]
