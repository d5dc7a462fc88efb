"""Ways to walk a diffusion model's reverse process from noise to images.

A method turns the noise schedule into a table of coefficients, one row for each step; the loop
that runs the table is the same for all (`models.diffusion.DiffusionSampler`). With x0 the
predicted image and eps the noise that belongs to it, a step is

    x <- image_weight * x0 + noise_weight * eps + state_weight * x + std * z,   z ~ N(0, 1).
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ReverseSteps:
    """Coefficients of the reverse process in the order of execution, each float64 `(num_steps,)`.

    Attributes:
        timesteps: Time step that the network sees, the noisiest first.
        signal_rates: sqrt(alpha_bar) at that time step.
        noise_rates: sqrt(1 - alpha_bar) at that time step.
        image_weights: Factor of the predicted image x0.
        noise_weights: Factor of the predicted noise eps.
        state_weights: Factor of the current state x.
        stds: Standard deviation of the fresh noise z, 0 where none is added.
    """

    timesteps: np.ndarray
    signal_rates: np.ndarray
    noise_rates: np.ndarray
    image_weights: np.ndarray
    noise_weights: np.ndarray
    state_weights: np.ndarray
    stds: np.ndarray


@dataclass(frozen=True)
class OnePass:
    """Sampling in a single network pass, for models without a choice (VAE, GAN).

    Args:
        name: Name of the row in the tables.
    """

    name: str


@dataclass(frozen=True)
class DDPM:
    """Ancestral sampling (Ho et al. 2020, eq. 6 and 7, algorithm 2).

    Args:
        num_steps: Number of steps; fewer than the model's time steps makes strides.
    """

    num_steps: int

    @property
    def name(self):
        return f"ddpm-{self.num_steps}"

    def reverse_steps(self, alpha_bars):
        """Returns the `ReverseSteps` on a schedule `alpha_bars` of shape `(T,)`."""
        timesteps = spaced_timesteps(len(alpha_bars), self.num_steps)
        current, following = alpha_bar_pairs(alpha_bars, timesteps)
        alphas = current / following
        betas = 1.0 - alphas
        return ReverseSteps(
            timesteps=timesteps,
            signal_rates=np.sqrt(current),
            noise_rates=np.sqrt(1.0 - current),
            image_weights=np.sqrt(following) * betas / (1.0 - current),  # eq. 7
            noise_weights=np.zeros_like(current),
            state_weights=np.sqrt(alphas) * (1.0 - following) / (1.0 - current),  # eq. 7
            stds=np.sqrt(betas * (1.0 - following) / (1.0 - current)),  # eq. 7, beta tilde
        )


@dataclass(frozen=True)
class DDIM:
    """Implicit sampling (Song et al. 2021, eq. 12).

    Args:
        num_steps: Number of steps, at most the model's time steps.
        eta: 0 is deterministic, 1 has the noise of ancestral sampling (eq. 16).
    """

    num_steps: int
    eta: float = 0.0

    @property
    def name(self):
        return f"ddim-{self.num_steps}" + (f"-eta{self.eta:g}" if self.eta else "")

    def reverse_steps(self, alpha_bars):
        """Returns the `ReverseSteps` on a schedule `alpha_bars` of shape `(T,)`."""
        timesteps = spaced_timesteps(len(alpha_bars), self.num_steps)
        current, following = alpha_bar_pairs(alpha_bars, timesteps)
        variances = (1.0 - following) / (1.0 - current) * (1.0 - current / following)  # eq. 16
        stds = self.eta * np.sqrt(variances)
        return ReverseSteps(
            timesteps=timesteps,
            signal_rates=np.sqrt(current),
            noise_rates=np.sqrt(1.0 - current),
            image_weights=np.sqrt(following),  # eq. 12, "predicted x0"
            noise_weights=np.sqrt(1.0 - following - stds**2),  # eq. 12, "direction to x_t"
            state_weights=np.zeros_like(current),
            stds=stds,
        )


def spaced_timesteps(num_timesteps, num_steps):
    """Chooses `num_steps` of the time steps 0..T-1, evenly from T-1 down ("trailing" spacing).

    The noisiest step is always among them: sampling starts from pure noise.

    Raises:
        ValueError: If `num_steps` is not in 1..T.
    """
    if not 1 <= num_steps <= num_timesteps:
        raise ValueError(
            f"`num_steps` must be in 1..{num_timesteps}, the model's time steps. "
            f"Received: num_steps={num_steps}"
        )
    spacing = num_timesteps / num_steps
    return np.rint(num_timesteps - spacing * np.arange(num_steps)).astype(int) - 1


def alpha_bar_pairs(alpha_bars, timesteps):
    """alpha_bar at each step and at the next one of the list; after the last one it is 1."""
    current = np.asarray(alpha_bars)[timesteps]
    return current, np.append(current[1:], 1.0)
