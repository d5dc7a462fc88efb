"""Likelihoods of a VAE's pixels: distributions around the sigmoid of the decoder's logit.

Pixels are on the scale [0, 1].
"""

import math

from keras import initializers, layers, ops

from models.base import NetworkSampler
from models.noise import step_noise

HALF_LEVEL = 0.5 / 255.0  # of 256 levels
INITIAL_STD = 0.1


class Bernoulli(layers.Layer):
    """Pixels as probabilities of being white: for images that are nearly binary."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True  # it has no weights

    def negative_log_likelihoods(self, targets, logits):
        """In nats; `targets` and `logits` are `(batch, height, width, channels)`."""
        return ops.softplus(logits) - targets * logits

    def sample(self, logits, noises):
        """Draws pixels; `noises` are standard normal."""
        return ops.cast(_uniform(noises) < ops.sigmoid(logits), "float32")


class LearnedSpread(layers.Layer):
    """A distribution of which each channel's spread is learned.

    Args:
        num_channels: Channels of an image.
        spread: The spread at the start.
        trainable: Whether it is learned.
    """

    def __init__(self, num_channels, spread=INITIAL_STD, trainable=True, **kwargs):
        super().__init__(**kwargs, dtype="float32")
        self.log_spreads = self.add_weight(
            shape=(num_channels,),
            initializer=initializers.Constant(math.log(spread)),
            trainable=trainable,
            name="log_spreads",
        )
        self.built = True


class Gaussian(LearnedSpread):
    """A normal density around each pixel's mean (with a learned variance: Rybkin et al. 2021)."""

    def negative_log_likelihoods(self, targets, logits):
        """As for `Bernoulli`."""
        errors = (targets - ops.sigmoid(logits)) * ops.exp(-self.log_spreads)
        return 0.5 * ops.square(errors) + self.log_spreads + 0.5 * math.log(2.0 * math.pi)

    def sample(self, logits, noises):
        """As for `Bernoulli`; clipped to [0, 1]."""
        pixels = ops.sigmoid(logits) + ops.exp(self.log_spreads) * noises
        return ops.clip(pixels, 0.0, 1.0)


class DiscretizedLogistic(LearnedSpread):
    """A logistic distribution that is integrated over each of the 256 levels of a pixel.

    Kingma et al. (2016, appendix C) and Salimans et al. (2017, eq. 2); the outermost levels reach
    to infinity.
    """

    def negative_log_likelihoods(self, targets, logits):
        """As for `Bernoulli`."""
        inverse_scales = ops.exp(-self.log_spreads)
        errors = targets - ops.sigmoid(logits)
        upper = (errors + HALF_LEVEL) * inverse_scales
        lower = (errors - HALF_LEVEL) * inverse_scales
        # log sigmoid(upper), log sigmoid(-lower), and with
        # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)) the log of the mass.
        log_below, log_above = -ops.softplus(-upper), -ops.softplus(lower)
        log_inside = log_below + log_above + ops.log(-ops.expm1(lower - upper))
        log_masses = ops.where(targets < HALF_LEVEL, log_below, log_inside)
        return -ops.where(targets > 1.0 - HALF_LEVEL, log_above, log_masses)

    def sample(self, logits, noises):
        """As for `Bernoulli`; clipped to [0, 1]."""
        uniform = ops.clip(_uniform(noises), 1e-5, 1.0 - 1e-5)
        noises = ops.log(uniform) - ops.log1p(-uniform)
        pixels = ops.sigmoid(logits) + ops.exp(self.log_spreads) * noises
        return ops.clip(pixels, 0.0, 1.0)


def build_likelihood(name, *, num_channels, pixel_std=None):
    """Builds one of the likelihoods by its name.

    Args:
        name: `"bernoulli"`, `"gaussian"` or `"discretized_logistic"`.
        num_channels: Channels of an image.
        pixel_std: The Gaussian's standard deviation; `None` learns it.

    Raises:
        ValueError: If there is no such likelihood, or the standard deviation is not positive.
    """
    if pixel_std is not None and pixel_std <= 0:
        raise ValueError(f"`pixel_std` must be positive. Received: pixel_std={pixel_std}")
    spread = {} if pixel_std is None else {"spread": pixel_std, "trainable": False}
    builders = {
        "bernoulli": Bernoulli,
        "gaussian": lambda: Gaussian(num_channels, **spread),
        "discretized_logistic": lambda: DiscretizedLogistic(num_channels),
    }
    if name not in builders:
        raise ValueError(
            f"`likelihood` must be one of {tuple(builders)}. Received: likelihood={name!r}"
        )
    return builders[name]()


class DecoderSampler(NetworkSampler):
    """Decodes latents to the mean of the likelihood, or to pixels drawn from it.

    Args:
        likelihood: One of this file's layers.
        output: `"mean"` or `"sample"`.
        **kwargs: As for `models.base.Sampler`.
    """

    def __init__(self, *, likelihood, output, **kwargs):
        super().__init__(network_passes=1, **kwargs)
        self.likelihood = likelihood
        self.output_kind = output
        self.deterministic = output == "mean"
        self.parts = [self.network, likelihood]

    def call(self, inputs):
        """Maps `(latents, seeds)` to images in [-1, 1]: latents -> images."""
        logits = super().call(inputs)
        if self.output_kind == "mean":
            return 2.0 * ops.sigmoid(logits) - 1.0
        noises = step_noise(inputs[1], 0, logits.shape[1:])
        return 2.0 * self.likelihood.sample(logits, noises) - 1.0


def _uniform(noises):
    """Standard normal numbers as uniform ones in [0, 1]."""
    return 0.5 * (1.0 + ops.erf(noises / math.sqrt(2.0)))
