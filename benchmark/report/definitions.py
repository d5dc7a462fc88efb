"""What the columns of the tables mean, and the terms around them."""

import pandas as pd

from benchmark.report.columns import COLUMNS

TERMS = (
    (
        "± and n",
        "In a table by model: the mean of n training seeds and their standard deviation. Sampling "
        "seeds are averaged within a training seed first. A number without ± is of one seed, or "
        "the same for all. In a table by seed: ± se is the standard error of the estimate itself, "
        "and numbers in brackets are a 95 % interval.",
        "",
    ),
    (
        "Bold and †",
        "The best mean of a column is bold. A dagger marks means that do not differ from it "
        "significantly: two-sided Welch t-tests on the training seeds' numbers (for speed and "
        "cost, on their logarithms), of all pairs of lines with at least two seeds, at level 0.05 "
        "with Holm's correction. The checks in the last lines do not compete.",
        "Welch 1947, Holm 1979",
    ),
    (
        "Checkpoint",
        "Which weights were sampled, where a table has both: the last ones of the training, or "
        "the best in validation: those whose few samples had the lowest headline of quality (its "
        "Fréchet distance) against test images. The line above the table names the sampler that "
        "made them.",
        "",
    ),
    (
        "mode collapse",
        "A note of rows whose samples cover at most half of the modes that as many test images "
        "cover, or whose Vendi score is below a third of theirs.",
        "",
    ),
    (
        "test images, noise, repeated image, few images",
        "Checks of the measurement itself: the scores of unseen real images (the floor), of "
        "noise, and of one real image or twenty of them, repeated.",
        "",
    ),
)


def definitions(rows: pd.DataFrame) -> list[tuple[str, str, str]]:
    """What the columns that rows have mean, and the terms: `(title, meaning, paper)` each."""
    known = [
        each
        for each in COLUMNS
        if each.meaning and each.key in rows and rows[each.key].notna().any()
    ]
    return [(each.title or each.key, each.meaning, each.paper) for each in known] + list(TERMS)
