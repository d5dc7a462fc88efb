"""Which number is the headline of the quality corner."""


def headline(has_classifier: bool) -> str:
    """The column of the headline quality of a dataset.

    Args:
        has_classifier: Whether the dataset has a classifier that is to be believed.
    """
    return "kid_digits_mean" if has_classifier else "kid_mean"
