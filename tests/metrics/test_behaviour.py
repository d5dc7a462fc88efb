"""Do the metrics order real digits as a person would? With the embedded encoder."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from metrics.encoders import InceptionV3Encoder
from metrics.fid import fid
from metrics.kid import kid
from metrics.prdc import prdc

pytestmark = pytest.mark.slow  # thousands of images are encoded

NUM_IMAGES = 600
NUM_CHANGED = 300
PLAN = {"num_subsets": 50, "subset_size": 100}


@pytest.fixture(scope="module")
def encoder():
    return InceptionV3Encoder(weights="embedded")


@pytest.fixture(scope="module")
def real_features(encoder, mnist_train):
    return encoder(mnist_train[0][:NUM_IMAGES])


@pytest.fixture(scope="module")
def test_features(encoder, mnist_test):
    return encoder(mnist_test[0][:NUM_IMAGES])


def with_noise(images, deviation):
    noise = np.random.default_rng(0).normal(0.0, deviation, images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def with_blur(images, width):
    blurred = uniform_filter(images.astype(np.float64), size=(1, width, width, 1))
    return np.rint(blurred).astype(np.uint8)


def quality(real_features, generated_features):
    mean, _ = kid(real_features=real_features, generated_features=generated_features, **PLAN)
    return mean


@pytest.mark.parametrize(
    ("change", "levels"), [(with_noise, (5, 15, 40)), (with_blur, (2, 3, 5))], ids=["noise", "blur"]
)
def test_kid_and_fid_grow_and_precision_falls_as_digits_are_spoiled(
    encoder, mnist_test, real_features, test_features, change, levels
):
    images = mnist_test[0][:NUM_CHANGED]
    spoiled = [encoder(change(images, level)) for level in levels]
    rows = [test_features[:NUM_CHANGED], *spoiled]
    kids = [quality(real_features, features) for features in rows]
    fids = [fid(real_features=real_features, generated_features=features) for features in rows]
    precisions = [
        prdc(real_features=real_features, generated_features=features)["precision"]
        for features in rows
    ]
    assert abs(kids[0]) < 5e-4
    assert kids == sorted(kids)
    assert kids[1] > 5 * abs(kids[0])
    assert fids == sorted(fids)
    assert precisions == sorted(precisions, reverse=True)


def test_kid_grows_and_coverage_falls_as_modes_are_dropped(
    real_features, test_features, mnist_test
):
    labels = mnist_test[1][:NUM_IMAGES]
    kept = [test_features[labels < num_classes] for num_classes in (10, 5, 2)]
    kids = [quality(real_features, features) for features in kept]
    numbers = [prdc(real_features=real_features, generated_features=f[:120]) for f in kept]
    coverages = [number["coverage"] for number in numbers]
    assert kids == sorted(kids)
    assert kids[1] > abs(kids[0])
    assert coverages == sorted(coverages, reverse=True)


def test_identical_sets_score_zero_or_slightly_below(real_features):
    mean = quality(real_features, real_features)
    assert mean < 1e-4
    whole, _ = kid(
        real_features=real_features,
        generated_features=real_features,
        num_subsets=1,
        subset_size=NUM_IMAGES,
    )
    assert -1e-3 < whole <= 0.0
    assert fid(real_features=real_features, generated_features=real_features) == pytest.approx(
        0.0, abs=1e-6
    )


def test_the_encoder_s_batch_size_changes_kid_by_less_than_1e_5(
    encoder, mnist_test, real_features, test_features
):
    generated = with_noise(mnist_test[0][:150], 15)

    def value(batch_size):
        other = InceptionV3Encoder(weights="embedded", batch_size=batch_size)
        other.network = encoder.network
        return quality(real_features, other(generated))

    values = [value(batch_size) for batch_size in (7, 64, 150)]
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)


def test_order_of_the_images_does_not_matter_beyond_the_draw(real_features, test_features):
    shuffled = np.random.default_rng(0).permutation(NUM_IMAGES)
    plan = {"num_subsets": 1, "subset_size": NUM_IMAGES}
    there = kid(real_features=real_features, generated_features=test_features, **plan)[0]
    mixed = kid(real_features=real_features, generated_features=test_features[shuffled], **plan)[0]
    assert mixed == pytest.approx(there, rel=1e-9)
    again = quality(real_features, test_features)
    assert quality(real_features, test_features) == again
