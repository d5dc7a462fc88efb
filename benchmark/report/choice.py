"""A choice among the rows of a results folder."""

from benchmark.errors import UserError
from benchmark.report.columns import TEXTS
from benchmark.report.rows import is_sanity

CHOICES = ("seed", "dataset", "preset", "model", "sampler", "checkpoint")


def choose(rows, chosen):
    """Picks the rows of trained models that have one of the wanted values in each column.

    Sanity rows stay where a row that was measured alike does.

    Args:
        rows: The rows of a results folder, complete.
        chosen: Lists of texts by column, of `CHOICES`.

    Raises:
        UserError: If a column cannot be chosen by, or no row of a trained model is left.
    """
    for name, wanted in chosen.items():
        if name not in CHOICES:
            raise UserError(f"expected one of {', '.join(CHOICES)}. Received: {name}=")
        texts = rows[name] if name in TEXTS else rows[name].map("{:g}".format)
        rows = rows[texts.isin(wanted) | (is_sanity(rows) & (name != "dataset"))]
    trained = rows[~is_sanity(rows)]
    if trained.empty:
        asked = " ".join(f"{name}={','.join(wanted)}" for name, wanted in chosen.items())
        raise UserError(f"no results of trained models{asked and f' with {asked}'}")
    alike = ["dataset", "protocol"]
    belongs = rows[alike].agg("\n".join, axis=1).isin(trained[alike].agg("\n".join, axis=1))
    return rows[belongs | ~is_sanity(rows)]
