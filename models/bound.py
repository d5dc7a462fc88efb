"""The variational bound of a diffusion model with discrete time steps, in bits per dimension.

The bound on the negative log likelihood is L_0 + ... + L_T (Ho et al. 2020, eq. 5). L_T compares
the noisiest level with the prior, L_0 codes the image itself, and L_{t-1} compares step t of the
reverse process with the posterior q(x_{t-1} | x_t, x_0) (eq. 6). As everywhere, time t of the paper
is time step t - 1 of the code. Images are in [-1, 1], of 256 levels.
"""

import math

import numpy as np
from keras import ops

from models.base import Program, to_float
from models.noise import step_noise
from models.reverse_process import predict_images, split_outputs, variance_fractions
from models.samplers import DDPM, VARIANCES

HALF_LEVEL = 1.0 / 255.0
LEAST_MASS = 1e-12  # Ho et al.'s code: the logarithm of smaller ones is not taken
BOUNDED_AT_ONCE = 250


class VariationalBound:
    """The terms of the bound for one kind of variance.

    The variance of the first step would be 0 where it is the posterior's, and is that of the second
    step instead (as in the code of Ho et al. and of Nichol and Dhariwal).

    Args:
        schedule: A `models.schedules.DiscreteSchedule`.
        prediction: What the network predicts, as for `models.diffusion.DiffusionModel`.
        variance: Of the reverse process, as for `models.samplers.DDPM`: `"fixed_small"`,
            `"fixed_large"` or `"learned"`.
        clip_predicted_images: Whether predicted images are clipped to [-1, 1].

    Raises:
        ValueError: If the schedule is continuous, or there is no such variance.
    """

    def __init__(self, *, schedule, prediction, variance, clip_predicted_images):
        if schedule.num_timesteps is None:
            raise ValueError(
                "the variational bound needs a schedule of discrete time steps, such as linear or "
                f"cosine. Received: {type(schedule).__name__}"
            )
        if variance not in VARIANCES:
            raise ValueError(f"`variance` must be one of {VARIANCES}. Received: {variance!r}")
        self.num_timesteps = schedule.num_timesteps
        self.prediction = prediction
        self.variance = variance
        self.clip_predicted_images = clip_predicted_images
        steps = DDPM(num_steps=self.num_timesteps).reverse_steps(schedule)
        self.alpha_bars = schedule.alpha_bars
        self.image_weights = steps.image_weights[::-1]
        self.posterior_log_variances, largest = log_variance_range(schedule)
        if variance == "fixed_large":  # but at the first step: it codes images better (their code)
            largest[0] = self.posterior_log_variances[0]
        self.largest_log_variances = largest

    def noise(self, images, times, noises):
        """States x_t of images (Ho et al. 2020, eq. 4); of time step `times`, `(batch,)`."""
        return (
            of_each(np.sqrt(self.alpha_bars), times) * images
            + of_each(np.sqrt(1.0 - self.alpha_bars), times) * noises
        )

    def terms(self, *, images, states, times, outputs):
        """L_{t-1} of each image at one time step (Nichol and Dhariwal 2021, eq. 5 and 6).

        Args:
            images: Float `(batch, height, width, channels)` in [-1, 1], x_0.
            states: Likewise, x_t.
            times: Time steps, int `(batch,)` in 0..T-1.
            outputs: What the network makes of the states; where the variance is learned, v follows
                the prediction, in as many channels.

        Returns:
            `(batch,)`, in bits per dimension.
        """
        predictions, values = split_outputs(outputs, images.shape[-1])
        rates = [
            of_each(np.sqrt(powers), times) for powers in (self.alpha_bars, 1.0 - self.alpha_bars)
        ]
        predicted_images = predict_images(self.prediction, predictions, states, *rates)
        if self.clip_predicted_images:
            predicted_images = ops.clip(predicted_images, -1.0, 1.0)
        log_variances = self.log_variances(values, times)
        # Both means weigh x_t alike (eq. 7 of Ho et al.), and at t = 1 the predicted image is it.
        divergences = gaussian_kl(
            of_each(self.image_weights, times) * (images - predicted_images),
            of_each(self.posterior_log_variances, times),
            log_variances,
        )
        code_lengths = discretized_gaussian_nll(images, predicted_images, log_variances)
        is_first = ops.equal(times, 0)[:, None, None, None]
        return bits_per_dim(ops.where(is_first, code_lengths, divergences))

    def log_variances(self, values, times):
        """Log variances of the reverse process, learned ones from `values`, which are v."""
        smallest = of_each(self.posterior_log_variances, times)
        largest = of_each(self.largest_log_variances, times)
        if self.variance == "learned":  # Nichol and Dhariwal 2021, eq. 15
            fractions = variance_fractions(values)
            return fractions * largest + (1.0 - fractions) * smallest
        return {"fixed_small": smallest, "fixed_large": largest}[self.variance]

    def prior_terms(self, images):
        """L_T: the KL divergence of q(x_T | x_0) from N(0, 1), `(batch,)` in bits per dimension."""
        alpha_bar = self.alpha_bars[-1]
        constant = -alpha_bar - math.log1p(-alpha_bar)
        return bits_per_dim(0.5 * (alpha_bar * ops.square(images) + constant))


