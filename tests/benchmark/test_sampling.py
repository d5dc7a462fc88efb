import numpy as np
import pytest

from benchmark import files
from benchmark.errors import EnvironmentProblem
from benchmark.results import Folder
from benchmark.sampling import (
    NotFinite,
    sample,
    sample_seconds,
    sampler_seed,
    samples_key,
    stored_samples,
)
from models.samplers import DDIM, DDPM


class CountingSampler:
    """Image i is grey level i; stops working after some calls."""

    def __init__(self, calls=100):
        self.calls = calls
        self.starts = []

    def inputs(self, start, count):
        indices = np.arange(start, start + count)
        return indices, indices

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


def test_more_samples_extend_those_that_are_there(tmp_path):
    folder = Folder(tmp_path)
    sample(CountingSampler(), folder=folder, num_samples=6, batch_size=4)
    second = CountingSampler()
    images = sample(second, folder=folder, num_samples=11, batch_size=4)
    assert levels(images) == list(range(11))
    assert second.starts == [4, 8]  # whole batches, as one sampling of all has them
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples.json", "samples.npy"]


def test_images_that_were_there_stay_as_they_are(tmp_path):
    folder = Folder(tmp_path)
    folder.write_array("samples.npy", np.full((6, 2, 2, 1), 99, "uint8"))
    images = sample(CountingSampler(), folder=folder, num_samples=9, batch_size=4)
    assert levels(images) == [99] * 6 + [6, 7, 8]


class Broken(CountingSampler):
    """Image 5 is not a number."""

    def sample(self, latents, seeds):
        samples = super().sample(latents, seeds)
        return np.where(latents[:, None, None, None] == 5, np.nan, samples)


def test_samples_that_are_no_numbers_are_refused(tmp_path):
    folder = Folder(tmp_path)
    with pytest.raises(NotFinite, match="1 of 4 samples have values"):
        sample(Broken(), folder=folder, num_samples=10, batch_size=4)
    assert stored_samples(folder, "") is None


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["samples.npy", "samples.json"])
def test_samples_that_changed_are_made_again(tmp_path, name):
    folder = Folder(tmp_path)
    sample(CountingSampler(), folder=folder, num_samples=6, batch_size=4, key="key")
    if name == "samples.json":
        (tmp_path / name).write_bytes(b"{")
    else:
        damage(tmp_path / name)
    again = CountingSampler()
    images = sample(again, folder=folder, num_samples=6, batch_size=4, key="key")
    assert levels(images) == list(range(6))
    assert again.starts == [0, 4]


def test_a_damaged_shard_is_made_again(tmp_path):
    folder = Folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        sample(CountingSampler(calls=2), folder=folder, num_samples=10, batch_size=4)
    first, _ = sorted((tmp_path / "shards").iterdir())
    first.write_bytes(b"")
    second = CountingSampler()
    images = sample(second, folder=folder, num_samples=10, batch_size=4)
    assert second.starts == [0, 8]
    assert levels(images) == list(range(10))


@pytest.mark.parametrize("moment", ["samples.json", "samples.npy", "shards"])
@pytest.mark.parametrize("there_are", [0, 6])
def test_a_stop_around_the_last_writes_loses_no_image_and_no_second(
    tmp_path, monkeypatch, moment, there_are
):
    """Right before the record of all samples, the samples, or the removal of the shards."""

    def stop(*arguments):
        raise KeyboardInterrupt

    folder = Folder(tmp_path)
    if there_are:
        sample(CountingSampler(), folder=folder, num_samples=there_are, batch_size=4)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if moment == "samples.json":
            patch.setattr(files, "hash_file", at_samples(files.hash_file, stop))
        elif moment == "samples.npy":
            patch.setattr(files, "synchronize", at_samples(files.synchronize, stop))
        else:
            patch.setattr(Folder, "remove", stop)
        sample(CountingSampler(), folder=folder, num_samples=10, batch_size=4)
    again = CountingSampler()
    images = sample(again, folder=folder, num_samples=10, batch_size=4)
    assert levels(images) == list(range(10))
    assert again.starts in ([], [0])  # of the images that were there, those of the first batch


