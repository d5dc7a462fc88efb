"""Denoising diffusion models: what they learn, and how they are illustrated.

With alpha_bar as in Ho et al. (2020), `signal_rate` is sqrt(alpha_bar) and `noise_rate` is
sqrt(1 - alpha_bar), both standard deviations: noisy = signal_rate * image + noise_rate * noise.
"""

import math

import keras
import numpy as np
from keras import ops

from models.base import GenerativeModel, Illustration, to_float, to_uint8
from models.bound import VariationalBound, bound_of_images
from models.embedding import withhold_labels
from models.reverse_process import DiffusionSampler, split_outputs
from models.samplers import DDPM, ReverseMethod
from models.standardization import Standardization, destandardized, standardized
from models.unet import build_unet

PREDICTIONS = ("noise", "velocity", "image")
LOSSES = {
    "mean_squared": ops.square,
    "mean_absolute": ops.abs,
    "huber": lambda errors: ops.where(
        ops.abs(errors) < 1.0, 0.5 * ops.square(errors), ops.abs(errors) - 0.5
    ),
}
# sqrt(alpha_bar) at the noisiest level. The schedules in use leave 0.02 at most: 0.006 the linear
# one of Ho et al. (2020), 5e-5 the cosine. Lin et al. (2024, table 1) find that 0.068 spoils the
# brightness of samples.
MOST_SIGNAL_LEFT = 0.03
BOUND_WEIGHT = 0.001  # lambda (Nichol and Dhariwal 2021, section 3.1)
NUM_ILLUSTRATED, NUM_ILLUSTRATED_STEPS = 5, 11
MOST_RECONSTRUCTION_STEPS = 300
LOGGED = ("noise_loss", "image_loss")


