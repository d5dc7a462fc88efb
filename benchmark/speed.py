"""`python -m benchmark.speed`: what is fast here, against the plain way of doing it.

Each comparison runs its ways in turn, in one process, so that a busy machine slows all of them.
The table gives medians over the rounds, and the ratios of the rounds with their range.
"""

import argparse
import importlib.util
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import console
from benchmark.config import user_cache_dir
from benchmark.results import write_atomically

TITLES = ["task", "ours (s)", "against", "theirs (s)", "times as fast", "range", "remark"]
KID_IMAGES, KID_PLAN = 10_000, {"num_subsets": 100, "subset_size": 1000}
PRDC_IMAGES, MANY_IMAGES, NEAREST_K = 5_000, 50_000, 5
NUM_FEATURES = 2048
ENCODED_IMAGES = 2_000


@dataclass(frozen=True)
class Comparison:
    """A task, our way of doing it and others.

    Args:
        task: What is done.
        ours: Does it once.
        others: Other ways of the same work, by name.
        remark: What a reader has to know.
    """

    task: str
    ours: Callable[[], object]
    others: Mapping[str, Callable[[], object]]
    remark: str = ""


def compare(comparison: Comparison, num_rounds: int) -> list[list[str]]:
    """Runs all ways in turn and returns a line of the table for each other way."""
    ways = {"ours": comparison.ours, **comparison.others}
    times: dict[str, list[float]] = {name: [] for name in ways}
    with console.progress(comparison.task, num_rounds) as update:
        for number in range(num_rounds):
            for name, call in ways.items():
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
            update(number + 1)
    return [line(comparison, times, name) for name in comparison.others]


def line(comparison: Comparison, times: dict[str, list[float]], name: str) -> list[str]:
    ratios = np.divide(times[name], times["ours"])
    return [
        comparison.task,
        f"{np.median(times['ours']):.2f}",
        name,
        f"{np.median(times[name]):.2f}",
        f"{np.median(ratios):.2f}",
        f"{ratios.min():.2f}-{ratios.max():.2f}",
        comparison.remark,
    ]


