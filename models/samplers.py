"""Sampling methods for diffusion models: how the reverse process goes from noise to images.

A method turns the noise schedule into a table of coefficients, one row for each step; the loop
that runs the table is the same for all (`models.diffusion.DiffusionSampler`). With x0 the
predicted image, x0' that of the step before, and eps the noise that belongs to x0, a step is

    x <- image_weight * x0 + previous_image_weight * x0' + noise_weight * eps
         + state_weight * x + std * z,   z ~ N(0, 1).
"""

from dataclasses import dataclass

import numpy as np

VARIANCES = ("fixed_small", "fixed_large", "learned")
DECODED = ("mean", "sample")


@dataclass(frozen=True)
class ReverseSteps:
    """Coefficients of the reverse process in the order of execution, each float64 `(num_steps,)`.

    Attributes:
        times: The times that the network takes, the noisiest first (see `models.schedules`).
        signal_rates: sqrt(alpha_bar) at that point.
        noise_rates: sqrt(1 - alpha_bar) at that point.
        image_weights: Factor of the predicted image x0.
        previous_image_weights: Factor of the image that was predicted one step before.
        noise_weights: Factor of the predicted noise eps.
        state_weights: Factor of the current state x.
        stds: Standard deviation of the fresh noise z, 0 where none is added.
        std_ratios: Where the network predicts the variance, the largest standard deviation over
            `stds`, which are the smallest; `None` where it does not.
        intervals: Where the network takes them, the lengths of the steps, on the scale of `times`;
            `None` where it is not.
    """

    times: np.ndarray
    signal_rates: np.ndarray
    noise_rates: np.ndarray
    image_weights: np.ndarray
    previous_image_weights: np.ndarray
    noise_weights: np.ndarray
    state_weights: np.ndarray
    stds: np.ndarray
    std_ratios: np.ndarray | None = None
    intervals: np.ndarray | None = None


@dataclass(frozen=True)
class Native:
    """The one way to sample that a model is trained for, where it has no choice.

    One pass of a VAE or a GAN, the few steps of a denoising diffusion GAN.

    Args:
        name: Name of the row in the tables.
    """

    name: str


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """One pass of a VAE's decoder.

    Args:
        output: `"mean"`, the mean image of the likelihood, as most papers show it; or `"sample"`,
            pixels drawn from the likelihood, which is what the model says images are.
    """

    output: str = "mean"

    def __post_init__(self):
        if self.output not in DECODED:
            raise ValueError(f"`output` must be one of {DECODED}. Received: {self.output!r}")

    @property
    def name(self):
        return f"decoder-{self.output}"


@dataclass(frozen=True, kw_only=True)
class ReverseMethod:
    """What all methods for diffusion models have in common.

    Args:
        num_steps: Number of steps; fewer than the model's time steps makes strides.
        spacing: `"trailing"`, `"leading"`, `"linspace"` or `"log_snr"`; see `models.schedules`.
        clip_predicted_images: Whether each predicted image is clipped to [-1, 1].
        guidance_scale: Weight of the class in classifier-free guidance (Ho and Salimans 2022):
            eps = eps(x) + guidance_scale * (eps(x, class) - eps(x)), their 1 + w. 1 is the
            class-conditional model alone; other values take two network passes a step.
    """

    num_steps: int
    spacing: str = "trailing"
    clip_predicted_images: bool = True
    guidance_scale: float = 1.0

    def describe(self, method, *options):
        """The row's name: the method, its steps, and the options that are not the usual ones."""
        parts = [method, str(self.num_steps), *options]
        parts += [self.spacing] if self.spacing != "trailing" else []
        parts += [] if self.clip_predicted_images else ["unclipped"]
        parts += [f"cfg{self.guidance_scale:g}"] if self.guidance_scale != 1.0 else []
        return "-".join(parts)

    def timesteps(self, schedule):
        """The time steps, and alpha_bar at each and at the next one; after the last it is 1.

        Returns:
            `(path, alpha_bars, next_alpha_bars)`: a `models.schedules.Path`, and two float64
            `(num_steps,)`.
        """
        path = schedule.path(self.num_steps, self.spacing)
        return path, path.alpha_bars, np.append(path.alpha_bars[1:], 1.0)


