"""A row is added for another way of measuring; a number is measured again if its key changes."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from benchmark import evaluation, measurement, stored_results
from benchmark.datasets import ImageDataset
from benchmark.errors import EnvironmentProblem
from benchmark.evaluation import SANITY_ROWS, Evaluator
from benchmark.headline import headline
from benchmark.measurement import Subject, is_measured, measure, measure_sanity_rows, write_row
from benchmark.results import Folder
from metrics.base import NotMeasured

NUM_SAMPLES = 30


class Pixels:
    """An encoder that counts the images that it encodes."""

    weights_hash = "0"
    requires_classifier = False

    def __init__(self, name="pixels"):
        self.name = self.label = name
        self.recipe = {"encoder": name}
        self.num_encoded = 0

    def __call__(self, images, progress=None):
        self.num_encoded += len(images)
        return images.reshape(len(images), -1).astype("float32")


class Judging(Pixels):
    """A classifier, as far as metrics of these tests ask for one."""

    test_accuracy, description = 1.0, "right"

    def __init__(self, weights_hash="0"):
        super().__init__("digits")
        self.label = f"classifier {weights_hash}"
        self.recipe = {"encoder": "digits", "weights_hash": weights_hash}


class Counting:
    """A metric that counts its calls; the names of the options say what it does."""

    requires_sampler = False
    minimum_samples = 1

    def __init__(
        self, name, *, encoder="", option=0, times=False, judges=False, fails=False, busy=()
    ):
        self.name, self.encoder, self.judges, self.fails = name, encoder, judges, fails
        self.busy_reasons = list(busy)
        self.requires_sampler = times
        self.num_calls = 0

    def __call__(self, evaluation):
        self.num_calls += 1
        if self.fails:
            raise NotMeasured("it never is")
        if self.judges:
            assert evaluation.classifier is not None
        if self.encoder != "":
            evaluation.reference_features(self.encoder)
            real, generated = evaluation.features(self.encoder)
            assert len(real) == len(generated)
        evaluation.details[self.name] = {"said": self.name, "busy_reasons": self.busy_reasons}
        return {f"{self.name}_mean": float(evaluation.generated_images.mean())}


OPTIONS = {
    "quality": {"encoder": None},
    "digits": {"encoder": "digits"},
    "pixels": {},
    "modes": {"judges": True},
    "latency": {"times": True},
}


@pytest.fixture
def dataset():
    generator = np.random.default_rng(0)
    return ImageDataset(
        name="pictures",
        train_images=generator.integers(0, 256, (60, 4, 4, 1), "uint8"),
        train_labels=np.arange(60) % 2,
        test_images=generator.integers(0, 256, (50, 4, 4, 1), "uint8"),
        test_labels=np.arange(50) % 2,
        num_classes=2,
        fingerprint="f00d",
        class_names=("even", "odd"),
    )


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (100, 4, 4, 1), "uint8")


class Bench:
    """Measures samples in one folder with instruments of one choice, and tells what it did."""

    def __init__(self, dataset, folder, monkeypatch):
        self.dataset, self.folder, self.patch = dataset, folder, monkeypatch

    def evaluator(self, options, *, encoder="pixels", classifier="0", num_samples=NUM_SAMPLES):
        self.patch.setattr(evaluation, "load_classifier", lambda *_: Judging(classifier))
        self.metrics = {name: Counting(name, **given) for name, given in options.items()}
        self.encoder = Pixels(encoder)
        return Evaluator(
            self.dataset,
            encoder=self.encoder,
            metrics=self.metrics,
            metric_settings=options,
            num_samples=num_samples,
            num_reference_images=40,
            cache=Folder(self.folder / "cache"),
        )

    def subject(self, images, **speed):
        return Subject(
            Folder(self.folder / "samples"), images, sampler=SimpleNamespace(), speed=speed
        )

    def __call__(self, images, options=OPTIONS, *, preset="quick", speed=None, **chosen):
        evaluator = self.evaluator(options, **chosen)
        subject = self.subject(images[: evaluator.num_samples], **(speed or {}))
        known = is_measured(evaluator, subject, preset)
        measured = measure(evaluator, subject, preset)
        write_row(evaluator, subject, measured, {"model": "vae"}, preset=preset)
        assert is_measured(evaluator, subject, preset)
        assert known == (not measured.anew)
        called = {name for name, metric in self.metrics.items() if metric.num_calls}
        assert called == set(measured.anew)
        return called

    @property
    def rows(self):
        paths = sorted((self.folder / "samples/measurements").glob("*/metrics.json"))
        return [json.loads(path.read_text()) for path in paths]


@pytest.fixture
def bench(dataset, tmp_path, monkeypatch):
    return Bench(dataset, tmp_path, monkeypatch)


def test_all_is_measured_once(bench, images):
    assert bench(images) == set(OPTIONS)
    assert bench(images) == set()
    (stored,) = bench.rows
    assert stored["row"]["quality_mean"] == images[:NUM_SAMPLES].mean()
    assert stored["row"]["num_samples"] == NUM_SAMPLES
    assert stored["row"]["headline"] == headline(True)
    assert stored["numbers"]["quality"]["details"]["said"] == "quality"
    uses = {name: number["instruments"] for name, number in stored["numbers"].items()}
    assert uses == {
        "quality": ["encoder"], "digits": ["classifier"], "pixels": [], "modes": ["classifier"],
        "latency": [],
    }  # fmt: skip


def test_a_busy_host_is_one_note_with_all_reasons(bench, images):
    bench(images, {"latency": {"times": True, "busy": ["times vary", "others work"]}})
    (stored,) = bench.rows
    assert stored["row"]["notes"] == "the host was busy: times vary, and others work"


@pytest.mark.parametrize("name", OPTIONS)
def test_another_option_measures_its_metric_alone(bench, images, name):
    bench(images)
    assert bench(images, {**OPTIONS, name: {**OPTIONS[name], "option": 1}}) == {name}
    assert len(bench.rows) == 1


def test_another_encoder_adds_a_row_and_measures_what_uses_it(bench, images):
    bench(images)
    before = bench.rows[0]
    assert bench(images, encoder="others") == {"quality"}
    assert len(bench.rows) == 2 and before in bench.rows
    assert {row["row"]["kid_encoder"] for row in bench.rows} == {"pixels", "others"}


def test_another_classifier_adds_a_row_and_measures_what_uses_it(bench, images):
    bench(images)
    assert bench(images, classifier="1") == {"digits", "modes"}
    first, second = (stored["row"]["protocol"] for stored in bench.rows)
    assert first != second


@pytest.mark.parametrize("num_samples", [20, 50])
def test_another_number_of_samples_adds_a_row_and_times_nothing_again(bench, images, num_samples):
    bench(images)
    assert bench(images, num_samples=num_samples) == set(OPTIONS) - {"latency"}
    assert {stored["row"]["num_samples"] for stored in bench.rows} == {NUM_SAMPLES, num_samples}


def test_another_preset_adds_a_row_and_measures_nothing(bench, images):
    bench(images)
    evaluator = bench.evaluator(OPTIONS)
    subject = bench.subject(images[:NUM_SAMPLES])
    assert not is_measured(evaluator, subject, "standard")
    assert measure(evaluator, subject, "standard").anew == []


@pytest.mark.parametrize("change", [{"jit": True}, {"device": "GPU"}, {"precision": "bfloat16"}])
def test_what_changes_the_speed_measures_the_speed_alone(bench, images, change):
    bench(images, speed={"jit": False})
    assert bench(images, speed={"jit": False, **change}) == {"latency"}


def test_other_images_are_measured_in_all_but_speed(bench, images):
    bench(images)
    assert bench(255 - images) == set(OPTIONS) - {"latency"}


def test_other_real_images_are_another_reference(bench, images, dataset):
    bench(images)
    object.__setattr__(dataset, "fingerprint", "beef")
    assert bench(images) == set(OPTIONS) - {"latency"}


def test_an_edit_of_a_metrics_code_measures_it_alone(bench, images, monkeypatch):
    monkeypatch.setattr(
        measurement.Keys, "description", lambda keys, name: {
            "options": {}, "module": name,
            "times_sampler": keys.evaluator.metrics[name].requires_sampler,
        },
    )  # fmt: skip
    edited = {}
    monkeypatch.setattr(evaluation, "module_version", lambda name: edited.get(name, "first"))
    assert bench(images) == set(OPTIONS)
    edited["modes"] = "second"
    assert bench(images) == {"modes"}


def test_an_added_metric_joins_the_row_and_encodes_nothing_again(bench, images):
    bench(images)
    assert bench.encoder.num_encoded == 30 + 40 + NUM_SAMPLES
    added = {"fid": {"encoder": None}}
    assert bench(images, added) == {"fid"}
    assert bench.encoder.num_encoded == 0
    (stored,) = bench.rows
    assert set(stored["numbers"]) == {*OPTIONS, "fid"}
    assert stored["row"]["quality_mean"] == stored["row"]["fid_mean"]


def test_numbers_of_metrics_that_were_not_asked_for_go_when_they_do_not_hold(bench, images):
    bench(images)
    assert bench(255 - images, {"fid": {}}) == {"fid"}
    (stored,) = bench.rows
    assert set(stored["numbers"]) == {"fid", "latency"}


def test_what_cannot_be_measured_is_noted_and_not_tried_again(bench, images):
    options = {"never": {"fails": True}, "pixels": {}}
    bench(images, options)
    (stored,) = bench.rows
    assert stored["row"]["notes"] == "never not measured: it never is"
    assert "never_mean" not in stored["row"]
    assert bench(images, options) == set()


def test_a_metric_that_fails_takes_no_other_with_it_and_is_tried_again(bench, images, monkeypatch):
    original = Counting.__call__

    def failing(metric, evaluated):
        values = original(metric, evaluated)
        if metric.name == "modes":
            raise ZeroDivisionError("no modes at all")
        return values

    evaluator, subject = bench.evaluator(OPTIONS), bench.subject(images[:NUM_SAMPLES])
    with monkeypatch.context() as patch:
        patch.setattr(Counting, "__call__", failing)
        measured = measure(evaluator, subject, "quick")
        write_row(evaluator, subject, measured, {"model": "vae"}, preset="quick")
    (stored,) = bench.rows
    assert stored["row"]["notes"] == "modes failed: ZeroDivisionError: no modes at all"
    means = {name for name in stored["row"] if name.endswith("_mean")}
    assert means == {f"{name}_mean" for name in set(OPTIONS) - {"modes"}}
    assert not is_measured(evaluator, subject, "quick")
    assert bench(images) == {"modes"}
    (stored,) = bench.rows
    assert "modes_mean" in stored["row"] and stored["row"]["notes"] == ""


def test_what_the_machine_lacks_ends_the_measuring(bench, images, monkeypatch):
    """Each metric would fail for the same reason, as on a disk that is full."""

    def refused(metric, evaluated):
        raise EnvironmentProblem("no room")

    monkeypatch.setattr(Counting, "__call__", refused)
    with pytest.raises(EnvironmentProblem, match="no room"):
        bench(images)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_noted(bench, images, monkeypatch, value):
    monkeypatch.setattr(Counting, "__call__", lambda metric, _: {f"{metric.name}_mean": value})
    evaluator, subject = bench.evaluator({"modes": {}}), bench.subject(images[:NUM_SAMPLES])
    measured = measure(evaluator, subject)
    assert measured.notes == [f"modes_mean came out as {value}"]
    assert measured.values == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"row": {}}'])
def test_damaged_numbers_are_measured_again(bench, images, content):
    bench(images)
    (path,) = (bench.folder / "samples/measurements").glob("*/metrics.json")
    path.write_bytes(content)
    assert bench(images) == set(OPTIONS)
    (stored,) = bench.rows
    assert stored["row"]["quality_mean"] == images[:NUM_SAMPLES].mean()


def test_damaged_numbers_of_another_row_are_passed_over(bench, images):
    bench(images)
    (path,) = (bench.folder / "samples/measurements").glob("*/metrics.json")
    path.write_bytes(b"{")
    assert bench(images, encoder="others") == set(OPTIONS)


def test_a_measurement_that_was_killed_goes_on_after_its_last_number(bench, images, monkeypatch):
    original = Counting.__call__

    def killed(metric, evaluated):
        if metric.name == "modes":
            raise KeyboardInterrupt
        return original(metric, evaluated)

    with monkeypatch.context() as patch:
        patch.setattr(Counting, "__call__", killed)
        with pytest.raises(KeyboardInterrupt):
            bench(images)
    assert bench.rows == []
    assert bench(images) == {"modes", "latency"}
    assert not list(bench.folder.rglob(measurement.UNFINISHED))


def test_every_observation_of_the_speed_lies_beside_the_samples(bench, images):
    bench(images)
    observed = json.loads((bench.folder / "samples/latency.json").read_text())
    (stored,) = bench.rows
    number = stored["numbers"]["latency"]
    assert observed["said"] == "latency" and observed["key"] == number["key"]
    assert number["details"] == {}


def test_another_headline_writes_the_row_again(bench, images, monkeypatch):
    bench(images)
    monkeypatch.setattr(evaluation, "headline", lambda has_classifier: "density")
    evaluator, subject = bench.evaluator(OPTIONS), bench.subject(images[:NUM_SAMPLES])
    assert not is_measured(evaluator, subject, "quick")
    assert measure(evaluator, subject, "quick").anew == []


def test_sanity_rows_are_measured_once_for_all_runs(bench, tmp_path):
    for expected in (set(OPTIONS) - {"latency"}, set()):
        evaluator = bench.evaluator(OPTIONS)
        measure_sanity_rows(evaluator, tmp_path)
        assert {name for name, metric in bench.metrics.items() if metric.num_calls} == expected
    rows = stored_results.collect_rows(tmp_path)
    assert sorted(rows["model"]) == sorted(SANITY_ROWS)
    assert set(rows["status"]) == {"sanity"} and set(rows["num_samples"]) == {NUM_SAMPLES}
    shutil.rmtree(tmp_path / "sanity" / "pictures" / "noise")
    measure_sanity_rows(evaluator, tmp_path)
    assert len(stored_results.collect_rows(tmp_path)) == len(SANITY_ROWS)
