import keras
import numpy as np
import pytest
from keras import ops

from benchmark import config as configuration
from benchmark.cli import RunBuilder
from benchmark.training import load_weights, weights
from models.base import Animation, to_uint8
from models.diffusion import LOSSES, DiffusionModel
from models.plain_unet import build_plain_unet
from models.reverse_process import DiffusionSampler
from models.samplers import DDIM, DDPM
from models.schedules import ContinuousCosineSchedule, CosineSchedule, LinearSchedule
from tests.conftest import options, ready_to_train

SHAPE = (8, 8, 1)
LINEAR = LinearSchedule(num_timesteps=50, reference_timesteps=1000)
CONTINUOUS = ContinuousCosineSchedule(min_signal_rate=0.02, max_signal_rate=0.95)


def build_model(**options):
    network = {"base_width": 8, "multipliers": [1], "num_blocks": 1}
    options = {"schedule": LINEAR, "image_shape": SHAPE, "seed": 0, **network, **options}
    return DiffusionModel(optimizer=keras.optimizers.Adam(1e-3), **options)


def real_images(count=64):
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE), dtype="uint8")


@pytest.mark.parametrize("schedule", [LINEAR, CONTINUOUS], ids=["discrete", "continuous"])
@pytest.mark.parametrize("prediction", ["noise", "image", "velocity"])
def test_every_prediction_is_of_the_same_noisy_image(schedule, prediction):
    """Noisy is signal * image + rate * noise, velocity is signal * noise - rate * image."""
    model, images = build_model(schedule=schedule, prediction=prediction), real_images(8)
    noisy_images = []
    model.unet = lambda inputs, training: noisy_images.append(inputs[0]) or inputs[0]
    _, targets, signal_to_noise = model(images)
    (noisy, targets), ratio = (
        map(ops.convert_to_numpy, (noisy_images[-1], targets)),
        ops.convert_to_numpy(signal_to_noise),
    )
    signal_rate, noise_rate = np.sqrt(ratio / (1.0 + ratio)), np.sqrt(1.0 / (1.0 + ratio))
    images = images / 127.5 - 1.0
    noises = (noisy - signal_rate * images) / noise_rate
    expected = {
        "noise": noises,
        "image": images,
        "velocity": signal_rate * noises - noise_rate * images,
    }[prediction]
    np.testing.assert_allclose(targets, expected, atol=1e-3)
    assert abs(noises.mean()) < 0.2 and 0.8 < noises.std() < 1.2


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("mean_squared", (0.25 + 9.0) / 2), ("mean_absolute", 1.75), ("huber", (0.125 + 2.5) / 2)],
)
def test_losses_by_hand(loss, expected):
    model = build_model(loss=loss)
    errors = np.array([0.5, -3.0], "float32").reshape(2, 1, 1, 1)
    outputs = (errors, np.zeros_like(errors), np.ones_like(errors))
    assert float(model.compute_loss(None, y_pred=outputs)) == pytest.approx(expected)
    assert loss in LOSSES


@pytest.mark.parametrize("loss", ["mean_squared", "mean_absolute"])
@pytest.mark.parametrize("prediction", ["noise", "image", "velocity"])
def test_the_errors_of_noise_and_image_are_logged_whatever_is_predicted(prediction, loss):
    """They are those of the noise and of the image that follow from the prediction."""
    model, images = build_model(prediction=prediction, loss=loss), real_images(8)
    noisy_images = []
    model.unet = lambda inputs, training: noisy_images.append(inputs[0]) or 0.5 * inputs[0]
    outputs = model(images)
    total = float(model.compute_loss(images, y_pred=outputs))

    (noisy,), images = map(ops.convert_to_numpy, noisy_images), images / 127.5 - 1.0
    predicted, ratio = 0.5 * noisy, ops.convert_to_numpy(outputs[2])
    signal_rate, noise_rate = np.sqrt(ratio / (1.0 + ratio)), np.sqrt(1.0 / (1.0 + ratio))
    noises = (noisy - signal_rate * images) / noise_rate
    predicted_images = {
        "noise": (noisy - noise_rate * predicted) / signal_rate,
        "image": predicted,
        "velocity": signal_rate * noisy - noise_rate * predicted,
    }[prediction]
    predicted_noises = (noisy - signal_rate * predicted_images) / noise_rate
    measure = {"mean_squared": np.square, "mean_absolute": np.abs}[loss]
    logged = {name: float(mean.result()) for name, mean in model.means.items()}
    assert logged["noise_loss"] == pytest.approx(measure(predicted_noises - noises).mean(), 1e-3)
    assert logged["image_loss"] == pytest.approx(measure(predicted_images - images).mean(), 1e-3)
    if prediction != "velocity":
        assert logged[f"{prediction}_loss"] == pytest.approx(total, 1e-6)


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [("image", [0.5, 5.0]), ("noise", [1.0, 0.5]), ("velocity", [0.5 / 1.5, 5.0 / 11.0])],
)
def test_min_snr_weights_by_hand(prediction, expected):
    """Hang et al. 2023, section 3.4, gamma = 5 at signal-to-noise ratios of 0.5 and 10."""
    model = build_model(prediction=prediction, min_snr_gamma=5.0)
    ratios = np.array([0.5, 10.0], "float32").reshape(2, 1, 1, 1)
    for index in range(2):
        errors = np.zeros((2, 1, 1, 1), "float32")
        errors[index] = 1.0
        loss = model.compute_loss(None, y_pred=(errors, np.zeros_like(errors), ratios))
        assert 2 * float(loss) == pytest.approx(expected[index], rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"prediction": "score"},
        {"loss": "hinge"},
        {"label_dropout": 1.5},
        {"reconstruct_from": [0.0]},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        build_model(**options)


