"""`python -m benchmark.speed`: what is fast here, against other ways of doing it.

Each comparison runs its ways in turn, in one process, so that a busy machine slows all of them.
A table gives medians over the rounds, and the ratios of the rounds with their range. The tables of
parts measured earlier stay in the results.
"""

import argparse
import inspect
import sys
from pathlib import Path
from typing import Any

from benchmark import console
from benchmark.cli import choose_device, exit_on_user_error, import_backend
from benchmark.results import Folder
from benchmark.speed.compare import TITLES, compare
from benchmark.speed.compile import compare_compiler, compare_executions, compare_precision
from benchmark.speed.metrics import compare_encoder, compare_kid, compare_prdc, measure_memory
from benchmark.speed.sampling import compare_loop, compare_machine, compare_tutorial_loop
from benchmark.speed.scale import compare_scale, measure_sampling_memory
from benchmark.speed.training import compare_pipeline, compare_training

COMPARISONS = {
    "loop": compare_loop,
    "tutorial": compare_tutorial_loop,
    "machine": compare_machine,
    "training": compare_training,
    "pipeline": compare_pipeline,
    "compiler": compare_compiler,
    "precision": compare_precision,
    "executions": compare_executions,
    "kid": compare_kid,
    "prdc": compare_prdc,
    "encoder": compare_encoder,
    "scale": compare_scale,
}
MEASUREMENTS = {"samples": measure_sampling_memory, "memory": measure_memory}
ALL = {**COMPARISONS, **MEASUREMENTS}
RIGHT = [title not in ("Task", "Against") for title in TITLES]
TABLES = "speed.json"


def main(arguments: list[str] | None = None) -> int:
    """Runs `python -m benchmark.speed [part ...]`, prints the tables and keeps them in results/."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.speed", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(ALL)} (all)")
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison (5)")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    if set(options.parts) - set(ALL) or options.rounds < 1:
        parser.error(f"parts are {', '.join(ALL)}; --rounds is at least 1")
    with exit_on_user_error():
        choose_device({"device": "auto"})
    import_backend()
    folder = Folder(options.results_dir)
    for part in options.parts or ALL:
        console.stage(f"{part}: {description(part)}")
        lines = measure(part, options.rounds)
        console.table(TITLES, RIGHT, lines, [])
        tables = {**folder.read_json(TABLES), part: {"where": where(), "lines": lines}}
        folder.write_json(TABLES, tables)
        folder.write_text("speed.md", markdown(tables))
    console.say(str(folder.path / "speed.md"))
    return 0


def measure(part: str, num_rounds: int) -> list[list[str]]:
    if part in MEASUREMENTS:
        return MEASUREMENTS[part]()
    measured = (compare(comparison, num_rounds, warmup=1) for comparison in COMPARISONS[part]())
    return [line for comparison in measured for line in comparison.lines()]


def description(part: str) -> str:
    """What the part's docstring says, as one paragraph."""
    return " ".join((inspect.getdoc(ALL[part]) or "").split())


def where() -> str:
    """The machine and the packages' versions, in one line."""
    from benchmark.provenance import environment

    facts: dict[str, Any] = environment()
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return f"{facts['device']}, {facts['cpu_count']} processors; {versions}"


def markdown(tables: dict[str, Any]) -> str:
    from benchmark.report.markup import to_markdown
    from benchmark.report.tables import Table

    parts = [part for part in ALL if part in tables]
    sections = [
        f"## {part}\n\n{description(part)}\n\nOn {tables[part]['where']}.\n\n"
        + to_markdown(Table(TITLES, RIGHT, tables[part]["lines"], [], []))
        for part in parts
    ]
    return (
        "# Speed\n\n"
        "Measured by `python -m benchmark.speed`. The ways of a task run in turn, in one process; "
        "medians of the rounds, and the ratios of theirs to ours with their range: a ratio above 1 "
        "says how many times as fast ours is.\n\n" + "\n\n".join(sections) + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
