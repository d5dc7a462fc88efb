import numpy as np
import pytest

from metrics.base import encode_in_batches
from metrics.latency import TOO_LARGE, measure_latency
from metrics.memory import fewer_after, is_out_of_memory


class ResourceExhaustedError(Exception):
    """As TensorFlow names its own."""


class XlaRuntimeError(Exception):
    """As JAX names its own, of all kinds."""


OUT_OF_MEMORY = (
    MemoryError(),
    np._core._exceptions._ArrayMemoryError((10**9,), np.dtype("float64")),
    ResourceExhaustedError("OOM when allocating tensor"),
    XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_all_backends_say_that_memory_is_used_up(error):
    assert is_out_of_memory(error)
    assert fewer_after(error, 64) == 32 and fewer_after(error, 3) == 1


@pytest.mark.parametrize("error", [ValueError("memory"), XlaRuntimeError("INVALID_ARGUMENT")])
def test_other_errors_are_raised(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)):
        fewer_after(error, 64)


def test_one_image_that_does_not_fit_is_an_error():
    with pytest.raises(MemoryError):
        fewer_after(MemoryError(), 1)


def test_tensorflows_own_error_is_known():
    import tensorflow as tf

    assert is_out_of_memory(tf.errors.ResourceExhaustedError(None, None, "OOM"))


@pytest.mark.parametrize("fitting", [1, 3, 8, 64])
def test_images_are_encoded_in_batches_that_fit_and_none_is_left_out(fitting, caplog):
    images = np.random.default_rng(0).integers(0, 256, (21, 2, 2, 1), "uint8")
    sizes, seen = [], []

    def encode(batch):
        sizes.append(len(batch))
        if len(batch) > fitting:
            raise MemoryError
        return batch.reshape(len(batch), -1)

    features = encode_in_batches(
        encode, images, batch_size=16, progress=lambda done, total: seen.append((done, total))
    )
    np.testing.assert_array_equal(features, images.reshape(21, -1))
    assert sizes[0] == 16 and sizes[-1] <= fitting
    assert seen[-1] == (21, 21) and seen == sorted(seen)
    assert ("does not suffice for 16 images" in caplog.text) == (fitting < 16)


def timed(fitting):
    def sample(batch_size):
        if batch_size > fitting:
            raise MemoryError
        return np.zeros(batch_size)

    return sample


@pytest.mark.parametrize(("fitting", "largest"), [(1, 1), (8, 8), (40, 32), (100, 64)])
def test_a_batch_that_does_not_fit_is_not_timed_and_said_to_be(fitting, largest):
    report = measure_latency(
        sample=timed(fitting), single_pass=timed(1024), network_passes=1, max_batch_size=256,
        warmup=1, min_repeats=3, min_seconds=0.0, max_seconds=0.05,
    )  # fmt: skip
    assert report.numbers["throughput_batch_size"] <= largest
    expected = {} if fitting >= 64 else {"images_per_second_64": TOO_LARGE}
    assert report.details["not_measured"] == expected
    assert ("images_per_second_64" in report.numbers) == (fitting >= 64)
