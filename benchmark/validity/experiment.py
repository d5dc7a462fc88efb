"""Measures every number on every set at the number of images of a preset."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from benchmark import console
from benchmark.evaluation import REFERENCE_SEED
from benchmark.provenance import code_version
from benchmark.results import digest
from benchmark.validity import sets
from benchmark.validity.candidates import (
    CLASSIFIER_COLUMNS,
    ENCODER_COLUMNS,
    Judged,
    classifier_numbers,
    join,
)
from benchmark.validity.pools import REFERENCE, Pools
from benchmark.validity.sets import Damage, Draw, Parts, Plan, SetName
from benchmark.validity.spaces import Space

MEASURING_CODE = (
    "benchmark/validity/spaces.py",
    *(f"metrics/{name}.py" for name in ("base", "distances", "fid", "mmd", "prdc")),
)
COPIES_CODE = ("metrics/distances.py", "metrics/memorisation.py")
FID_GROUPS = 20  # conf/metric/fid_digits.yaml's
SURE = 0.9  # metrics.coverage.mode_coverage's default
COPIED_OF = (
    sets.UNDAMAGED,
    (sets.FEW.name, 20.0),
    (sets.MEMORISED.name, 1.0),
)  # the sets of which the copied fraction is measured, once each: it takes long


@dataclass
class Measured:
    """What one preset gave.

    Attributes:
        plan: The draws.
        damages: Those that the dataset allows.
        num_test_images: All that the draws are taken from.
        values: By set and column, a value for each draw.
        copied: Copied fraction by set, of the first draw.
        seconds: Of all measuring, whenever it was.
    """

    plan: Plan
    damages: tuple[Damage, ...]
    num_test_images: int
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
        code = code_version(MEASURING_CODE)
        self.encoder_key = digest([pools.encoder_key, code])
        self.classifier_key = digest([pools.classifier_key, code])

    def run(self, num_samples: int) -> Measured:
        """Measures all sets at a number of images."""
        num_images = len(self.pools.test_images)
        plan = sets.plan_draws(num_images=num_images, num_samples=num_samples, seed=REFERENCE_SEED)
        measured = Measured(plan, sets.applicable(self.pools.dataset.num_classes), num_images)
        names = list(self.names(measured.damages))
        with console.progress("set", len(names)) as update:
            for done, name in enumerate(names, start=1):
                numbers = self.measured_once(name, plan)
                measured.seconds += sum(numbers.pop("seconds"))
                measured.values[name] = numbers
                update(done)
        for name in COPIED_OF:
            if name in measured.values and not plan.is_jackknife:
                measured.copied[name] = self.copied_fraction(name, plan.draws[0])
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
        return np.flatnonzero(self.pools.judged(sets.SUPERPOSED.name).confidences < SURE)

    def measured_once(self, name: SetName, plan: Plan) -> dict[str, list[float]]:
        """The numbers of a set for each draw, and the `seconds` that they took when measured."""
        pools, wholes = self.pools, [self.parts(name, draw) for draw in plan.draws]

        def by_encoder(parts: Parts) -> dict[str, float]:
            features = np.concatenate([pools.features(pool)[rows] for pool, rows in parts])
            return self.encoder_space.numbers(features, plan.num_samples)

        def by_classifier(parts: Parts) -> dict[str, float]:
            return self.classifier_space.numbers(self.judged(parts).features, plan.num_samples)

        found = self._once(wholes, plan, self.encoder_key, by_encoder)
        numbers = {column: found[known_as] for column, known_as in ENCODER_COLUMNS.items()}
        seconds = sum(found["seconds"])
        if pools.classifier is not None:
            found = self._once(wholes, plan, self.classifier_key, by_classifier)
            numbers |= {column: found[known_as] for column, known_as in CLASSIFIER_COLUMNS.items()}
            seconds += sum(found["seconds"])
            decided = [classifier_numbers(self.judged(p), self.class_fractions) for p in wholes]
            numbers |= {column: [one[column] for one in decided] for column in decided[0]}
        return {**numbers, "seconds": [seconds]}

    def judged(self, parts: Parts) -> Judged:
        """A set as the classifier sees it."""
        return join([self.pools.judged(pool)[rows] for pool, rows in parts])

    def _once(
        self,
        wholes: list[Parts],
        plan: Plan,
        key: str,
        numbers_of: Callable[[Parts], dict[str, float]],
    ) -> dict[str, list[float]]:
        """The numbers of some sets, by name, from the cache where they are there."""
        content = [key, self.pools.hash(REFERENCE), plan.num_samples]
        content += [self.identity(parts) for parts in wholes]
        file = f"{digest(content)}.json"
        numbers = self.pools.cache.recall_json(file)
        if not numbers:
            for parts in wholes:
                start = time.perf_counter() - self.pools.waiting_seconds
                found = numbers_of(parts)
                found["seconds"] = time.perf_counter() - self.pools.waiting_seconds - start
                for name, value in found.items():
                    numbers.setdefault(name, []).append(value)
            self.pools.cache.write_json(file, numbers)
        return numbers

    def identity(self, parts: Parts) -> list[Any]:
        """What distinguishes a set from others, ready for JSON."""
        return [[self.pools.hash(pool), rows.tolist()] for pool, rows in parts]

    @cached_property
    def encoder_space(self) -> Space:
        """The real images as the encoder sees them."""
        return Space(self.pools.features(REFERENCE))

    @cached_property
    def classifier_space(self) -> Space:
        """The real images as the classifier sees them."""
        return Space(self.pools.judged(REFERENCE).features, fid_groups=FID_GROUPS)

    @cached_property
    def class_fractions(self) -> np.ndarray:
        """Fractions of the classes in the training split."""
        dataset = self.pools.dataset
        counts = np.bincount(dataset.train_labels, minlength=dataset.num_classes)
        return counts / counts.sum()

    def copied_fraction(self, name: SetName, draw: Draw) -> float:
        """Fraction of a set that are copies of training images."""
        from metrics.memorisation import memorisation

        parts, code = self.parts(name, draw), code_version(COPIES_CODE)
        content = [code, self.pools.dataset.fingerprint, self.identity(parts)]
        file = f"{digest(content)}.json"
        numbers = self.pools.cache.recall_json(file)
        if not numbers:
            images = self.pools.images_of(parts)
            training = np.asarray(self.pools.dataset.train_images)
            numbers, _ = memorisation(
                generated=images.reshape(len(images), -1),
                training=training.reshape(len(training), -1),
            )
            self.pools.cache.write_json(file, numbers)
        return numbers["copied_fraction"]
