"""Measures a set of images, metric by metric, and writes a row of the results.

Each metric's numbers have a separate key, a hash of everything that determines them: the metric's
options, the code of its module and of what it imports from `metrics`, the images and the reference,
and the instruments that it used. Numbers with the same key are not measured again, whether they are
in this row or in another row of the same samples.
"""

import contextlib
import math
import traceback
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from benchmark import console, results
from benchmark.errors import EnvironmentProblem
from benchmark.evaluation import SANITY_ROWS, Evaluator
from benchmark.features import FEATURES
from benchmark.machine import measuring_alone, pause, working_seconds
from benchmark.results import Folder, digest, hash_arrays, row_folder, stored_measurements
from metrics.base import NotMeasured

NUM_SHOWN = 100  # images stored of a set that no run made
FAILED = "failed"  # the key of numbers that could not be measured
UNFINISHED = "unfinished.json"  # the numbers of a row that is being measured


@dataclass(frozen=True, eq=False)
class Subject:
    """What is measured.

    Attributes:
        folder: Where its rows lie, and the features of its images.
        images: uint8 `(N, height, width, channels)`.
        labels: int64 `(N,)`, the classes that the images were conditioned on, or `None`.
        sampler: What made the images, if its speed is to be measured.
        speed: Everything that the sampler's speed depends on, ready for JSON.
    """

    folder: Folder
    images: np.ndarray
    labels: np.ndarray | None = None
    sampler: Any = None
    speed: Any = None

    @cached_property
    def source(self) -> dict[str, Any]:
        """What the images are, ready for JSON."""
        return {"images": hash_arrays({"images": self.images})}


@dataclass
class Measured:
    """The numbers of a row.

    Attributes:
        numbers: By metric, as metrics.json has them.
        anew: Metrics that were measured now, not loaded.
        seconds: How long it took, by stage: `latency` for the speed, `measuring` for the rest.
    """

    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    anew: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        return {
            name: value
            for number in self.numbers.values()
            for name, value in number["values"].items()
        }

    @property
    def notes(self) -> list[str]:
        return [note for number in self.numbers.values() for note in number["notes"]]

    def details(self, metric: str) -> dict[str, Any]:
        """What a metric recorded beyond its numbers; empty if it is not among them."""
        return self.numbers.get(metric, {}).get("details", {})


