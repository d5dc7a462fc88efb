"""The headline measure of sample quality, as `python -m benchmark.validity` chose it.

The experiment and its rule stand in results/validity.md; a test says when this file and
results/validity.json disagree. On MNIST, N = 2,000:

- With a classifier, its Fréchet distance. It is the one candidate that sees every quality damage
  and every collapse, and orders all of them rightly (Kendall's tau 1.00). The kernel distances in
  the same space are as sharp on damaged images, but what they say of twenty repeated images depends
  so much on which twenty that three standard errors do not separate single sets. Precision,
  density and the rejected fraction do not see collapse at all.
- Without, the Fréchet distance in the encoder's space, for the same reason. It misses dropped
  classes, as all numbers of that space do, and a tenth of swapped or holed images, as all do but
  density; the kernel distances there miss few images as well.

At N = 10,000 the first wins again. Without a classifier, density comes before the Fréchet distance
there: both detect everything, and density orders holes and swapped halves a little better.

Both are biased by the number of samples, which therefore must be equal in a table.
"""

WITH_CLASSIFIER = "fid_digits"
WITHOUT_CLASSIFIER = "fid"
VALIDATION_REJECTED = "validation_rejected_fraction"  # of the history, beside the headline


def headline(has_classifier: bool) -> str:
    """The column of the headline quality of a dataset.

    Args:
        has_classifier: Whether a believed classifier of the dataset is at hand.

    Returns:
        `WITH_CLASSIFIER` or `WITHOUT_CLASSIFIER`; lower is better in both.
    """
    return WITH_CLASSIFIER if has_classifier else WITHOUT_CLASSIFIER
