"""Ways to solve the differential equation of a flow from noise to images.

The states are z = (1 - t) x + t eps, and dz/dt = v(z, t) leads from noise at t = 1 to images at
t = 0. A solver is written as a table that the samplers of diffusion models run as well, one row
for each network pass (`models.samplers.ReverseSteps`). The velocity v at z points at the image
x0 = z - t v, so that v = (z - x0) / t, and going along it to t' leads to (1 - t') x0 + t' eps.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from models.samplers import ReverseSteps


@dataclass(frozen=True, kw_only=True)
class FlowMethod:
    """What all solvers have in common: steps of equal length.

    Args:
        num_steps: Number of steps, at least 1.
        clip_predicted_images: Whether the image that each velocity points at is clipped to [-1, 1].
        guidance_scale: Weight of the class in classifier-free guidance; see
            `models.samplers.ReverseMethod`.

    Raises:
        ValueError: If there is no step.
    """

    num_steps: int
    clip_predicted_images: bool = False
    guidance_scale: float = 1.0

    def __post_init__(self):
        if self.num_steps < 1:
            raise ValueError(
                f"`num_steps` must be at least 1. Received: num_steps={self.num_steps}"
            )

    def describe(self, method):
        """The row's name: the method, its steps, and the options that are not the usual ones."""
        parts = [method, str(self.num_steps)]
        parts += ["clipped"] if self.clip_predicted_images else []
        parts += [f"cfg{self.guidance_scale:g}"] if self.guidance_scale != 1.0 else []
        return "-".join(parts)

    def times(self):
        """The times at which steps begin and those at which they end, from 1 down to 0.

        Returns:
            Two float64 `(num_steps,)`.
        """
        times = np.linspace(1.0, 0.0, self.num_steps + 1)
        return times[:-1], times[1:]


@dataclass(frozen=True, kw_only=True)
class Euler(FlowMethod):
    """Euler's method, of first order: one pass a step."""

    @property
    def name(self):
        return self.describe("euler")

    def reverse_steps(self, time_scale):
        """Returns the `ReverseSteps` of a network that takes `time_scale` times t."""
        times, ends = self.times()
        return reverse_steps(times, time_scale, image_weights=1.0 - ends, noise_weights=ends)


@dataclass(frozen=True, kw_only=True)
class Heun(FlowMethod):
    """Heun's method, of second order: two passes a step (Karras et al. 2022, algorithm 1).

    A step of Euler's leads to t'. It is then corrected by half the difference of the velocities
    at its ends. As in the paper, the last step is Euler's alone, in one pass: at t = 0 there is
    no noise, and training never goes there.
    """

    @property
    def name(self):
        return self.describe("heun")

    def reverse_steps(self, time_scale):
        """Returns the `ReverseSteps` of a network that takes `time_scale` times t."""
        times, ends = self.times()
        corrected = ends[:-1]
        halves = 0.5 * (times - ends)[:-1] / corrected  # (t - t') / 2 t'
        zeros = np.zeros_like(corrected)
        return reverse_steps(
            alternate(times, corrected),
            time_scale,
            image_weights=alternate(1.0 - ends, halves),
            previous_image_weights=alternate(np.zeros_like(times), -halves),
            noise_weights=alternate(ends, zeros),
            state_weights=alternate(np.zeros_like(times), zeros + 1.0),
        )


@dataclass(frozen=True, kw_only=True)
class Midpoint(FlowMethod):
    """The midpoint method, of second order: two passes a step.

    A step of Euler's leads half of the way. The velocity there replaces that of the whole step.
    """

    @property
    def name(self):
        return self.describe("midpoint")

    def reverse_steps(self, time_scale):
        """Returns the `ReverseSteps` of a network that takes `time_scale` times t."""
        times, ends = self.times()
        middles = 0.5 * (times + ends)
        lengths = (times - ends) / middles
        zeros = np.zeros_like(times)
        return reverse_steps(
            alternate(times, middles),
            time_scale,
            image_weights=alternate(1.0 - middles, lengths),
            previous_image_weights=alternate(zeros, -0.5 * lengths),
            noise_weights=alternate(middles, zeros),
            state_weights=alternate(zeros, 1.0 - 0.5 * lengths),
        )


@dataclass(frozen=True, kw_only=True)
class MeanFlow(FlowMethod):
    """The jumps of a MeanFlow, whose network predicts average velocities (Geng et al. 2025).

    They are Euler's steps with a network that also takes the length of the step.
    """

    @property
    def name(self):
        return self.describe("meanflow")

    def reverse_steps(self, time_scale):
        """Returns the `ReverseSteps` of a network that takes `time_scale` times t and t - r."""
        times, ends = self.times()
        steps = Euler(num_steps=self.num_steps).reverse_steps(time_scale)
        return dataclasses.replace(steps, intervals=time_scale * (times - ends))


def reverse_steps(times, time_scale, **weights):
    """A `ReverseSteps` at these times on the straight way, without fresh noise.

    Args:
        times: t of each pass, float64 `(num_passes,)`.
        time_scale: The network takes `time_scale` times t.
        **weights: As of `ReverseSteps`; those that are not given are 0.
    """
    names = ("image_weights", "previous_image_weights", "noise_weights", "state_weights", "stds")
    return ReverseSteps(
        times=time_scale * times,
        signal_rates=1.0 - times,
        noise_rates=times,
        **dict.fromkeys(names, np.zeros_like(times)) | weights,
    )


def alternate(firsts, seconds):
    """Values of the first and of the second pass of each step in turn; the last step may have one.

    Args:
        firsts: `(num_steps,)`.
        seconds: `(num_steps,)` or `(num_steps - 1,)`.
    """
    values = np.empty(len(firsts) + len(seconds))
    values[::2], values[1::2] = firsts, seconds
    return values
