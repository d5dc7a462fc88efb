"""R3GAN, a GAN with a regularised relativistic loss (Huang et al. 2024)."""

import math

import keras
from keras import ops

from models.adversarial import accuracies, build_optimizer, frozen_logits, total_loss
from models.base import GenerativeModel, NetworkSampler, count_steps, to_float
from models.gradients import with_input_gradients
from models.latent_plane import illustrate_plane
from models.r3gan_networks import build_discriminator, build_generator

PENALTIES = ("r1", "r2")
LOSSES = ("generator_loss", "discriminator_loss", "gradient_penalty")


class R3GAN(GenerativeModel):
    """GAN with the relativistic pairing loss, R1 and R2 (Huang et al. 2024), under plain `fit`.

    The ways to update the networks are those of `models.adversarial`; the networks are those of
    `models.r3gan_networks`.

    Args:
        image_shape: `(height, width, channels)`.
        seed: Integer.
        latent_dim: Number of latent dimensions, at least 1; 64 in the paper.
        widths: Channels of each stage, the finest first.
        num_blocks: Residual blocks of each stage; 2 in the paper.
        group_width: Channels of each group of the grouped convolutions; 16 in the paper.
        patch_size: The finest stage works on patches of as many pixels across; 1 in the paper.
        bounded: Whether the generator ends in tanh; not so in the paper.
        relativistic: Whether the discriminator tells which of a real and a generated image is the
            real one (Jolicoeur-Martineau 2019, RpGAN), or judges each by itself, with the
            non-saturating loss (Goodfellow et al. 2014).
        penalties: Which squared gradients of the discriminator are penalised: `"r1"` at real
            images, `"r2"` at generated ones (Mescheder et al. 2018); any of both.
        gamma: Weight of the penalties at the start, halved as in Mescheder et al.; not negative.
        final_gamma: Weight after `gamma_steps`, between which it falls as a cosine.
        gamma_steps: Number of steps, at least 1.
        num_classes: Number of classes that the images are conditioned on; `None` for none.
        alternating: Whether steps update the discriminator and the generator in turns, each
            with a batch of its own, or both at once from the same batch.
        generator_optimizer: An optimizer of `models.optimizers`.
        discriminator_optimizer: Likewise.
        name: Name of the model.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        image_shape,
        seed,
        latent_dim,
        widths,
        num_blocks,
        gamma,
        final_gamma,
        gamma_steps,
        group_width=16,
        patch_size=1,
        bounded=False,
        relativistic=True,
        penalties=PENALTIES,
        num_classes=None,
        alternating=True,
        generator_optimizer=None,
        discriminator_optimizer=None,
        name="r3gan",
    ):
        check_options(latent_dim, penalties, gamma, final_gamma, gamma_steps)
        optimizer = build_optimizer(
            generator_optimizer, discriminator_optimizer, alternating=alternating
        )
        super().__init__(image_shape=image_shape, seed=seed, optimizer=optimizer, name=name)
        self.latent_dim = latent_dim
        self.relativistic = relativistic
        self.penalties = tuple(penalties)
        self.gamma = gamma
        self.final_gamma = final_gamma
        self.gamma_steps = gamma_steps
        self.num_classes = num_classes
        self.alternating = alternating
        self.steps_done = count_steps()
        shape = {
            "image_shape": self.image_shape,
            "widths": list(widths),
            "num_blocks": num_blocks,
            "group_width": group_width,
            "patch_size": patch_size,
            "num_classes": num_classes,
        }
        with keras.name_scope("generator"):
            self.generator = build_generator(latent_dim=latent_dim, bounded=bounded, **shape)
        with keras.name_scope("discriminator"):
            self.discriminator = build_discriminator(**shape)
        judged = ("pair_accuracy",) if relativistic else ("real_accuracy", "generated_accuracy")
        self.means = {key: keras.metrics.Mean(name=key) for key in (*LOSSES, *judged)}

    @property
    def network(self):
        return self.generator

    def call(self, inputs, training=False):
        """Draws latents, one vector for each of the images."""
        images = inputs[0] if self.num_classes else inputs
        shape = (ops.shape(images)[0], self.latent_dim)
        return keras.random.normal(shape, seed=self.seed_generator)

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss of whose turn it is, or the sum of both networks' (Huang et al., section 2)."""
        images, *labels = x if self.num_classes else (x,)
        real_images, labels = to_float(images), [ops.cast(each, "int32") for each in labels]
        gamma = self.current_gamma()

        def generate():
            return self.generator([y_pred, *labels], training=training)

        def generator_losses(generated_images):
            logits = frozen_logits(
                self.discriminator, [generated_images, *labels], training=training
            )
            if self.relativistic:
                logits = logits - frozen_logits(
                    self.discriminator, [real_images, *labels], training=training
                )
            return {"generator_loss": ops.mean(ops.softplus(-logits))}

        def logits_of(images):
            return self.discriminator([images, *labels], training=training)

        def discriminator_losses(generated_images):
            generated_images = ops.stop_gradient(generated_images)
            real_logits, r1 = logits_and_penalty(logits_of, real_images, "r1" in self.penalties)
            generated_logits, r2 = logits_and_penalty(
                logits_of, generated_images, "r2" in self.penalties
            )
            return {
                **self.losses_of_logits(real_logits, generated_logits),
                "gradient_penalty": 0.5 * gamma * (r1 + r2),
            }

        return total_loss(self, generate, generator_losses, discriminator_losses)

    def losses_of_logits(self, real_logits, generated_logits):
        """The discriminator's loss and how often it is right, from logits `(batch, 1)`."""
        if not self.relativistic:
            loss = ops.mean(ops.softplus(-real_logits)) + ops.mean(ops.softplus(generated_logits))
            return {"discriminator_loss": loss, **accuracies(real_logits, generated_logits)}
        differences = real_logits - generated_logits
        return {
            "discriminator_loss": ops.mean(ops.softplus(-differences)),
            "pair_accuracy": ops.mean(ops.cast(differences > 0.0, "float32")),
        }

    def current_gamma(self):
        """The weight of the penalties at this step."""
        done = ops.cast(self.steps_done, "float32") / self.gamma_steps
        fraction = 0.5 + 0.5 * ops.cos(math.pi * ops.minimum(done, 1.0))
        return self.final_gamma + (self.gamma - self.final_gamma) * fraction

    def build_sampler(self, method=None):
        """Returns a sampler that runs the generator once."""
        return NetworkSampler(
            network=self.generator,
            network_passes=1,
            latent_shape=(self.latent_dim,),
            num_classes=self.num_classes,
            seed=self.seed,
            name="generator",
        )

    def illustrate(self, images, labels):
        """The latent plane, or what two directions through the latent space change."""
        return illustrate_plane(self.sampler())


def logits_and_penalty(logits_of, images, penalised):
    """Logits of images, and the mean of their squared gradients (Mescheder et al. 2018, eq. 9)."""
    if not penalised:
        return logits_of(images), 0.0
    logits, gradients = with_input_gradients(logits_of, images)
    return logits, ops.mean(ops.sum(ops.square(gradients), axis=(1, 2, 3)))


def check_options(latent_dim, penalties, gamma, final_gamma, gamma_steps):
    """Refuses what `R3GAN` cannot be built from."""
    if latent_dim < 1 or gamma_steps < 1:
        raise ValueError(
            "`latent_dim` and `gamma_steps` must be at least 1. Received: "
            f"latent_dim={latent_dim}, gamma_steps={gamma_steps}"
        )
    if not set(penalties) <= set(PENALTIES):
        raise ValueError(
            f"`penalties` must be some of {PENALTIES}. Received: penalties={list(penalties)}"
        )
    if gamma < 0.0 or final_gamma < 0.0:
        raise ValueError(
            "`gamma` and `final_gamma` must not be negative. Received: "
            f"gamma={gamma}, final_gamma={final_gamma}"
        )
