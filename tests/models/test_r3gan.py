import keras
import numpy as np
import pytest
from keras import layers, ops

from benchmark.cli import compose
from benchmark.training import batches
from models.grouped_convolution import GroupedConv2D
from models.optimizers import AveragedAdam
from models.r3gan import R3GAN, logits_and_penalty
from models.r3gan_networks import build_discriminator, build_generator, residual_block

NETWORK = {"widths": [16, 16], "num_blocks": 1, "group_width": 16, "patch_size": 1}


def build_model(optimize=False, **options):
    keras.utils.clear_session(free_memory=False)
    if optimize:
        for name in ("generator_optimizer", "discriminator_optimizer"):
            options[name] = AveragedAdam(2e-3, beta_1=0.0, ema_momentum=None)
    schedule = {"gamma": 1.0, "final_gamma": 0.1, "gamma_steps": 100}
    return R3GAN(image_shape=(8, 8, 1), seed=0, latent_dim=4, **NETWORK | schedule | options)


def real_images(count=8):
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), dtype="uint8")


def nudge(network):
    """Moves the weights, as the last convolution of each block starts at zero."""
    generator = np.random.default_rng(1)
    for variable in network.trainable_variables:
        variable.assign_add(0.1 * generator.standard_normal(variable.shape))


def test_the_relativistic_loss_by_hand():
    model = build_model()
    real_logits, generated_logits = np.array([[2.0], [-1.0]]), np.array([[1.0], [1.0]])
    losses = model.losses_of_logits(real_logits, generated_logits)
    expected = np.mean(np.log1p(np.exp([-1.0, 2.0])))  # of real minus generated logit
    assert float(losses["discriminator_loss"]) == pytest.approx(expected, rel=1e-6)
    assert float(losses["pair_accuracy"]) == 0.5


def test_images_are_judged_each_by_itself_without_pairs():
    model = build_model(relativistic=False)
    losses = model.losses_of_logits(np.array([[2.0], [-1.0]]), np.array([[1.0], [1.0]]))
    expected = np.mean(np.log1p(np.exp([-2.0, 1.0]))) + np.log1p(np.exp(1.0))
    assert float(losses["discriminator_loss"]) == pytest.approx(expected, rel=1e-6)
    assert float(losses["real_accuracy"]) == 0.5
    assert float(losses["generated_accuracy"]) == 0.0


def test_the_generators_loss_is_that_of_the_discriminator_with_the_roles_exchanged(monkeypatch):
    """If the logit is the mean of an image, the losses follow from the means."""
    model = build_model(alternating=False, penalties=[])
    inputs = keras.Input((8, 8, 1))
    mean = keras.Model([inputs], layers.GlobalAveragePooling2D()(inputs))
    monkeypatch.setattr(model, "discriminator", mean)
    images = np.full((4, 8, 8, 1), 255, "uint8")
    latents = ops.zeros((4, 4))  # whose images are 0
    loss = float(model.compute_loss(images, y_pred=latents))
    values = {key: float(mean.result()) for key, mean in model.means.items()}
    assert values["generator_loss"] == pytest.approx(np.log1p(np.exp(1.0)), rel=1e-5)
    assert values["discriminator_loss"] == pytest.approx(np.log1p(np.exp(-1.0)), rel=1e-5)
    assert loss == pytest.approx(values["generator_loss"] + values["discriminator_loss"])


def test_penalties_against_finite_differences():
    keras.utils.clear_session(free_memory=False)
    discriminator = build_discriminator(image_shape=(8, 8, 1), num_classes=None, **NETWORK)
    nudge(discriminator)
    images = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 8, 8, 1)).astype("float32")

    def logits_of(images):
        return discriminator([images])

    _, penalty = logits_and_penalty(logits_of, ops.convert_to_tensor(images), True)
    step = 1e-2
    shifts = step * np.eye(64, dtype="float32").reshape(64, 8, 8, 1)
    squared_norms = [
        np.sum(
            np.square(ops.convert_to_numpy(logits_of(image + shifts) - logits_of(image - shifts)))
            / (2.0 * step) ** 2
        )
        for image in images
    ]
    assert float(penalty) == pytest.approx(np.mean(squared_norms), rel=0.02)
    assert logits_and_penalty(logits_of, images, False)[1] == 0.0


@pytest.mark.parametrize("penalties", [[], ["r1"], ["r2"], ["r1", "r2"]], ids=str)
def test_each_penalty_is_of_its_images(monkeypatch, penalties):
    model = build_model(alternating=False, penalties=penalties)
    seen = {}

    def penalty_of(logits_of, images, penalised):
        seen[ops.convert_to_numpy(images).tobytes()] = penalised
        return logits_of(images), 2.0 * penalised

    monkeypatch.setattr("models.r3gan.logits_and_penalty", penalty_of)
    images, latents = real_images(), np.ones((8, 4), "float32")
    model.compute_loss(images, y_pred=ops.convert_to_tensor(latents))
    real = ops.convert_to_numpy(images / np.float32(127.5) - 1.0).astype("float32")
    assert seen[real.tobytes()] == ("r1" in penalties)
    assert list(seen.values()) == ["r1" in penalties, "r2" in penalties]
    assert float(model.means["gradient_penalty"].result()) == pytest.approx(1.0 * len(penalties))


