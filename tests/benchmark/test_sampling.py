import numpy as np
import pytest

from benchmark.results import Folder
from benchmark.sampling import sample


class CountingSampler:
    """Image i is grey level i; stops working after some calls."""

    def __init__(self, calls=100):
        self.calls = calls
        self.starts = []

    def inputs(self, start, count):
        return np.arange(start, start + count), None

    def sample(self, latents, seeds):
        if len(self.starts) == self.calls:
            raise KeyboardInterrupt
        self.starts.append(int(latents[0]))
        return np.ones((1, 2, 2, 1)) * latents[:, None, None, None] / 127.5 - 1.0


def levels(images):
    return images[:, 0, 0, 0].tolist()


def test_samples_are_numbered_and_cut_to_the_count(tmp_path):
    images = sample(CountingSampler(), folder=Folder(tmp_path), num_samples=10, batch_size=4)
    assert images.dtype == np.uint8
    assert images.shape == (10, 2, 2, 1)
    assert levels(images) == list(range(10))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples.json", "samples.npy"]


def test_a_stopped_sampling_goes_on_after_the_last_shard(tmp_path):
    folder = Folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        sample(CountingSampler(calls=2), folder=folder, num_samples=10, batch_size=4)
    second = CountingSampler()
    images = sample(second, folder=folder, num_samples=10, batch_size=4)
    assert second.starts == [8]
    assert levels(images) == list(range(10))


def test_finished_samples_are_taken_as_they_are(tmp_path):
    folder = Folder(tmp_path)
    first = sample(CountingSampler(), folder=folder, num_samples=6, batch_size=4)
    idle = CountingSampler(calls=0)
    again = sample(idle, folder=folder, num_samples=6, batch_size=4)
    np.testing.assert_array_equal(first, again)


def test_another_count_is_sampled_again(tmp_path):
    folder = Folder(tmp_path)
    sample(CountingSampler(), folder=folder, num_samples=6, batch_size=4)
    assert len(sample(CountingSampler(), folder=folder, num_samples=7, batch_size=4)) == 7