def random_features(num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of float32 features without a single zero: the hardest case."""
    generator = np.random.default_rng(0)
    shape = (num_images, NUM_FEATURES)
    real = generator.standard_gamma(1.0, shape, dtype=np.float32)
    return real, 1.05 * generator.standard_gamma(1.0, shape, dtype=np.float32)


def digit_features(num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """InceptionV3's features of training and of test digits, as `quick` makes them."""
    from benchmark.datasets.mnist import load_mnist
    from benchmark.features import reference_features
    from benchmark.results import Folder
    from metrics.encoders import InceptionV3Encoder

    dataset = load_mnist(cache_dir=user_cache_dir())
    encoder, cache = InceptionV3Encoder(weights="embedded"), Folder(Path(user_cache_dir()))
    source = {"dataset": dataset.fingerprint, "first": num_images}
    train, test = (
        reference_features(encoder, images[:num_images], source={**source, **split}, cache=cache)
        for images, split in (
            (dataset.train_images, {"split": "train"}),
            (dataset.test_images, {"split": "test"}),
        )
    )
    return train, test


def compare_kid() -> Iterator[Comparison]:
    from benchmark.plain import plain_kid, torch_fidelity_kid
    from metrics.kid import kid

    for kind, make in (("digits'", digit_features), ("random", random_features)):
        real, generated = make(KID_IMAGES)
        others = {"plain NumPy": partial(plain_kid, real, generated, **KID_PLAN)}
        if is_installed("torch_fidelity"):
            for dtype in ("float32", "float64"):
                others[f"torch-fidelity, {dtype}"] = partial(
                    torch_fidelity_kid, real.astype(dtype), generated.astype(dtype), **KID_PLAN
                )
        yield Comparison(
            f"KID 100x1000 of {KID_IMAGES:,} a side, {kind} features",
            partial(kid, real_features=real, generated_features=generated, **KID_PLAN),
            others,
            "ours multiplies in float64",
        )


def compare_prdc() -> Iterator[Comparison]:
    from benchmark.plain import authors_prdc, plain_prdc
    from metrics.prdc import prdc

    for kind, make in (("digits'", digit_features), ("random", random_features)):
        real, generated = make(PRDC_IMAGES)
        others = {"plain NumPy": partial(plain_prdc, real, generated, nearest_k=NEAREST_K)}
        if is_installed("prdc"):
            others["prdc"] = partial(authors_prdc, real, generated, nearest_k=NEAREST_K)
        yield Comparison(
            f"PRDC of {PRDC_IMAGES:,} a side, {kind} features",
            partial(prdc, real_features=real, generated_features=generated, nearest_k=NEAREST_K),
            others,
        )


def compare_encoder() -> Iterator[Comparison]:
    from benchmark.datasets.mnist import load_mnist
    from metrics.encoders import InceptionV3Encoder

    images = np.array(load_mnist(cache_dir=user_cache_dir()).test_images[:ENCODED_IMAGES])
    encoder = InceptionV3Encoder(weights="embedded")

    def predict():
        return encoder.network.predict(images, batch_size=encoder.batch_size, verbose=0)

    encoder(images[:1]), predict()  # traced and compiled
    rates = f"{ENCODED_IMAGES:,} images"
    yield Comparison(
        f"encode {rates} by {encoder.label}",
        lambda: encoder(images, lambda done, total: None),
        {"bare predict": predict},
    )


def peak_memory_of_prdc(num_images: int) -> tuple[float, float]:
    """Seconds of a PRDC, and peak resident memory in GB of a process that does nothing else."""
    from metrics.prdc import prdc

    real, generated = random_features(num_images)
    start = time.perf_counter()
    prdc(real_features=real, generated_features=generated, nearest_k=NEAREST_K)
    taken = time.perf_counter() - start
    return taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure_memory() -> list[list[str]]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        taken, peak = pool.apply(peak_memory_of_prdc, (MANY_IMAGES,))
    remark = f"peak memory {peak:.2f} GB, the features included"
    return [
        [f"PRDC of {MANY_IMAGES:,} a side, random features", f"{taken:.0f}", *["-"] * 4, remark]
    ]


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


PARTS = {"kid": compare_kid, "prdc": compare_prdc, "encoder": compare_encoder}


def main(arguments: list[str] | None = None) -> int:
    """Runs `python -m benchmark.speed [part ...]`, prints the table and keeps it in results/."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.speed", description=__doc__)
    choices = [*PARTS, "memory"]
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(choices)}")
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison (5)")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    unknown = set(options.parts) - set(choices)
    if unknown or options.rounds < 1:
        parser.error(f"parts are {', '.join(choices)}; --rounds is at least 1")
    lines: list[list[str]] = []
    for part in options.parts or PARTS:
        if part == "memory":
            lines += measure_memory()
            continue
        for comparison in PARTS[part]():
            lines += compare(comparison, options.rounds)
    right = [title not in ("task", "against", "remark") for title in TITLES]
    console.table(TITLES, right, lines, [])
    write_atomically(options.results_dir / "speed.md", markdown(lines, right).encode())
    console.say(str(options.results_dir / "speed.md"))
    return 0


def markdown(lines: list[list[str]], right: list[bool]) -> str:
    from benchmark.provenance import environment
    from benchmark.tables import Table, to_markdown

    facts: dict[str, Any] = environment()
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        "# Speed\n\n"
        f"`python -m benchmark.speed`, on {facts['device']}, {facts['cpu_count']} processors; "
        f"{versions}. The ways of a task run in turn, in one process; medians, and the ratios of "
        "the rounds.\n\n" + to_markdown(Table(TITLES, right, lines, [], [])) + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
