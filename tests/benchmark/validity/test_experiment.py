import json

import numpy as np
import pytest

from benchmark import evaluation
from benchmark.datasets.base import ImageDataset
from benchmark.datasets.mnist import load_mnist
from benchmark.results import Folder
from benchmark.validity import __main__ as command
from benchmark.validity import sets
from benchmark.validity.candidates import CANDIDATES, COMPANIONS
from benchmark.validity.experiment import Experiment
from benchmark.validity.pools import REFERENCE, Pools, pack, unpack

NUM_TEST, NUM_TRAIN = 300, 700
NEEDED = {candidate.column for candidate in (*CANDIDATES, *COMPANIONS)}


class Projection:
    """An encoder that is quick: random projections of the pixels, as many dead columns."""

    label, name, recipe = "projection 1f3a9c2e", "projection", {"encoder": "projection"}

    def __init__(self):
        self.num_images = 0
        self.matrix = np.random.default_rng(0).normal(size=(784, 8)).astype(np.float32) / 784

    def __call__(self, images, progress=None):
        self.num_images += len(images)
        features = images.reshape(len(images), -1) @ self.matrix
        return np.concatenate([features, np.zeros_like(features)], axis=1)


class NearestMean:
    """A classifier that is quick: by distance to the classes' mean images."""

    label = description = "nearest mean"
    recipe, image_shape, num_classes, test_accuracy = {"encoder": "digits"}, (28, 28, 1), 10, 0.8

    def __init__(self, images, labels):
        flat = images.reshape(len(images), -1).astype(np.float32)
        self.means = np.stack([flat[labels == label].mean(axis=0) for label in range(10)])

    def __call__(self, images, progress=None):
        flat = images.reshape(len(images), -1).astype(np.float32)
        return np.linalg.norm(flat[:, None] - self.means, axis=2) / 1000

    def predict_probabilities(self, images, progress=None):
        odds = np.exp(-30.0 * self(images))
        return odds / odds.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    whole = load_mnist(cache_dir=tmp_path_factory.mktemp("cache"))
    return ImageDataset(
        name="mnist",
        train_images=np.array(whole.train_images[:NUM_TRAIN]),
        train_labels=whole.train_labels[:NUM_TRAIN],
        test_images=np.array(whole.test_images[:NUM_TEST]),
        test_labels=whole.test_labels[:NUM_TEST],
        num_classes=10,
        fingerprint="part of mnist",
        class_names=whole.class_names,
    )


@pytest.fixture(scope="module")
def classifier(dataset):
    return NearestMean(dataset.train_images, dataset.train_labels)


