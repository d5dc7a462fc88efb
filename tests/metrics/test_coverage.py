import math

import numpy as np
import pytest

from metrics.base import Evaluation, NotMeasured
from metrics.coverage import (
    ModeCoverage,
    class_counts,
    expected_kl,
    expected_modes,
    kl_divergence,
    mode_coverage,
    predict_modes,
    stacked_mode_coverage,
)

# Digits in MNIST's training labels, 0 to 9.
MNIST_COUNTS = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
EQUAL_FRACTIONS = np.full(1000, 1e-3)


def coverage_of(classes, *, fractions, confidences=None, **options):
    classes = np.asarray(classes)
    confidences = np.ones(len(classes)) if confidences is None else np.asarray(confidences)
    return mode_coverage(
        generated_classes=classes,
        confidences=confidences,
        real_fractions=np.array(fractions),
        **options,
    )


class BrightnessClassifier:
    """Three classes by the brightness of a grey 2 x 2 image; unsure at 100."""

    num_classes, image_shape, label = 3, (2, 2, 1), "brightness"

    def __init__(self, test_accuracy=0.999):
        self.test_accuracy = test_accuracy
        right = round(2000 * test_accuracy)
        others = (2000 - right) // 2
        self.confusion = np.full((3, 3), others) + np.diag([2000 - 3 * others] * 3)

    def predict_probabilities(self, images, progress=None):
        brightness = images.mean(axis=(1, 2, 3))
        classes = np.minimum(brightness // 80, 2).astype(int)
        sure = np.where(brightness == 100, 0.5, 0.94)[:, None]
        return np.where(np.eye(3)[classes] > 0, sure, (1 - sure) / 2)


def grey(*values):
    return np.array(values, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)


def test_kl_by_hand():
    half, quarter = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert kl_divergence(generated_fractions=half, reference_fractions=quarter) == pytest.approx(
        expected
    )
    # The other direction is another number: real and generated are not exchangeable.
    assert kl_divergence(generated_fractions=quarter, reference_fractions=half) == pytest.approx(
        0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    )
    lost = np.array([1.0, 0.0])
    assert kl_divergence(generated_fractions=lost, reference_fractions=half) == pytest.approx(
        math.log(2)
    )
    assert kl_divergence(generated_fractions=half, reference_fractions=lost) == math.inf


def floor_of(fractions, *, reference=None, num_samples):
    return expected_kl(
        true_fractions=fractions,
        reference_fractions=fractions if reference is None else reference,
        num_samples=num_samples,
    )


def test_expected_kl_of_two_samples_by_hand():
    # Two draws of two equal classes: KL is log 2 half of the time and 0 otherwise.
    half, quarter = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    assert floor_of(half, num_samples=2) == pytest.approx(math.log(2) / 2, rel=1e-12)
    # Against other fractions: log 4 or log 4/3 where both draws agree, else as between both.
    agreed = 0.25 * math.log(4) + 0.25 * math.log(4 / 3)
    mixed = 0.5 * (0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert floor_of(half, reference=quarter, num_samples=2) == pytest.approx(agreed + mixed)


@pytest.mark.parametrize("fractions", [[0.1] * 10, [0.6, 0.3, 0.08, 0.02]])
@pytest.mark.parametrize("equal_reference", [True, False])
def test_expected_kl_agrees_with_a_simulation(fractions, equal_reference):
    fractions, num_samples = np.array(fractions), 200
    reference = np.full(len(fractions), 1 / len(fractions)) if equal_reference else fractions
    counts = np.random.default_rng(0).multinomial(num_samples, fractions, size=4000)
    values = [
        kl_divergence(generated_fractions=row / num_samples, reference_fractions=reference)
        for row in counts
    ]
    floor = floor_of(fractions, reference=reference, num_samples=num_samples)
    assert floor == pytest.approx(np.mean(values), abs=4 * np.std(values) / math.sqrt(4000))


def test_expected_kl_nears_the_asymptote_and_is_zero_for_one_class():
    floor = floor_of(EQUAL_FRACTIONS, num_samples=26_000)
    assert floor == pytest.approx(999 / 52_000, rel=0.02)
    one, other = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert floor_of(one, num_samples=50) == 0.0
    assert floor_of(one, reference=other, num_samples=50) == math.inf


def test_a_tenth_of_the_real_fraction_covers_and_less_does_not():
    fractions = [0.5, 0.5]
    at_limit = [0] * 95 + [1] * 5
    below = [0] * 96 + [1] * 4
    assert coverage_of(at_limit, fractions=fractions)["modes_covered"] == 2
    assert coverage_of(below, fractions=fractions)["modes_covered"] == 1
    assert coverage_of(below, fractions=fractions, minimum_fraction=0.0)["modes_covered"] == 2


def test_unsure_samples_cover_nothing_but_count_in_the_histogram():
    numbers = coverage_of([0, 0, 1, 1], fractions=[0.5, 0.5], confidences=[0.95, 0.9, 0.89, 0.5])
    assert numbers["modes_covered"] == 1
    assert numbers["rejected_fraction"] == pytest.approx(0.5)
    assert numbers["confident_fraction"] == pytest.approx(0.5)
    assert numbers["mode_kl"] == pytest.approx(0.0)


def test_classes_that_real_images_lack_are_no_modes():
    numbers = coverage_of([0, 1, 2], fractions=[0.5, 0.5, 0.0])
    assert (numbers["modes_covered"], numbers["num_modes"]) == (2, 2)
    assert numbers["mode_kl"] == math.inf


def test_no_sure_sample_covers_no_mode():
    numbers = coverage_of(
        [0, 1], fractions=[0.5, 0.5], confidences=[0.5, 0.5], minimum_fraction=0.0
    )
    assert numbers["modes_covered"] == 0
    assert numbers["rejected_fraction"] == 1.0


def test_a_perfect_sampler_lies_at_the_floor_and_a_collapsed_one_far_above():
    fractions = np.full(10, 0.1)
    classes = np.random.default_rng(0).choice(10, 2000, p=fractions)
    perfect = coverage_of(classes, fractions=fractions)
    assert perfect["modes_covered"] == 10
    assert 0.3 < perfect["mode_kl"] / perfect["mode_kl_floor"] < 3
    collapsed = coverage_of(np.zeros(2000, dtype=int), fractions=fractions)
    assert collapsed["modes_covered"] == 1
    assert collapsed["mode_kl"] == pytest.approx(math.log(10))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="sum=1.5"):
        coverage_of([0], fractions=[1.0, 0.5])
    with pytest.raises(ValueError, match=r"Received: \(0,\)"):
        coverage_of(np.zeros(0, dtype=int), fractions=[1.0])
    with pytest.raises(ValueError, match="`minimum_fraction` must be in"):
        ModeCoverage(minimum_fraction=2.0)


def test_colour_images_are_judged_channel_by_channel():
    red, green, blue = grey(200, 10), grey(90, 100), grey(0, 250)
    classes, confidences = predict_modes(
        classifier=BrightnessClassifier(),
        images=np.concatenate([red, green, blue], axis=-1),
        num_classes=27,
    )
    np.testing.assert_array_equal(classes, [2 * 9 + 1 * 3 + 0, 0 * 9 + 1 * 3 + 2])
    np.testing.assert_allclose(confidences, [0.94**3, 0.94 * 0.5 * 0.94])
    with pytest.raises(ValueError, match="27 in all. Received: num_classes=10"):
        predict_modes(
            classifier=BrightnessClassifier(),
            images=np.zeros((1, 2, 2, 3), np.uint8),
            num_classes=10,
        )


def stacked_fractions():
    counts = class_counts(np.repeat(np.arange(10), MNIST_COUNTS), num_classes=10, channels=3)
    return counts / counts.sum()


def stacked_coverage_of(classes, **overrides):
    options = {"confidences": np.ones(len(classes)), "real_fractions": stacked_fractions()}
    return stacked_mode_coverage(generated_classes=classes, **{**options, **overrides})


def test_all_possible_stacks_are_counted_with_the_first_channel_leading():
    labels = np.array([0, 0, 1, 2, 2, 2])
    np.testing.assert_array_equal(class_counts(labels, num_classes=4), [2, 1, 3, 0])
    pairs = class_counts(labels, num_classes=3, channels=2)
    stacks = [3 * first + second for first in labels for second in labels]
    np.testing.assert_array_equal(pairs, np.bincount(stacks, minlength=9))


def test_the_floor_of_stacked_mnist_counts_the_uneven_digits():
    fractions = stacked_fractions()
    assert fractions[137] == pytest.approx(6742 * 6131 * 6265 / 60_000**3)
    floor = floor_of(fractions, reference=EQUAL_FRACTIONS, num_samples=26_000)
    assert floor == pytest.approx(0.023619, abs=5e-7)
    # 0.0193 of it are for want of samples, the rest is that digits are not equally frequent.
    uneven = kl_divergence(generated_fractions=fractions, reference_fractions=EQUAL_FRACTIONS)
    rest = floor_of(EQUAL_FRACTIONS, num_samples=26_000)
    assert floor == pytest.approx(uneven + rest, abs=1e-5)


def test_a_perfect_sampler_of_stacked_digits_lies_at_the_floor():
    fractions, generator = stacked_fractions(), np.random.default_rng(0)
    numbers = [stacked_coverage_of(generator.choice(1000, 26_000, p=fractions)) for _ in range(10)]
    assert all(row["modes_covered"] == row["num_modes"] == 1000 for row in numbers)
    divergences = [row["mode_kl"] for row in numbers]
    assert np.std(divergences) < 0.002
    assert np.mean(divergences) == pytest.approx(numbers[0]["mode_kl_floor"], abs=0.001)


@pytest.mark.parametrize("num_samples", [300, 2000])
def test_expected_modes_agree_with_a_simulation(num_samples):
    fractions, generator = stacked_fractions(), np.random.default_rng(0)
    hits = [
        stacked_coverage_of(generator.choice(1000, num_samples, p=fractions))["modes_covered"]
        for _ in range(50)
    ]
    expected = expected_modes(true_fractions=fractions, num_samples=num_samples)
    assert expected == pytest.approx(np.mean(hits), abs=4 * np.std(hits) / math.sqrt(50))


def test_a_generator_of_99_modes_is_told():
    made = np.random.default_rng(0).permutation(1000)[:99]
    numbers = stacked_coverage_of(np.tile(made, 263)[:26_000])
    assert (numbers["modes_covered"], numbers["num_modes"]) == (99, 1000)
    assert numbers["mode_kl"] == pytest.approx(math.log(1000 / 99), abs=1e-5)


def test_one_sample_covers_a_stacked_mode_sure_or_not():
    classes, confidences = np.array([0, 0, 0, 999]), np.array([0.99, 0.9, 0.89, 0.1])
    numbers = stacked_coverage_of(classes, confidences=confidences)
    assert numbers["modes_covered"] == 2
    assert numbers["rejected_fraction"] == numbers["confident_fraction"] == 0.5
    expected = 0.75 * math.log(750) + 0.25 * math.log(250)
    assert numbers["mode_kl"] == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"Received: \(4,\) and \(3,\)"):
        stacked_coverage_of(classes, confidences=confidences[:3])