def test_a_class_conditional_model_learns_what_each_class_is():
    """Class 0 is black and class 1 white: the sampled classes must be, too."""
    options = {"num_classes": 2, "schedule": CONTINUOUS, "prediction": "velocity"}
    model = ready_to_train(build_model(**options))
    labels = np.tile([0, 1], 32)
    images = np.where(labels[:, None, None, None] == 1, 255, 0).astype("uint8")
    images = np.broadcast_to(images, (64, *SHAPE))
    model.optimizer.learning_rate = 0.01
    for _ in range(60):
        model.train_on_batch((images, labels))
    sampler = model.sampler(DDIM(num_steps=10, guidance_scale=2.0))
    assert sampler.network_passes == 20
    np.testing.assert_array_equal(sampler.labels(3, 4), [1, 0, 1, 0])
    means = sampler.sample(*sampler.inputs(0, 8)).mean(axis=(1, 2, 3))
    assert (means[::2] < -0.5).all() and (means[1::2] > 0.5).all(), means


@pytest.fixture
def build_configured(compose_config):
    def build(shape, *overrides):
        keras.utils.clear_session(free_memory=False)
        settings = configuration.validate(compose_config("model=ddpm", *overrides))
        return RunBuilder(settings, []).build_model(shape)

    return build


@pytest.mark.parametrize(
    ("preset", "shape", "count"),
    [
        ("smoke", (28, 28, 1), 104_212),
        ("quick", (28, 28, 1), 763_428),
        ("standard", (28, 28, 1), 11_187_969),
        ("paper", (32, 32, 3), 35_746_307),  # Ho et al. 2020, appendix B
    ],
)
def test_the_networks_of_the_presets(build_configured, preset, shape, count):
    model = build_configured(shape, f"preset={preset}")
    assert model.network.count_params() == count


def test_the_learning_rate_of_ho_et_al_is_constant_after_the_warm_up(build_configured):
    overrides = ["model/network=plain_unet", "preset=paper", "model.multipliers=[1]"]
    optimizer = build_configured((8, 8, 1), *overrides).optimizer
    rates = [float(optimizer._learning_rate(step)) for step in (0, 2_500, 5_000, 799_999)]
    np.testing.assert_allclose(rates, [0.0, 1e-4, 2e-4, 2e-4], rtol=1e-5)
    assert (optimizer.global_clipnorm, optimizer.epsilon) == (1.0, 1e-8)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
@pytest.mark.parametrize("network", options("model/network"))
def test_every_network_is_trained_and_sampled(build_configured, network, shape):
    model = build_configured(shape, f"model/network={network}", "preset=smoke")
    model.run_eagerly = True
    before = model.get_weights()
    images = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype="uint8")
    logs = model.train_on_batch(images, return_dict=True)
    assert np.isfinite(logs["loss"])
    assert not all(map(np.array_equal, before, model.get_weights()))
    sampler = model.sampler(DDIM(num_steps=5))
    outputs = sampler.pass_once(ops.convert_to_tensor(sampler.inputs(0, 2)[0]))
    assert outputs.shape == (2, *shape)


