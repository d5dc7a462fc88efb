import keras
import numpy as np
import pytest
from scipy.special import softmax

from metrics.calibration import fit_temperature
from metrics.classifier import (
    ModeClassifier,
    ShiftedBatches,
    build_classifier_network,
    train_classifier,
)


def coloured_squares(count, *, seed):
    """Three classes of 32 x 32 colour images that differ in the brightest channel."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    images = generator.integers(0, 100, (count, 32, 32, 3), dtype=np.uint8)
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
        "epochs": 2,
        "batch_size": 32,
    }
    return train_classifier(**{**options, **overrides})


@pytest.fixture(scope="module")
def digits_classifier(mnist_train, mnist_test):
    """Trained on a tenth of MNIST."""
    return train_classifier(
        images=mnist_train[0][:6000],
        labels=mnist_train[1][:6000],
        test_images=mnist_test[0][:2000],
        test_labels=mnist_test[1][:2000],
        num_classes=10,
        seed=0,
        epochs=3,
    )


def test_a_tenth_of_mnist_suffices_for_96_percent(digits_classifier, mnist_test):
    images, labels = (part[:2000] for part in mnist_test)
    probabilities = digits_classifier.predict_probabilities(images)
    assert probabilities.shape == (2000, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-9)
    accuracy = np.mean(probabilities.argmax(axis=1) == labels)
    assert accuracy == digits_classifier.test_accuracy
    assert accuracy > 0.96


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_all_of_mnist_gives_99_2_percent_and_sureness(mnist_train, mnist_test, seed):
    classifier = train_classifier(
        images=mnist_train[0],
        labels=mnist_train[1],
        test_images=mnist_test[0],
        test_labels=mnist_test[1],
        num_classes=10,
        seed=seed,
    )
    assert classifier.test_accuracy >= 0.992
    confidences = classifier.predict_probabilities(mnist_test[0]).max(axis=1)
    assert np.mean(confidences >= 0.9) >= 0.98
    assert classifier.calibration_error < 0.01


def test_probabilities_are_scaled_by_the_fitted_temperature(digits_classifier, mnist_test):
    images, labels = (part[:2000] for part in mnist_test)
    logits = digits_classifier.predict_logits(images)
    temperature = fit_temperature(logits=logits, labels=labels)
    assert digits_classifier.temperature == pytest.approx(temperature)
    np.testing.assert_allclose(
        digits_classifier.predict_probabilities(images), softmax(logits / temperature, axis=1)
    )
    assert 0.0 <= digits_classifier.calibration_error < 0.05


def test_is_an_encoder_by_its_penultimate_layer(digits_classifier, mnist_test):
    images, labels = (part[:500] for part in mnist_test)
    features = digits_classifier(images)
    assert features.dtype == np.float32
    assert features.shape == (500, 128)
    np.testing.assert_array_equal(digits_classifier.features(images), features)
    assert digits_classifier.name == "digits"
    assert digits_classifier.description.startswith(f"{digits_classifier.label}, 9")
    assert digits_classifier.label == f"digits classifier {digits_classifier.weights_hash} @28"
    # Classes lie apart: the nearest centre of a class is that of its own.
    centres = np.stack([features[labels == digit].mean(axis=0) for digit in range(10)])
    nearest = np.linalg.norm(features[:, None] - centres[None], axis=-1).argmin(axis=1)
    assert np.mean(nearest == labels) > 0.95


def test_stacked_images_are_encoded_channel_by_channel(digits_classifier, mnist_test):
    channels = [mnist_test[0][start : start + 20] for start in (0, 20, 40)]
    done = []
    features = digits_classifier(
        np.concatenate(channels, axis=-1), lambda *progress: done.append(progress)
    )
    assert features.shape == (20, 384)
    expected = np.concatenate([digits_classifier(images) for images in channels], axis=1)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)
    assert done[-1] == (20, 20)


def test_the_batch_an_image_is_in_changes_nothing(digits_classifier, mnist_test):
    images = mnist_test[0][:300]
    alone = digits_classifier.predict_probabilities(images[299:])
    together = digits_classifier.predict_probabilities(images)
    np.testing.assert_allclose(alone, together[299:], atol=1e-6)


def test_arrays_bring_the_same_classifier_back(digits_classifier, mnist_test, tmp_path):
    path = tmp_path / "classifier.npz"
    np.savez(path, **digits_classifier.to_arrays())
    with np.load(path, allow_pickle=False) as arrays:
        restored = ModeClassifier.from_arrays(arrays)
    images = mnist_test[0][:20]
    np.testing.assert_array_equal(
        restored.predict_probabilities(images), digits_classifier.predict_probabilities(images)
    )
    for name in ("test_accuracy", "temperature", "calibration_error"):
        assert getattr(restored, name) == getattr(digits_classifier, name)
    assert restored.label == digits_classifier.label
    assert (restored.image_shape, restored.num_classes) == ((28, 28, 1), 10)


def test_foreign_arrays_are_refused():
    with pytest.raises(ValueError, match="'num_classes', 'temperature', 'test_accuracy'"):
        ModeClassifier.from_arrays({"image_shape": np.array([28, 28, 1])})


def test_colour_images_and_other_sizes():
    classifier = train_on_squares()
    assert classifier.image_shape == (32, 32, 3)
    assert classifier.test_accuracy > 0.9


def test_the_seed_decides_the_weights():
    first, again, other = (train_on_squares(epochs=1, seed=seed) for seed in (0, 0, 5))
    assert first.weights_hash == again.weights_hash
    assert first.weights_hash != other.weights_hash


def test_progress_reaches_the_callbacks():
    steps = []
    counter = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: steps.append(step)
    )
    train_on_squares(epochs=2, callbacks=[counter])
    assert steps == [*range(6), *range(6)]


def test_shifts_move_whole_images_and_keep_the_labels():
    images = np.zeros((40, 9, 9, 1), dtype=np.uint8)
    images[:, 4, 4, 0] = labels = np.arange(1, 41)
    batches = ShiftedBatches(images=images, labels=labels, batch_size=10, max_shift=2, seed=0)
    assert len(batches) == 4
    moved, moved_labels = map(np.concatenate, zip(*(batches[i] for i in range(4)), strict=True))
    assert sorted(moved_labels) == sorted(labels)
    np.testing.assert_array_equal(moved.max(axis=(1, 2, 3)), moved_labels)
    _, rows, columns, _ = np.nonzero(moved)
    assert len(rows) == 40
    assert {*rows} == {*columns} == {2, 3, 4, 5, 6}


def test_each_epoch_has_its_own_order_and_the_seed_repeats_it():
    images, labels = np.zeros((50, 8, 8, 1), dtype=np.uint8), np.arange(50)

    def epochs(seed):
        options = {"batch_size": 50, "max_shift": 1, "seed": seed}
        batches = ShiftedBatches(images=images, labels=labels, **options)
        orders = [batches[0][1]]
        batches.on_epoch_end()
        return [*orders, batches[0][1]]

    first, second = epochs(0)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(epochs(0), [first, second])
    assert not np.array_equal(epochs(1)[0], first)


def test_network_takes_raw_bytes_of_any_shape():
    network = build_classifier_network(image_shape=(17, 20, 3), num_classes=4, seed=0)
    outputs = network(np.zeros((2, 17, 20, 3), dtype=np.uint8))
    assert outputs["features"].shape == (2, 128)
    assert outputs["logits"].shape == (2, 4)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"labels": np.zeros(7, dtype=int)}, r"shape \(192,\).*Received: \(7,\)"),
        ({"num_classes": 2}, r"lie in 0\.\.1. Received: 0\.\.2"),
        ({"batch_size": 193}, "batch_size=193 training images. Received: 192"),
    ],
)
def test_what_does_not_fit_together_is_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        train_on_squares(**overrides)


def test_images_of_another_shape_are_refused(digits_classifier):
    with pytest.raises(ValueError, match=r"\(28, 28, 1\). Received: \(32, 32, 3\)"):
        digits_classifier(np.zeros((1, 32, 32, 3), dtype=np.uint8))
