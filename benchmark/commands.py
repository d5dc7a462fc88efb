"""`benchmark`: the installed command, which is also `python -m benchmark`.

Without the name of a command it trains and measures: `benchmark model=vae dataset=mnist`.
"""

import difflib
import importlib
import sys

from benchmark import cli
from benchmark.config import RunConfig

# The module whose `main` each command calls, and what it does.
COMMANDS = {
    "doctor": ("benchmark.doctor", "checks this machine and says how to fix what it lacks"),
    "prepare": ("benchmark.prepare", "fetches what a run needs, for machines without a network"),
    "sample": ("benchmark.sample", "draws images with trained weights, in seconds"),
    "report": ("benchmark.report.command", "rebuilds tables, figures and the page"),
    "compare": ("benchmark.compare", "compares two runs, models or results folders"),
    "humans": ("benchmark.humans.__main__", "opens a page where people judge samples"),
    "evaluate": ("benchmark.evaluate", "adds a row for samples made elsewhere"),
    "rerun": ("benchmark.rerun", "repeats a run and says whether the results agree"),
    "validity": ("benchmark.validity.__main__", "tests which damage each quality metric detects"),
    "speed": ("benchmark.speed.__main__", "times the suite against alternative implementations"),
    "classifiers": ("benchmark.classifiers", "retrains a packaged classifier"),
}


def main() -> None:
    """Runs the command that the first argument names; without one, trains and measures."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        del sys.argv[1]
        sys.exit(importlib.import_module(COMMANDS[name][0]).main())
    if name.isidentifier() and name not in RunConfig.__dataclass_fields__:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        cli.exit_with(
            f"error: no command {name}{hint} Expected one of {', '.join(COMMANDS)}, or options of "
            "a run such as model=vae",
            2,
        )
    cli.main()