def test_the_network_is_the_one_that_is_asked_for():
    arguments = {"image_shape": SHAPE, "seed": 0, "schedule": LINEAR, "dropout": 0.1}
    model = DiffusionModel(
        build_network=build_plain_unet, base_width=8, multipliers=[1, 2], **arguments
    )
    assert model.network.name == "plain_unet"


class LabelNetwork(keras.Model):
    """Predicts an image whose brightness is that of the label."""

    inputs = [keras.KerasTensor((None, *SHAPE))]

    def __init__(self):
        super().__init__()
        self.batch_sizes = []

    def call(self, inputs):
        images, _, labels = inputs
        self.batch_sizes.append(images.shape[0])
        return ops.zeros_like(images) + ops.cast(labels, "float32")[:, None, None, None] / 10.0


def test_guidance_goes_from_no_class_through_the_class():
    """Ho and Salimans 2022, eq. 6: by hand, unconditional 0.3 and class 0.1."""
    images = {}
    for scale in (0.5, 1.0, 2.0):
        sampler = DiffusionSampler(
            unet=LabelNetwork(),
            steps=DDIM(num_steps=3).reverse_steps(LINEAR),
            prediction="image",
            num_classes=3,
            guidance_scale=scale,
            seed=0,
            name="sampler",
        )
        images[scale] = sampler.sample(*sampler.inputs(1, 1)).mean()
    assert images[1.0] == pytest.approx(0.1, abs=1e-5)
    assert images[0.5] == pytest.approx(0.2, abs=1e-5)
    assert images[2.0] == pytest.approx(-0.1, abs=1e-5)


@pytest.mark.parametrize(
    ("schedule", "left"),
    [
        (LINEAR, None),
        (CONTINUOUS, None),
        (CosineSchedule(num_timesteps=10), None),
        (LinearSchedule(num_timesteps=1000), None),
        (LinearSchedule(num_timesteps=200, reference_timesteps=None), "36.4%"),
        (LinearSchedule(num_timesteps=300, beta_end=0.04, reference_timesteps=None), "4.7%"),
        (ContinuousCosineSchedule(min_signal_rate=0.1, max_signal_rate=0.95), "10.0%"),
    ],
)
def test_a_schedule_that_does_not_end_in_noise_is_warned_of(schedule, left):
    warnings = build_model(schedule=schedule).warnings()
    assert len(warnings) == (left is not None)
    assert all(f"leaves {left} of the image" in warning for warning in warnings)


@pytest.mark.parametrize("schedule", [LINEAR, CONTINUOUS], ids=["discrete", "continuous"])
def test_pictures_of_model_and_sampler(schedule):
    model, images = build_model(schedule=schedule, reconstruct_from=[0.5]), real_images()
    pictures = model.illustrate(images, np.zeros(len(images), "int64"))
    assert pictures["forward"].images.shape == (5, 11, *SHAPE)
    steps = [np.abs(pictures["forward"].images[:, i] - images[:5].astype(int)) for i in (0, 5, 10)]
    assert steps[0].mean() < steps[1].mean() < steps[2].mean()
    strip = pictures["reconstructions"]
    assert strip.images.shape == (5, 3, *SHAPE)
    assert strip.column_labels[0] == "real" and len(strip.column_labels) == 3
    np.testing.assert_array_equal(strip.images[:, 0], images[:5])
    assert isinstance(pictures["reconstruction"], Animation)

    sampler = model.sampler(DDIM(num_steps=5))
    pictures = sampler.illustrate()
    assert pictures["denoising"].images.shape == (5, 6, *SHAPE)
    assert pictures["denoising"].column_labels == ("0", "1", "2", "3", "4", "5")
    frames = pictures["process"].images
    assert frames.shape == (6, 25, *SHAPE)
    np.testing.assert_array_equal(frames[:, 0], pictures["denoising"].images[0])
    assert pictures["interpolation"].images.shape == (5, 11, *SHAPE)
    assert "interpolation" not in model.sampler(DDPM(num_steps=5)).illustrate()


def test_a_trajectory_ends_in_the_sample():
    sampler = build_model().sampler(DDPM(num_steps=7))
    inputs = sampler.inputs(0, 3)
    frames = sampler.trajectory(*inputs, [0, 3, 6])
    assert frames.shape == (3, 3, *SHAPE)
    np.testing.assert_allclose(frames[-1], sampler.sample(*inputs), atol=1e-5)
    assert np.abs(frames[0] - frames[1]).max() > 0.01