class DiffusionModel(GenerativeModel):
    """Denoising diffusion probabilistic model (Ho, Jain, Abbeel 2020).

    Args:
        image_shape: `(height, width, channels)`.
        seed: Integer.
        schedule: A noise schedule of `models.schedules`.
        prediction: What the network learns: `"noise"` (Ho et al. 2020), `"image"` or `"velocity"`
            (Salimans and Ho 2022).
        loss: `"mean_squared"`, `"mean_absolute"` or `"huber"` (quadratic below 1).
        min_snr_gamma: Weighs an image's loss by the signal-to-noise ratio, but by no more than this
            (Hang et al. 2023, who recommend 5); `None` weighs all points alike.
        num_classes: Number of classes that the images are conditioned on; `None` for none.
        label_dropout: Fraction of the training images whose class is withheld, so that guidance has
            an unconditional model (Ho and Salimans 2022, p_uncond).
        stratified_times: Whether the time steps of a batch cover all of the way evenly (Kingma et
            al. 2021, appendix I.1), or are drawn independently (Ho et al. 2020, algorithm 1).
        reconstruct_from: How far real images are noised, as fractions of the way to pure noise, for
            the pictures of what is reconstructed from there.
        learned_variance: Whether the network also learns the variance of each pixel at each step,
            by the hybrid loss (Nichol and Dhariwal 2021, section 3.1), on discrete schedules.
        bound_images: Number of real images whose variational bound is computed after training,
            at least 2; `None` for none.
        standardize: Whether images are standardised by the mean and the standard deviation that
            each channel has in the training images (see `adapt`). The noise then has the variance
            of the data; on the scale [-1, 1], to which samples are brought back, it has less.
        optimizer: A `keras.optimizers.Optimizer`.
        name: Name of the model.
        build_network: Function that builds the network, such as `models.unet.build_unet`.
        **options: Its options.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        image_shape,
        seed,
        schedule,
        prediction="noise",
        loss="mean_squared",
        min_snr_gamma=None,
        num_classes=None,
        label_dropout=0.1,
        stratified_times=False,
        reconstruct_from=(0.25, 0.5, 0.75),
        learned_variance=False,
        bound_images=None,
        standardize=False,
        optimizer=None,
        name="ddpm",
        build_network=build_unet,
        **options,
    ):
        check_options(prediction, loss, label_dropout, reconstruct_from)
        check_bound(schedule, learned_variance, bound_images, standardize)
        super().__init__(image_shape=image_shape, seed=seed, optimizer=optimizer, name=name)
        self.schedule = schedule
        self.prediction = prediction
        self.loss_name = loss
        self.min_snr_gamma = min_snr_gamma
        self.num_classes = num_classes
        self.label_dropout = label_dropout
        self.stratified_times = stratified_times
        self.reconstruct_from = tuple(reconstruct_from)
        self.learned_variance = learned_variance
        self.bound_images = bound_images
        if learned_variance:
            self.bound = self.variational_bound("learned", clip_predicted_images=False)
            self.simple_loss = keras.metrics.Mean(name="simple_loss")
            self.vlb_loss = keras.metrics.Mean(name="vlb_loss")
        num_channels = self.image_shape[-1]
        self.standardization = Standardization(num_channels) if standardize else None
        self.means = {key: keras.metrics.Mean(name=key) for key in LOGGED}
        self.unet = build_network(
            image_shape=self.image_shape,
            out_channels=2 * num_channels if learned_variance else num_channels,
            num_classes=num_classes,
            time_embedding="continuous" if schedule.num_timesteps is None else "discrete",
            **options,
        )

    @property
    def network(self):
        return self.unet

    def adapt(self, images):
        """Takes the statistics of the training images, where the model standardises."""
        if self.standardization is not None:
            self.standardization.adapt(images)

    def call(self, inputs, training=False):
        """Noises images (uint8) at random points of the schedule.

        Args:
            inputs: uint8 images, or pairs `(images, labels)` where there are classes.
            training: Whether the network is trained.

        Returns:
            `(predictions, targets, signal_to_noise)`; the last is alpha_bar / (1 - alpha_bar).
            With a learned variance, the terms of the bound follow, `(batch,)`.
        """
        images, labels = inputs if self.num_classes else (inputs, None)
        images = standardized(to_float(images), self.standardization)
        times, signal_rates, noise_rates = self.schedule.draw(
            ops.shape(images)[0], self.seed_generator, self.stratified_times
        )
        signal_rates = signal_rates[:, None, None, None]
        noise_rates = noise_rates[:, None, None, None]
        noises = keras.random.normal(ops.shape(images), seed=self.seed_generator)
        noisy_images = signal_rates * images + noise_rates * noises  # Ho et al. 2020, eq. 4
        targets = {
            "noise": noises,
            "velocity": signal_rates * noises - noise_rates * images,
            "image": images,
        }
        network_inputs = [noisy_images, times]
        if self.num_classes:
            network_inputs.append(
                withhold_labels(labels, self.label_dropout, self.num_classes, self.seed_generator)
            )
        outputs = self.unet(network_inputs, training=training)
        predictions, _ = split_outputs(outputs, self.image_shape[-1])
        learned = predictions, targets[self.prediction], ops.square(signal_rates / noise_rates)
        if not self.learned_variance:
            return learned
        return *learned, self.bound_terms(images, noisy_images, times, outputs)

    def bound_terms(self, images, states, times, outputs):
        """Terms of L_vlb, whose gradient reaches the variances alone (their section 3.1)."""
        predictions, values = split_outputs(outputs, self.image_shape[-1])
        outputs = ops.concatenate([ops.stop_gradient(predictions), values], axis=-1)
        return self.bound.terms(images=images, states=states, times=times, outputs=outputs)

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean error of the prediction (squared, for noise: Ho et al. 2020, eq. 14).

        With a learned variance, L_hybrid (Nichol and Dhariwal 2021, eq. 16): that error plus 0.001
        L_vlb. As in their code, L_vlb is in bits per dimension and T times the mean of its terms at
        the batch's random time steps. Both are logged apart.

        Logged beside it are the errors of the noise and of the image that the prediction implies,
        by the same loss without weights. One of them is what noise or image prediction minimises.
        """
        predictions, targets, signal_to_noise, *bound_terms = y_pred
        errors = predictions - targets
        for key, implied in zip(LOGGED, self._implied_errors(errors, signal_to_noise), strict=True):
            self.means[key].update_state(ops.mean(LOSSES[self.loss_name](implied)))
        losses = LOSSES[self.loss_name](errors)
        if self.min_snr_gamma is not None:
            losses = losses * self._min_snr_weights(signal_to_noise)
        if not self.learned_variance:
            return ops.mean(losses)
        simple_loss = ops.mean(losses)
        vlb_loss = self.schedule.num_timesteps * ops.mean(bound_terms[0])
        self.simple_loss.update_state(simple_loss)
        self.vlb_loss.update_state(vlb_loss)
        return simple_loss + BOUND_WEIGHT * vlb_loss

    def warnings(self):
        """Warns of a schedule that does not end in noise, which is what sampling starts from."""
        signal_rate = math.sqrt(self.schedule.path(1).alpha_bars[0])
        if signal_rate <= MOST_SIGNAL_LEFT:
            return ()
        return (
            f"the noise schedule leaves {signal_rate:.1%} of the image at its noisiest level "
            f"(sqrt(alpha_bar); usual are at most {MOST_SIGNAL_LEFT:.0%}), but sampling starts "
            "from pure noise: samples may be too dark, too bright or too grey. Larger betas, or "
            "betas scaled by reference_timesteps, end in noise",
        )

    def illustrate(self, images, labels):
        """The forward process (eq. 4), and what is reconstructed from its midst.

        The way there and back is animated for the middle one of `reconstruct_from`.
        """
        images, labels = images[:NUM_ILLUSTRATED], labels[:NUM_ILLUSTRATED]
        pictures = {"forward": self.forward_process(images)}
        if self.reconstruct_from:
            middle = sorted(self.reconstruct_from)[len(self.reconstruct_from) // 2]
            pictures["reconstructions"] = self.reconstructions(images)
            pictures["reconstruction"] = self._reconstructor().reconstruction(images, middle)
        return pictures

    def forward_process(self, images):
        """Images on their way to noise."""
        steps = min(NUM_ILLUSTRATED_STEPS, self.schedule.num_timesteps or NUM_ILLUSTRATED_STEPS)
        path = self.schedule.path(steps, "linspace")
        noises = np.random.default_rng(self.seed).standard_normal(images.shape)
        alpha_bars = path.alpha_bars[::-1, None, None, None]
        standard_images = standardized(images / 127.5 - 1.0, self.standardization)
        noisy_images = (
            np.sqrt(alpha_bars) * np.asarray(standard_images)[:, None]
            + np.sqrt(1.0 - alpha_bars) * noises[:, None]
        )
        noisy_images = destandardized(noisy_images, self.standardization)
        if path.num_timesteps is None:
            labels = tuple(f"{time:.2f}" for time in path.times[::-1])
            x_label = "variance of the noise"
        else:
            labels = tuple(str(time + 1) for time in path.times[::-1])
            x_label = "steps of noise"
        return Illustration(to_uint8(noisy_images), column_labels=labels, x_label=x_label)

    def reconstructions(self, images):
        """Real images that were noised part of the way, and what ancestral sampling makes of them.

        With classes, each is denoised without its class.
        """
        sampler = self._reconstructor()
        columns, labels = [images], ["real"]
        for fraction in self.reconstruct_from:
            noisy_images, denoised_images, level = sampler.reconstruct(images, fraction)
            columns += [noisy_images, denoised_images]
            labels += [level, "denoised"]
        return Illustration(np.stack(columns, axis=1), column_labels=tuple(labels))

    def facts(self, images, labels):
        """The variational bound of the first `bound_images`, or of all if there are fewer."""
        if self.bound_images is None:
            return {}
        bits = self.bits_per_dimension(images[: self.bound_images], labels[: self.bound_images])
        standard_error = np.std(bits, ddof=1) / math.sqrt(len(bits))
        return {"bits_per_dim": float(np.mean(bits)), "bits_per_dim_se": float(standard_error)}

    def bits_per_dimension(self, images, labels=None, variance=None):
        """The variational bound on the negative log likelihood of images (Ho et al. 2020, eq. 5).

        Predicted images are clipped to [-1, 1], as where Nichol and Dhariwal (2021) measure it.

        Args:
            images: uint8 `(N, height, width, channels)`.
            labels: Their classes, int `(N,)`, where the model is conditioned on them.
            variance: Of the reverse process, as for `models.samplers.DDPM`; `None` for the learned
                one, and for `"fixed_large"` where there is none.

        Returns:
            float32 `(N,)`, in bits per dimension.

        Raises:
            ValueError: If the schedule is continuous, or the model has no such variance.
        """
        variance = variance or ("learned" if self.learned_variance else "fixed_large")
        self._check_variance(variance == "learned")
        return bound_of_images(
            network=self.unet,
            bound=self.variational_bound(variance, clip_predicted_images=True),
            images=images,
            labels=labels if self.num_classes else None,
            seed=self.seed,
            jit_compile=self.batch_jit,
        )

    def variational_bound(self, variance, *, clip_predicted_images):
        """The `VariationalBound` of this model with one kind of variance."""
        return VariationalBound(
            schedule=self.schedule,
            prediction=self.prediction,
            variance=variance,
            clip_predicted_images=clip_predicted_images,
        )

    def _reconstructor(self):
        """A sampler that takes all steps of ancestral sampling, or as many as a picture is worth.

        The images that it predicts are clipped.
        """
        limit = self.schedule.num_timesteps or MOST_RECONSTRUCTION_STEPS
        return self.sampler(DDPM(num_steps=min(limit, MOST_RECONSTRUCTION_STEPS)))

    def build_sampler(self, method=None):
        """Returns a `DiffusionSampler` that takes the steps of `method` (default: all of DDPM).

        Raises:
            ValueError: If `method` is not one of diffusion models, or the model has not learned
                the variance that it asks for.
        """
        method = method or DDPM(num_steps=self.schedule.num_timesteps)
        if not isinstance(method, ReverseMethod):
            raise ValueError(
                "a diffusion model is sampled by DDPM, DDIM or DPMSolver. "
                f"Received: {type(method).__name__}"
            )
        steps = method.reverse_steps(self.schedule)
        self._check_variance(steps.std_ratios is not None)
        return DiffusionSampler.of_method(
            method,
            steps,
            unet=self.unet,
            prediction=self.prediction,
            num_classes=self.num_classes,
            standardization=self.standardization,
            seed=self.seed,
        )

    def _check_variance(self, is_learned):
        if is_learned and not self.learned_variance:
            raise ValueError(
                "variance='learned' needs a model with `learned_variance`. "
                f"Received: learned_variance={self.learned_variance}"
            )

    def _implied_errors(self, errors, signal_to_noise):
        """The errors of the noise and of the image, but for their signs, at known noisy images."""
        ratios = ops.sqrt(signal_to_noise)  # signal rate / noise rate
        noise_rates = ops.rsqrt(1.0 + signal_to_noise)
        return {
            "noise": lambda: (errors, errors / ratios),
            "velocity": lambda: (errors * noise_rates * ratios, errors * noise_rates),
            "image": lambda: (errors * ratios, errors),
        }[self.prediction]()

    def _min_snr_weights(self, signal_to_noise):
        """Hang et al. 2023, section 3.4, for each kind of prediction."""
        cut_off = ops.minimum(signal_to_noise, self.min_snr_gamma)
        return {
            "image": lambda: cut_off,
            "noise": lambda: cut_off / signal_to_noise,
            "velocity": lambda: cut_off / (signal_to_noise + 1.0),
        }[self.prediction]()


def check_options(prediction, loss, label_dropout, reconstruct_from):
    """Refuses what `DiffusionModel` cannot be built from."""
    if prediction not in PREDICTIONS:
        raise ValueError(
            f"`prediction` must be one of {PREDICTIONS}. Received: prediction={prediction!r}"
        )
    if loss not in LOSSES:
        raise ValueError(f"`loss` must be one of {tuple(LOSSES)}. Received: loss={loss!r}")
    if not 0.0 <= label_dropout <= 1.0 or not all(
        0.0 < fraction <= 1.0 for fraction in reconstruct_from
    ):
        raise ValueError(
            "`label_dropout` must be in [0, 1] and `reconstruct_from` in (0, 1]. Received: "
            f"label_dropout={label_dropout}, reconstruct_from={list(reconstruct_from)}"
        )


def check_bound(schedule, learned_variance, bound_images, standardize):
    """Refuses a bound of no images, of standardised ones, or on a schedule without time steps."""
    if bound_images is not None and bound_images < 2:
        raise ValueError(
            f"`bound_images` must be at least 2 or None. Received: bound_images={bound_images}"
        )
    if (learned_variance or bound_images) and standardize:
        raise ValueError(
            "`learned_variance` and `bound_images` need images on the scale [-1, 1], whose levels "
            f"the bound codes. Received: standardize=True, learned_variance={learned_variance}, "
            f"bound_images={bound_images}"
        )
    if (learned_variance or bound_images) and schedule.num_timesteps is None:
        raise ValueError(
            "`learned_variance` and `bound_images` need a schedule of discrete time steps, such as "
            f"linear or cosine. Received: schedule={type(schedule).__name__}, "
            f"learned_variance={learned_variance}, bound_images={bound_images}"
        )