def evaluation(**overrides):
    options = {
        "real_images": grey(0, 90, 250),
        "generated_images": grey(10, 20, 100, 200),
        "real_labels": np.array([0, 0, 1, 2]),
        "num_classes": 3,
        "seed": 0,
        "classifier": BrightnessClassifier(),
    }
    return Evaluation(**{**options, **overrides})


def test_metric_counts_and_leaves_its_histograms():
    judged = evaluation()
    numbers = ModeCoverage()(judged)
    assert numbers["modes_covered"] == 2  # the only sample of class 1 is not recognised
    assert numbers["rejected_fraction"] == pytest.approx(0.25)
    assert numbers["mode_kl"] == pytest.approx(0.0)
    details = judged.details["mode_coverage"]
    assert details["generated_histogram"] == [2, 1, 1]
    assert details["confident_histogram"] == [2, 0, 1]
    assert details["real_histogram"] == [2, 1, 1]
    assert "expected_modes" not in details


def test_metric_tells_how_good_its_classifier_is():
    assert ModeCoverage()(evaluation())["classifier_accuracy"] == 0.999


def test_metric_judges_stacked_images_by_their_own_rule():
    samples = np.concatenate([grey(200, 10), grey(90, 100), grey(0, 250)], axis=-1)
    judged = evaluation(real_images=samples, generated_images=samples, num_classes=27, stacked=True)
    numbers = ModeCoverage(minimum_fraction=1.0, minimum_confidence=0.8)(judged)
    assert (numbers["modes_covered"], numbers["num_modes"]) == (2, 27)
    assert numbers["mode_kl"] == pytest.approx(math.log(27 / 2))
    assert numbers["rejected_fraction"] == 0.5  # 0.94 * 0.5 * 0.94 is not sure, 0.94 ** 3 is
    details = judged.details["mode_coverage"]
    assert details["generated_histogram"][21] == details["generated_histogram"][5] == 1
    # Labels 0, 0, 1, 2: of the 64 stacks, 8 are of three zeros and 1 of three ones.
    assert details["real_histogram"][0] == 8 and details["real_histogram"][13] == 1
    fractions = np.array(details["real_histogram"]) / 64
    equal = np.full(27, 1 / 27)
    assert numbers["mode_kl_floor"] == floor_of(fractions, reference=equal, num_samples=2)
    assert details["expected_modes"] == expected_modes(true_fractions=fractions, num_samples=2)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"real_labels": None}, "needs labels"),
        ({"classifier": None}, "needs a classifier"),
        ({"classifier": BrightnessClassifier(0.79)}, "79.00%.*80.00%"),
    ],
)
def test_metric_refuses_itself(overrides, reason):
    with pytest.raises(NotMeasured, match=reason):
        ModeCoverage()(evaluation(**overrides))


