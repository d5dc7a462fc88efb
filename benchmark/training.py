"""Training under plain `fit` that can stop after any step and resume bit for bit.

An epoch is the interval between two entries of the history. The state is saved at its end and about
once a minute (see `benchmark.checkpoints`): weights, optimizer, random seeds, running means,
history and the best weights so far. The order of the images is a function of (seed, step), so
nothing else has to be restored.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from benchmark import checkpoints, console, interruption
from benchmark.datasets import ImageDataset
from benchmark.devices import give_each_device_its_own_noise
from benchmark.learning import LearningPictures
from benchmark.machine import working_seconds
from benchmark.pipeline import build_pipeline
from benchmark.report.columns import column
from benchmark.results import RunFolder
from benchmark.sampling import NotFinite
from benchmark.tensorboard import EventWriter
from benchmark.training_cost import counted_step
from benchmark.validation import (
    Best,
    Validation,
    averaged_weights,
    is_better,
    swap_in_ema,
    without_final_averages,
)

SECONDS_BETWEEN_CHECKPOINTS = 60
STEPS_BEFORE_ESTIMATE = 25  # the first ones are slow: functions are traced


@dataclass
class Training:
    """The outcome of a training.

    Attributes:
        history: A row for each checkpoint: step, images_seen, seconds, each loss, and
            `validation_<headline of quality>` where it was measured.
        best: The best weights by validation; `None` without validation.
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
    events: EventWriter | None = None,
) -> Training:
    """Trains `model`, resuming from the run's last checkpoint if there is one.

    Validation and pictures do not affect the training: the final weights are the same, bit for
    bit, without them.

    Args:
        model: A compiled `models.base.GenerativeModel`.
        dataset: What it trains on: the training images, and their labels where the model is
            conditioned on classes.
        run: Where the checkpoints go.
        seed: Integer that determines the order of the images.
        batch_size: Images per step.
        num_steps: Total steps, rounded up to a multiple of `num_checkpoints`.
        num_checkpoints: Number of entries in the history; the state is saved at each.
        validation: What chooses the best weights, or `None`.
        pictures: What shows how the model learns, or `None`.
        events: What writes for TensorBoard, or `None`.

    Returns:
        The `Training`. The model holds the final weights: the averages, if its optimizer keeps any.
    """
    steps_per_epoch = math.ceil(num_steps / num_checkpoints)
    progress = checkpoints.load(run, model)
    give_each_device_its_own_noise(model)
    if not progress.step:
        model.adapt(dataset.train_images)
    else:
        console.say(f"resuming from the checkpoint at step {progress.step}")
    # It also divides what is left of an epoch, if training was stopped within one.
    whole_epochs = math.gcd(steps_per_epoch, progress.step)
    model.steps_per_execution = largest_divisor(whole_epochs, model.steps_per_execution)
    monitor = TrainingMonitor(
        progress,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        num_checkpoints=num_checkpoints,
        run=run,
        validation=validation,
        pictures=pictures,
        events=events,
    )
    data = functools.partial(batches, model, dataset, batch_size=batch_size, seed=seed)
    if len(progress.history) < num_checkpoints:
        fit(model, data, monitor)
    swap_in_ema(model)
    return Training(progress.history, progress.best, monitor.diverged)


def fit(model: keras.Model, data: Callable[..., Any], monitor: "TrainingMonitor") -> None:
    """Trains up to the last checkpoint.

    Args:
        model: A compiled model.
        data: Called as `data(start_step=step)`, returns the batches from a step on.
        monitor: Keeps track of the training's progress.
    """
    with (
        counted_step(model) as monitor.cost,
        console.progress("step", monitor.num_steps, start=monitor.step) as monitor.update,
        interruption.saves_first(),
        without_final_averages(model),
    ):
        monitor.set_model(model)
        monitor.end_stopped_epoch()
        while monitor.steps_left and not monitor.diverged:
            # One `fit` for the rest of an interrupted epoch, another for all other epochs.
            rest = monitor.steps_left % monitor.steps_per_epoch
            epoch = len(monitor.history)
            model.fit(
                data(start_step=monitor.step),
                initial_epoch=epoch,
                epochs=epoch + 1 if rest else monitor.num_checkpoints,
                steps_per_epoch=rest or monitor.steps_per_epoch,
                shuffle=False,
                verbose=0,
                callbacks=[monitor],
            )


