"""How a classifier is trained; what the packaged ones are worth is in test_classifier.py."""

import keras
import numpy as np
import pytest

from metrics.classifier_training import Recipe, TrainingBatches, train_classifier, warp

SMALL = Recipe(epochs=3, batch_size=32, outliers_per_batch=8)
STILL = Recipe(max_shift=0.0, max_rotation=0.0, max_scaling=0.0)


def coloured_squares(count, *, seed):
    """Three classes of 16 x 16 colour images that differ in the brightest channel."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    images = generator.integers(0, 100, (count, 16, 16, 3), dtype=np.uint8)
    images[np.arange(count), :, :, labels] += 100
    return images, labels


def train_on_squares(**overrides):
    images, labels = coloured_squares(192, seed=0)
    test_images, test_labels = coloured_squares(60, seed=1)
    options = {
        "images": images,
        "labels": labels,
        "test_images": test_images,
        "test_labels": test_labels,
        "num_classes": 3,
        "seed": 0,
        "recipe": SMALL,
    }
    return train_classifier(**{**options, **overrides})


def batches_of(images, labels, **options):
    recipe = {"batch_size": 10, "outliers_per_batch": 4, **options.pop("recipe", {})}
    return TrainingBatches(
        images=images, labels=labels, num_classes=99, recipe=Recipe(**recipe), seed=0, **options
    )


@pytest.fixture(scope="module")
def trained():
    steps = []
    counter = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: steps.append(step)
    )
    return train_on_squares(callbacks=[counter]), steps


def test_colour_images_are_learned_and_noise_is_not_taken_for_one(trained):
    classifier, steps = trained
    assert classifier.image_shape == (16, 16, 3)
    assert classifier.test_accuracy > 0.9
    assert classifier.confusion.sum() == 60
    assert np.trace(classifier.confusion) == round(60 * classifier.test_accuracy)
    assert 0.0 <= classifier.calibration_error < 0.5
    assert classifier.record["seed"] == 0 and classifier.record["epochs"] == 3
    assert steps == [*range(6)] * 3  # callbacks see every step


def test_weights_are_rounded_before_they_are_tested(trained):
    for weight in trained[0].network.get_weights():
        np.testing.assert_array_equal(weight.astype(np.float16).astype(np.float32), weight)


@pytest.mark.slow
def test_the_seed_decides_the_weights(trained):
    again, other = (train_on_squares(seed=seed) for seed in (0, 5))
    assert again.weights_hash == trained[0].weights_hash
    assert other.weights_hash != trained[0].weights_hash


@pytest.mark.slow
def test_mnist_trained_again_is_as_good(mnist_train, mnist_test):
    classifier = train_classifier(
        images=mnist_train[0],
        labels=mnist_train[1],
        test_images=mnist_test[0],
        test_labels=mnist_test[1],
        num_classes=10,
        seed=1,
        recipe=Recipe(epochs=4),
    )
    assert classifier.test_accuracy >= 0.992
    confidences = classifier.predict_probabilities(mnist_test[0]).max(axis=1)
    assert np.mean(confidences >= 0.9) >= 0.98
    assert classifier.calibration_error < 0.005


def test_batches_hold_each_image_once_and_outliers_beside_them():
    images = np.zeros((43, 9, 9, 1), dtype=np.uint8)
    images[:] = np.arange(43)[:, None, None, None]
    batches = batches_of(images, np.arange(43))
    assert len(batches) == 4
    seen = [batches[index] for index in range(4)]
    for some, labels in seen:
        assert some.shape == (14, 9, 9, 1) and some.dtype == np.uint8
        np.testing.assert_array_equal(some[:10, 4, 4, 0], labels[:10])
        assert np.all(labels[10:] == 99)
    assert len({*np.concatenate([labels[:10] for _, labels in seen])}) == 40


def test_each_epoch_has_its_own_images_and_the_seed_repeats_it():
    images = np.random.default_rng(0).integers(0, 256, (20, 12, 12, 1), np.uint8)

    def epochs():
        batches = batches_of(images, np.arange(20))
        first = batches[1]
        batches.on_epoch_end()
        return [first, batches[1]]

    first, second = epochs()
    for part in (slice(10), slice(10, None)):  # images of classes, outliers
        assert not np.array_equal(first[0][part], second[0][part])
    for (images_again, labels_again), (some, labels) in zip(epochs(), (first, second), strict=True):
        np.testing.assert_array_equal(images_again, some)
        np.testing.assert_array_equal(labels_again, labels)


def test_no_warp_changes_nothing_and_a_shift_moves_by_so_much(mnist_test):
    images, generator = mnist_test[0][:20], np.random.default_rng(0)
    np.testing.assert_array_equal(warp(images, generator=generator, recipe=STILL), images)
    dot = np.zeros((200, 15, 15, 1), np.uint8)
    dot[:, 7, 7] = 255
    recipe = Recipe(max_shift=0.2, max_rotation=0.0, max_scaling=0.0)
    moved = warp(dot, generator=generator, recipe=recipe)[..., 0].astype(float)
    mass = moved.sum(axis=(1, 2))
    np.testing.assert_allclose(mass, 255, atol=2)
    for axis in (1, 2):
        places = (moved.sum(axis=axis) @ np.arange(15)) / mass - 7
        assert places.min() >= -3.02 and places.max() <= 3.02
        assert places.min() < -2.5 and places.max() > 2.5


def test_a_rotation_turns_and_a_scaling_stretches():
    bar = np.zeros((100, 21, 21, 1), np.uint8)
    bar[:, 10, 3:18] = 255
    still = {"max_shift": 0.0, "max_rotation": 0.0, "max_scaling": 0.0}
    generator = np.random.default_rng(0)
    turned = warp(bar, generator=generator, recipe=Recipe(**{**still, "max_rotation": 30.0}))
    columns = turned[:, :, 16, 0].astype(float)
    rows = columns @ np.arange(21) / columns.sum(axis=1)
    slopes = np.degrees(np.arctan((rows - 10) / 6))
    assert slopes.min() < -25 and slopes.max() > 25 and np.abs(slopes).max() < 31
    stretched = warp(bar, generator=generator, recipe=Recipe(**{**still, "max_scaling": 0.3}))
    lengths = stretched[:, 10, :, 0].sum(axis=1) / 255
    assert lengths.min() < 13 and lengths.max() > 18


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"labels": np.zeros(7, dtype=int)}, r"shape \(192,\).*Received: \(7,\)"),
        ({"num_classes": 2}, r"lie in 0\.\.1. Received: 0\.\.2"),
        ({"recipe": Recipe(batch_size=193)}, "batch_size=193 training images. Received: 192"),
    ],
)
def test_what_does_not_fit_together_is_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        train_on_squares(**overrides)
