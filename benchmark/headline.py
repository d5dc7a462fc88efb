"""The number by which the quality of a generator is told, chosen by experiment."""

WITH_CLASSIFIER = "fid_digits"
WITHOUT_CLASSIFIER = "fid"


def headline(has_classifier: bool) -> str:
    """The column of the headline quality of a dataset.

    Args:
        has_classifier: Whether a believed classifier of the dataset is at hand.

    Returns:
        `WITH_CLASSIFIER` or `WITHOUT_CLASSIFIER`.
    """
    return WITH_CLASSIFIER if has_classifier else WITHOUT_CLASSIFIER
