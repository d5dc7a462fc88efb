"""Training under plain `fit` that can stop after any step and go on bit for bit.

An epoch is the stretch between two checkpoints. A checkpoint is one atomic file with all of
the state: weights, optimizer, random seeds, history and the best weights so far. The order of the
images is a function of (seed, step), so nothing else has to be restored.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from benchmark import console
from benchmark.datasets import ImageDataset
from benchmark.devices import part_noises
from benchmark.learning import LearningPictures
from benchmark.machine import working_seconds
from benchmark.pipeline import build_pipeline
from benchmark.report.columns import column
from benchmark.results import RunFolder
from benchmark.training_cost import counted_step
from benchmark.validation import Best, Validation, averaged_weights, is_better, put_averages

STEPS_BEFORE_ESTIMATE = 25  # the first ones are slow: functions are traced


@dataclass
class Training:
    """How a training went.

    Attributes:
        history: A row for each checkpoint: step, images_seen, seconds, each loss, and
            `validation_<headline of quality>` where it was measured.
        best: The best weights by validation; `None` without it.
        diverged: Why it was stopped, empty if it ended well.
    """

    history: list[dict[str, float]]
    best: Best | None = None
    diverged: str = ""

    @property
    def seconds(self) -> float:
        return self.history[-1]["seconds"] if self.history else 0.0

    @property
    def images_seen(self) -> int:
        return int(self.history[-1]["images_seen"]) if self.history else 0


def train(
    model: keras.Model,
    dataset: ImageDataset,
    *,
    run: RunFolder,
    seed: int,
    batch_size: int,
    num_steps: int,
    num_checkpoints: int,
    validation: Validation | None = None,
    pictures: LearningPictures | None = None,
) -> Training:
    """Trains `model`, from the run's last checkpoint on if there is one.

    Validation and pictures leave no trace in the training: the final weights are the same, bit
    for bit, without them.

    Args:
        model: A compiled `models.base.GenerativeModel`.
        dataset: What it trains on: the training images, and their labels where the model is
            conditioned on classes.
        run: Where the checkpoints go.
        seed: Integer that determines the order of the images.
        batch_size: Images a step.
        num_steps: Steps in all, rounded up to a multiple of `num_checkpoints`.
        num_checkpoints: How many times the state is saved.
        validation: What chooses the best weights, or `None`.
        pictures: What shows how the model learns, or `None`.

    Returns:
        The `Training`. The model holds the final weights: the averages, if its optimizer keeps any.
    """
    steps_per_epoch = math.ceil(num_steps / num_checkpoints)
    model.steps_per_execution = largest_divisor(steps_per_epoch, model.steps_per_execution)
    history, best = restore(model, run.read_arrays(RunFolder.CHECKPOINT))
    part_noises(model)
    first_epoch = len(history)
    if not first_epoch:
        model.adapt(dataset.train_images)
    else:
        console.say(f"going on from the checkpoint at step {history[-1]['step']}")
    watch = Watch(
        history,
        best,
        batch_size=batch_size,
        first_step=first_epoch * steps_per_epoch,
        run=run,
        validation=validation,
        pictures=pictures,
    )
    if first_epoch < num_checkpoints:
        data = batches(model, dataset, batch_size=batch_size, seed=seed, start_step=watch.step)
        flops = fit(model, data, watch, num_checkpoints, steps_per_epoch)
        if flops is not None:
            run.update_state(train_flops_per_image=flops / batch_size)
    put_averages(model)
    return Training(history, watch.best, watch.diverged)


def fit(
    model: keras.Model, data: Any, watch: "Watch", num_checkpoints: int, steps_per_epoch: int
) -> int | None:
    """Trains up to the last checkpoint; returns the operations of a step, if they are counted."""
    total = steps_per_epoch * num_checkpoints
    with (
        counted_step(model) as cost,
        console.progress("step", total, start=watch.step) as watch.update,
    ):
        model.fit(
            data,
            initial_epoch=len(watch.history),
            epochs=num_checkpoints,
            steps_per_epoch=steps_per_epoch,
            shuffle=False,
            verbose=0,
            callbacks=[watch],
        )
    return cost.flops


def largest_divisor(number: int, at_most: int) -> int:
    """The largest divisor of `number` that is `at_most` or less."""
    return max(count for count in range(1, at_most + 1) if number % count == 0)


def batches(model: keras.Model, dataset: ImageDataset, **options: Any):
    """The pipeline of what `model` is called with: images, or `(images, labels)`."""
    options["horizontal_flip"] = dataset.horizontal_flip
    if model.num_classes is None:
        return build_pipeline(dataset.train_images, **options)
    pairs = build_pipeline(dataset.train_images, labels=dataset.train_labels, **options)
    return pairs.map(lambda images, labels: ((images, labels),))


class Watch(keras.callbacks.Callback):
    """Shows progress, saves checkpoints, and stops at a loss that is not a number.

    At checkpoints it also validates and takes pictures.
    """

    def __init__(self, history, best, *, batch_size, first_step, run, validation, pictures):
        super().__init__()
        self.history = history
        self.best = best
        self.batch_size = batch_size
        self.step = first_step
        self.run = run
        self.validation = validation
        self.pictures = pictures
        self.diverged = ""
        self.update = None
        self._first_step = first_step
        self._earlier_seconds = history[-1]["seconds"] if history else 0.0
        self._start = self._estimate_start = None
        self._estimate_step, self._is_told = 0, False

    def on_train_begin(self, logs=None):
        self._start = working_seconds()

    def on_train_batch_end(self, batch, logs=None):
        self.step += self.model.steps_per_execution
        self._guard(logs)
        self._estimate()
        self.update(self.step, "  ".join(f"{name} {value:.4g}" for name, value in logs.items()))

    def on_epoch_end(self, epoch, logs=None):
        if self.diverged:
            return
        earlier = self.history[-1]["seconds"] if self.history else 0.0
        seconds = self._earlier_seconds + working_seconds() - self._start
        counts = {"step": self.step, "images_seen": self.step * self.batch_size}
        losses = {name: float(value) for name, value in logs.items()}
        row = {**counts, "seconds": round(seconds, 3), **losses, **self._look(epoch + 1)}
        self.history.append(row)
        self.run.write_arrays(RunFolder.CHECKPOINT, state(self.model, self.history, self.best))
        self.run.add_seconds("training", seconds - earlier)

    def _look(self, checkpoint):
        """Validates and takes pictures where these are due, both of the averaged weights.

        Their time does not count as training's.
        """
        validates, draws = (
            part is not None and part.is_due(checkpoint, self.params["epochs"])
            for part in (self.validation, self.pictures)
        )
        if not validates and not draws:
            return {}
        start = working_seconds()
        with averaged_weights(self.model):
            values = self._validate() if validates else {}
            drawing = working_seconds()
            if draws:
                images_seen = self.step * self.batch_size
                self.pictures.take(checkpoint, step=self.step, images_seen=images_seen)
            drawn = working_seconds() - drawing
        seconds = working_seconds() - start
        self._leave_out(seconds)
        if validates:
            self.run.add_seconds("validation", seconds - drawn)
        if draws:
            self.run.add_seconds("pictures", drawn if validates else seconds)
        return values

    def _validate(self):
        """Measures the headline of the weights as they are, and keeps them if they are the best."""
        validation = self.validation
        images = validation.sample()
        value, measure = validation.distance(images), validation.headline
        instrument = validation.encoder.label
        better = is_better(value, measure, instrument, self.best)
        if better:
            self.best = Best(self.step, measure, value, instrument, weights(self.model))
        verdict = "the best so far" if better else f"the best is that of step {self.best.step}"
        console.say(f"step {self.step}: validation {column(measure).name} {value:.2f}, {verdict}")
        return {validation.history_column: value, **validation.besides(images)}

    def _leave_out(self, seconds):
        self._start += seconds
        if self._estimate_start is not None:
            self._estimate_start += seconds

    def _guard(self, logs):
        broken = [name for name, value in logs.items() if not np.isfinite(value)]
        if broken:
            self.diverged = f"{broken[0]} was {logs[broken[0]]} at step {self.step}"
            self.model.stop_training = True

    def _estimate(self):
        done = self.step - self._first_step
        if self._estimate_start is None and done >= STEPS_BEFORE_ESTIMATE:
            self._estimate_start, self._estimate_step = working_seconds(), done
        elif not self._is_told and done >= 2 * STEPS_BEFORE_ESTIMATE:
            self._is_told = True
            seconds = (working_seconds() - self._estimate_start) / (done - self._estimate_step)
            total = self.params["steps"] * (self.params["epochs"] - len(self.history))
            left = max(0, total - done) * seconds
            console.say(
                f"{1000 * seconds / self.batch_size:.2f} ms an image: "
                f"training will take about {console.duration(left)} more"
            )


def state(
    model: keras.Model, history: list[dict[str, float]], best: Best | None
) -> dict[str, np.ndarray]:
    """Everything that training goes on from, as arrays by name."""
    arrays: dict[str, Any] = {
        f"{kind}/{index:04d}": keras.ops.convert_to_numpy(variable)
        for kind, variables in stateful_variables(model).items()
        for index, variable in enumerate(variables)
    }
    arrays["history"] = np.array(json.dumps(history))
    return arrays if best is None else {**arrays, **best.to_arrays()}


def restore(
    model: keras.Model, arrays: dict[str, np.ndarray] | None
) -> tuple[list[dict[str, float]], Best | None]:
    """Puts a saved `state` into the model; returns its history and the best weights so far."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    if arrays is None:
        return [], None
    for kind, variables in stateful_variables(model).items():
        for index, variable in enumerate(variables):
            variable.assign(arrays[f"{kind}/{index:04d}"])
    return json.loads(str(arrays["history"])), Best.from_arrays(arrays)


def stateful_variables(model: keras.Model) -> dict[str, list]:
    """The variables of a model, its seed generators included, and of its optimizer."""
    return {"model": model.variables, "optimizer": model.optimizer.variables}


def weights(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights of a model as arrays by position and name."""
    return {
        f"{index:04d} {variable.path}": keras.ops.convert_to_numpy(variable)
        for index, variable in enumerate(model.weights)
    }


def load_weights(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Puts arrays made by `weights` into a model of the same configuration."""
    model.set_weights([arrays[key] for key in sorted(arrays)])
