import numpy as np
import pytest
from scipy.special import softmax

from metrics.calibration import calibration_error, cross_fitted_probabilities, fit_temperature
from metrics.classifier import (
    PACKAGED,
    ModeClassifier,
    build_classifier_network,
    load_packaged_classifier,
    round_weights,
)
from metrics.kid import kid
from metrics.outliers import HELD_OUT_KINDS, RECOGNISABLE_KINDS, TRAINED_KINDS

COUNT = 400
DIGIT_KID = 0.33658926  # of data/poor_digits.npz against the first 1,000 test images


@pytest.fixture(scope="module")
def digits_classifier():
    return load_packaged_classifier("mnist")


@pytest.fixture(scope="module")
def test_logits(digits_classifier, mnist_test):
    return digits_classifier.predict_logits(mnist_test[0])


def rejected(classifier, images):
    return np.mean(classifier.predict_probabilities(images).max(axis=1) < 0.9)


def test_digits_are_told_apart_and_the_record_says_how_well(
    digits_classifier, test_logits, mnist_test
):
    labels, classes = mnist_test[1], test_logits[:, :10].argmax(axis=1)
    confusion = np.zeros((10, 10), dtype=int)
    np.add.at(confusion, (labels, classes), 1)
    # Rounding differs between machines, so that an image on the brink may fall to either side.
    assert np.abs(confusion - digits_classifier.confusion).sum() <= 4
    assert digits_classifier.test_accuracy >= 0.994
    probabilities = cross_fitted_probabilities(logits=test_logits, labels=labels)[:, :10]
    error = calibration_error(probabilities=probabilities, labels=labels)
    assert digits_classifier.calibration_error == pytest.approx(error, abs=3e-4)
    assert error < 0.005


def test_test_digits_are_recognised(digits_classifier, test_logits):
    temperature = digits_classifier.temperature
    confidences = softmax(test_logits / temperature, axis=1)[:, :10].max(axis=1)
    assert np.mean(confidences < 0.9) <= 0.015


@pytest.mark.parametrize("kind", [*HELD_OUT_KINDS, *TRAINED_KINDS])
def test_junk_is_refused(digits_classifier, mnist_test, kind):
    kinds = {**HELD_OUT_KINDS, **TRAINED_KINDS}
    junk = kinds[kind](np.random.default_rng(1), COUNT, mnist_test[0])
    assert rejected(digits_classifier, junk) >= 0.95


@pytest.mark.parametrize("kind", RECOGNISABLE_KINDS)
def test_slightly_imperfect_digits_are_not(digits_classifier, mnist_test, kind):
    digits = RECOGNISABLE_KINDS[kind](np.random.default_rng(1), COUNT, mnist_test[0])
    assert rejected(digits_classifier, digits) <= 0.1


def test_held_out_kinds_were_not_trained_on(digits_classifier):
    record = digits_classifier.record
    assert not {*record["outliers"]} & {*HELD_OUT_KINDS}
    assert {*record["outliers"]} == {*record["rejected"]["seen in training"]}
    for fraction in record["rejected"]["held out"].values():
        assert fraction >= 0.9
    assert "pictures of other things" in record["rejected"]["held out"]
    assert record["rejected"]["recognisable"]["test images"] <= 0.015


def test_a_row_lacks_of_one_what_no_class_has(digits_classifier, test_logits, mnist_test):
    logits = test_logits[:300] / digits_classifier.temperature
    probabilities = digits_classifier.predict_probabilities(mnist_test[0][:300])
    np.testing.assert_allclose(probabilities, softmax(logits, axis=1)[:, :10], atol=1e-6)
    np.testing.assert_allclose(np.median(probabilities.sum(axis=1)), 1.0, atol=1e-3)
    noise = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1), np.uint8)
    assert digits_classifier.predict_probabilities(noise).sum(axis=1).max() < 0.5


