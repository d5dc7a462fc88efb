"""Noise schedules: how much signal is left at each diffusion step."""

import numpy as np


def linear_alpha_bars(num_timesteps, *, beta_start=1e-4, beta_end=0.02):
    """The linear schedule of Ho et al. (2020, section 4), stretched to `num_timesteps`.

    The paper's betas are made for 1,000 steps. With fewer, they are scaled by
    `1000 / num_timesteps`, so that the last step is pure noise whatever the number of steps.

    Args:
        num_timesteps: T, at least 1.
        beta_start: beta_1 at T = 1000.
        beta_end: beta_T at T = 1000.

    Returns:
        float64 `(num_timesteps,)`: alpha_bar_t = prod(1 - beta_s, s <= t), entry 0 the least noisy.

    Raises:
        ValueError: If the scaled betas leave (0, 1).
    """
    scale = 1000.0 / num_timesteps
    betas = np.linspace(scale * beta_start, scale * beta_end, num_timesteps)
    if not 0.0 < betas.min() <= betas.max() < 1.0:
        raise ValueError(
            "the betas, scaled by 1000 / num_timesteps, must be in (0, 1). Received: "
            f"num_timesteps={num_timesteps}, beta_start={beta_start}, beta_end={beta_end}"
        )
    return np.cumprod(1.0 - betas)
