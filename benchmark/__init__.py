"""Compares a VAE, a DCGAN and diffusion models on sample quality, speed and mode coverage."""

from typing import Any

__version__ = "0.1.0"


def run(*overrides: str) -> Any:
    """Trains, samples and measures as the command `benchmark` does, and returns the run's rows.

    A run that is finished is not repeated.

    Args:
        *overrides: The command's arguments, such as `"model=vae"`, `"preset=smoke"`.

    Returns:
        A `pandas.DataFrame` with a row for each way of sampling; `benchmark/report/columns.py`
        defines the columns.

    Raises:
        UserError: If an argument is wrong.
        EnvironmentProblem: If this machine lacks something.
        Divergence: If training diverged to NaN or infinite values.
    """
    from pathlib import Path

    from benchmark import cli
    from benchmark.stored_results import collect_rows

    builder = cli.compose(*overrides)
    folder = cli.run(builder)
    rows = collect_rows(builder.settings["results_dir"])
    inside = rows["path"].map(lambda path: folder.path.name in Path(path).parts)
    return rows[inside].reset_index(drop=True)
