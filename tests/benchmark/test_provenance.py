from types import SimpleNamespace

import pytest

from benchmark import config as configuration
from benchmark import provenance
from benchmark.provenance import (
    MEASURES,
    MODELS,
    TRAINING_CODE,
    code_version,
    imported_sources,
    module_version,
    sources_of,
    targets,
    trained_version,
)

SOURCE = '"""Text."""\n\ndef double(x):\n    """Doubles."""\n    return 2 * x\n'


@pytest.fixture
def version(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)

    def version_of(source):
        (tmp_path / "part.py").write_text(source)
        return code_version(["*.py"])

    return version_of


def test_the_version_follows_the_code_not_the_words(version):
    original = version(SOURCE)
    assert version(SOURCE.replace("Doubles.", "Gives twice.") + "# a comment\n") == original
    assert version(SOURCE.replace("2 * x", "3 * x")) != original


def test_every_pattern_finds_sources():
    assert all(list(provenance.ROOT.glob(pattern)) for pattern in TRAINING_CODE)


FILES = {
    "metrics/first.py": "from metrics.second import two\n",
    "metrics/second.py": "def two():\n    from . import third\n",
    "metrics/third.py": "import metrics.first\n",
    "metrics/other.py": "from metrics.third import three\n",
    "models/second.py": "",
}


@pytest.mark.parametrize(
    ("edited", "changes"),
    [
        ("metrics/first.py", True),
        ("metrics/second.py", True),
        ("metrics/third.py", True),
        ("metrics/other.py", False),
        ("models/second.py", False),
    ],
)
def test_the_version_of_a_module_follows_all_that_it_imports(
    tmp_path, monkeypatch, edited, changes
):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    spec = SimpleNamespace(origin=str(tmp_path / "metrics/first.py"))
    monkeypatch.setattr(provenance.importlib.util, "find_spec", lambda name: spec)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = module_version("metrics.first")
    (tmp_path / edited).write_text(FILES[edited] + "edited = True\n")
    assert (module_version("metrics.first") != before) == changes


@pytest.mark.parametrize(
    ("name", "has", "has_not"),
    [
        (
            "dcgan",
            {"dcgan.py", "adversarial.py", "optimizers.py"},
            {"vae.py", "unet.py", "flow.py"},
        ),
        ("ddpm", {"diffusion.py", "schedules.py", "unet.py", "optimizers.py"}, {"dcgan.py"}),
        ("ddpm model/network=plain_unet", {"plain_unet.py"}, {"linear_attention_unet.py"}),
    ],
)
def test_the_key_of_a_model_follows_its_own_code(compose_config, name, has, has_not):
    """A model that is added retrains no other."""
    config = compose_config(*f"model={name}".split())
    named = targets(configuration.validate(config)["model"])
    modules = {target.rpartition(".")[0] for target in named}
    files = {path.name for path in sources_of(modules, MODELS)}
    assert has <= files and not has_not & files


@pytest.mark.parametrize(
    ("edited", "changes"),
    [("models/dcgan.py", True), ("models/gan.py", True), ("benchmark/training.py", True),
     ("models/vae.py", False)],
)  # fmt: skip
def test_weights_depend_on_the_code_of_the_model_and_of_training(
    tmp_path, monkeypatch, edited, changes
):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)

    def find_spec(name):
        return SimpleNamespace(origin=str(tmp_path.joinpath(*name.split(".")).with_suffix(".py")))

    monkeypatch.setattr(provenance.importlib.util, "find_spec", find_spec)
    sources = {"models/dcgan.py": "from models.gan import frozen_logits\n", "models/gan.py": "",
               "models/vae.py": "", "benchmark/training.py": ""}  # fmt: skip
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    model = {"_target_": "models.dcgan.DCGAN", "optimizer": {"_target_": "keras.optimizers.Adam"}}
    before = trained_version(model)
    (tmp_path / edited).write_text(sources[edited] + "edited = True\n")
    assert (trained_version(model) != before) == changes


def test_metrics_share_what_they_import_and_no_more():
    def files_of(name):
        path = provenance.ROOT / name
        return {file.name for file in imported_sources(path, MEASURES)}

    assert "base.py" in files_of("metrics/vendi.py")
    assert not {"kid.py", "latency.py"} & files_of("metrics/vendi.py")
    with pytest.raises(ModuleNotFoundError):
        module_version("metrics_that_are_not_there")


def test_the_environment_names_machine_and_packages():
    environment = provenance.environment()
    assert environment["device"]
    assert "not installed" not in environment["versions"].values()
