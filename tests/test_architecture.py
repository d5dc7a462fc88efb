"""The command line starts at once; who may import whom is in pyproject.toml (import-linter)."""

import subprocess
import sys

import pytest

HEAVY = {"tensorflow", "keras", "tensorflow_datasets", "matplotlib", "pandas", "scipy", "jax"}
LOADED = "import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"


def loaded_by(module):
    """The heavy packages that importing a module loads."""
    command = [sys.executable, "-c", LOADED.format(module=module, heavy=HEAVY)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return result.stdout.split()


@pytest.mark.parametrize("name", ["cli", "commands", "config", "evaluate"])
def test_the_command_line_starts_without_heavy_packages(name):
    assert loaded_by(f"benchmark.{name}") == []


def test_a_heavy_package_is_noticed():
    assert "scipy" in loaded_by("benchmark.compare")
