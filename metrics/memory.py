"""What to do where the memory does not suffice: work on fewer images at a time."""

import logging

logger = logging.getLogger(__name__)
# What TensorFlow, JAX and NumPy say: the names of their errors, and XLA's status in the text.
ERRORS = ("ResourceExhaustedError", "MemoryError", "_ArrayMemoryError")
STATUS = "RESOURCE_EXHAUSTED"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the device or of the host is used up."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return not names.isdisjoint(ERRORS) or STATUS in str(error)


def fewer_after(error: Exception, batch_size: int) -> int:
    """How many images to try where `batch_size` were too many for the memory: half of them.

    Args:
        error: What was raised.
        batch_size: Images at a time.

    Returns:
        The new number of images, 1 or more.

    Raises:
        Exception: `error` itself, if it says something else or there is one image only.
    """
    if batch_size == 1 or not is_out_of_memory(error):
        raise error
    half = batch_size // 2
    logger.warning("the memory does not suffice for %d images at once: %d now", batch_size, half)
    return half
