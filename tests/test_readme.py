"""What the README shows works."""

import ast
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

README = (Path(__file__).parent.parent / "README.md").read_text()


def code_block(language, containing):
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    (block,) = (block for block in blocks if containing in block)
    return block


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "pixel_gaussian.py"
    path.write_text(code_block("python", "GenerativeModel"))
    spec = importlib.util.spec_from_file_location("pixel_gaussian", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shown_model_learns_the_pixels(module):
    import keras

    generator = np.random.default_rng(0)
    images = generator.normal(80.0, 10.0, (512, 4, 4, 1)).clip(0, 255).astype("uint8")
    model = module.PixelGaussian(
        image_shape=(4, 4, 1), seed=0, optimizer=keras.optimizers.Adam(0.05)
    )
    model.fit(images, batch_size=64, epochs=30, verbose=0)
    sampler = model.sampler()
    samples = (sampler.sample(*sampler.inputs(0, 500)) + 1.0) * 127.5
    assert abs(samples.mean() - 80.0) < 2.0
    assert abs(samples.std(axis=0).mean() - 10.0) < 1.5


def test_the_shown_configuration_fits_the_shown_model(module):
    config = yaml.safe_load(code_block("yaml", "_target_"))
    target = config["model"]["_target_"].rpartition(".")[2]
    names = module.PixelGaussian.__init__.__kwdefaults__.keys()
    assert target == "PixelGaussian"
    assert set(config["model"]) - {"_target_"} <= set(names)
    assert set(config["training"]) == {"batch_size", "num_steps"}


def test_the_shown_lines_measure_arrays(capsys):
    random = np.random.default_rng(0)
    images = {
        "real_images": random.integers(0, 64, (40, 16, 16, 1), "uint8"),
        "generated_images": random.integers(192, 256, (40, 16, 16, 1), "uint8"),
    }
    code = code_block("python", "import kid")
    exec(code.replace("=generated)", "=generated, subset_size=30)"), images)
    mean, deviation = ast.literal_eval(capsys.readouterr().out)
    assert mean > 10 * deviation > 0


def test_every_named_file_is_there():
    root = Path(__file__).parent.parent
    links = re.findall(r"\]\(([^)h][^)]*)\)", README)
    assert links
    assert all((root / link).exists() for link in links)
