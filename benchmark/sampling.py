"""From a sampler to uint8 images, in shards that survive a stop."""

import time
from typing import Any

import numpy as np

from benchmark import console
from benchmark.results import Folder
from models.base import to_uint8


def sample(sampler: Any, *, folder: Folder, num_samples: int, batch_size: int) -> np.ndarray:
    """Generates the images 0 to `num_samples` - 1, or finds them made.

    Every batch is written as a numbered shard, so a stopped run goes on after the last one; the
    shards end as one file, `samples.npy`, with the seconds they took in `samples.json`.

    Args:
        sampler: A `models.base.Sampler`.
        folder: The sampler's folder.
        num_samples: Number of images.
        batch_size: Images for each call of the sampler.

    Returns:
        uint8 `(num_samples, height, width, channels)`, a memory map: no more than a shard of them
        is in memory at once.
    """
    if folder.has("samples.npy") and len(images := folder.read_array("samples.npy")) == num_samples:
        return images
    starts, seconds = list(enumerate(range(0, num_samples, batch_size))), 0.0
    with console.progress("image", num_samples) as update:
        for number, start in starts:
            seconds += float(_shard(sampler, folder, number, start, batch_size)["seconds"])
            update(min(start + batch_size, num_samples))
    folder.write_json("samples.json", {"num_samples": num_samples, "seconds": round(seconds, 3)})
    shards = (_shard(sampler, folder, *numbered, batch_size)["images"] for numbered in starts)
    folder.write_array_in_parts("samples.npy", shards, num_samples)
    folder.remove("shards")
    return folder.read_array("samples.npy")


def _shard(sampler, folder, number, start, batch_size):
    name = f"shards/{number:05d}_{batch_size}.npz"
    shard = folder.read_arrays(name)
    if shard is None:
        begin = time.perf_counter()
        images = to_uint8(sampler.sample(*sampler.inputs(start, batch_size)))
        shard = {"images": images, "seconds": np.array(time.perf_counter() - begin)}
        folder.write_arrays(name, shard)
    return shard