def test_the_least_accuracy_is_an_option():
    judged = evaluation(classifier=BrightnessClassifier(0.79))
    assert ModeCoverage(minimum_accuracy=0.78)(judged)["num_modes"] == 3


def test_below_99_2_percent_fractions_are_corrected_and_said_to_be():
    exact, corrected = evaluation(), evaluation(classifier=BrightnessClassifier(0.9))
    numbers, others = ModeCoverage()(exact), ModeCoverage()(corrected)
    assert (numbers["fractions_corrected"], others["fractions_corrected"]) == (0.0, 1.0)
    assert numbers["mode_kl"] == pytest.approx(0.0)  # as counted: 2, 1, 1
    details = corrected.details["mode_coverage"]
    fractions = np.array(details["corrected_fractions"])
    assert fractions.sum() == pytest.approx(1.0)
    # Half of the images are taken for class 0, so more than half of them are of class 0.
    assert fractions[0] == pytest.approx((0.5 - 0.05) / (0.9 - 0.05), abs=0.001)
    expected = kl_divergence(
        generated_fractions=fractions, reference_fractions=np.array([2, 1, 1]) / 4
    )
    assert others["mode_kl"] == pytest.approx(expected)
    assert others["mode_kl_floor"] > numbers["mode_kl_floor"]
    assert min(details["corrected_fraction_standard_errors"]) > 0.1  # of four samples
    assert "corrected_fractions" not in exact.details["mode_coverage"]
    assert others["modes_covered"] == numbers["modes_covered"]


