"""The plain ways do the same work: what they are compared by must not be their results."""

import keras
import numpy as np
import pytest

from benchmark.speed.plain_diffusion import plain_ddpm, plain_ddpm_step
from benchmark.speed.plain_metrics import plain_kid, plain_prdc
from metrics.kid import kid
from metrics.prdc import prdc
from models.diffusion import DiffusionModel
from models.samplers import DDPM
from models.schedules import LinearSchedule

SHAPE = (8, 8, 1)


@pytest.fixture
def features():
    generator = np.random.default_rng(0)
    real, generated = generator.gamma(1.0, 1.0, (2, 150, 12)).astype(np.float32)
    real[:, 3:5] = generated[:, 3:5] = 0.0
    return real, 1.1 * generated


@pytest.fixture
def model():
    keras.utils.clear_session(free_memory=False)
    model = DiffusionModel(
        image_shape=SHAPE,
        seed=0,
        schedule=LinearSchedule(
            num_timesteps=1, beta_start=0.3, beta_end=0.3, reference_timesteps=None
        ),
        base_width=8,
        multipliers=[1],
        num_blocks=1,
    )
    generator = np.random.default_rng(0)
    for variable in model.unet.trainable_variables:
        variable.assign_add(generator.normal(0.0, 0.1, variable.shape))
    return model


def test_the_plain_metrics_give_the_same_numbers(features):
    real, generated = features
    plan = {"num_subsets": 5, "subset_size": 60}
    ours = {"real_features": real, "generated_features": generated}
    assert kid(**ours, **plan) == pytest.approx(plain_kid(*features, **plan), rel=1e-9)
    assert prdc(**ours, nearest_k=4) == pytest.approx(plain_prdc(*features, nearest_k=4))


def test_the_plain_loop_takes_the_same_step(model):
    """The last step adds no noise, so that it is a function of the latents alone."""
    plain = plain_ddpm(model.unet, betas=np.array([0.3]), shape=(4, *SHAPE), seed=3)
    latents = np.random.default_rng(3).standard_normal((4, *SHAPE)).astype("float32")
    sampler = model.sampler(DDPM(num_steps=1, clip_predicted_images=False))
    ours = sampler.sample(latents, np.zeros((4, 2), "uint32"))
    np.testing.assert_allclose(plain, ours, atol=1e-5)
    assert np.abs(plain - np.clip(latents, -1.0, 1.0)).max() > 0.1


@pytest.mark.slow
def test_the_plain_training_step_learns(model):
    images = np.random.default_rng(0).integers(0, 256, (16, *SHAPE), dtype="uint8")
    step = {"alpha_bars": model.schedule.alpha_bars, "generator": np.random.default_rng(0)}
    optimizer = keras.optimizers.Adam(1e-2)
    losses = [plain_ddpm_step(model.unet, optimizer, images, **step) for _ in range(30)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
