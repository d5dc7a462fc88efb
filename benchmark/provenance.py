"""Where a number comes from: code, packages and machine."""

import ast
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TRAINED_CODE = (
    "models/*.py",
    "benchmark/devices.py",
    "benchmark/pipeline.py",
    "benchmark/training.py",
    "benchmark/validation.py",
)
MEASURED_CODE = ("metrics/*.py", "benchmark/evaluation.py", "benchmark/sampling.py")
PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "hydra-core")


def code_version(patterns: Iterable[str]) -> str:
    """Hash of what source files do: their syntax trees, without comments and docstrings."""
    sha = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and is_text(body[0]):
                body[0] = ast.Pass()
        sha.update(f"{path.name} {ast.dump(tree)}".encode())
    return sha.hexdigest()[:16]


def is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def environment() -> dict[str, Any]:
    """Versions, device and threads of this process, for run.json."""
    import keras  # here, as hashing sources must not wait for it

    return {
        "versions": {name: installed_version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "backend": keras.backend.backend(),
        "device": device_name(),
        "cpu_count": os.cpu_count(),
        "platform": platform.platform(),
        "git_commit": git_commit(),
    }


def installed_version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def device_name() -> str:
    """Name of the accelerator that computes, or of the processor."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # Keras has no name for a device

        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    elif keras.backend.backend() == "jax":
        import jax

        if jax.default_backend() != "cpu":
            return jax.devices()[0].device_kind
    return processor_name()


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def git_commit() -> str:
    """The checked out commit of the source, with a mark if files differ; empty if unknown."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