def at_samples(original, stop):
    """A function of a path that stops where the samples are being written."""
    return lambda path: stop() if path.name.startswith(".samples.npy") else original(path)


def test_fewer_samples_are_the_first_ones(tmp_path):
    folder = Folder(tmp_path)
    sample(CountingSampler(), folder=folder, num_samples=10, batch_size=4)
    images = sample(CountingSampler(calls=0), folder=folder, num_samples=3, batch_size=4)
    assert levels(images) == [0, 1, 2]
    assert len(folder.read_array("samples.npy")) == 10


def test_a_stopped_extension_goes_on_after_its_last_shard(tmp_path):
    folder = Folder(tmp_path)
    sample(CountingSampler(), folder=folder, num_samples=4, batch_size=4)
    with pytest.raises(KeyboardInterrupt):
        sample(CountingSampler(calls=1), folder=folder, num_samples=12, batch_size=4)
    second = CountingSampler()
    images = sample(second, folder=folder, num_samples=12, batch_size=4)
    assert second.starts == [8] and levels(images) == list(range(12))


def test_samples_of_another_key_are_made_again_and_those_without_one_are_taken(tmp_path):
    folder = Folder(tmp_path)
    sample(CountingSampler(), folder=folder, num_samples=4, batch_size=4, key="one")
    assert stored_samples(folder, "one") is not None and stored_samples(folder, "two") is None
    again = CountingSampler()
    sample(again, folder=folder, num_samples=4, batch_size=4, key="two")
    assert again.starts == [0]
    folder.write_json("samples.json", {"num_samples": 4, "seconds": 8.0})
    sample(CountingSampler(calls=0), folder=folder, num_samples=2, batch_size=4, key="any")
    assert sample_seconds(folder, 2) == 4.0


def test_the_key_is_of_the_method_and_the_seed():
    keys = [
        samples_key(DDIM(num_steps=10), 0),
        samples_key(DDIM(num_steps=10, eta=0.5), 0),
        samples_key(DDIM(num_steps=10), 1),
        samples_key(DDPM(num_steps=10), 0),
    ]
    assert len(set(keys)) == 4
    assert samples_key(DDIM(num_steps=10, eta=0.0), 0) == keys[0]


def test_the_first_sampling_seed_is_the_runs_and_others_are_made_of_both():
    assert [sampler_seed(seed, 0) for seed in (0, 7, 2**32 - 1)] == [0, 7, 2**32 - 1]
    expected = np.random.SeedSequence([7, 1]).generate_state(1)[0]
    assert sampler_seed(7, 1) == expected
    others = [sampler_seed(seed, sampling) for seed in range(5) for sampling in (1, 2)]
    assert len(set(others)) == 10 and max(others) < 2**32


class Tight(CountingSampler):
    """Has memory for a few images at a time."""

    def __init__(self, fitting):
        super().__init__()
        self.fitting = fitting

    def sample(self, latents, seeds):
        if len(latents) > self.fitting:
            raise MemoryError
        return super().sample(latents, seeds)


@pytest.mark.parametrize(("fitting", "starts"), [(2, [0, 2, 4, 6, 8, 10]), (1, [*range(12)])])
def test_where_memory_does_not_suffice_fewer_images_are_made_at_a_time(tmp_path, fitting, starts):
    sampler = Tight(fitting)
    images = sample(sampler, folder=Folder(tmp_path), num_samples=10, batch_size=4)
    assert levels(images) == list(range(10))
    assert sampler.starts == starts


def test_no_memory_for_a_single_image_is_told(tmp_path):
    with pytest.raises(EnvironmentProblem, match="not enough memory to sample a single image"):
        sample(Tight(0), folder=Folder(tmp_path), num_samples=10, batch_size=4)
