"""The pipeline: the order is a pure function of (seed, step), and each epoch a permutation."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from benchmark import pipeline
from benchmark.pipeline import build_pipeline


def numbered_images(count):
    """Images that carry their own index in their first two pixels."""
    images = np.zeros((count, 2, 1, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 1, 0, 0] = np.arange(count) % 256, np.arange(count) // 256
    return images


def order(dataset, num_steps=None):
    """The indices of the images, batch after batch."""
    batches = itertools.islice(dataset.as_numpy_iterator(), num_steps)
    return np.concatenate(
        [batch[:, 0, 0, 0].astype(int) + 256 * batch[:, 1, 0, 0].astype(int) for batch in batches]
    )


def first_indices(count, *, batch_size=10, seed=0, num_steps=10, **options):
    return order(
        build_pipeline(
            numbered_images(count),
            batch_size=batch_size,
            seed=seed,
            num_steps=num_steps,
            **options,
        )
    )


@pytest.mark.parametrize(
    ("count", "batch_size"), [(1, 1), (2, 3), (7, 3), (100, 10), (1000, 128), (1000, 3000)]
)
def test_each_epoch_is_a_permutation(count, batch_size):
    num_epochs = 4
    num_steps = -(-num_epochs * count // batch_size)
    indices = first_indices(count, batch_size=batch_size, num_steps=num_steps)
    epochs = indices[: num_epochs * count].reshape(num_epochs, count)
    for epoch in epochs:
        assert sorted(epoch) == list(range(count))
    if count >= 100:
        assert len({tuple(epoch) for epoch in epochs}) == num_epochs


@pytest.mark.parametrize("start_step", [0, 1, 6, 7, 19])
@pytest.mark.parametrize("batch_size", [16, 150])
def test_starting_later_gives_the_same_batches(start_step, batch_size):
    whole = first_indices(100, batch_size=batch_size, num_steps=20).reshape(20, batch_size)
    rest = first_indices(
        100, batch_size=batch_size, start_step=start_step, num_steps=20 - start_step
    )
    np.testing.assert_array_equal(rest, whole[start_step:].ravel())


def test_images_and_labels_are_unchanged_and_belong_together():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (50, 6, 5, 3), np.uint8)
    labels = np.arange(50)
    dataset = build_pipeline(images, batch_size=8, seed=3, num_steps=10, labels=labels)
    for some_images, some_labels in dataset.as_numpy_iterator():
        assert some_images.dtype == np.uint8 and some_labels.dtype == np.int64
        np.testing.assert_array_equal(some_images, images[some_labels])


def test_labels_do_not_change_the_order():
    with_labels = build_pipeline(
        numbered_images(90), batch_size=9, seed=1, num_steps=20, labels=np.arange(90)
    )
    labels = np.concatenate([labels for _, labels in with_labels.as_numpy_iterator()])
    np.testing.assert_array_equal(labels, first_indices(90, batch_size=9, seed=1, num_steps=20))


def test_same_seed_same_order_and_batch_size_only_cuts_it():
    expected = first_indices(100, batch_size=10, num_steps=30)
    np.testing.assert_array_equal(first_indices(100, batch_size=10, num_steps=30), expected)
    np.testing.assert_array_equal(first_indices(100, batch_size=50, num_steps=6), expected)


def test_every_bit_of_the_seed_counts():
    seeds = [0, 2**64 - 1, *(2**bit for bit in range(0, 64, 4))]
    orders = {tuple(first_indices(100, seed=seed)) for seed in seeds}
    assert len(orders) == len(seeds)


def test_no_epoch_repeats_an_earlier_one():
    indices = first_indices(20, batch_size=20, num_steps=600).reshape(600, 20)
    assert len({tuple(epoch) for epoch in indices}) == 600


def test_the_hash_is_splitmix64():
    # The first outputs of the reference implementation for seed 0 (https://prng.di.unimi.it).
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    states = [(step * pipeline.GOLDEN_GAMMA) % 2**64 for step in (1, 2, 3)]
    assert pipeline._mix(tf.constant(states, tf.uint64)).numpy().tolist() == expected


def test_orders_of_epochs_and_seeds_are_unrelated():
    # With the cipher's default of 4 rounds, these correlate by up to 0.9.
    count = 10_000
    rows = [
        first_indices(count, batch_size=count, seed=seed, num_steps=2).reshape(2, count)
        for seed in (0, 1, 2)
    ]
    correlations = np.corrcoef(np.concatenate([*rows, np.arange(count)[None]]))
    assert np.abs(correlations - np.eye(7)).max() < 5 / np.sqrt(count)


def test_batches_of_sorted_data_are_mixed():
    # A hypergeometric draw of 100 from 10 equal classes: chi-square has 9 degrees of freedom.
    indices = first_indices(10_000, batch_size=100, num_steps=100).reshape(100, 100)
    counts = np.stack([(indices // 1000 == label).sum(axis=1) for label in range(10)], axis=1)
    chi_square = ((counts - 10) ** 2 / 10).sum(axis=1)
    assert 8 < chi_square.mean() < 10


def test_is_endless_by_default_and_static_in_shape():
    dataset = build_pipeline(numbered_images(5), batch_size=4, seed=0)
    assert dataset.element_spec == tf.TensorSpec((4, 2, 1, 1), tf.uint8)
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    assert len(order(dataset, num_steps=50)) == 200
    assert build_pipeline(numbered_images(5), batch_size=4, seed=0, num_steps=3).cardinality() == 3


def test_far_steps_are_reached_at_once():
    far = 10**11
    dataset = build_pipeline(numbered_images(64), batch_size=64, seed=0, start_step=far)
    assert sorted(order(dataset, num_steps=1)) == list(range(64))


def test_large_arrays_stay_memory_maps(tmp_path, monkeypatch):
    expected = first_indices(100)
    np.save(tmp_path / "images.npy", numbered_images(100))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    monkeypatch.setattr(pipeline, "LARGEST_TENSOR_BYTES", 10)
    monkeypatch.setattr(tf, "gather", lambda *_: pytest.fail("copied the array"))
    dataset = build_pipeline(images, batch_size=10, seed=0, num_steps=10, labels=None)
    assert dataset.element_spec == tf.TensorSpec((10, 2, 1, 1), tf.uint8)
    np.testing.assert_array_equal(order(dataset), expected)


def arrows(count):
    """Images whose left pixel is 1 and whose other pixels tell their index."""
    images = np.ones((count, 2, 3, 1), np.uint8)
    images[:, 0, 1:, 0] = (np.arange(count) % 256)[:, None]
    images[:, 1, 1:, 0] = (np.arange(count) // 256)[:, None]
    images[:, :, 2] = images[:, :, 2] // 2 + 2
    return images


def flips(count, *, batch_size=10, num_steps=10, seed=0, **options):
    """Which of the images along the stream are mirrored, and the indices of all."""
    images = arrows(count)
    dataset = build_pipeline(
        images,
        batch_size=batch_size,
        num_steps=num_steps,
        seed=seed,
        labels=np.arange(count),
        horizontal_flip=True,
        **options,
    )
    pairs = list(dataset.as_numpy_iterator())
    stream = np.concatenate([some_images for some_images, _ in pairs])
    indices = np.concatenate([labels for _, labels in pairs])
    is_flipped = (stream != images[indices]).any(axis=(1, 2, 3))
    # Nothing is done to the images but that, and labels stay with their images.
    expected = np.where(
        is_flipped[:, None, None, None], images[indices][:, :, ::-1], images[indices]
    )
    np.testing.assert_array_equal(stream, expected)
    return is_flipped, indices


def test_half_of_the_images_are_mirrored():
    is_flipped, _ = flips(1000, batch_size=100, num_steps=100)
    assert abs(is_flipped.mean() - 0.5) < 5 * 0.5 / np.sqrt(10_000)


@pytest.mark.parametrize("seed", [0, 1])
def test_each_epoch_mirrors_other_images(seed):
    is_flipped, indices = flips(2000, batch_size=2000, num_steps=4, seed=seed)
    by_image = np.empty((4, 2000))
    for epoch, (row, order) in enumerate(
        zip(is_flipped.reshape(4, -1), indices.reshape(4, -1), strict=True)
    ):
        by_image[epoch, order] = row
    # Nor do flips go by the place in the batch, or by the order.
    rows = [*by_image, *is_flipped.reshape(4, -1), *indices.reshape(4, -1)]
    correlations = np.corrcoef(rows)
    assert np.abs(correlations - np.eye(12)).max() < 5 / np.sqrt(2000)


def test_flips_follow_from_the_seed_and_the_place_in_the_stream():
    expected, order = flips(100, num_steps=30)
    np.testing.assert_array_equal(flips(100, num_steps=30)[0], expected)
    np.testing.assert_array_equal(flips(100, batch_size=50, num_steps=6)[0], expected)
    assert (flips(100, num_steps=30, seed=1)[0] != expected).mean() > 0.3
    np.testing.assert_array_equal(order, first_indices(100, num_steps=30))


@pytest.mark.parametrize("start_step", [1, 7, 19])
def test_starting_later_mirrors_the_same_images(start_step):
    expected, _ = flips(30, batch_size=16, num_steps=20)
    rest, _ = flips(30, batch_size=16, num_steps=20 - start_step, start_step=start_step)
    np.testing.assert_array_equal(rest, expected[16 * start_step :])


def test_memory_maps_and_a_single_image_are_mirrored_too(tmp_path, monkeypatch):
    expected, _ = flips(50)
    monkeypatch.setattr(pipeline, "LARGEST_TENSOR_BYTES", 10)
    np.testing.assert_array_equal(flips(50)[0], expected)
    assert 5 < flips(1, batch_size=2, num_steps=10)[0].sum() < 15


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**64}, "`seed` must be"),
        ({"start_step": -1}, "start_step=-1"),
        ({"num_steps": -1}, "num_steps=-1"),
        ({"labels": np.zeros(4)}, r"`labels` must have shape \(5,\)"),
        ({"images": np.zeros((5, 2, 2, 1), np.float32)}, "`images` must be uint8"),
        ({"images": np.zeros((0, 2, 2, 1), np.uint8)}, "N > 0"),
    ],
)
def test_wrong_arguments_are_told(changes, message):
    options = {"images": numbered_images(5), "batch_size": 2, "seed": 0} | changes
    with pytest.raises(ValueError, match=message):
        build_pipeline(options.pop("images"), **options)
