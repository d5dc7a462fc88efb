import pytest

from benchmark import provenance
from benchmark.provenance import MEASURED_CODE, TRAINED_CODE, code_version

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


@pytest.mark.parametrize("patterns", [TRAINED_CODE, MEASURED_CODE])
def test_every_pattern_finds_sources(patterns):
    assert all(list(provenance.ROOT.glob(pattern)) for pattern in patterns)


def test_the_environment_names_machine_and_packages():
    environment = provenance.environment()
    assert environment["device"]
    assert "not installed" not in environment["versions"].values()
