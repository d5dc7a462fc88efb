"""Where a number comes from: code, packages and machine."""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TRAINING_CODE = (
    "benchmark/checkpoints.py",
    "benchmark/devices.py",
    "benchmark/pipeline.py",
    "benchmark/training.py",
    "benchmark/validation.py",
)
MEASURES, MODELS = "metrics", "models"  # the packages within which imports are followed
NAMES_CODE = ("_target_", "path")  # configuration keys that name code; `path` names a function
PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "hydra-core")


def code_version(patterns: Iterable[str]) -> str:
    """Hash of what source files do: their syntax trees, without comments and docstrings."""
    return hash_code(path for pattern in patterns for path in ROOT.glob(pattern))


def module_version(name: str) -> str:
    """Hash of a module's code and of everything it imports from `metrics`, even indirectly.

    Args:
        name: Such as `metrics.kid`; a module that can be imported.
    """
    return hash_code(sources_of([name], MEASURES))


def trained_version(model: dict[str, Any]) -> str:
    """Hash of the code that determines a model's weights.

    That is the training code, the parts of `models` that a configuration names, and everything they
    import from `models`, even indirectly. The code of other models does not count.

    Args:
        model: The configuration of the model, nested dicts.
    """
    modules = {target.rpartition(".")[0] for target in targets(model)}
    training = {path for pattern in TRAINING_CODE for path in ROOT.glob(pattern)}
    return hash_code(sources_of(modules, MODELS) | training)


def targets(node: Any) -> set[str]:
    """The dotted names of all parts of `models` within a configuration."""
    if isinstance(node, list):
        return {name for value in node for name in targets(value)}
    if not isinstance(node, dict):
        return set()
    named = {node[key] for key in NAMES_CODE if isinstance(node.get(key), str)}
    inside = {name for name in named if name.startswith(f"{MODELS}.")}
    return inside | {name for value in node.values() for name in targets(value)}


def sources_of(modules: Iterable[str], package: str) -> set[Path]:
    """The files of modules, and of everything they import from a package, even indirectly.

    Raises:
        ModuleNotFoundError: If there is no source of a module.
    """
    waiting = []
    for name in modules:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.origin:
            raise ModuleNotFoundError(f"there is no source of the module {name}")
        waiting.append(Path(spec.origin))
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += imported_sources(path, package)
    return found


def imported_sources(path: Path, package: str) -> list[Path]:
    """The files of a package that a source file imports, anywhere in it."""
    names = set()
    for level, base, imported in import_statements(path.read_text()):
        if level:  # relative to the folder of the file, or to one above it
            folder = path.parents[level - 1].relative_to(ROOT)
            base = ".".join([*folder.parts, *([base] if base else [])])
        names |= {base, *(f"{base}.{name}" for name in imported)}
    inside = [name.split(".") for name in names if name.startswith(f"{package}.")]
    files = [ROOT.joinpath(*parts).with_suffix(".py") for parts in inside]
    return [file for file in files if file.is_file()]


@functools.cache
def import_statements(source: str) -> list[tuple[int, str, list[str]]]:
    """For each import in a source file: how many folders up, the module, and names from it."""
    found: list[tuple[int, str, list[str]]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            found.append((node.level, node.module or "", names))
    return found


def hash_code(paths: Iterable[Path]) -> str:
    sha = hashlib.sha256()
    for path in sorted(paths):
        sha.update(f"{path.name} {syntax_tree(path.read_text())}".encode())
    return sha.hexdigest()[:16]


@functools.cache
def syntax_tree(source: str) -> str:
    """The syntax tree of a source file as text, without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and is_text(body[0]):
            body[0] = ast.Pass()
    return ast.dump(tree)


def is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def environment() -> dict[str, Any]:
    """Versions, device and threads of this process, for run.json."""
    from metrics.host import describe_device  # here, as hashing sources must not wait for Keras

    device = describe_device()
    return {
        "versions": {name: installed_version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "backend": device["backend"],
        "device": device["device"],
        "cpu_count": os.cpu_count(),
        "platform": platform.platform(),
        "git_commit": git_commit(),
    }


def computing() -> dict[str, Any]:
    """What a program's speed depends on besides the program itself, ready for JSON."""
    from metrics.host import describe_device, usable_processors

    device = describe_device()
    backend = device["backend"]
    return {
        **device,
        "processor": device["device"],
        "num_processors": len(usable_processors()),
        "version": installed_version(backend),
    }


def installed_version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def git_commit() -> str:
    """The checked out commit of the source, with a mark if files differ; empty if unknown."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
