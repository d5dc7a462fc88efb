import keras
import numpy as np
import pytest
from keras import layers, ops

from models.unet import block_of, build_unet, normalize, unpatch

HO_ET_AL = {  # 2020, appendix B
    "base_width": 128,
    "num_blocks": 2,
    "layout": "original",
    "num_groups": 32,
    "epsilon": 1e-6,
    "time_conditioning": "add",
    "dropout": 0.1,
}
SMALL = {"image_shape": (8, 8, 1), "base_width": 8, "multipliers": [1, 2], "num_blocks": 1}


def small_unet(**options):
    """A small U-Net with random weights, those included that start at zero."""
    keras.utils.set_random_seed(0)
    unet = build_unet(**{**SMALL, **options})
    random = np.random.default_rng(0)
    for variable in unet.trainable_variables:
        variable.assign_add(random.normal(0, 0.1, variable.shape))
    return unet


def random_images(batch_size, shape=(8, 8, 1)):
    return np.random.default_rng(1).normal(size=(batch_size, *shape)).astype("float32")


def outputs_of(unet, *inputs):
    return ops.convert_to_numpy(unet([np.asarray(value) for value in inputs], training=False))


def differ(first, second):
    return np.abs(first - second).max() > 1e-4


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((28, 28, 1), {"multipliers": [1, 2, 2], "attention_levels": [-1]}),
        ((28, 28, 1), {"multipliers": [1, 2], "patch_size": 2, "normalization": "batch"}),
        ((28, 20, 1), {"multipliers": [1, 2], "attention_levels": [1], "dropout": 0.1}),
        ((32, 32, 3), {"multipliers": [1], "patch_size": 4, "time_conditioning": "add"}),
        ((32, 32, 3), {"multipliers": [1, 2], "linear_attention_levels": [0, 1]}),
        ((64, 64, 3), {"multipliers": [1, 2], "time_conditioning": "input", "patch_size": 2}),
        ((28, 20, 1), {"multipliers": [1, 2], "layout": "original", "attention_levels": [1]}),
        ((32, 32, 3), {"multipliers": [1], "layout": "original", "patch_size": 2}),
        ((32, 32, 3), {"multipliers": [1, 2], "time_conditioning": "none"}),
    ],
)
def test_the_output_has_the_shape_of_the_images(shape, options):
    unet = build_unet(image_shape=shape, base_width=8, num_blocks=1, **options)
    assert outputs_of(unet, np.zeros((2, *shape), "float32"), np.zeros(2)).shape == (2, *shape)


def conv(size, channels, width):
    return size**2 * channels * width + width


def dense(channels, width):
    return channels * width + width


def block(channels, width, conditions):
    """Two normalisations and convolutions, the condition's dense layer, the residual's."""
    norms, convs = 2 * channels + 2 * width, conv(3, channels, width) + conv(3, width, width)
    return norms + convs + conditions + (conv(1, channels, width) if channels != width else 0)


@pytest.mark.parametrize(
    ("time_conditioning", "dense_layers", "conditions", "concatenated"),
    [
        ("scale_shift", dense(8, 32) + dense(32, 32), lambda width: dense(32, 2 * width), 0),
        ("add", dense(8, 32) + dense(32, 32), lambda width: dense(32, width), 0),
        ("input", 0, lambda width: 0, 8),
        ("none", 0, lambda width: 0, 0),
    ],
)
def test_the_parameters_are_those_counted_by_hand(
    time_conditioning, dense_layers, conditions, concatenated
):
    unet = build_unet(**SMALL, time_conditioning=time_conditioning)
    narrow, wide = block(8, 8, conditions(8)), block(16, 16, conditions(16))
    down = conv(3, 1, 8) + block(8 + concatenated, 8, conditions(8)) + conv(3, 8, 16) + wide
    middle = wide + 2 * 16 + 4 * dense(16, 16)
    up = conv(1, 32, 16) + wide + conv(3, 16, 8) + conv(1, 16, 8) + narrow
    assert unet.count_params() == dense_layers + down + middle + up + 2 * 8 + conv(3, 8, 1)


