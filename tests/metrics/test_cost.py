import math

import keras
import numpy as np
import pytest
from keras import layers, ops

from metrics import cost
from metrics.base import NotMeasured
from metrics.cost import PeakMemory, count_flops, peak_memory, resident_bytes, summed_terms
from models.attention import linear_attention
from models.dcgan import build_generator
from models.unet import build_unet
from models.vae import build_decoder

MEGABYTE = 10**6


def self_attention(tokens):
    return layers.MultiHeadAttention(num_heads=2, key_dim=4)(tokens, tokens)


# Shape of one input, layers, and their work: 2 x results x products that each result adds up.
CASES = {
    "dense": ((3,), layers.Dense(5), 2 * 5 * 3),
    "dense on tokens": ((7, 3), layers.Dense(5), 2 * (7 * 5) * 3),
    "conv": ((7, 7, 3), layers.Conv2D(4, 3), 2 * (5 * 5 * 4) * 27),
    "strided conv": (
        (7, 7, 3),
        layers.Conv2D(4, 3, strides=2, padding="same"),
        2 * (4 * 4 * 4) * 27,
    ),
    "grouped conv": (
        (5, 5, 6),
        layers.Conv2D(4, 3, padding="same", groups=2),
        2 * (5 * 5 * 4) * 27,
    ),
    "conv 1d": ((9, 3), layers.Conv1D(4, 3), 2 * (7 * 4) * 9),
    "depthwise conv": (
        (5, 5, 3),
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
        2 * (5 * 5 * 6) * 9,
    ),
    # Each input is multiplied with a whole kernel.
    "transposed conv": (
        (7, 7, 3),
        layers.Conv2DTranspose(5, 4, strides=2, padding="same"),
        2 * (7 * 7 * 3) * (4 * 4 * 5),
    ),
    "valid transposed conv": (
        (7, 7, 3),
        layers.Conv2DTranspose(5, 3, strides=2),
        2 * (7 * 7 * 3) * (3 * 3 * 5),
    ),
    # Queries, keys, values and outputs 8 -> 8; scores and their use: 2 heads of 4.
    "attention": ((6, 8), self_attention, 4 * 2 * (6 * 8) * 8 + 2 * 2 * (6 * 6) * 8),
    # Likewise; keys by values, and queries by these contexts: 1 head of 8.
    "linear attention": ((6, 8), linear_attention, 4 * 2 * (6 * 8) * 8 + 2 * 2 * (8 * 8) * 6),
    "einsum": ((6, 8), layers.EinsumDense("btd,dhe->bthe", (6, 2, 5)), 2 * (6 * 2 * 5) * 8),
    "no products": (
        (8, 8, 4),
        lambda images: layers.UpSampling2D()(
            layers.AveragePooling2D(2)(layers.GroupNormalization(2)(layers.ReLU()(images)))
        ),
        0,
    ),
}


def count_case(name):
    shape, apply, _ = CASES[name]
    inputs = keras.Input(shape)
    return count_flops(keras.Model(inputs, apply(inputs)), np.zeros((1, *shape), "float32"))


@pytest.mark.parametrize("name", CASES)
def test_operations_are_those_counted_by_hand(name):
    assert count_case(name) == CASES[name][2]


def test_the_batch_multiplies_the_operations():
    network = keras.Sequential([keras.Input((3,)), layers.Dense(5)])
    assert count_flops(network, np.zeros((4, 3), "float32")) == 4 * 30


def test_the_vae_s_decoder_is_counted_by_hand():
    decoder = build_decoder(image_shape=(8, 8, 1), widths=[4, 8], latent_dim=2, num_classes=None)
    dense = 2 * 32 * 2 + 2 * 32 * 32
    level_4x4 = 2 * (2 * 2 * 8) * (16 * 8) + 2 * (4 * 4 * 8) * (9 * 8)
    level_8x8 = 2 * (4 * 4 * 8) * (16 * 4) + 2 * (8 * 8 * 4) * (9 * 4)
    logits = 2 * (8 * 8) * (9 * 4)
    flops = count_flops(decoder, np.zeros((1, 2), "float32"))
    assert flops == dense + level_4x4 + level_8x8 + logits


