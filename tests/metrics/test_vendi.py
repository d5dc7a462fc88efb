import numpy as np
import pytest
from scipy.stats import entropy

from metrics.base import Evaluation
from metrics.vendi import Vendi, vendi


def test_copies_of_one_image_count_as_one():
    assert vendi(features=np.tile([[1.0, 2.0, 2.0]], (50, 1))) == pytest.approx(1.0)


@pytest.mark.parametrize("count", [3, 8])
def test_orthogonal_images_count_each(count):
    assert vendi(features=np.eye(8)[:count]) == pytest.approx(count)


def test_fractions_of_orthogonal_groups_give_the_exponential_of_their_entropy():
    features = np.repeat(np.eye(3), [70, 20, 10], axis=0)
    assert vendi(features=features) == pytest.approx(np.exp(entropy([0.7, 0.2, 0.1])))


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_agrees_with_the_definition_whichever_gram_matrix_is_smaller(shape):
    features = np.random.default_rng(0).normal(size=shape)
    norms = np.linalg.norm(features, axis=1)
    kernel = features @ features.T / np.outer(norms, norms)
    eigenvalues = np.maximum(np.linalg.eigvalsh(kernel / len(features)), 0.0)
    assert vendi(features=features) == pytest.approx(np.exp(entropy(eigenvalues)))


def test_neither_length_nor_order_matters():
    features = np.abs(np.random.default_rng(0).normal(size=(40, 6)))
    scaled = features[::-1] * np.arange(1, 41)[:, None]
    assert vendi(features=scaled.astype(np.float32)) == pytest.approx(
        vendi(features=features), rel=1e-6
    )


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.ones(3), r"Received: shape \(3,\)"),
        (np.ones((0, 3)), r"Received: shape \(0, 3\)"),
        (np.array([[1.0, np.nan]]), "finite"),
        (np.array([[1.0], [0.0]]), "Received: 1 of 2 rows"),
    ],
)
def test_wrong_features_are_named(features, message):
    with pytest.raises(ValueError, match=message):
        vendi(features=features)


class Pixels:
    name, label, weights_hash = "pixels", "pixels 0 @2", "0"

    def __call__(self, images, progress=None):
        return images.reshape(len(images), -1).astype(np.float32) + 1


def test_metric_gives_the_reference_s_score_too():
    generator = np.random.default_rng(0)
    real = generator.integers(0, 256, (40, 2, 2, 1), dtype=np.uint8)
    evaluation = Evaluation(
        real_images=real,
        generated_images=np.repeat(real[:1], 30, axis=0),
        seed=0,
        encoders={"pixels": Pixels()},
    )
    assert Vendi()(evaluation) == {"vendi": pytest.approx(1.0)}
    details = evaluation.details["vendi"]
    assert details["vendi_of_reference"] == vendi(features=Pixels()(real)) > 1.3
    assert details["num_generated"] == 30