def test_stacked_fractions_are_not_corrected():
    samples = np.concatenate([grey(200, 10), grey(90, 100), grey(0, 250)], axis=-1)
    options = {"real_images": samples, "generated_images": samples, "num_classes": 27}
    judged = evaluation(**options, stacked=True, classifier=BrightnessClassifier(0.99))
    with pytest.raises(NotMeasured, match="99.00%.*99.20%"):
        ModeCoverage()(judged)


def test_the_rejected_fraction_has_its_interval():
    numbers = coverage_of([0] * 200, fractions=[1.0], confidences=[0.5] * 20 + [1.0] * 180)
    assert numbers["rejected_fraction"] == 0.1
    # Wilson's, by another implementation (statsmodels 0.14).
    assert numbers["rejected_fraction_low"] == pytest.approx(0.0657, abs=1e-4)
    assert numbers["rejected_fraction_high"] == pytest.approx(0.1494, abs=1e-4)
    stacked = stacked_coverage_of(np.array([0, 1]), confidences=np.array([0.5, 1.0]))
    assert stacked["rejected_fraction_low"] < 0.1 < 0.9 < stacked["rejected_fraction_high"]


def test_conditional_accuracy_is_the_fraction_of_right_classes():
    numbers = ModeCoverage()(evaluation(generated_labels=np.array([0, 1, 1, 2])))
    assert numbers["conditional_accuracy"] == 0.75  # the classifier sees 0, 0, 1, 2
    assert "conditional_accuracy" not in ModeCoverage()(evaluation())
    with pytest.raises(ValueError, match="generated_labels"):
        ModeCoverage()(evaluation(generated_labels=np.array([0])))