class Memory(keras.Model):
    """Predicts one image whatever it sees."""

    inputs = [keras.KerasTensor((None, *SHAPE))]

    def call(self, inputs):
        return ops.zeros_like(inputs[0]) + 0.5


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_reconstructions_are_without_class_in_one_pass_a_step(guidance_scale):
    """The label 3 of the classes 0..2 and none is a brightness of 0.3."""
    network = LabelNetwork()
    sampler = DiffusionSampler(
        unet=network,
        steps=DDIM(num_steps=50).reverse_steps(LINEAR),
        prediction="image",
        num_classes=3,
        guidance_scale=guidance_scale,
        seed=0,
        name="sampler",
    )
    _, denoised_images, _ = sampler.reconstruct(np.zeros((4, *SHAPE), "uint8"), 0.5)
    np.testing.assert_array_equal(denoised_images, np.full((4, *SHAPE), round(1.3 * 127.5)))
    assert set(network.batch_sizes) == {4}  # and not 8, with and without class


def test_the_embeddings_of_classes_do_not_change_the_models_reconstructions():
    model, images = build_model(num_classes=3, reconstruct_from=[0.5]), real_images(4)
    random = np.random.default_rng(0)
    for variable in model.unet.trainable_variables:
        variable.assign_add(random.normal(0.0, 0.1, variable.shape))
    layers = {type(layer): layer for layer in model.unet.layers}
    table = layers[keras.layers.Embedding].embeddings
    plain, strip = ops.convert_to_numpy(table), model.reconstructions(images).images
    table.assign(plain + [[9.0], [9.0], [9.0], [0.0]])
    np.testing.assert_array_equal(model.reconstructions(images).images, strip)
    table.assign(plain + [[0.0], [0.0], [0.0], [9.0]])
    changed = model.reconstructions(images).images != strip
    np.testing.assert_array_equal(changed.any(axis=(2, 3, 4)), [[False, False, True]] * 4)


def test_partial_diffusion_noises_to_the_step_and_comes_back():
    sampler = DiffusionSampler(
        unet=Memory(),
        steps=DDPM(num_steps=50).reverse_steps(LINEAR),
        prediction="image",
        seed=0,
        name="sampler",
    )
    images = np.full((400, *SHAPE), 255, "uint8")
    noisy_images, denoised_images, level = sampler.reconstruct(images, 0.2)
    assert level == "step 10"
    alpha_bar = LINEAR.alpha_bars[9]
    noisy = noisy_images / 127.5 - 1.0
    # clipped at 1: half of the noise above sqrt(alpha_bar) is seen, so look at the lower half
    assert np.median(noisy) == pytest.approx(np.sqrt(alpha_bar), abs=0.02)
    np.testing.assert_allclose(denoised_images, np.full_like(images, 191), atol=1)


def grey_images(count=400):
    """Pale images of little contrast: mean 191, standard deviation 10."""
    values = np.random.default_rng(7).normal(191, 10, (count, *SHAPE))
    return np.clip(np.rint(values), 0, 255).astype("uint8")


def standardizing_model(images, **options):
    model = build_model(standardize=True, **options)
    model.adapt(images)
    return model


class Answer(keras.Model):
    """Predicts the same number everywhere."""

    inputs = [keras.KerasTensor((None, *SHAPE))]

    def __init__(self, value):
        super().__init__()
        self.value = value

    def call(self, inputs):
        return ops.zeros_like(inputs[0]) + self.value


def test_a_standardising_model_learns_images_of_the_variance_of_the_noise():
    images = grey_images()
    model, seen = standardizing_model(images, prediction="image"), []
    model.unet = lambda inputs, training: seen.append(inputs[0]) or inputs[0]
    _, targets, _ = model(images)
    for values in map(ops.convert_to_numpy, (targets, *seen)):
        assert abs(values.mean()) < 0.05 and values.std() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("method", [DDPM, DDIM], ids=["ddpm", "ddim"])
def test_samples_of_a_standardising_model_are_images(method, clip):
    """The standardised image 1 is one standard deviation above the mean."""
    model = standardizing_model(grey_images(), prediction="image")
    model.unet = Answer(1.0)
    sampler = model.sampler(method(num_steps=50, clip_predicted_images=clip))
    images = to_uint8(sampler.sample(*sampler.inputs(0, 4)))
    np.testing.assert_allclose(images, np.full_like(images, 201), atol=1)