@pytest.fixture
def pools(dataset, classifier, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.validity.pools.REFERENCE_SIZE", 400)
    return Pools(
        dataset, encoder=Projection(), classifier=classifier, cache=Folder(tmp_path / "cache")
    )


def test_dead_columns_are_not_kept_and_come_back():
    features = np.array([[0, 1, 0, 2], [0, 3, 0, 0]], np.float32)
    packed = pack(features)
    assert packed["features"].shape == (2, 2)
    np.testing.assert_array_equal(unpack(packed), features)


def test_the_copies_are_training_images_outside_the_reference(pools, dataset):
    def as_set(images):
        return {image.tobytes() for image in images}

    reference, copies = as_set(pools.images(REFERENCE)), as_set(pools.images("memorised"))
    training = as_set(dataset.train_images)
    assert len(reference) == 400 and len(copies) == NUM_TEST
    assert reference | copies <= training and not reference & copies


def test_the_reference_is_that_of_the_runs(pools, dataset):
    drawn = evaluation.draw(dataset.train_images, 400, evaluation.REFERENCE_SEED)
    np.testing.assert_array_equal(
        np.sort(pools.images(REFERENCE).reshape(400, -1), axis=0),
        np.sort(drawn.reshape(400, -1), axis=0),
    )


def test_all_is_measured_and_nothing_twice(pools, dataset, classifier):
    measured = Experiment(pools).run(100)
    assert len(measured.plan.draws) == 3
    names = {sets.UNDAMAGED, sets.FIFTH}
    names |= {(damage.name, s) for damage in sets.DAMAGES for s in damage.strengths}
    assert set(measured.values) == names
    for values in measured.values.values():
        assert set(values) >= NEEDED
        assert all(len(found) == 3 and np.isfinite(found).all() for found in values.values())
    assert measured.copied[sets.MEMORISED.name, 1.0] == 1.0
    assert measured.copied[sets.UNDAMAGED] < 0.1
    again = Pools(
        dataset, encoder=Projection(), classifier=classifier, cache=Folder(pools.cache.path.parent)
    )
    assert Experiment(again).run(100).values == measured.values
    assert again.encoder.num_images == 0 and pools.encoder.num_images > 0


def test_numbers_are_those_of_the_metrics(pools):
    from metrics.fid import fid, fid_standard_error
    from metrics.prdc import prdc

    plan = sets.plan_draws(num_images=NUM_TEST, num_samples=100, seed=1)
    rows = plan.draws[0].rows
    reference = pools.encoder(pools.images(REFERENCE))
    features = pools.encoder(pools.test_images[rows])
    expected = prdc(real_features=reference[:100], generated_features=features)
    values = Experiment(pools).measured_once(sets.UNDAMAGED, plan)
    assert values["density"][0] == pytest.approx(expected["density"])
    assert values["coverage"][0] == pytest.approx(expected["coverage"])
    distance = fid(real_features=reference, generated_features=features)
    assert values["fid"][0] == pytest.approx(distance, rel=1e-5)
    judged = [pools.classifier(pools.images(REFERENCE)), pools.classifier(pools.test_images[rows])]
    error = fid_standard_error(real_features=judged[0], generated_features=judged[1])
    assert values["fid_digits_error"][0] == pytest.approx(error, rel=1e-4)


class FewParts:
    """What `compose` gives, for a small dataset and a quick encoder."""

    def __init__(self, dataset, folder):
        self.dataset = dataset
        self.settings = {
            "cache_dir": str(folder / "cache"),
            "results_dir": str(folder / "results"),
            "device": "cpu",
            "metric": {"mode_coverage": {"minimum_accuracy": 0.8}},
        }

    def load_dataset(self):
        return self.dataset

    def build_encoder(self):
        return Projection()


@pytest.fixture
def run_command(dataset, classifier, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.validity.pools.REFERENCE_SIZE", 400)
    monkeypatch.setattr(command, "compose", lambda *words: FewParts(dataset, tmp_path))
    monkeypatch.setattr(command, "load_classifier", lambda dataset, cache: classifier)
    monkeypatch.setattr(command, "PRESETS", {"smoke": 40, "quick": 100, "standard": 300})
    monkeypatch.setattr(sets, "DAMAGES", (sets.NOISE, sets.SWAPPED, sets.SUPERPOSED, sets.FEW))

    def run(*words):
        assert command.main(list(words)) == 0
        results = tmp_path / "results"
        return (
            (results / "validity.md").read_text(),
            json.loads((results / "validity.json").read_text()),
        )

    return run


def test_the_command_writes_its_page_and_figures(run_command):
    page, figures = run_command("quick", "standard")
    assert "Made by `python -m benchmark.validity quick standard`" in page
    assert "## quick: N = 100" in page and "## standard: N = 300" in page
    assert "jackknife" in page
    assert "| swapped halves, 100% |" in page
    assert figures["decided_by"] == "quick"
    for kind, column in figures["headline"].items():
        assert f"Headline {kind.replace('_', ' a ')}: **" in page and f"(`{column}`)" in page
    values = figures["presets"]["quick"]["values"]
    assert len(values["few images|20"]["kid_digits_mean"]) == 3
    assert figures["winners"]["quick"] == figures["headline"]


def test_an_unknown_preset_is_refused(run_command, capsys):
    with pytest.raises(SystemExit) as exit_:
        command.main(["huge"])
    assert exit_.value.code == 2
    assert "presets are smoke, quick, standard. Received: huge" in capsys.readouterr().err