class Keys:
    """Checks whether stored numbers are valid for a subject and the current instruments."""

    def __init__(self, evaluator: Evaluator, subject: Subject) -> None:
        self.evaluator = evaluator
        self.subject = subject

    def of(self, number: dict[str, Any]) -> str:
        """The key that the numbers would have if they were measured now, in the same way.

        Args:
            number: `options`, `module`, `times_sampler` and `instruments` of a metric's numbers.
        """
        if number["times_sampler"]:
            measured = self.subject.speed
        else:
            labels = self.subject.labels
            measured = [
                self.subject.source,
                None if labels is None else hash_arrays({"labels": labels}),
                self.evaluator.reference,
            ]
        return self.evaluator.number_key(
            options=number["options"],
            module=number["module"],
            instruments=number["instruments"],
            subject=measured,
        )

    def holds(self, number: dict[str, Any]) -> bool:
        """Whether measuring again would give the stored numbers."""
        try:
            return number["key"] == self.of(number)
        except ModuleNotFoundError:  # the metric no longer exists
            return False

    def description(self, name: str) -> dict[str, Any]:
        """What a requested metric's numbers record about how they are measured."""
        metric = self.evaluator.metrics[name]
        return {
            "options": self.evaluator.metric_settings[name],
            "module": type(metric).__module__,
            "times_sampler": metric.requires_sampler,
        }

    def find(self, name: str, stored: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Finds a requested metric's numbers among stored ones, if they are valid."""
        wanted = self.description(name)
        for numbers in stored:
            number = numbers.get(name)
            if number and wanted.items() <= number.items() and self.holds(number):
                return number
        return None

    @property
    def names(self) -> list[str]:
        """The requested metrics that can measure this subject."""
        return [
            name
            for name, metric in self.evaluator.metrics.items()
            if self.subject.sampler is not None or not metric.requires_sampler
        ]


def is_measured(evaluator: Evaluator, subject: Subject, preset: str = "") -> bool:
    """Whether the row exists and all its numbers are still valid."""
    row = row_folder(subject.folder, evaluator.row_key(preset)).recall_json("metrics.json")
    if not {"row", "numbers"} <= row.keys():
        return False
    if not evaluator.description.items() <= row["row"].items():
        return False
    keys = Keys(evaluator, subject)
    return all(keys.find(name, [row["numbers"]]) for name in keys.names)


def measure(evaluator: Evaluator, subject: Subject, preset: str = "") -> Measured:
    """Measures what is not measured yet; keeps the numbers of other metrics while they are valid.

    Args:
        evaluator: The instruments.
        subject: What is measured.
        preset: The preset whose table has the row; empty for rows of all tables.
    """
    folder = row_folder(subject.folder, evaluator.row_key(preset))
    own = folder.recall_json("metrics.json").get("numbers", {})
    stored = [folder.recall_json(UNFINISHED).get("numbers", {}), own]
    stored += [measurement["numbers"] for measurement in stored_measurements(subject.folder)]
    keys, measured = Keys(evaluator, subject), Measured()
    found = {name: keys.find(name, stored) for name in keys.names}
    if kept := [name for name, number in found.items() if number]:
        console.say(f"already measured: {', '.join(kept)}")
    evaluation = None if all(found.values()) else evaluate_by(evaluator, subject)
    for name, number in found.items():
        if number is None:
            number = measure_metric(name, keys, evaluation, measured.seconds)
            measured.anew.append(name)
        measured.numbers[name] = number
        if measured.anew:
            folder.write_json(UNFINISHED, {"numbers": measured.numbers})
    for name, number in own.items():
        if name not in evaluator.metrics and keys.holds(number):
            measured.numbers[name] = number
    return measured


def evaluate_by(evaluator: Evaluator, subject: Subject) -> Any:
    """Builds what the metrics are called with."""
    return evaluator.evaluation(
        subject.images,
        features=Folder(subject.folder.path / FEATURES),
        source=subject.source,
        sampler=subject.sampler,
        generated_labels=subject.labels,
    )


def measure_metric(
    name: str, keys: Keys, evaluation: Any, seconds: dict[str, float]
) -> dict[str, Any]:
    """The numbers of one metric, as metrics.json has them; adds its time to `seconds`.

    If a metric times the sampler, its details (all observations) go to a file beside the samples,
    with the key of the numbers that they belong to.
    """
    metric = keys.evaluator.metrics[name]
    evaluation.instruments, evaluation.details = set(), {}
    pause()
    start = working_seconds()
    values, notes, failed = attempt(name, metric, evaluation)
    took = console.duration(working_seconds() - start)
    console.say("; ".join(notes) or f"{name}: {took}", style="yellow" if notes else "")
    stage = "latency" if metric.requires_sampler else "measuring"
    seconds[stage] = seconds.get(stage, 0.0) + working_seconds() - start
    said = list(evaluation.details.values())
    details = said[0] if len(said) == 1 else dict(evaluation.details)
    if busy := details.get("busy_reasons"):
        notes.append(f"the host was busy: {', and '.join(busy)}")
    number: dict[str, Any] = {
        **keys.description(name),
        "values": values,
        "details": details,
        "notes": notes,
        "instruments": sorted(evaluation.instruments),
    }
    # A failed metric gets no valid key, so the next run measures it again.
    number = {"key": FAILED if failed else keys.of(number), **number}
    if metric.requires_sampler:
        observed = {"key": number["key"], **number["details"]}
        keys.subject.folder.write_json(f"{name}.json", observed)
        number["details"] = {}
    return number


def attempt(name: str, metric: Any, evaluation: Any) -> tuple[dict[str, Any], list[str], bool]:
    """Measures one metric; if it fails, the others are not affected.

    Returns:
        Its values by column, its notes, and whether it failed.
    """
    alone = measuring_alone() if metric.requires_sampler else contextlib.nullcontext()
    try:
        if len(evaluation.generated_images) < metric.minimum_samples:  # the test set may be small
            raise NotMeasured(f"it needs {metric.minimum_samples} images")
        with alone:
            values = metric(evaluation)
    except NotMeasured as reason:
        return {}, [f"{name} not measured: {reason}"], False
    except EnvironmentProblem:  # it would only recur
        raise
    except Exception as error:
        traceback.print_exc()
        return {}, [f"{name} failed: {type(error).__name__}: {error}"], True
    numbers = {key: value for key, value in values.items() if is_number(value)}
    broken = sorted(values.keys() - numbers.keys())
    return numbers, [f"{key} came out as {values[key]}" for key in broken], False


def is_number(value: Any) -> bool:
    """Whether a value is a string or a finite number."""
    return not isinstance(value, int | float) or math.isfinite(value)


def write_row(
    evaluator: Evaluator,
    subject: Subject,
    measured: Measured,
    row: dict[str, Any],
    *,
    preset: str = "",
    notes: list[str] | None = None,
) -> None:
    """Writes metrics.json of a row.

    Args:
        evaluator: The instruments.
        subject: What was measured.
        measured: Its numbers.
        row: The row's columns that no metric measures.
        preset: The preset whose table has the row; empty for rows of all tables.
        notes: Notes that come before those of the metrics.
    """
    folder = row_folder(subject.folder, evaluator.row_key(preset))
    told = [*(notes or []), *evaluator.shortfall(len(subject.images)), *measured.notes]
    columns = {
        "dataset": evaluator.dataset.name,
        **row,
        "num_samples": len(subject.images),
        **evaluator.description,
        **measured.values,
        "notes": "; ".join(told),
    }
    folder.write_json("metrics.json", {"row": columns, "numbers": measured.numbers})
    folder.remove(UNFINISHED)


def write_failed_row(
    evaluator: Evaluator, samples_folder: Folder, row: dict[str, Any], *, preset: str, reason: str
) -> None:
    """Writes metrics.json of a row whose samples could not be made.

    Args:
        evaluator: The instruments that would have measured them.
        samples_folder: The folder of the samples.
        row: The row's columns that no metric measures.
        preset: The preset whose table has the row.
        reason: What went wrong.
    """
    columns = {**row, **evaluator.description, "status": "failed", "notes": reason}
    content = {"row": columns, "numbers": {}}
    row_folder(samples_folder, evaluator.row_key(preset)).write_json("metrics.json", content)


def measure_sanity_rows(evaluator: Evaluator, results_dir: str) -> None:
    """Measures the rows whose scores are known beforehand, unless that is already done."""
    dataset = evaluator.dataset
    for name in SANITY_ROWS:
        key = digest([dataset.fingerprint, evaluator.num_samples])
        folder = results.sanity_folder(results_dir, dataset.name, name, key)
        subject = Subject(folder, evaluator.sanity_images(name))
        with folder.waiting_lock("row"):  # another run may be measuring it
            if is_measured(evaluator, subject):
                continue
            console.stage(f"Measuring {name.replace('_', ' ')}")
            folder.write_array("samples.npy", subject.images[:NUM_SHOWN])
            measured = measure(evaluator, subject)
            write_row(
                evaluator, subject, measured, {"model": name, "sampler": "", "status": "sanity"}
            )