def test_the_dcgan_s_generator_is_counted_by_hand():
    generator = build_generator(
        image_shape=(8, 8, 1), widths=[4, 8], latent_dim=2, num_classes=None
    )
    dense, to_4x4, to_8x8 = 2 * 32 * 2, 2 * (2 * 2 * 8) * (16 * 4), 2 * (4 * 4 * 4) * 16
    assert count_flops(generator, np.zeros((1, 2), "float32")) == dense + to_4x4 + to_8x8


def layer_flops(layer):
    """A layer's operations from its own shapes, which no graph has a part in."""
    if isinstance(layer, layers.Conv2D | layers.Dense):
        return 2 * math.prod(layer.output.shape[1:]) * math.prod(layer.kernel.shape[:-1])
    if isinstance(layer, layers.MultiHeadAttention):
        _, tokens, width = layer.output.shape
        return 4 * 2 * tokens * width**2 + 2 * 2 * tokens**2 * width
    return 0


@pytest.mark.parametrize("attention_levels", [[], [0, 1]])
def test_the_unet_is_the_sum_of_its_layers(attention_levels):
    unet = build_unet(
        image_shape=(16, 16, 3),
        base_width=8,
        multipliers=[1, 2],
        num_blocks=1,
        patch_size=2,
        attention_levels=attention_levels,
    )
    attentions = [layer for layer in unet.layers if isinstance(layer, layers.MultiHeadAttention)]
    assert len(attentions) == 1 + 2 * len(attention_levels)
    flops = count_flops(
        lambda images: unet([images, ops.zeros((1,))]), np.zeros((1, 16, 16, 3), "float32")
    )
    assert flops == sum(layer_flops(layer) for layer in unet.layers)


def loop(values):
    return ops.fori_loop(0, 3, lambda _, values: values @ ops.ones((3, 3)), values)


def product_of_unknown_size(values):
    positions = ops.cast(ops.nonzero(values)[0], "float32")
    return positions[None, :] @ positions[:, None]


@pytest.mark.parametrize(
    ("call", "reason"),
    [(loop, "While"), (ops.rfft, "FFT"), (product_of_unknown_size, "shape of")],
)
def test_work_of_unknown_size_is_not_guessed(call, reason):
    with pytest.raises(NotMeasured, match=reason):
        count_flops(call, np.ones((3, 3), "float32"))


