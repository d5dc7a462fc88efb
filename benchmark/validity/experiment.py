"""Measures every number on every set at the number of images of a preset."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from benchmark import console
from benchmark.evaluation import REFERENCE_SEED
from benchmark.provenance import code_version
from benchmark.results import digest
from benchmark.validity import sets
from benchmark.validity.candidates import Encoded, Reference, Space, choose_rows, measure
from benchmark.validity.pools import REFERENCE, Pools
from benchmark.validity.sets import Damage, Draw, Parts, Plan, SetName

MEASURING_CODE = (
    "benchmark/validity/candidates.py",
    "benchmark/validity/sets.py",
    "metrics/*.py",
)
SURE = 0.9  # metrics.coverage.mode_coverage's default
COPIED_OF = (
    sets.UNDAMAGED,
    (sets.FEW.name, 20.0),
    (sets.MEMORISED.name, 1.0),
)  # the sets of which the copied share is measured, once each: it takes long


@dataclass
class Measured:
    """What one preset gave.

    Attributes:
        plan: The draws.
        damages: Those that the dataset allows.
        values: By set and column, a value for each draw.
        copied: Copied share by set, of the first draw.
        seconds: Of all measuring, whenever it was.
    """

    plan: Plan
    damages: tuple[Damage, ...]
    values: dict[SetName, dict[str, list[float]]] = field(default_factory=dict)
    copied: dict[SetName, float] = field(default_factory=dict)
    seconds: float = 0.0


class Experiment:
    """All sets of a dataset under all numbers. What was measured before is not measured again.

    Args:
        pools: The images.
    """

    def __init__(self, pools: Pools) -> None:
        self.pools = pools
        self.key = digest([pools.feature_key, pools.digit_key, code_version(MEASURING_CODE)])

    def run(self, num_samples: int) -> Measured:
        """Measures all sets at a number of images."""
        plan = sets.plan_draws(
            num_images=len(self.pools.test_images), num_samples=num_samples, seed=REFERENCE_SEED
        )
        measured = Measured(plan, sets.applicable(self.pools.dataset.num_classes))
        names = list(self.names(measured.damages))
        with console.progress("set", len(names)) as update:
            for done, name in enumerate(names, start=1):
                numbers = self.measured_once(name, plan)
                measured.seconds += sum(numbers.pop("seconds"))
                measured.values[name] = numbers
                update(done)
        for name in COPIED_OF:
            if name in measured.values and not plan.is_jackknife:
                measured.copied[name] = self.copied_share(name, plan.draws[0])
        return measured

    def names(self, damages: tuple[Damage, ...]) -> Iterator[SetName]:
        """All sets, the undamaged one first."""
        yield sets.UNDAMAGED
        for damage in damages:
            for strength in damage.strengths:
                yield damage.name, strength
        if self.pools.classifier is not None:
            yield sets.FIFTH

    def parts(self, name: SetName, draw: Draw) -> Parts:
        """What a set consists of."""
        if name == sets.UNDAMAGED:
            return sets.undamaged(draw)
        if name == sets.FIFTH:
            return sets.unrecognisable(draw, self.rejected_rows)
        (damage,) = (damage for damage in sets.DAMAGES if damage.name == name[0])
        labels = self.pools.dataset.test_labels
        return sets.damaged(damage, name[1], draw, labels, REFERENCE_SEED)

    @cached_property
    def rejected_rows(self) -> np.ndarray:
        """The superposed images of which the classifier is not sure."""
        judged = self.pools.encoded(sets.SUPERPOSED.name).judged
        return np.flatnonzero(judged.confidences < SURE) if judged else np.empty(0, dtype=int)

    def encoded(self, parts: Parts) -> Encoded:
        return choose_rows([(self.pools.encoded(pool), rows) for pool, rows in parts])

    def measured_once(self, name: SetName, plan: Plan) -> dict[str, list[float]]:
        """The numbers of a set for each draw, and the `seconds` that they took when measured."""
        content = [self.key, plan.num_samples, name, [draw.rows.tolist() for draw in plan.draws]]
        file = f"{digest(content)}.json"
        numbers = self.pools.cache.read_json(file)
        if not numbers:
            for draw in plan.draws:
                encoded, reference = self.encoded(self.parts(name, draw)), self.reference
                start = time.perf_counter()
                found = measure(encoded, reference, plan.num_samples)
                found["seconds"] = time.perf_counter() - start
                for column, value in found.items():
                    numbers.setdefault(column, []).append(value)
            self.pools.cache.write_json(file, numbers)
        return numbers

    @cached_property
    def reference(self) -> Reference:
        """The real images in all spaces."""
        pool, dataset = self.pools.encoded(REFERENCE), self.pools.dataset
        inception = Space(pool.features)
        if pool.judged is None:
            return Reference(inception)
        counts = np.bincount(dataset.train_labels, minlength=dataset.num_classes)
        return Reference(inception, Space(pool.judged.features), counts / counts.sum())

    def copied_share(self, name: SetName, draw: Draw) -> float:
        """Fraction of a set that are copies of training images."""
        from metrics.memorisation import memorisation

        file = f"{digest([self.key, 'copied', name, draw.rows.tolist()])}.json"
        numbers = self.pools.cache.read_json(file)
        if not numbers:
            images = self.pools.images_of(self.parts(name, draw))
            training = np.asarray(self.pools.dataset.train_images)
            numbers, _ = memorisation(
                generated=images.reshape(len(images), -1),
                training=training.reshape(len(training), -1),
            )
            self.pools.cache.write_json(file, numbers)
        return numbers["copied_share"]