def largest_divisor(number: int, at_most: int) -> int:
    """The largest divisor of `number` that is `at_most` or less."""
    return max(count for count in range(1, at_most + 1) if number % count == 0)


def batches(model: keras.Model, dataset: ImageDataset, **options: Any):
    """The pipeline of the inputs of `model`: images, or `(images, labels)`."""
    options["horizontal_flip"] = dataset.horizontal_flip
    if model.num_classes is None:
        return build_pipeline(dataset.train_images, **options)
    pairs = build_pipeline(dataset.train_images, labels=dataset.train_labels, **options)
    return pairs.map(lambda images, labels: ((images, labels),))


class TrainingMonitor(keras.callbacks.Callback):
    """Shows progress, saves checkpoints, and stops at a loss that is not a number.

    At the end of an epoch it also validates and takes pictures.

    Args:
        progress: The training's progress, which is kept up to date.
        steps_per_epoch: Steps from one entry of the history to the next.
        batch_size, num_checkpoints, run, validation, pictures, events: As `train` takes them.

    Attributes:
        diverged: Why training was stopped; empty if it was not.
        update: Shows the progress, `update(step, text)`.
        cost: The `StepCost` of a step, once it is traced.
    """

    def __init__(
        self,
        progress,
        *,
        batch_size,
        steps_per_epoch,
        num_checkpoints,
        run,
        validation,
        pictures,
        events,
    ):
        super().__init__()
        self.progress = progress
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.num_checkpoints = num_checkpoints
        self.run = run
        self.validation = validation
        self.pictures = pictures
        self.events = events
        self.diverged = ""
        self.update = self.cost = None
        self._first_step = progress.step
        self._recorded_seconds = progress.seconds  # in run.json
        self._clock = self._saved = working_seconds()
        self._estimate_start = None
        self._estimate_step, self._has_shown_time_left = 0, False

    @property
    def step(self):
        return self.progress.step

    @property
    def history(self):
        return self.progress.history

    @property
    def num_steps(self):
        return self.steps_per_epoch * self.num_checkpoints

    @property
    def steps_left(self):
        return self.num_steps - self.step

    @property
    def is_at_end_of_epoch(self):
        return self.step == (len(self.history) + 1) * self.steps_per_epoch

    def on_train_begin(self, logs=None):
        self._clock = working_seconds()

    def on_epoch_begin(self, epoch, logs=None):
        """Restores the running means of an interrupted epoch, which Keras has set to zero."""
        if self.step % self.steps_per_epoch:
            variables = self.model.metrics_variables
            for variable, value in zip(variables, self.progress.running_means, strict=True):
                variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        self.progress.step += self.model.steps_per_execution
        self._stop_unless_finite(logs)
        self._show_time_left()
        self.update(self.step, "  ".join(f"{name} {value:.4g}" for name, value in logs.items()))
        if self.diverged or self.is_at_end_of_epoch:
            return
        is_due = working_seconds() - self._saved > SECONDS_BETWEEN_CHECKPOINTS
        if is_due or interruption.is_requested():
            self._save()
            interruption.check()

    def on_epoch_end(self, epoch, logs=None):
        if not self.diverged:
            self._end_epoch(logs)

    def end_stopped_epoch(self):
        """Finishes an epoch that was interrupted after its last step."""
        self._clock = working_seconds()
        if self.is_at_end_of_epoch:
            self._end_epoch(self.model.get_metrics_result())

    def _end_epoch(self, logs):
        self._count_seconds()
        checkpoint = len(self.history) + 1
        validates, draws = (
            part is not None and part.is_due(checkpoint, self.num_checkpoints)
            for part in (self.validation, self.pictures)
        )
        if validates:
            self._save()  # a signal may stop the validation
        measured, samples = self._validate_and_draw(checkpoint, validates=validates, draws=draws)
        counts = {"step": self.step, "images_seen": self.step * self.batch_size}
        losses = {name: float(value) for name, value in logs.items()}
        seconds = round(self.progress.seconds, 3)
        self.history.append({**counts, "seconds": seconds, **losses, **measured})
        self._save()
        if self.events is not None:
            self.events.write(self.step, {**losses, **measured}, samples)
        interruption.check()

    def _save(self):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()  # within an epoch the variables are not up to date
        self._count_seconds()
        checkpoints.save(self.run, self.model, self.progress)
        self.run.add_seconds("training", self.progress.seconds - self._recorded_seconds)
        self._recorded_seconds = self.progress.seconds
        if self.cost.flops is not None:
            self.run.update_state(train_flops_per_image=self.cost.flops / self.batch_size)
        self._saved = working_seconds()

    def _count_seconds(self):
        now = working_seconds()
        self.progress.seconds += now - self._clock
        self._clock = now

    def _validate_and_draw(self, checkpoint, *, validates, draws):
        """Validates and takes pictures if due, both with the averaged weights.

        Their time does not count as training time.

        Returns:
            What was measured, by name, and a picture or `None`.
        """
        if not validates and not draws:
            return {}, None
        start = working_seconds()
        with averaged_weights(self.model):
            values = self._validate() if validates else {}
            drawing = working_seconds()
            samples = None
            if draws:
                images_seen = self.step * self.batch_size
                samples = self.pictures.take(checkpoint, step=self.step, images_seen=images_seen)
            drawn = working_seconds() - drawing
        seconds = working_seconds() - start
        self._exclude_time(seconds)
        if validates:
            self.run.add_seconds("validation", seconds - drawn)
        if draws:
            self.run.add_seconds("pictures", drawn if validates else seconds)
        return values, samples

    def _validate(self):
        """Measures the headline with the current weights, and keeps them if they are the best."""
        validation = self.validation
        try:
            images = validation.sample()
        except NotFinite as problem:
            console.say(f"step {self.step}: not validated, {problem}", style="yellow")
            return {}
        value, measure = validation.distance(images), validation.headline
        instrument = validation.encoder.label
        earlier_best = self.progress.best
        if earlier_best is not None and earlier_best.instrument != instrument:
            self._forget_values_of(earlier_best.instrument)
        better = is_better(value, measure, instrument, earlier_best)
        if better:
            best = Best(self.step, measure, value, instrument, weights(self.model))
            self.progress.best = best
        earlier = self.progress.best.step
        verdict = "the best so far" if better else f"the best was at step {earlier}"
        console.say(f"step {self.step}: validation {column(measure).name} {value:.2f}, {verdict}")
        return {validation.history_column: value, **validation.rejected_fraction_of(images)}

    def _forget_values_of(self, instrument):
        """Removes another instrument's values from the history, as a column must be comparable."""
        column_name = self.validation.history_column
        if any(column_name in row for row in self.history):
            console.say(
                f"warning: {column_name} was measured with {instrument} so far; those values "
                "are removed from history.csv",
                style="yellow",
            )
        for row in self.history:
            row.pop(column_name, None)

    def _exclude_time(self, seconds):
        self._clock += seconds
        if self._estimate_start is not None:
            self._estimate_start += seconds

    def _stop_unless_finite(self, logs):
        broken = [name for name, value in logs.items() if not np.isfinite(value)]
        if broken:
            self.diverged = f"{broken[0]} was {logs[broken[0]]} at step {self.step}"
            self.model.stop_training = True

    def _show_time_left(self):
        done = self.step - self._first_step
        if self._estimate_start is None and done >= STEPS_BEFORE_ESTIMATE:
            self._estimate_start, self._estimate_step = working_seconds(), done
        elif not self._has_shown_time_left and done >= 2 * STEPS_BEFORE_ESTIMATE:
            self._has_shown_time_left = True
            seconds = (working_seconds() - self._estimate_start) / (done - self._estimate_step)
            console.say(
                f"{1000 * seconds / self.batch_size:.2f} ms per image: "
                f"training will take about {console.duration(self.steps_left * seconds)} more"
            )


def weights(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights of a model as arrays by position and name."""
    return {
        f"{index:04d} {variable.path}": keras.ops.convert_to_numpy(variable)
        for index, variable in enumerate(model.weights)
    }


def load_weights(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Loads arrays made by `weights` into a model of the same configuration."""
    model.set_weights([arrays[key] for key in sorted(arrays)])
