"""Draws the samples of a run as uint8 images, in shards that survive an interruption."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark import console
from benchmark.errors import EnvironmentProblem
from benchmark.results import Folder, RunFolder, digest
from metrics.memory import fewer_after, is_out_of_memory
from models.base import to_uint8

SAMPLES, RECORD, SHARDS = "samples.npy", "samples.json", "shards"


class NotFinite(Exception):
    """Samples with values that are not finite numbers, so no image can show them."""


@dataclass(frozen=True)
class Sampling:
    """One set of samples of a run.

    Attributes:
        method: How to sample (see `models.samplers`).
        checkpoint: Which weights, `last` or `best`.
        seed: Number of the sampling seed, from 0.
    """

    method: Any
    checkpoint: str
    seed: int

    def folder(self, run: RunFolder) -> Any:
        return run.sampler(self.method.name, self.checkpoint, self.seed)


def build_samplings(builder) -> list[Sampling]:
    """All sets of samples of a run."""
    methods, seeds = builder.build_methods(), range(builder.settings["sampling"]["seeds"])
    return [
        Sampling(method, checkpoint, seed)
        for checkpoint, method, seed in itertools.product(
            checkpoints(builder.settings), methods, seeds
        )
    ]


def checkpoints(settings) -> tuple[str, ...]:
    """Which weights are sampled: the last ones, the best by validation, or both."""
    checkpoint = settings["sampling"]["checkpoint"]
    return ("last", "best") if checkpoint == "both" else (checkpoint,)


def sample(
    sampler: Any, *, folder: Folder, num_samples: int, batch_size: int, key: str = ""
) -> np.ndarray:
    """Generates the images 0 to `num_samples` - 1, or loads those already made.

    Image i is a function of the weights, the seed and i: if fewer images are stored, the missing
    ones are added; if more are stored, the first ones are used. Every batch is written as a
    numbered shard, so an interrupted run resumes after the last one. At the end the shards become
    one file, `samples.npy`, with the seconds they took in `samples.json`.

    Args:
        sampler: A `models.base.Sampler`.
        folder: The sampler's folder.
        num_samples: Number of images.
        batch_size: Images for each call of the sampler.
        key: Hash of everything that the images depend on; images with another key are made again.
            Images stored without a key are accepted.

    Returns:
        uint8 `(num_samples, height, width, channels)`, a memory map: at most one shard is in
        memory at a time.

    Raises:
        NotFinite: If some values of the samples are not finite numbers.
    """
    if not fits(folder, key):
        for name in (SAMPLES, RECORD, SHARDS):
            folder.remove(name)
    made = stored_samples(folder, key)
    if made is not None and len(made) >= num_samples:
        return made[:num_samples]
    num_made = 0 if made is None else len(made)
    seconds = sample_seconds(folder, num_made)
    record = {"key": key, "num_samples": num_made, "seconds": seconds}
    if made is not None:
        record["sha256"] = folder.recall_json(RECORD).get("sha256")
    folder.write_json(RECORD, record)
    # Complete batches, so that the images equal those of a single uninterrupted sampling.
    starts = range(num_made // batch_size * batch_size, num_samples, batch_size)
    with console.progress("image", num_samples, start=num_made) as update:
        for start in starts:
            seconds += float(_shard(sampler, folder, start, batch_size)["seconds"])
            update(min(start + batch_size, num_samples))

    def parts() -> Iterator[np.ndarray]:
        if made is not None:
            yield made
        for start in starts:
            yield _shard(sampler, folder, start, batch_size)["images"][max(0, num_made - start) :]

    def write_record(sha256: str) -> None:
        record = {"key": key, "num_samples": num_samples, "seconds": round(seconds, 3)}
        folder.write_json(RECORD, {**record, "sha256": sha256})

    folder.write_array_in_parts(SAMPLES, parts(), num_samples, before=write_record)
    folder.remove(SHARDS)
    return folder.read_array(SAMPLES)


def generate(sampler: Any, inputs: tuple[Any, Any]) -> np.ndarray:
    """The uint8 images that a sampler makes from what its `inputs` returned.

    Raises:
        NotFinite: If some of their values are not finite numbers.
    """
    samples = sample_within_memory(sampler, *inputs)
    is_finite = np.isfinite(samples).all(axis=(1, 2, 3))
    if not is_finite.all():
        broken = f"{np.sum(~is_finite)} of {len(samples)}"
        raise NotFinite(f"{broken} samples have values that are not finite numbers")
    return to_uint8(samples)


def sample_within_memory(sampler: Any, latents: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Samples, in smaller batches if memory runs out.

    This changes no image, as each depends only on its own latents and seeds.

    Raises:
        EnvironmentProblem: If there is not enough memory for a single image.
    """
    batch_size = getattr(sampler, "fitting_batch_size", len(latents))
    parts: list[np.ndarray] = []
    while (start := sum(map(len, parts))) < len(latents):
        chosen = slice(start, start + batch_size)
        try:
            parts.append(np.asarray(sampler.sample(latents[chosen], seeds[chosen])))
        except Exception as error:
            if batch_size == 1 and is_out_of_memory(error):
                raise EnvironmentProblem(
                    "there is not enough memory to sample a single image"
                ) from error
            batch_size = fewer_after(error, batch_size)
            sampler.fitting_batch_size = batch_size
    return np.concatenate(parts)


def fits(folder: Folder, key: str) -> bool:
    """Whether the samples in a folder have this key, or no recorded key."""
    record = folder.recall_json(RECORD)
    is_damaged = folder.has(RECORD) and not record
    return not is_damaged and record.get("key", key) == key


def stored_samples(folder: Folder, key: str) -> np.ndarray | None:
    """All finished images of a folder, as a memory map.

    Returns:
        uint8 `(N, height, width, channels)`; `None` if there are none of this key, or their file is
        damaged.
    """
    if not fits(folder, key):
        return None
    return folder.recall_array(SAMPLES, folder.recall_json(RECORD).get("sha256"))


def sample_seconds(folder: Folder, num_samples: int) -> float:
    """Estimates the time for `num_samples` images of a folder, in proportion to that for all."""
    record = folder.recall_json(RECORD)
    if not num_samples or not record.get("num_samples"):
        return 0.0
    return round(record["seconds"] * num_samples / record["num_samples"], 3)


def samples_key(method: Any, seed: int) -> str:
    """Key of what samples depend on besides the weights: the method, its options and the seed.

    How the sampler is compiled is not part of it: that changes only the last bits of an image in
    [-1, 1], which rarely moves a pixel to another of the 256 levels.
    """
    return digest([type(method).__name__, vars(method), seed])


def sampler_seed(seed: int, sampling_seed: int) -> int:
    """The seed of a sampler: the run's seed for the first set of samples, else derived from both.

    Args:
        seed: The run's seed, below 2 ** 32.
        sampling_seed: Number of the set of samples, from 0.

    Returns:
        `seed` for set 0; else the first 32 bits of `numpy.random.SeedSequence([seed, set])`.
    """
    if sampling_seed == 0:
        return seed
    return int(np.random.SeedSequence([seed, sampling_seed]).generate_state(1)[0])


def _shard(sampler, folder, start, batch_size):
    name = f"{SHARDS}/{start // batch_size:05d}_{batch_size}.npz"
    shard = folder.recall_arrays(name)
    if shard is None:
        begin = time.perf_counter()
        images = generate(sampler, sampler.inputs(start, batch_size))
        shard = {"images": images, "seconds": np.array(time.perf_counter() - begin)}
        folder.write_arrays(name, shard)
    return shard
