import keras
import numpy as np
import pytest

from benchmark import acceleration
from benchmark import config as configuration
from benchmark.acceleration import choose
from benchmark.cli import RunBuilder
from benchmark.errors import UserError
from tests.conftest import small, trainings


def settings(training_jit="auto", sampling_jit="auto", precision="auto"):
    return {
        "training": {"jit": training_jit, "precision": precision},
        "sampling": {"jit": sampling_jit},
    }


def jits(chosen):
    return chosen.training_jit, chosen.image_jit, chosen.batch_jit


def test_a_cpu_compiles_single_images_alone(monkeypatch):
    monkeypatch.setattr(acceleration, "has_gpu", lambda: False)
    chosen = choose(settings())
    assert jits(chosen) == (False, True, False)
    assert chosen.precision == "float32"
    assert chosen.describe() == (
        "XLA compiles single images; precision float32 (the faster choice on a CPU)"
    )


def test_gpus_and_jax_compile_everything(monkeypatch):
    monkeypatch.setattr(acceleration, "has_gpu", lambda: True)
    assert jits(choose(settings())) == (True, True, True)
    assert "losses are read every 10 steps" in choose(settings()).describe()
    monkeypatch.setattr(acceleration, "has_gpu", lambda: False)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert jits(choose(settings())) == (True, True, True)


def test_what_is_configured_wins(monkeypatch):
    monkeypatch.setattr(acceleration, "has_gpu", lambda: False)
    chosen = choose(settings(training_jit=True, sampling_jit=False, precision="mixed_bfloat16"))
    assert jits(chosen) == (True, False, False)
    assert chosen.describe() == ("XLA compiles training; precision mixed_bfloat16 (as configured)")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.jit=maybe", "`training.jit` must be one of auto, true, false"),
        ("sampling.jit=1.5", "`sampling.jit` must be one of auto, true, false"),
        ("training.precision=float16", "one of auto, float32, mixed_bfloat16"),
    ],
)
def test_other_values_are_refused(compose_config, override, message):
    with pytest.raises(UserError, match=message):
        configuration.validate(compose_config(override))


@pytest.mark.parametrize("name", trainings())
def test_every_model_learns_the_same_in_half_the_precision(compose_config, name):
    images = np.random.default_rng(0).integers(0, 256, (16, 28, 28, 1), dtype="uint8")
    losses = {}
    for precision in ("float32", "mixed_bfloat16"):
        keras.utils.clear_session(free_memory=False)
        config = compose_config(f"model={name}", "preset=smoke", *small(name))
        builder = RunBuilder(configuration.validate(config), [])
        with choose(settings(precision=precision)).building():
            model = builder.build_model(images.shape[1:])
        model.run_eagerly = True  # a step is soon done, and long in compiling
        assert keras.config.dtype_policy().name == "float32"
        losses[precision] = model.train_on_batch(images, return_dict=True)["loss"]
        assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    (sampler,) = [model.sampler(method) for method in builder.build_methods()[-1:]]
    assert sampler.sample(*sampler.inputs(0, 2)).dtype == np.float32
    assert losses["mixed_bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert "bfloat16" in {layer.compute_dtype for layer in model.network.layers}