@dataclass(frozen=True, kw_only=True)
class DDPM(ReverseMethod):
    """Ancestral sampling (Ho et al. 2020, eq. 6 and 7, algorithm 2).

    With fewer steps than the model has, alpha is the ratio of alpha_bar at neighbouring steps
    (Nichol and Dhariwal 2021, eq. 19).

    Args:
        variance: Of the fresh noise: `"fixed_small"` is the posterior's, beta tilde (eq. 7),
            `"fixed_large"` is beta (Ho et al. 2020, section 3.2), and `"learned"` is what a model
            with `learned_variance` predicts between the two (Nichol and Dhariwal 2021, eq. 15). The
            last step adds none.
    """

    variance: str = "fixed_small"

    def __post_init__(self):
        if self.variance not in VARIANCES:
            raise ValueError(f"`variance` must be one of {VARIANCES}. Received: {self.variance!r}")

    @property
    def name(self):
        named = {"fixed_small": [], "fixed_large": ["large"], "learned": ["learned"]}
        return self.describe("ddpm", *named[self.variance])

    def reverse_steps(self, schedule):
        """Returns the `ReverseSteps` on a schedule of `models.schedules`."""
        path, alpha_bars, next_alpha_bars = self.timesteps(schedule)
        alphas = alpha_bars / next_alpha_bars
        betas = 1.0 - alphas
        variances = betas * (1.0 - next_alpha_bars) / (1.0 - alpha_bars)  # eq. 7, beta tilde
        if self.variance == "fixed_large":
            variances = np.append(betas[:-1], 0.0)
        std_ratios = None
        if self.variance == "learned":  # sqrt(beta / beta tilde)
            std_ratios = np.sqrt(
                np.append((1.0 - alpha_bars[:-1]) / (1.0 - next_alpha_bars[:-1]), 1.0)
            )
        return ReverseSteps(
            times=path.times,
            signal_rates=np.sqrt(alpha_bars),
            noise_rates=np.sqrt(1.0 - alpha_bars),
            image_weights=np.sqrt(next_alpha_bars) * betas / (1.0 - alpha_bars),  # eq. 7
            previous_image_weights=np.zeros_like(alpha_bars),
            noise_weights=np.zeros_like(alpha_bars),
            state_weights=np.sqrt(alphas) * (1.0 - next_alpha_bars) / (1.0 - alpha_bars),  # eq. 7
            stds=np.sqrt(variances),
            std_ratios=std_ratios,
        )


@dataclass(frozen=True, kw_only=True)
class DDIM(ReverseMethod):
    """Implicit sampling (Song et al. 2021, eq. 12).

    Args:
        eta: 0 is deterministic, 1 has the noise of ancestral sampling (eq. 16).
    """

    eta: float = 0.0

    def __post_init__(self):
        if not 0.0 <= self.eta <= 1.0:
            raise ValueError(f"`eta` must be in [0, 1]. Received: eta={self.eta}")

    @property
    def name(self):
        return self.describe("ddim", *([f"eta{self.eta:g}"] if self.eta else []))

    def reverse_steps(self, schedule):
        """Returns the `ReverseSteps` on a schedule of `models.schedules`."""
        path, alpha_bars, next_alpha_bars = self.timesteps(schedule)
        alphas = alpha_bars / next_alpha_bars
        variances = (1.0 - next_alpha_bars) / (1.0 - alpha_bars) * (1.0 - alphas)  # eq. 16
        stds = self.eta * np.sqrt(variances)
        return ReverseSteps(
            times=path.times,
            signal_rates=np.sqrt(alpha_bars),
            noise_rates=np.sqrt(1.0 - alpha_bars),
            image_weights=np.sqrt(next_alpha_bars),  # eq. 12, "predicted x0"
            previous_image_weights=np.zeros_like(alpha_bars),
            noise_weights=np.sqrt(1.0 - next_alpha_bars - stds**2),  # eq. 12, "direction to x_t"
            state_weights=np.zeros_like(alpha_bars),
            stds=stds,
        )


@dataclass(frozen=True, kw_only=True)
class Consistency(ReverseMethod):
    """Multistep sampling of consistency models (Song et al. 2023, algorithm 1).

    Each step predicts the image and adds noise to it again, less than before. With a diffusion
    model, which predicts the mean of the images that a state may come from, images are blurred.
    """

    @property
    def name(self):
        return self.describe("consistency")

    def reverse_steps(self, schedule):
        """Returns the `ReverseSteps` on a schedule of `models.schedules`."""
        path, alpha_bars, next_alpha_bars = self.timesteps(schedule)
        return ReverseSteps(
            times=path.times,
            signal_rates=np.sqrt(alpha_bars),
            noise_rates=np.sqrt(1.0 - alpha_bars),
            image_weights=np.sqrt(next_alpha_bars),
            previous_image_weights=np.zeros_like(alpha_bars),
            noise_weights=np.zeros_like(alpha_bars),
            state_weights=np.zeros_like(alpha_bars),
            stds=np.sqrt(1.0 - next_alpha_bars),
        )


@dataclass(frozen=True, kw_only=True)
class DPMSolver(ReverseMethod):
    """DPM-Solver++(2M), second order in one pass a step (Lu et al. 2022, algorithm 2).

    The first step and the last one are of first order, that is DDIM's: before the first there is
    no predicted image, and at the end log(signal / noise) is infinite.
    """

    @property
    def name(self):
        return self.describe("dpm")

    def reverse_steps(self, schedule):
        """Returns the `ReverseSteps` on a schedule of `models.schedules`."""
        path, alpha_bars, next_alpha_bars = self.timesteps(schedule)
        log_ratios = 0.5 * np.log(alpha_bars / (1.0 - alpha_bars))  # lambda, before algorithm 1
        sizes = np.append(np.diff(log_ratios), np.inf)  # h
        weights = -np.sqrt(next_alpha_bars) * np.expm1(-sizes)  # of D, the combined image
        extrapolated = np.zeros_like(alpha_bars)  # 1 / (2 r) of algorithm 2
        extrapolated[1:-1] = sizes[1:-1] / (2.0 * sizes[:-2])
        return ReverseSteps(
            times=path.times,
            signal_rates=np.sqrt(alpha_bars),
            noise_rates=np.sqrt(1.0 - alpha_bars),
            image_weights=weights * (1.0 + extrapolated),
            previous_image_weights=-weights * extrapolated,
            noise_weights=np.zeros_like(alpha_bars),
            state_weights=np.sqrt((1.0 - next_alpha_bars) / (1.0 - alpha_bars)),
            stds=np.zeros_like(alpha_bars),
        )