def test_a_backend_without_graph_gives_no_number(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(NotMeasured, match="torch shows no graph"):
        count_flops(ops.abs, np.ones(3))


@pytest.mark.parametrize(
    ("equation", "shapes", "terms"),
    [
        ("ij,jk->ik", [(2, 3), (3, 5)], 3),
        ("btnh, bsnh -> bnts", [(7, 2, 3, 4), (7, 5, 3, 4)], 4),
        ("...ij,jk...->...ik", [(7, 2, 3), (3, 5, 7)], 3),
        ("ij,ij->", [(2, 3), (2, 3)], 6),
        ("i,j->ij", [(2,), (3,)], 1),
    ],
)
def test_an_einsum_adds_up_over_the_labels_that_vanish(equation, shapes, terms):
    assert summed_terms(equation, shapes) == terms


needs_peaks = pytest.mark.skipif(
    not cost.CLEAR_REFS.exists(), reason="the peak cannot be reset here"
)


@needs_peaks
def test_the_peak_of_a_call_is_its_own():
    def use(megabytes):
        return lambda: np.ones(megabytes * MEGABYTE, "uint8")[:1].copy()

    large, small = peak_memory(use(200)), peak_memory(use(1))
    assert large.of == small.of == "process"
    assert 190 * MEGABYTE < large.increase_bytes < 250 * MEGABYTE
    assert small.increase_bytes < 20 * MEGABYTE
    assert small.before_bytes <= small.peak_bytes


@needs_peaks
def test_memory_that_was_freed_before_does_not_hide_the_increase():
    def use(megabytes):  # in pieces that the allocator takes from its heap, and keeps when freed
        return [np.ones(MEGABYTE // 20, "uint8") for _ in range(20 * megabytes)]

    kept = use(400)[-1]  # what comes after it in the heap cannot be cut off
    increase = peak_memory(lambda: use(100)[0]).increase_bytes
    assert 95 * MEGABYTE < increase < 130 * MEGABYTE
    assert kept[0] == 1


@needs_peaks
def test_a_sampler_shows_the_tensors_that_it_makes_after_training_too():
    tensorflow = pytest.importorskip("tensorflow")

    @tensorflow.function
    def sample(seed):
        return ops.max(tensorflow.random.stateless_uniform((50_000_000,), [seed, 0]))

    def increase():
        return peak_memory(lambda: sample(seed)).increase_bytes

    seed = tensorflow.constant(1)  # nothing that could be computed before the call
    sample(seed)  # traces
    before = increase()
    network = keras.Sequential([keras.Input((500,)), layers.Dense(2000), layers.Dense(1)])
    network.compile("adam", "mse")
    network.fit(np.ones((2000, 500)), np.ones((2000, 1)), batch_size=500, verbose=0)
    # 200 MB, in chunks of the allocator which may be larger; none are hidden by what is kept.
    assert 195 * MEGABYTE < before < 290 * MEGABYTE
    assert 195 * MEGABYTE < increase() < 290 * MEGABYTE


@needs_peaks
def test_a_lazy_result_is_computed_while_memory_is_watched():
    class Lazy:
        def __array__(self, dtype=None, copy=None):
            return np.ones(200 * MEGABYTE, "uint8")

    assert peak_memory(Lazy).increase_bytes > 190 * MEGABYTE


def test_peak_is_described_in_megabytes():
    peak = PeakMemory(
        peak_bytes=5_500_000, before_bytes=2_000_000, of="GPU:0", held_bytes=1_000_000
    )
    assert peak.describe() == {
        "of": "GPU:0",
        "peak_mb": 5.5,
        "before_mb": 2.0,
        "held_mb": 1.0,
        "increase_mb": 4.5,
    }


def test_status_is_read_in_units_of_1024_bytes():
    status = "VmPeak:\t  9 kB\nVmHWM:\t    1234 kB\nVmRSS:\t      56 kB\n"
    assert resident_bytes(status, "VmHWM") == 1234 * 1024
    assert resident_bytes(status, "VmRSS") == 56 * 1024
    with pytest.raises(NotMeasured, match="VmSwap"):
        resident_bytes(status, "VmSwap")


def test_a_peak_that_cannot_be_reset_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(cost, "CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    with pytest.raises(NotMeasured, match="cannot be reset"):
        peak_memory(lambda: np.zeros(1))


def test_a_gpu_tells_its_own_memory(monkeypatch):
    experimental = pytest.importorskip("tensorflow").config.experimental
    memory = {"current": 7, "peak": 99}

    def call():
        memory["peak"] = 40
        return np.zeros(1)

    def reset(device):
        memory["peak"] = memory["current"]

    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0", "gpu:1"])
    monkeypatch.setattr(experimental, "reset_memory_stats", reset)
    monkeypatch.setattr(experimental, "get_memory_info", lambda device: dict(memory))
    assert peak_memory(call) == PeakMemory(peak_bytes=40, before_bytes=7, of="GPU:0")
    # Without the reset, the peak of an earlier call would stand.
    assert peak_memory(lambda: np.zeros(1)).peak_bytes == 7


def test_a_processor_whose_memory_tensorflow_does_not_count_is_measured_all_the_same(monkeypatch):
    experimental = pytest.importorskip("tensorflow").config.experimental

    def refuse(device):
        raise ValueError(f"Cannot reset memory stats for device '{device}'")

    monkeypatch.setattr(experimental, "reset_memory_stats", refuse)
    assert peak_memory(lambda: np.ones(50 * MEGABYTE // 8)).of == "process"
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0"])
    with pytest.raises(ValueError, match="GPU:0"):
        peak_memory(lambda: np.zeros(1))


def test_jax_on_an_accelerator_gives_no_peak(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0"])
    with pytest.raises(NotMeasured, match="jax"):
        peak_memory(lambda: np.zeros(1))
