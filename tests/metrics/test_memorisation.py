import numpy as np
import pytest

from metrics.base import Evaluation, NotMeasured
from metrics.intervals import wilson_interval
from metrics.memorisation import Memorisation, memorisation


def test_hand_computed_case():
    # Training 0, 10, 12 on a line. 1 is nearer to 0 than 0 is to 10: a copy. 11 lies 1 from 10,
    # which lies 2 from 12: not authentic, yet no copy, as 12 is no farther. 14 lies 2 from 12,
    # which lies 2 from 10: not farther, so not authentic. 30 is authentic.
    training = np.array([[0.0], [10.0], [12.0]])
    numbers, found = memorisation(
        generated=np.array([[1.0], [11.0], [14.0], [30.0]]), training=training, num_neighbours=2
    )
    assert numbers == {"authenticity": 0.25, "copied_fraction": 0.25}
    np.testing.assert_array_equal(found["neighbours"][:, 0], [0, 1, 2, 2])
    np.testing.assert_allclose(found["ratios"], [0.1, 0.5, 1.0, 9.0])


def test_copies_are_found_even_of_images_that_occur_twice():
    training = np.array([[0.0], [0.0], [7.0], [9.0]])
    numbers, found = memorisation(
        generated=np.array([[0.0], [7.0]]), training=training, num_neighbours=2
    )
    assert numbers == {"authenticity": 0.0, "copied_fraction": 1.0}
    np.testing.assert_array_equal(found["ratios"], [0.0, 0.0])


def test_unseen_digits_are_no_copies_and_training_digits_are(mnist_train, mnist_test):
    training = mnist_train[0][:5000].reshape(5000, -1)
    unseen, _ = memorisation(generated=mnist_test[0][:200].reshape(200, -1), training=training)
    copies, _ = memorisation(generated=training[100:300], training=training)
    nearly = np.clip(training[100:300].astype(int) + 8, 0, 255).astype(np.uint8)
    near_copies, _ = memorisation(generated=nearly, training=training)
    assert unseen["copied_fraction"] == 0.0
    assert unseen["authenticity"] > 0.5
    assert copies == {"authenticity": 0.0, "copied_fraction": 1.0}
    assert near_copies["copied_fraction"] > 0.9
    assert near_copies["authenticity"] < 0.05


@pytest.mark.parametrize(
    ("generated", "training", "message"),
    [
        (np.ones((2, 3)), np.ones((9, 4)), r"\(2, 3\) and \(9, 4\)"),
        (np.ones((2, 3)), np.ones((5, 3)), "5 training images"),
        (np.ones((0, 3)), np.ones((9, 3)), "0 samples"),
    ],
)
def test_what_does_not_fit_together_is_named(generated, training, message):
    with pytest.raises(ValueError, match=message):
        memorisation(generated=generated, training=training)


def evaluation(generated, **overrides):
    options = {"real_images": generated, "generated_images": generated, "seed": 0}
    return Evaluation(**{**options, **overrides})


def test_metric_shows_the_likeliest_copies_first():
    generator = np.random.default_rng(0)
    training = generator.integers(0, 256, (50, 4, 4, 1), dtype=np.uint8)
    generated = generator.integers(0, 256, (12, 4, 4, 1), dtype=np.uint8)
    generated[7] = training[33]
    judged = evaluation(generated, training_images=training)
    numbers = Memorisation()(judged)
    assert numbers["copied_fraction"] == pytest.approx(1 / 12)
    assert (numbers["copied_fraction_low"], numbers["copied_fraction_high"]) == wilson_interval(
        1, 12
    )
    authentic = round(12 * numbers["authenticity"])
    assert 0 < authentic < 12
    low, high = wilson_interval(authentic, 12)
    assert (numbers["authenticity_low"], numbers["authenticity_high"]) == (low, high)
    details = judged.details["memorisation"]
    assert details["samples"][0] == 7
    assert details["neighbours"][0][0] == 33
    assert details["ratios"] == sorted(details["ratios"])
    assert np.shape(details["neighbours"]) == (10, 5)


def test_metric_says_why_it_does_not_measure():
    images = np.zeros((9, 4, 4, 3), dtype=np.uint8)
    with pytest.raises(NotMeasured, match="not at hand"):
        Memorisation()(evaluation(images))
    with pytest.raises(NotMeasured, match="drawn at random"):
        Memorisation()(evaluation(images, training_images=images, stacked=True))
    with pytest.raises(NotMeasured, match="more than 5"):
        Memorisation()(evaluation(images, training_images=images[:5]))
