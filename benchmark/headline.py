"""The headline measure of sample quality, chosen by `python -m benchmark.validity`.

results/validity.md describes the experiment and its rule; a test fails if this file and
results/validity.json disagree. On MNIST, N = 2,000:

- With a classifier: the Fréchet distance in its features. It is the only candidate that detects
  every quality damage and every collapse, and it ranks all of them correctly (Kendall's tau 1.00).
  The kernel distances in the same space detect damaged images as well, but on twenty repeated
  images they depend so much on which twenty that three standard errors do not separate single
  sets. Precision, density and the rejected fraction miss collapse entirely.
- Without one: the Fréchet distance in the encoder's space, for the same reason. It misses dropped
  classes, like every metric in that space, and swapped halves or holes in a tenth of the images,
  like every metric but density. The kernel distances there also miss a collapse to few images.

At N = 10,000 the first wins again. Without a classifier, density then ranks before the Fréchet
distance: both detect everything, and density orders holes and swapped halves slightly better.

Both headlines are biased by the number of samples, which must therefore be equal within a table.
"""

WITH_CLASSIFIER = "fid_digits"
WITHOUT_CLASSIFIER = "fid"
VALIDATION_REJECTED = "validation_rejected_fraction"  # column of the history


def headline(has_classifier: bool) -> str:
    """The column of a dataset's headline of quality.

    Args:
        has_classifier: Whether the dataset has a classifier that is accurate enough.

    Returns:
        `WITH_CLASSIFIER` or `WITHOUT_CLASSIFIER`; lower is better in both.
    """
    return WITH_CLASSIFIER if has_classifier else WITHOUT_CLASSIFIER