def test_the_temperature_is_that_of_the_test_images(digits_classifier, test_logits, mnist_test):
    temperature = fit_temperature(logits=test_logits, labels=mnist_test[1])
    assert digits_classifier.temperature == pytest.approx(temperature, rel=1e-3)


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_classifier_is_whole(name):
    classifier = load_packaged_classifier(name)
    assert classifier.record["dataset"] == name
    assert (classifier.image_shape, classifier.num_classes) == ((28, 28, 1), 10)
    assert classifier.confusion.sum() == 10_000
    assert classifier.test_accuracy == classifier.record["test_accuracy"] >= 0.92
    assert classifier.label == load_packaged_classifier(name).label


def test_digit_kid_is_zero_for_test_digits_and_not_for_damaged_ones(
    digits_classifier, mnist_train, mnist_test
):
    order = np.random.default_rng(0)
    real, test = (
        images[order.permutation(len(images))[:2000]] for images in (mnist_train[0], mnist_test[0])
    )
    halves = np.concatenate([test[:, :14], test[::-1, 14:]], axis=1)
    features = {"real": digits_classifier(real), "test": digits_classifier(test)}
    plan = {"num_subsets": 20, "subset_size": 500}

    def digit_kid(generated_features):
        return kid(real_features=features["real"], generated_features=generated_features, **plan)[0]

    assert abs(digit_kid(features["test"])) < 0.005
    assert digit_kid(digits_classifier(halves)) > 0.05
    repeated = np.repeat(features["test"][:20], 100, axis=0)
    assert digit_kid(repeated) > 0.05


def test_the_digit_kid_of_stored_samples_is_the_same_on_every_machine(
    digits_classifier, mnist_test, poor_digits
):
    # Rounding of another processor changes features by 1e-6 of them, and this by less than 1e-6.
    features = [digits_classifier(images) for images in (mnist_test[0][:1000], poor_digits)]
    mean, _ = kid(
        real_features=features[0], generated_features=features[1], num_subsets=10, subset_size=200
    )
    assert mean == pytest.approx(DIGIT_KID, rel=1e-5)


def test_is_an_encoder_by_its_penultimate_layer(digits_classifier, mnist_test):
    images, labels = (part[:500] for part in mnist_test)
    features = digits_classifier(images)
    assert features.dtype == np.float32
    assert features.shape == (500, 128)
    np.testing.assert_array_equal(digits_classifier.features(images), features)
    assert digits_classifier.name == "digits"
    assert digits_classifier.description.startswith(f"{digits_classifier.label}, test accuracy 9")
    assert digits_classifier.label == f"classifier {digits_classifier.weights_hash} @28"
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
    for name in ("test_accuracy", "temperature", "calibration_error", "record"):
        assert getattr(restored, name) == getattr(digits_classifier, name)
    assert restored.label == digits_classifier.label
    assert (restored.image_shape, restored.num_classes) == ((28, 28, 1), 10)


def test_rounded_weights_survive_the_file(tmp_path):
    network = build_classifier_network(image_shape=(8, 8, 1), num_classes=2, seed=0)
    before = [weight.copy() for weight in network.get_weights()]
    round_weights(network)
    fresh = ModeClassifier(network=network, confusion=np.eye(2, dtype=int))
    restored = ModeClassifier.from_arrays(fresh.to_arrays())
    assert restored.weights_hash == fresh.weights_hash
    for weight, rounded in zip(before, restored.network.get_weights(), strict=True):
        np.testing.assert_allclose(rounded, weight, rtol=1e-3, atol=1e-6)


def test_foreign_arrays_are_refused():
    with pytest.raises(ValueError, match="'record', 'temperature', 'widths'"):
        ModeClassifier.from_arrays({"image_shape": np.array([28, 28, 1])})


def test_network_takes_raw_bytes_of_any_shape():
    network = build_classifier_network(image_shape=(17, 20, 3), num_classes=4, seed=0)
    outputs = network(np.zeros((2, 17, 20, 3), dtype=np.uint8))
    assert outputs["features"].shape == (2, 128)
    assert outputs["logits"].shape == (2, 5)


def test_images_of_another_shape_are_refused(digits_classifier):
    with pytest.raises(ValueError, match=r"\(28, 28, 1\). Received: \(32, 32, 3\)"):
        digits_classifier(np.zeros((1, 32, 32, 3), dtype=np.uint8))