@pytest.mark.parametrize(("clip", "expected"), [(True, 1.0), (False, 1.5)])
def test_predicted_images_are_clipped_on_the_scale_of_the_images(clip, expected):
    """The standardised image 12.8 is at 1.5, as the standard deviation is 10 / 127.5."""
    model = standardizing_model(grey_images(), prediction="image")
    means, stds = (float(weight[0]) for weight in model.standardization.get_weights())
    model.unet = Answer((1.5 - means) / stds)
    sampler = model.sampler(DDIM(num_steps=5, clip_predicted_images=clip))
    latents, seeds = map(ops.convert_to_tensor, sampler.inputs(0, 2))
    _, predicted_images = sampler.reverse_step(0, latents, latents, seeds)
    np.testing.assert_allclose(means + stds * predicted_images, expected, rtol=1e-5)
    assert float(ops.max(sampler((latents, seeds)))) == pytest.approx(1.0, abs=1e-5)


def test_the_statistics_come_with_the_weights():
    trained = standardizing_model(grey_images(), prediction="image")
    loaded = build_model(standardize=True, prediction="image", seed=5)
    load_weights(loaded, weights(trained))
    inputs = trained.sampler(DDIM(num_steps=3)).inputs(0, 2)
    images = [model.sampler(DDIM(num_steps=3)).sample(*inputs) for model in (trained, loaded)]
    np.testing.assert_array_equal(*images)
    assert len(weights(trained)) == len(weights(build_model())) + 2


def test_pictures_of_a_standardising_model_are_images():
    images = grey_images()
    model = standardizing_model(images, prediction="image", reconstruct_from=[0.5])
    model.unet = Answer(0.0)  # the mean image
    pictures = model.illustrate(images, np.zeros(len(images)))
    forward = pictures["forward"].images
    np.testing.assert_allclose(forward[:, 0], images[:5], atol=8)  # the least noisy level
    assert forward.mean(axis=(0, 2, 3, 4)) == pytest.approx(np.full(11, 191.0), abs=3.0)
    assert forward[:, -1].std() == pytest.approx(10.0, abs=1.5)  # noise of the data's variance
    _, noisy_images, denoised_images = np.moveaxis(pictures["reconstructions"].images, 1, 0)
    assert noisy_images.std() == pytest.approx(10.0, abs=1.5)
    np.testing.assert_allclose(denoised_images, np.full_like(denoised_images, 191), atol=1)
    process = model.sampler(DDIM(num_steps=5)).illustrate()["process"].images
    assert process[0].mean() == pytest.approx(191.0, abs=3.0)
    np.testing.assert_allclose(process[-1], np.full_like(process[-1], 191), atol=1)


@pytest.mark.parametrize("standardize", [False, True])
def test_the_animated_reconstruction_goes_there_and_back(standardize):
    options = {"reconstruct_from": [1.0, 0.2, 0.6], "standardize": standardize}
    model, images = build_model(**options), real_images(3)
    model.adapt(images)
    pictures = model.illustrate(images, np.zeros(3))
    picture, table = pictures["reconstruction"], pictures["reconstructions"]
    assert table.column_labels == ("real", "step 50", "denoised", "step 10", "denoised") + (
        "step 30",
        "denoised",
    )
    real_images_, frames = np.split(picture.images, 2, axis=1)
    assert picture.columns == 3  # the real images above what becomes of them
    assert all(np.array_equal(frame, images) for frame in real_images_)
    np.testing.assert_array_equal(frames[0], images)
    np.testing.assert_array_equal(frames[-1], table.images[:, 6])  # from step 30, the middle one
    (turn,) = [
        index for index, frame in enumerate(frames) if np.array_equal(frame, table.images[:, 5])
    ]
    assert len(frames) == 1 + 15 + 30 and turn == 15
    assert [picture.captions[index] for index in (0, 1, 15, 16, 45)] == [
        "real",
        "noised to step 1",
        "noised to step 30",
        "denoised to step 29",
        "denoised",
    ]
    distances = np.abs(frames[: turn + 1].astype(int) - images).mean(axis=(1, 2, 3, 4))
    assert (np.diff(distances) > 0).all()


def test_one_reconstructed_image_stands_beside_itself():
    model = build_model(schedule=CONTINUOUS)
    picture = model.illustrate(real_images(1), np.zeros(1))["reconstruction"]
    assert picture.images.shape[1:] == (2, *SHAPE) and picture.columns == 2
    assert picture.captions[1] == "noised to variance 0.10"
