"""Noise schedules: how much signal is left at each point between image and noise.

`draw` returns random points, for training; `path` the points at which sampling evaluates the
network. The `times` that the network takes are numbers of time steps on a discrete schedule and
noise variances on a continuous one.
"""

import math
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

SPACINGS = ("leading", "trailing", "linspace", "log_snr")


@dataclass(frozen=True)
class Path:
    """The points that sampling passes from noise to images, the noisiest first.

    Attributes:
        times: What the network takes, `(num_steps,)`.
        alpha_bars: The fraction of the signal's variance (Ho et al. 2020), float64 `(num_steps,)`.
        num_timesteps: T of a discrete schedule, `None` for a continuous one.
    """

    times: np.ndarray
    alpha_bars: np.ndarray
    num_timesteps: int | None


class DiscreteSchedule:
    """A schedule of T noise levels.

    Args:
        alpha_bars: float64 `(T,)`, falling: entry 0 is the least noisy level.
    """

    def __init__(self, alpha_bars):
        self.alpha_bars = np.asarray(alpha_bars, "float64")

    @property
    def num_timesteps(self):
        """T, the number of noise levels."""
        return len(self.alpha_bars)

    def draw(self, count, seed_generator, stratified=False):
        """Draws the time steps of a training batch.

        Args:
            count: Number of images.
            seed_generator: A `keras.random.SeedGenerator`.
            stratified: As for `draw_fractions`.

        Returns:
            `(times, signal_rates, noise_rates)`, each `(count,)`: time steps in 0..T-1, and
            sqrt(alpha_bar) and sqrt(1 - alpha_bar) there.
        """
        fractions = draw_fractions(count, seed_generator, stratified)
        times = ops.cast(self.num_timesteps * fractions, "int32")
        times = ops.minimum(times, self.num_timesteps - 1)  # a fraction may be rounded up to 1
        alpha_bars = ops.take(ops.convert_to_tensor(self.alpha_bars, "float32"), times)
        return times, ops.sqrt(alpha_bars), ops.sqrt(1.0 - alpha_bars)

    def path(self, num_steps, spacing="trailing"):
        """Chooses `num_steps` of the time steps.

        Args:
            num_steps: In 1..T.
            spacing: `"trailing"` goes from T-1 down in steps of T / num_steps; `"leading"` down
                to 0 in steps of T // num_steps; `"linspace"` has both ends (Lin et al. 2024,
                table 2). `"log_snr"` goes from T-1 evenly in half the logarithm of the
                signal-to-noise ratio to a step before time step 0, each at the nearest time step
                (Lu et al. 2022, section 3). All but `"leading"` start from the noisiest level.

        Raises:
            ValueError: If `num_steps` is not in 1..T, or there is no such spacing.
        """
        count = self.num_timesteps
        if not 1 <= num_steps <= count:
            raise ValueError(
                f"`num_steps` must be in 1..{count}, the model's time steps. "
                f"Received: num_steps={num_steps}"
            )
        if spacing == "trailing":
            times = np.rint(count - count / num_steps * np.arange(num_steps)).astype(int) - 1
        elif spacing == "leading":
            times = (count // num_steps * np.arange(num_steps))[::-1]
        elif spacing == "linspace":
            times = np.rint(np.linspace(count - 1, 0, num_steps)).astype(int)
        elif spacing == "log_snr":
            times = self._nearest_times(even_log_snrs(self.alpha_bars[[-1, 0]], num_steps))
        else:
            raise ValueError(f"`spacing` must be one of {SPACINGS}. Received: {spacing!r}")
        return Path(times, self.alpha_bars[times], count)

    def _nearest_times(self, log_snrs):
        """The time steps nearest to these, all different."""
        distances = np.abs(half_log_snr(self.alpha_bars) - log_snrs[:, None])
        falling = -np.arange(len(log_snrs))
        times = np.minimum.accumulate(distances.argmin(axis=1) - falling) + falling
        return np.maximum(times, falling - falling[-1])


def draw_fractions(count, seed_generator, stratified):
    """Draws how far the images of a batch are on the way to noise.

    Args:
        count: Number of images.
        seed_generator: A `keras.random.SeedGenerator`.
        stratified: Whether the batch covers the way evenly, from one random offset, so that the
            loss varies less from batch to batch (Kingma et al. 2021, appendix I.1), or each image
            draws its own.

    Returns:
        `(count,)`, each in [0, 1) and uniformly distributed.
    """
    if not stratified:
        return keras.random.uniform((count,), seed=seed_generator)
    offset = keras.random.uniform((), seed=seed_generator)
    return (ops.arange(count, dtype="float32") + offset) / ops.cast(count, "float32")


def half_log_snr(alpha_bars):
    """lambda = log(signal rate / noise rate) of Lu et al. (2022)."""
    return 0.5 * np.log(alpha_bars / (1.0 - alpha_bars))


def even_log_snrs(ends, num_steps):
    """`num_steps` values of lambda from the noisier of two alpha_bars evenly towards the other."""
    noisiest, clearest = half_log_snr(np.asarray(ends))
    return np.linspace(noisiest, clearest, num_steps + 1)[:-1]


class LinearSchedule(DiscreteSchedule):
    """Betas that rise linearly (Ho et al. 2020, section 4).

    Args:
        num_timesteps: T, at least 1.
        beta_start: beta_1.
        beta_end: beta_T.
        reference_timesteps: The T that the betas are made for, 1,000 in the paper: with another
            one, they are scaled by `reference_timesteps / num_timesteps`, so that the last level
            is as noisy whatever the number of levels. `None` takes them as they are.

    Raises:
        ValueError: If the betas leave (0, 1).
    """

    def __init__(self, *, num_timesteps, beta_start=1e-4, beta_end=0.02, reference_timesteps=1000):
        scale = (reference_timesteps or num_timesteps) / num_timesteps
        betas = np.linspace(scale * beta_start, scale * beta_end, num_timesteps)
        if not 0.0 < betas.min() <= betas.max() < 1.0:
            raise ValueError(
                "the betas, scaled by reference_timesteps / num_timesteps, must be in (0, 1). "
                f"Received: num_timesteps={num_timesteps}, beta_start={beta_start}, "
                f"beta_end={beta_end}, reference_timesteps={reference_timesteps}"
            )
        super().__init__(np.cumprod(1.0 - betas))


class CosineSchedule(DiscreteSchedule):
    """alpha_bar falls as a squared cosine (Nichol and Dhariwal 2021, eq. 17).

    Args:
        num_timesteps: T, at least 1.
        offset: s, which keeps the first betas from vanishing.
        max_beta: Where betas are cut off near the end.
    """

    def __init__(self, *, num_timesteps, offset=0.008, max_beta=0.999):
        fractions = np.arange(num_timesteps + 1) / num_timesteps
        levels = np.cos((fractions + offset) / (1.0 + offset) * math.pi / 2.0) ** 2
        betas = np.minimum(1.0 - levels[1:] / levels[:-1], max_beta)
        super().__init__(np.cumprod(1.0 - betas))


class VariancePreservingSchedule(DiscreteSchedule):
    """Levels evenly spaced in the time of a diffusion in continuous time, for few large steps.

    By time s, the variance-preserving diffusion of Song et al. (2021, appendix C) has left the
    fraction exp(-beta_min s - (beta_max - beta_min) s^2 / 2) of the signal's variance. The levels
    are at s = start + (1 - start) t / T for t in 1..T, and relative to that at t = 0 (Xiao et al.
    2022), so that no step at all is the image itself.

    Args:
        num_timesteps: T, at least 1.
        beta_min: Rate at which noise is added at time 0.
        beta_max: Rate at time 1.
        start: Time of the images, in [0, 1).
    """

    def __init__(self, *, num_timesteps, beta_min=0.1, beta_max=20.0, start=1e-3):
        times = start + (1.0 - start) * np.arange(num_timesteps + 1) / num_timesteps
        exponents = beta_min * times + (beta_max - beta_min) * times**2 / 2.0
        super().__init__(np.exp(exponents[0] - exponents[1:]))


class ContinuousCosineSchedule:
    """Signal and noise rates are cosine and sine of an angle that grows evenly with time.

    Time runs through [0, 1], between the two signal rates; the network takes the noise's
    variance. (The continuous form of the cosine schedule with both ends cut off, as in Keras's
    "Denoising diffusion implicit models" example.)

    Args:
        min_signal_rate: sqrt(alpha_bar) at time 1, in (0, 1).
        max_signal_rate: sqrt(alpha_bar) at time 0, in (0, 1).
        num_timesteps: `None`: there are no time steps.

    Raises:
        ValueError: Unless 0 < min_signal_rate < max_signal_rate < 1, and there are no time steps.
    """

    def __init__(self, *, min_signal_rate, max_signal_rate, num_timesteps=None):
        if num_timesteps is not None:
            raise ValueError(
                "a continuous schedule has no `num_timesteps`; the sampler's `num_steps` may be "
                f"any. Received: num_timesteps={num_timesteps}"
            )
        self.num_timesteps = None
        if not 0.0 < min_signal_rate < max_signal_rate < 1.0:
            raise ValueError(
                "0 < `min_signal_rate` < `max_signal_rate` < 1 must hold. Received: "
                f"min_signal_rate={min_signal_rate}, max_signal_rate={max_signal_rate}"
            )
        self.start_angle = math.acos(max_signal_rate)
        self.end_angle = math.acos(min_signal_rate)

    def draw(self, count, seed_generator, stratified=False):
        """Draws the points of a training batch, evenly in time; as for `DiscreteSchedule.draw`.

        Returns:
            `(times, signal_rates, noise_rates)`, each `(count,)`.
        """
        fractions = draw_fractions(count, seed_generator, stratified)
        angles = self.start_angle + fractions * (self.end_angle - self.start_angle)
        return ops.square(ops.sin(angles)), ops.cos(angles), ops.sin(angles)

    def path(self, num_steps, spacing="trailing"):
        """Chooses `num_steps` points; `spacing` as for `DiscreteSchedule.path`.

        Evenly in time, `"trailing"` goes from time 1 to 1 / num_steps, `"leading"` ends at time 0,
        1 / num_steps before, `"linspace"` has both ends.

        Raises:
            ValueError: If `num_steps` is not positive, or there is no such spacing.
        """
        if num_steps < 1 or spacing not in SPACINGS:
            raise ValueError(
                f"`num_steps` must be at least 1 and `spacing` one of {SPACINGS}. "
                f"Received: num_steps={num_steps}, spacing={spacing!r}"
            )
        fractions = np.arange(num_steps, 0, -1) / num_steps
        if spacing == "leading":
            fractions = fractions - 1.0 / num_steps
        elif spacing == "linspace":
            fractions = np.linspace(1.0, 0.0, num_steps)
        angles = self.start_angle + fractions * (self.end_angle - self.start_angle)
        if spacing == "log_snr":
            ends = np.cos([self.end_angle, self.start_angle]) ** 2
            angles = np.arctan(np.exp(-even_log_snrs(ends, num_steps)))
        return Path(np.sin(angles) ** 2, np.cos(angles) ** 2, None)
