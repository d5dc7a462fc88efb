"""`python -m benchmark.speed`: what is fast here, against the plain way of doing it.

Each comparison runs its ways in turn, in one process, so that a busy machine slows all of them.
The table gives medians over the rounds, and the ratios of the rounds with their range.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmark import console
from benchmark.results import write_atomically
from benchmark.speed.compare import TITLES, compare
from benchmark.speed.compile import compare_compiler, compare_precision
from benchmark.speed.metrics import compare_encoder, compare_kid, compare_prdc, measure_memory
from benchmark.speed.sampling import compare_loop, compare_machine, compare_tutorial_loop
from benchmark.speed.scale import compare_scale, measure_sampling_memory
from benchmark.speed.training import compare_pipeline, compare_training

TASKS = (
    "KID: 100 subsets of 1,000 from 10,000 images a side, 2,048 features. PRDC: 5,000 a side, "
    "k = 5. Digits: features of the embedded InceptionV3 at 75 pixels, float32. Random: float32 "
    "features without a single zero. Ours always multiplies in float64. Encoder: 2,000 digits by "
    "the embedded InceptionV3 at 75 pixels; the other way is a bare `predict`. Memory: PRDC of "
    "50,000 a side, random features, in a process of its own."
)
COMPARISONS = {
    "loop": compare_loop,
    "tutorial": compare_tutorial_loop,
    "machine": compare_machine,
    "training": compare_training,
    "compiler": compare_compiler,
    "precision": compare_precision,
    "pipeline": compare_pipeline,
    "scale": compare_scale,
    "kid": compare_kid,
    "prdc": compare_prdc,
    "encoder": compare_encoder,
}
MEASUREMENTS = {"memory": measure_memory, "samples": measure_sampling_memory}


def main(arguments: list[str] | None = None) -> int:
    """Runs `python -m benchmark.speed [part ...]`, prints the table and keeps it in results/."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.speed", description=__doc__)
    choices = [*COMPARISONS, *MEASUREMENTS]
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(choices)}")
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison (5)")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    unknown = set(options.parts) - set(choices)
    if unknown or options.rounds < 1:
        parser.error(f"parts are {', '.join(choices)}; --rounds is at least 1")
    lines: list[list[str]] = []
    for part in options.parts or COMPARISONS:
        if part in MEASUREMENTS:
            lines += MEASUREMENTS[part]()
            continue
        for comparison in COMPARISONS[part]():
            lines += compare(comparison, options.rounds, warmup=1).lines()
    right = [title not in ("Task", "Against") for title in TITLES]
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
        f"{versions}.\nThe ways of a task run in turn, in one process; medians of the rounds, and "
        "the ratios of theirs to ours with their range.\n\n"
        f"{TASKS}\n\n" + to_markdown(Table(TITLES, right, lines, [], [])) + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