def test_the_parameters_of_the_original_layout_are_those_counted_by_hand():
    unet = build_unet(**SMALL, layout="original", time_dim=6, time_conditioning="add")

    def added(channels, width):
        return block(channels, width, dense(32, width))

    time = dense(6, 32) + dense(32, 32)
    down = conv(3, 1, 8) + added(8, 8) + conv(3, 8, 8) + added(8, 16)
    middle = 2 * added(16, 16) + 2 * 16 + 4 * dense(16, 16)
    coarse = added(16 + 16, 16) + added(16 + 8, 16) + conv(3, 16, 16)
    fine = added(16 + 8, 8) + added(8 + 8, 8)
    assert unet.count_params() == time + down + middle + coarse + fine + 2 * 8 + conv(3, 8, 1)


@pytest.mark.parametrize(
    ("shape", "options", "count"),
    [
        # The numbers are those of the published checkpoints; the first one as "35.7M" stands in
        # scripts/run_cifar.py of the authors' code.
        ((32, 32, 3), {"multipliers": [1, 2, 2, 2], "attention_levels": [1]}, 35_746_307),
        ((64, 64, 3), {"multipliers": [1, 2, 2, 2, 4], "attention_levels": [2]}, 78_700_803),
        pytest.param(
            (256, 256, 3),
            {"multipliers": [1, 1, 2, 2, 4, 4], "attention_levels": [4]},
            113_673_219,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["CIFAR-10", "CelebA", "LSUN"],
)
def test_the_networks_of_ho_et_al_and_song_et_al(shape, options, count):
    """Both attend at 16x16, and in the middle."""
    assert build_unet(image_shape=shape, **HO_ET_AL, **options).count_params() == count


def test_the_network_of_keras_s_example_of_ddpm():
    """Counted from its code (A. K. Nain 2022): 64x64, widths 64 to 512, attention on two levels."""
    unet = build_unet(
        image_shape=(64, 64, 3),
        base_width=64,
        multipliers=[1, 2, 4, 8],
        num_blocks=2,
        layout="original",
        attention_levels=[2, 3],
        time_dim=256,
        time_conditioning="add",
    )
    assert unet.count_params() == 63_200_387


@pytest.mark.parametrize("layout", ["compact", "original"])
def test_every_skip_connection_is_taken_in(layout):
    """Compact: of each block; original: of the first convolution and those between levels, too."""
    unet = build_unet(**{**SMALL, "num_blocks": 2}, layout=layout)
    joined = [layer for layer in unet.layers if isinstance(layer, layers.Concatenate)]
    skips = {layer.input[1].name for layer in joined}
    assert len(skips) == len(joined) == 2 * (2 if layout == "compact" else 3)
    inputs = {"compact": [16 + 16, 16 + 16, 8 + 8, 8 + 8], "original": [32, 32, 24, 24, 16, 16]}
    assert [layer.output.shape[-1] for layer in joined] == inputs[layout]


def test_groups_are_as_many_as_divide_the_width():
    features = keras.Input((4, 4, 24))
    for num_groups, expected in ((8, 8), (32, 8), (3, 3), (1, 1)):
        model = keras.Model(features, normalize(features, "group", num_groups, 1e-6))
        assert (model.layers[-1].groups, model.layers[-1].epsilon) == (expected, 1e-6)


def test_without_the_time_no_time_is_told():
    unet, images = small_unet(time_conditioning="none"), random_images(1)
    assert [tensor.name for tensor in unet.inputs] == ["images", "times"]
    np.testing.assert_array_equal(outputs_of(unet, images, [1.0]), outputs_of(unet, images, [90.0]))
    assert differ(outputs_of(unet, images, [1.0]), outputs_of(unet, -images, [1.0]))


def count_attention(unet):
    """Numbers of full and of linear attention blocks; each of these has two einsums."""
    operations = [type(operation).__name__ for operation in unet.operations]
    return operations.count("MultiHeadAttention"), operations.count("Einsum") / 2


@pytest.mark.parametrize(
    ("options", "full", "linear"),
    [
        ({}, 1, 0),
        ({"middle_attention": False}, 0, 0),
        ({"attention_levels": [0, 1]}, 1 + 8, 0),
        ({"attention_levels": [-1], "linear_attention_levels": [0]}, 1 + 4, 4),
        ({"linear_attention_levels": [0, -1], "middle_attention": False}, 0, 8),
    ],
)
def test_attention_follows_each_block_of_its_levels(options, full, linear):
    assert count_attention(build_unet(**{**SMALL, "num_blocks": 2}, **options)) == (full, linear)


def test_attention_is_at_the_level_s_resolution():
    options = {**SMALL, "multipliers": [1, 2, 4], "middle_attention": False}
    unet = build_unet(**options, attention_levels=[-2])
    attentions = [layer for layer in unet.layers if isinstance(layer, layers.MultiHeadAttention)]
    assert [layer.output.shape for layer in attentions] == 2 * [(None, 4 * 4, 16)]


@pytest.mark.parametrize("time_conditioning", ["scale_shift", "add", "input"])
@pytest.mark.parametrize(
    "options", [{}, {"normalization": "batch"}, {"layout": "original"}], ids=str
)
def test_times_labels_and_latents_reach_the_output(time_conditioning, options):
    unet = small_unet(
        time_conditioning=time_conditioning,
        **options,
        num_classes=3,
        latent_dim=2,
    )
    assert [tensor.name for tensor in unet.inputs] == ["images", "times", "labels", "latents"]
    images, latents = random_images(1), np.array([[0.3, -1.2]], "float32")
    outputs = outputs_of(unet, images, [1.0], [0], latents)
    assert differ(outputs, outputs_of(unet, -images, [1.0], [0], latents))
    assert differ(outputs, outputs_of(unet, images, [90.0], [0], latents))
    assert differ(outputs, outputs_of(unet, images, [1.0], [3], latents))  # no class
    assert differ(outputs, outputs_of(unet, images, [1.0], [0], latents[:, ::-1]))


def test_latents_come_without_labels():
    unet = small_unet(latent_dim=2)
    assert [tensor.name for tensor in unet.inputs] == ["images", "times", "latents"]
    assert unet.count_params() > small_unet().count_params()


def test_latents_scale_and_shift_both_normalisations_of_a_block():
    """By hand: both channels are scaled by 1.5 and by 0, and shifted by 0.2 and by 0.3."""
    features, style = keras.Input((4, 4, 2)), keras.Input((3,))
    normalized = layers.LayerNormalization(center=False, scale=False)
    block = block_of(None, style, lambda values: normalized(values), "none", 0.0)
    model = keras.Model([features, style], block(features, 2, None))
    dense = [layer for layer in model.layers if isinstance(layer, layers.Dense)]
    assert [layer.units for layer in dense] == [4, 4]
    values = random_images(1)[:, :4, :4, :1].repeat(2, axis=-1)
    for layer in dense:
        layer.set_weights([np.zeros((3, 4)), np.array([0.5, -1.0, 0.2, 0.3])])
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    convolutions[-1].set_weights([np.eye(2)[None, None].repeat(3, 0).repeat(3, 1), np.zeros(2)])
    first = normalized(values) * np.array([1.5, 0.0]) + np.array([0.2, 0.3])
    hidden = convolutions[0](ops.silu(first))
    second = normalized(hidden) * np.array([1.5, 0.0]) + np.array([0.2, 0.3])
    expected = values + convolutions[1](ops.silu(second))
    received = model([values, np.ones((1, 3), "float32")])
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)


def test_continuous_times_are_told_apart_where_steps_are_not():
    images = random_images(1)
    for kind, apart in (("continuous", True), ("discrete", False)):
        unet = small_unet(time_embedding=kind)
        first, second = (outputs_of(unet, images, [time]) for time in (0.5, 0.5004))
        assert differ(first, second) == apart


def test_dropout_acts_in_training_alone():
    unet, inputs = small_unet(dropout=0.5), [random_images(1), np.zeros(1)]
    np.testing.assert_array_equal(outputs_of(unet, *inputs), outputs_of(unet, *inputs))
    first, second = (ops.convert_to_numpy(unet(inputs, training=True)) for _ in range(2))
    assert differ(first, second)


def test_batch_normalization_uses_moving_averages_at_inference():
    unet, images, times = small_unet(normalization="batch"), random_images(4), np.zeros(4)
    alone = outputs_of(unet, images[:1], times[:1])
    np.testing.assert_allclose(outputs_of(unet, images, times)[:1], alone, atol=1e-5)
    together = ops.convert_to_numpy(unet([images, times], training=True))
    assert differ(together[:1], alone)


def test_moving_averages_become_those_of_the_data(monkeypatch):
    monkeypatch.setattr("models.unet.MOMENTUM", 0.5)
    unet, images = small_unet(normalization="batch"), 3.0 + 5.0 * random_images(32)
    times = np.zeros(32)
    for _ in range(12):
        together = unet([images, times], training=True)
    np.testing.assert_allclose(
        outputs_of(unet, images, times), ops.convert_to_numpy(together), rtol=0.01, atol=0.01
    )


def test_group_normalization_does_not_see_the_batch():
    unet, images, times = small_unet(), random_images(4), np.zeros(4)
    alone = ops.convert_to_numpy(unet([images[:1], times[:1]], training=True))
    np.testing.assert_allclose(outputs_of(unet, images, times)[:1], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_shape": (28, 24, 1), "multipliers": [1] * 4}, "by 8 .* 32 x 24 is the next"),
        ({"image_shape": (6, 6, 1), "patch_size": 4}, "divisible by 8"),
        ({"base_width": 0}, "`base_width` must be an integer of at least 2"),
        ({"base_width": 7}, "`base_width` must be even"),
        ({"multipliers": []}, "at least one level"),
        ({"multipliers": [1, 1.5]}, "multipliers=1.5"),
        ({"multipliers": [1, 0]}, "multipliers=0"),
        ({"num_blocks": 0}, "num_blocks=0"),
        ({"num_groups": 0}, "num_groups=0"),
        ({"time_dim": 1}, "`time_dim` must be an integer of at least 2"),
        ({"layout": "wide"}, r"'compact', 'original'.*'wide'"),
        (
            {"time_conditioning": "none", "num_classes": 3},
            "time_conditioning='none', num_classes=3",
        ),
        ({"patch_size": 0}, "patch_size=0"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"latent_dim": 1}, "`latent_dim` must be an integer of at least 2"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\)"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"normalization": "layer"}, r"'group', 'batch'.*'layer'"),
        ({"time_embedding": "fourier"}, r"'discrete', 'continuous'.*'fourier'"),
        ({"time_conditioning": "concat"}, r"'scale_shift', 'add', 'input', 'none'.*'concat'"),
        ({"attention_levels": [8]}, r"-2..1, .* heights are \[8, 4\].*attention_levels=\[8\]"),
        ({"linear_attention_levels": [-3]}, r"linear_attention_levels=\[-3\]"),
        ({"attention_levels": [1], "linear_attention_levels": [-1]}, "in both"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_unet(**{**SMALL, **options})


def test_unpatch_puts_depth_into_space():
    features = keras.Input((2, 2, 4))
    model = keras.Model(features, unpatch(features, 2))
    image = np.arange(16).reshape(4, 4)
    patches = image.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(1, 2, 2, 4)
    outputs = ops.convert_to_numpy(model(patches.astype("float32")))
    np.testing.assert_array_equal(outputs[0, :, :, 0], image)
