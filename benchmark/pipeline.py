"""The one input pipeline that every model trains on: batch k is a function of (seed, k) only."""

import numpy as np
import tensorflow as tf

from benchmark.datasets import ImageArray

# With the default of 4, the orders of two epochs correlate by up to 0.9; from 8 on, by chance only.
SHUFFLE_ROUNDS = 16
GOLDEN_GAMMA = 0x9E3779B97F4A7C15
# A larger array stays where it is, as a memory map, and is read from Python. So are images that are
# made when read: a tensor would hold a copy of them.
LARGEST_TENSOR_BYTES = 256 * 1024**2
# Small batches of a tensor are gathered together, this many examples at once, to share the graph's
# fixed cost. Other arrays are read as needed, so that no image is read or made in vain.
GATHERED_AT_ONCE = 512


def build_pipeline(
    images: ImageArray,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    num_steps: int | None = None,
    labels: np.ndarray | None = None,
    horizontal_flip: bool = False,
) -> tf.data.Dataset:
    """Builds a dataset of shuffled batches that can start at any step.

    Each epoch is a true permutation of the examples. Epochs follow one another without a gap, so a
    batch may span two epochs, and may be larger than the dataset. Started at `start_step=k`, the
    pipeline yields, bit for bit, what a run from 0 yields from its k-th batch on.

    Args:
        images: uint8 array of shape `(N, height, width, channels)`; may be a memory map, or any
            array that can be indexed by arrays of integers.
        batch_size: Examples per batch, at least 1.
        seed: Seed of the order, 0 or larger.
        start_step: Index of the first batch.
        num_steps: Number of batches; `None` for an endless dataset.
        labels: Optional int64 array of shape `(N,)`.
        horizontal_flip: Whether to mirror each image with probability 1/2, drawn afresh in each
            epoch; a function of the seed and of the image's place in the stream.

    Returns:
        A `tf.data.Dataset` of uint8 tensors `(batch_size, height, width, channels)`, or of pairs
        `(images, labels)` if there are labels.

    Raises:
        ValueError: If an argument is out of range.
    """
    _check(images, labels)
    _check_range(1, batch_size=batch_size)
    _check_range(0, seed=seed, start_step=start_step, num_steps=num_steps or 0)
    gather_images = _build_gather(images)
    gather_labels = None if labels is None else _build_gather(labels)

    num_batches = max(1, GATHERED_AT_ONCE // batch_size) if _fits_a_tensor(images) else 1

    def load_batches(step: tf.Tensor):
        count = num_batches * batch_size
        positions = step * batch_size + tf.range(count, dtype=tf.int64)
        indices = _shuffle(positions, seed=seed, num_examples=len(images))
        batches = gather_images(indices)
        if horizontal_flip:
            batches = _flip(batches, positions, seed=seed)
        batches = _split(batches, batch_size)
        if gather_labels is None:
            return batches
        return batches, _split(gather_labels(indices), batch_size)

    steps = tf.data.Dataset.range(start_step, tf.int64.max, num_batches)
    batches = steps.map(load_batches, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = batches.unbatch()
    if num_steps is not None:
        batches = batches.take(num_steps)
    return batches.prefetch(tf.data.AUTOTUNE)


def _split(examples: tf.Tensor, batch_size: int) -> tf.Tensor:
    """Splits the first axis: `(N, ...) -> (N / batch_size, batch_size, ...)`."""
    return tf.reshape(examples, (-1, batch_size, *examples.shape[1:]))


def _shuffle(positions: tf.Tensor, *, seed: int, num_examples: int) -> tf.Tensor:
    """Returns the index of the example at each position of the endless stream."""
    epochs = positions // num_examples
    return tf.raw_ops.RandomIndexShuffle(
        index=positions % num_examples,
        seed=_shuffle_keys(epochs, seed),
        max_index=np.int64(num_examples - 1),
        rounds=SHUFFLE_ROUNDS,
    )


def _shuffle_keys(epochs: tf.Tensor, seed: int) -> tf.Tensor:
    """Returns a key of three words per epoch, hashed from the epoch and the seed.

    With at most 65,536 examples, the shuffle uses only the lowest 8 bits of each word: without the
    hash, seed 256 would equal seed 0, and epoch 256 would repeat epoch 0.
    """
    hashes = _hash(epochs, key=_mix(tf.constant([seed], tf.uint64)))
    words = [_shift(hashes, by) for by in (0, 21, 42)]
    return tf.cast(tf.stack(words, axis=-1) % 2**21, tf.uint32)


def _flip(images: tf.Tensor, positions: tf.Tensor, *, seed: int) -> tf.Tensor:
    """Mirrors the images at those positions of the stream whose hash starts with a one."""
    # A key other than that of the order, so that no flip shares its hash with an epoch.
    key = _mix(tf.bitwise.invert(tf.constant([seed], tf.uint64)))
    hashes = _hash(positions, key=key)
    is_flipped = tf.cast(_shift(hashes, 63), tf.bool)
    return tf.where(is_flipped[:, None, None, None], tf.reverse(images, axis=[2]), images)


def _hash(counts: tf.Tensor, *, key: tf.Tensor) -> tf.Tensor:
    """Returns 64 unrelated bits for each count."""
    return _mix(key + tf.cast(counts + 1, tf.uint64) * tf.constant(GOLDEN_GAMMA, tf.uint64))


def _mix(hashes: tf.Tensor) -> tf.Tensor:
    # SplitMix64 (Steele, Lea, Flood 2014), as seeds that differ by one bit need unrelated keys.
    hashes = tf.bitwise.bitwise_xor(hashes, _shift(hashes, 30))
    hashes *= tf.constant(0xBF58476D1CE4E5B9, tf.uint64)
    hashes = tf.bitwise.bitwise_xor(hashes, _shift(hashes, 27))
    hashes *= tf.constant(0x94D049BB133111EB, tf.uint64)
    return tf.bitwise.bitwise_xor(hashes, _shift(hashes, 31))


def _shift(hashes: tf.Tensor, by: int) -> tf.Tensor:
    return tf.bitwise.right_shift(hashes, tf.constant(by, tf.uint64))


def _fits_a_tensor(array: ImageArray) -> bool:
    return isinstance(array, np.ndarray) and array.nbytes <= LARGEST_TENSOR_BYTES


def _build_gather(array: ImageArray):
    """Returns a function from indices to the rows of `array`, as tensors of static shape."""
    if _fits_a_tensor(array):
        with tf.device("CPU:0"):  # Where the pipeline runs; the default would be a GPU.
            table = tf.constant(array)
        return lambda indices: tf.gather(table, indices)

    def read(indices: tf.Tensor) -> tf.Tensor:
        rows = tf.numpy_function(lambda chosen: array[chosen], [indices], array.dtype)
        return tf.ensure_shape(rows, (*indices.shape, *array.shape[1:]))

    return read


def _check(images: ImageArray, labels: np.ndarray | None) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ValueError(
            "`images` must be uint8 of shape (N, height, width, channels) with N > 0. "
            f"Received: {images.dtype} of shape {images.shape}."
        )
    if labels is not None and labels.shape != images.shape[:1]:
        raise ValueError(
            f"`labels` must have shape {images.shape[:1]}. Received: shape {labels.shape}."
        )


def _check_range(lowest: int, **values: int) -> None:
    for name, value in values.items():
        if not lowest <= value < 2**64:
            raise ValueError(f"`{name}` must be in [{lowest}, 2**64). Received: {name}={value}.")