def test_the_weight_of_the_penalties_falls_as_a_cosine():
    model = build_model()
    weights = []
    for done in (0, 50, 100, 200):
        model.steps_done.assign(done)
        weights.append(float(model.current_gamma()))
    np.testing.assert_allclose(weights, [1.0, 0.55, 0.1, 0.1], rtol=1e-5)


@pytest.mark.parametrize("alternating", [False, True])
def test_both_networks_learn(alternating):
    model = build_model(optimize=True, alternating=alternating)
    nudge(model.generator)
    nudge(model.discriminator)
    before = [variable.numpy() for variable in model.trainable_variables]
    for _ in range(2):
        logs = model.train_on_batch(real_images(), return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
    assert all(
        not np.array_equal(value, variable.numpy())
        for value, variable in zip(before, model.trainable_variables, strict=True)
    )


def test_the_generator_starts_with_images_of_the_scale_of_the_data():
    keras.utils.clear_session(free_memory=False)
    generator = build_generator(
        image_shape=(28, 28, 1), latent_dim=64, num_classes=None, **NETWORK | {"widths": [64] * 3}
    )
    latents = np.random.default_rng(0).standard_normal((64, 64)).astype("float32")
    images = ops.convert_to_numpy(generator([latents]))
    assert images.shape == (64, 28, 28, 1)  # from 7 x 7
    assert 0.3 < images.std() < 1.2  # bilinear resampling takes some of the variance of 1


def test_a_bounded_generator_makes_the_tanh_of_what_an_unbounded_one_makes():
    keras.utils.clear_session(free_memory=False)
    shape = {"image_shape": (8, 8, 1), "latent_dim": 4, "num_classes": None}
    free, bounded = (build_generator(**shape, **NETWORK, bounded=each) for each in (False, True))
    nudge(free)
    bounded.set_weights(free.get_weights())
    latents = 3.0 * np.random.default_rng(0).standard_normal((16, 4)).astype("float32")
    unbounded = ops.convert_to_numpy(free([latents]))
    assert np.abs(unbounded).max() > 1.0
    np.testing.assert_allclose(bounded([latents]), np.tanh(unbounded), atol=1e-6)


def test_blocks_start_as_the_identity():
    keras.utils.clear_session(free_memory=False)
    inputs = keras.Input((4, 4, 16))
    block = keras.Model(inputs, residual_block(inputs, group_width=16, num_blocks=2))
    features = np.random.default_rng(0).standard_normal((2, 4, 4, 16)).astype("float32")
    np.testing.assert_array_equal(block(features), features)
    nudge(block)
    assert np.abs(ops.convert_to_numpy(block(features)) - features).max() > 1e-3


def test_groups_see_their_own_channels_alone():
    keras.utils.clear_session(free_memory=False)
    layer = GroupedConv2D(3, 4, use_bias=True, kernel_initializer="glorot_uniform")
    features = np.random.default_rng(0).standard_normal((2, 5, 5, 12)).astype("float32")
    outputs = ops.convert_to_numpy(layer(features))
    changed = features.copy()
    changed[..., 4:8] += 1.0
    differences = np.abs(ops.convert_to_numpy(layer(changed)) - outputs).max(axis=(0, 1, 2))
    assert (differences[4:8] > 1e-3).all()
    assert differences[:4].max() == differences[8:].max() == 0.0


def test_groups_compute_what_keras_computes():
    keras.utils.clear_session(free_memory=False)
    layer = GroupedConv2D(3, 4, use_bias=True, kernel_initializer="glorot_uniform")
    reference = layers.Conv2D(12, 3, padding="same", groups=3)
    features = np.random.default_rng(0).standard_normal((2, 5, 5, 12)).astype("float32")
    layer(features), reference(features)
    reference.set_weights([layer.kernel, np.arange(12.0)])
    layer.bias.assign(np.arange(12.0))
    np.testing.assert_allclose(layer(features), reference(features), atol=1e-5)


def test_groups_divide_the_channels():
    with pytest.raises(ValueError, match="group_width=5, channels=12"):
        GroupedConv2D(3, 5, use_bias=False, kernel_initializer="zeros")(np.zeros((1, 5, 5, 12)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalties": ["r3"]}, "some of .*r1.*r2.*'r3'"),
        ({"gamma": -1.0}, "not be negative.*gamma=-1.0"),
        ({"gamma_steps": 0}, "at least 1.*gamma_steps=0"),
        ({"widths": []}, "at least one stage.*widths=\\[\\]"),
        ({"widths": [12, 16]}, "group_width.*divide.*\\[12, 16\\]"),
        ({"widths": [16] * 3, "patch_size": 4}, "divisible by 16"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_model(**options)


@pytest.mark.slow
def test_the_generator_does_not_stay_black_at_quick(tmp_path):
    """With a gamma of 1 at the start it does, for hundreds of steps or for ever: 0.002 here."""
    parts = compose("model=r3gan", "preset=quick", "seed=101", f"cache_dir={tmp_path}")
    dataset = parts.load_dataset()
    keras.utils.clear_session(free_memory=False)
    model = parts.build_model(dataset.image_shape)
    data = batches(model, dataset, batch_size=64, seed=101, start_step=0)
    model.fit(data, steps_per_epoch=150, shuffle=False, verbose=0)
    latents = keras.random.normal((64, model.latent_dim), seed=1)
    images = keras.ops.convert_to_numpy(model.generator(latents))
    assert images.std(axis=0).mean() > 0.1