def log_variance_range(schedule):
    """The logarithms of beta tilde and beta at each time step, float64 `(T,)` each."""
    previous = np.append(1.0, schedule.alpha_bars[:-1])
    betas = 1.0 - schedule.alpha_bars / previous
    posterior = betas * (1.0 - previous) / (1.0 - schedule.alpha_bars)  # Ho et al. 2020, eq. 7
    posterior[0] = posterior[1] if len(posterior) > 1 else betas[0]
    return np.log(posterior), np.log(betas)


def gaussian_kl(mean_differences, log_variances, other_log_variances):
    """The KL divergence of one Gaussian from another, in nats, of each dimension alone."""
    log_ratios = log_variances - other_log_variances
    distances = ops.square(mean_differences) * ops.exp(-other_log_variances)
    return 0.5 * (ops.expm1(log_ratios) - log_ratios + distances)


def discretized_gaussian_nll(images, means, log_variances):
    """The negative log probability of each pixel's level (Ho et al. 2020, eq. 13), in nats.

    The lowest level has all of the mass below it, the highest all above it. Masses below 1e-12
    count as 1e-12, as in their code; their approximation of the normal distribution is not used.

    Args:
        images: Float `(batch, height, width, channels)` in [-1, 1], of 256 levels.
        means: Likewise, of any values.
        log_variances: Of a shape that broadcasts.

    Returns:
        A tensor of the images' shape.
    """
    precisions = ops.exp(-0.5 * log_variances)
    # Mirrored, so that the level lies below the mean, where small masses keep their digits.
    signs = ops.where(images > means, -1.0, 1.0)
    offsets = signs * (images - means)
    is_lowest, is_highest = images < -1.0 + HALF_LEVEL, images > 1.0 - HALF_LEVEL
    opens_up = ops.where(signs > 0.0, is_highest, is_lowest)
    opens_down = ops.where(signs > 0.0, is_lowest, is_highest)
    above = ops.where(opens_up, 1.0, normal_cdf(precisions * (offsets + HALF_LEVEL)))
    below = ops.where(opens_down, 0.0, normal_cdf(precisions * (offsets - HALF_LEVEL)))
    return -ops.log(ops.maximum(above - below, LEAST_MASS))


def normal_cdf(values):
    return 0.5 * (1.0 + ops.erf(values / math.sqrt(2.0)))


def bits_per_dim(nats):
    """Means of nats over all dimensions of each image, in bits."""
    return ops.mean(nats, axis=(1, 2, 3)) / math.log(2.0)


def of_each(values, times):
    """Takes the coefficient of each image's time step, to be multiplied with images."""
    chosen = ops.take(ops.convert_to_tensor(values, "float32"), times)
    return chosen[:, None, None, None]


def bound_of_images(*, network, bound, images, labels=None, seed=0, jit_compile="auto"):
    """The variational bound of each image: L_T and all T further terms, each with one noise.

    Args:
        network: Network with the inputs `[images, times]`, then `labels` where there are classes.
        bound: A `VariationalBound`.
        images: uint8 `(N, height, width, channels)`.
        labels: Their classes, int `(N,)`, where the network takes them.
        seed: Integer that the noises descend from, each image's own from its position as well.
        jit_compile: As for `keras.Model.compile`.

    Returns:
        float32 `(N,)`, in bits per dimension.
    """
    shape = images.shape[1:]

    def bound_of_batch(inputs):
        images, seeds, *labels = inputs
        images = to_float(images)

        def add_term(time, bits):
            times = ops.full_like(seeds[:, 0], time, dtype="int32")
            states = bound.noise(images, times, step_noise(seeds, time, shape))
            outputs = network([states, times, *labels], training=False)
            terms = bound.terms(images=images, states=states, times=times, outputs=outputs)
            return bits + terms

        return ops.fori_loop(0, bound.num_timesteps, add_term, bound.prior_terms(images))

    program = Program(bound_of_batch, [network], jit_compile=jit_compile, name="bound")
    seeds = np.stack([np.full(len(images), seed), np.arange(len(images))], axis=1)
    inputs = [images, seeds.astype("uint32")]
    inputs += [] if labels is None else [np.asarray(labels, "int32")]
    starts = range(0, len(images), BOUNDED_AT_ONCE)
    batches = [[values[start : start + BOUNDED_AT_ONCE] for values in inputs] for start in starts]
    return np.concatenate([program.run(batch) for batch in batches])
