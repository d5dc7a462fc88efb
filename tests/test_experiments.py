"""Every experiment of conf/experiment: that it can be built as it is, and learns when shrunk."""

import copy

import keras
import numpy as np
import pytest
from keras import ops

from benchmark import config as configuration
from benchmark.cli import RunBuilder
from benchmark.datasets.mnist import load_mnist
from tests.conftest import options, ready_to_train

GREY = ("mnist", "fashion_mnist")
REMEDIES = ("prediction", "loss", "min_snr_gamma", "likelihood", "instance_noise")
OURS = (
    "learned_variance",
    "r3gan_ablation",
    "speedrun",
    "stacked_mnist_trilemma",
    "trilemma_frontier",
)
SMALL = {"base_width": 8, "num_blocks": 1, "batch_size": 16}


@pytest.fixture
def settings_of(compose_config):
    def settings(experiment, *overrides):
        keras.utils.clear_session(free_memory=False)
        config = compose_config(f"experiment={experiment}", *overrides)
        return configuration.validate(config)

    return settings


def image_shape(settings):
    channels = 1 if settings["dataset"]["name"] in GREY else 3
    size = settings["dataset"]["image_size"]
    return (size, size, channels)


def shrink(model):
    """Narrow levels, as many as there were, and the full learning rate from the first step."""
    model = copy.deepcopy({key: SMALL.get(key, value) for key, value in model.items()})
    if model.get("widths"):
        model["widths"] = [8 for _ in model["widths"]]
    for name in ("optimizer", "generator_optimizer", "discriminator_optimizer"):
        learning_rate = model.get(name, {}).get("learning_rate")
        if isinstance(learning_rate, dict) and "warmup_steps" in learning_rate:
            learning_rate["warmup_steps"] = 0
    return model


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return load_mnist(cache_dir=tmp_path_factory.mktemp("cache")).train_images[:256]


def pictures(digits, shape):
    """Real images of any shape: digits, repeated to cover it."""
    repeats = -(-shape[0] // digits.shape[1])
    return np.tile(digits, (1, repeats, repeats, shape[2]))[:, : shape[0], : shape[1]]


def shrunk_model(settings):
    settings["model"] = shrink(settings["model"])
    return ready_to_train(RunBuilder(settings, []).build_model(image_shape(settings)))


@pytest.mark.parametrize("experiment", options("experiment"))
def test_a_shrunk_experiment_takes_a_step_and_passes(settings_of, experiment, digits):
    settings = settings_of(experiment)
    model = shrunk_model(settings)
    model.run_eagerly = True
    before = model.get_weights()
    logs = model.train_on_batch(pictures(digits, model.image_shape)[:8], return_dict=True)
    assert np.isfinite(list(logs.values())).all()
    assert not all(map(np.array_equal, before, model.get_weights()))
    for method in RunBuilder(settings, []).build_methods():
        sampler = model.sampler(method)
        outputs = sampler.pass_once(ops.convert_to_tensor(sampler.inputs(0, 2)[0]))
        assert outputs.shape[0] == 2


@pytest.mark.slow
@pytest.mark.parametrize("experiment", options("experiment"))
def test_a_shrunk_experiment_learns(settings_of, experiment, digits):
    settings = settings_of(experiment)
    model = shrunk_model(settings)
    images, losses = pictures(digits, model.image_shape), []
    for step in range(24):
        batch = images[step * 8 % 256 :][:8]
        losses.append(model.train_on_batch(batch, return_dict=True)["loss"])
    assert np.isfinite(losses).all()
    if settings["model"]["name"] not in ("dcgan", "ddgan", "r3gan"):  # a game has no falling loss
        assert np.mean(losses[-8:]) < np.mean(losses[:8])
    for method in RunBuilder(settings, []).build_methods():
        sampler = model.sampler(method)
        assert sampler.single_pass(sampler.inputs(0, 2)[0]).shape[0] == 2


@pytest.mark.slow
@pytest.mark.parametrize("experiment", options("experiment"))
def test_an_experiment_is_built_at_full_size(settings_of, experiment):
    settings = settings_of(experiment)
    model = RunBuilder(settings, []).build_model(image_shape(settings))
    print(f"{experiment}: {sum(np.prod(v.shape) for v in model.network.weights):,.0f} parameters")
    sampler = model.sampler(RunBuilder(settings, []).build_methods()[-1])
    outputs = sampler.single_pass(sampler.inputs(0, 1)[0])
    assert np.isfinite(outputs).all()


def test_the_single_image_comes_with_the_packages(settings_of):
    dataset = RunBuilder(settings_of("single_image_300"), []).load_dataset()
    assert dataset.train_images.shape == (1, 64, 64, 3)


def test_the_single_image_is_noised_to_step_180_and_denoised_from_there(settings_of):
    """The animation shows the middle one of the places that the picture shows."""
    model = shrunk_model(settings_of("single_image_300"))
    sampler = model._reconstructor()
    assert sampler.num_steps == 300
    middle = sorted(model.reconstruct_from)[len(model.reconstruct_from) // 2]
    assert sampler.steps.times[sampler._start(middle)] + 1 == 180


def test_flowers_are_standardised_and_their_predicted_images_not_clipped(settings_of):
    settings = settings_of("flowers_ddim_cosine")
    model, builder = shrunk_model(settings), RunBuilder(settings, [])
    methods = [*builder.build_methods(), builder.build_validation_method()]
    assert [method.num_steps for method in methods] == [20, 5, 5]
    assert not any(method.clip_predicted_images for method in methods)
    images = np.random.default_rng(0).integers(100, 200, (4, 64, 64, 3), dtype="uint8")
    model.adapt(images)
    _, stds = model.standardization.get_weights()
    np.testing.assert_allclose(stds, (images / 127.5).std(axis=(0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize(("experiment", "beta"), [("vae_latent2", 0.5), ("vae_latent100", 0.01)])
def test_the_average_over_latent_dimensions_is_one_option_away(settings_of, experiment, beta):
    model = settings_of(experiment, f"model.beta={beta}")["model"]
    assert model["beta"] * model["latent_dim"] == pytest.approx(1.0)
    assert settings_of(experiment)["model"]["beta"] == 1.0


@pytest.mark.parametrize("experiment", [name for name in options("experiment") if name not in OURS])
def test_a_published_system_is_trained_in_the_same_way_at_all_presets(settings_of, experiment):
    def training(*overrides):
        model = settings_of(experiment, *overrides)["model"]
        optimizers = [value for key, value in model.items() if key.endswith("optimizer")]
        return (
            [(each["_target_"], each["learning_rate"]) for each in optimizers],
            [model.get(key) for key in REMEDIES],
        )

    assert training("preset=smoke") == training()
