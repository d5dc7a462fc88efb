import numpy as np
import pytest

from metrics.base import (
    INPUTS,
    ROLES,
    Evaluation,
    NotMeasured,
    check_features,
    check_images,
    encode_in_batches,
    metric_encoder,
    metric_inputs,
    padded_batches,
)


class CountingEncoder:
    """The mean of each image, and a count of calls."""

    def __init__(self, name="means"):
        self.name = name
        self.label = f"{name} 0 @4"
        self.weights_hash = "0"
        self.calls = 0

    def __call__(self, images, progress=None):
        self.calls += 1
        return images.mean(axis=(1, 2)).astype(np.float32)


def images(count, value=0):
    return np.full((count, 4, 4, 1), value, dtype=np.uint8)


def evaluation(**overrides):
    options = {"real_images": images(3, 7), "generated_images": images(2, 9), "seed": 0}
    return Evaluation(**{**options, **overrides})


def test_features_are_encoded_once():
    encoder = CountingEncoder()
    judged = evaluation(encoders={"means": encoder})
    real, generated = judged.features("means")
    np.testing.assert_array_equal(real, np.full((3, 1), 7))
    np.testing.assert_array_equal(generated, np.full((2, 1), 9))
    assert judged.features()[1] is generated
    assert judged.features()[0] is real
    assert encoder.calls == 2


def test_the_large_reference_is_the_real_images_unless_there_is_one():
    encoder = CountingEncoder()
    judged = evaluation(encoders={"means": encoder})
    assert judged.reference_features() is judged.features()[0]
    assert encoder.calls == 2
    np.testing.assert_array_equal(judged.reference_images, judged.real_images)
    judged = evaluation(encoders={"means": encoder}, reference_images=images(5, 4))
    np.testing.assert_array_equal(judged.reference_features("means"), np.full((5, 1), 4))
    np.testing.assert_array_equal(judged.features()[0], np.full((3, 1), 7))


def test_images_are_found_by_their_role():
    judged = evaluation(reference_images=images(5, 4))
    assert [len(judged.images(role)) for role in ROLES] == [3, 2, 5]
    with pytest.raises(ValueError, match="real, generated, reference. Received: role=training"):
        judged.images("training")


def test_a_runner_may_encode_in_its_own_way():
    asked = []

    def encode(encoder, role):
        asked.append((encoder.name, role))
        return np.full((len(judged.images(role)), 1), 5.0)

    shared = images(3, 7)  # one array in two roles is told apart by them
    judged = evaluation(
        real_images=shared,
        generated_images=shared,
        reference_images=images(6),
        encoders={"means": CountingEncoder()},
        encode=encode,
    )
    for _ in range(2):
        real, generated = judged.features("means")
        reference = judged.reference_features("means")
    assert (len(real), len(generated), len(reference)) == (3, 3, 6)
    assert asked == [("means", "real"), ("means", "generated"), ("means", "reference")]


def test_what_features_rest_on_is_told_by_role():
    judged = evaluation(encoders={"means": CountingEncoder()}, reference_images=images(5))
    assert judged.describe_features() == {
        "encoder": "means 0 @4",
        "weights_hash": "0",
        "num_real": 3,
        "num_generated": 2,
    }
    described = judged.describe_features(roles=("reference", "generated"))
    assert (described["num_reference"], described["num_generated"]) == (5, 2)
    assert "num_real" not in described


def test_a_metric_that_declares_nothing_depends_on_all():
    class Declared:
        inputs, encoder = ("generated_images", "encoder"), "digits"

    assert metric_inputs(object()) == INPUTS
    assert metric_encoder(object()) is None
    assert metric_inputs(Declared()) == ("generated_images", "encoder")
    assert metric_encoder(Declared()) == "digits"


def test_first_encoder_is_the_run_s_and_the_classifier_is_the_digits_encoder():
    first, second, classifier = (CountingEncoder(n) for n in ("first", "second", "digits"))
    judged = evaluation(encoders={"first": first, "second": second}, classifier=classifier)
    assert judged.encoder() is first
    assert judged.encoder("second") is second
    assert judged.encoder("digits") is classifier


def test_what_is_not_there_is_not_measured():
    with pytest.raises(NotMeasured, match="no classifier"):
        evaluation().features("digits")
    with pytest.raises(NotMeasured, match="`other`; there are: digits, means"):
        evaluation(encoders={"means": CountingEncoder()}).features("other")


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 4, 4, 1), dtype=np.float32),
        np.zeros((2, 4, 4), dtype=np.uint8),
        np.zeros((2, 4, 4, 2), dtype=np.uint8),
    ],
)
def test_only_uint8_images_are_taken(wrong):
    with pytest.raises(ValueError, match="Received: dtype="):
        check_images(wrong)
    with pytest.raises(ValueError, match="generated_images"):
        evaluation(generated_images=wrong)
    with pytest.raises(ValueError, match="reference_images"):
        evaluation(reference_images=wrong)


def test_features_must_be_comparable_and_finite():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)"):
        check_features(real_features=np.ones((2, 3)), generated_features=np.ones((2, 4)))
    broken = np.array([[1.0, np.nan]])
    with pytest.raises(ValueError, match="`generated_features` must be finite"):
        check_features(real_features=np.ones((1, 2)), generated_features=broken)


def test_padded_batches_have_one_shape_and_count_what_counts():
    numbers = np.arange(7)
    batches = list(padded_batches(numbers, 3))
    assert [len(batch) for batch, _ in batches] == [3, 3, 3]
    assert [count for _, count in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([b[:c] for b, c in batches]), numbers)


def test_encode_in_batches_reports_progress_and_drops_the_padding():
    values = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    seen = []
    encoded = encode_in_batches(
        lambda batch: batch.reshape(-1, 1),
        values,
        batch_size=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    np.testing.assert_array_equal(encoded[:, 0], np.arange(5))
    assert seen == [(2, 5), (4, 5), (5, 5)]
    with pytest.raises(ValueError, match="at least one image"):
        encode_in_batches(lambda batch: batch, values[:0], batch_size=2)
