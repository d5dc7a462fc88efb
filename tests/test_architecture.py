"""The sources keep to the house rules: who may import whom, and no `assert` in library code."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("benchmark", "metrics", "models", "conf")
CONFIGURED = {"benchmark.cli", "benchmark.config"}
LIGHT = ("benchmark.__main__", "benchmark.cli", "benchmark.config", "benchmark.evaluate")
HEAVY = {"tensorflow", "keras", "tensorflow_datasets", "matplotlib", "pandas", "scipy"}


def module_name(path, root):
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_sources(root):
    """Maps the name of each module of the packages to its syntax tree."""
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    return {module_name(path, root): ast.parse(path.read_text(), str(path)) for path in paths}


def imported_names(nodes, module, is_package):
    """Yields the absolute dotted names that import statements among `nodes` name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".") if is_package else module.split(".")[:-1]
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def all_imports(sources, module):
    return set(imported_names(ast.walk(sources[module]), module, is_package(sources, module)))


def top_imports(sources, module):
    """What importing the module imports: all but functions and `if TYPE_CHECKING`."""
    nodes = executed_nodes(sources[module].body)
    return set(imported_names(nodes, module, is_package(sources, module)))


def is_package(sources, module):
    return any(other.startswith(f"{module}.") for other in sources)


def executed_nodes(body):
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from executed_nodes(node.orelse)
            continue
        yield node
        yield from executed_nodes(ast.iter_child_nodes(node))


def package_of(name):
    return name.split(".")[0]


def modules_loaded_by(sources, module):
    """The project's modules that are executed when `module` is imported, itself included."""
    loaded, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        while name and name not in sources:  # `package.module.attribute` -> `package.module`
            name = name.rpartition(".")[0]
        if name and name not in loaded:
            loaded.add(name)
            waiting += [name.rpartition(".")[0], *top_imports(sources, name)]
    return loaded


def crossing_imports(sources):
    """Imports of `models` or `metrics` from outside themselves but inside the project."""
    return [
        (module, name)
        for module in sources
        if package_of(module) in ("models", "metrics")
        for name in all_imports(sources, module)
        if package_of(name) in PACKAGES and package_of(name) != package_of(module)
    ]


def configuration_imports(sources):
    """Imports of Hydra outside the two files that may know it."""
    return [
        (module, name)
        for module in sources
        if module not in CONFIGURED
        for name in all_imports(sources, module)
        if package_of(name) in ("hydra", "omegaconf")
    ]


def heavy_imports(sources, module):
    """Heavy packages that importing `module` imports, with the module that does."""
    return [
        (loaded, name)
        for loaded in modules_loaded_by(sources, module)
        for name in top_imports(sources, loaded)
        if package_of(name) in HEAVY
    ]


def asserts(sources):
    return [
        (module, node.lineno)
        for module, tree in sources.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]


@pytest.fixture(scope="module")
def sources():
    return read_sources(ROOT)


def test_models_and_metrics_know_nothing_of_each_other_nor_of_the_runner(sources):
    assert not crossing_imports(sources)


def test_only_two_files_know_the_configuration(sources):
    assert not configuration_imports(sources)


def test_library_code_has_no_assert(sources):
    assert not asserts(sources)


@pytest.mark.parametrize("module", LIGHT)
def test_the_command_line_starts_without_tensorflow(sources, module):
    assert module in sources
    assert not heavy_imports(sources, module)


def test_the_rules_can_be_broken(tmp_path):
    files = {
        "benchmark/__init__.py": "",
        "benchmark/cli.py": "import hydra\nfrom benchmark import runner\n",
        "benchmark/runner.py": "def f():\n    import pandas\nfrom .deep import g\n",
        "benchmark/deep.py": "try:\n    import keras.ops\nexcept ImportError:\n    raise\n",
        "metrics/__init__.py": "",
        "metrics/kid.py": "def f():\n    from models.base import Sampler\n    assert f\n",
        "models/__init__.py": "from omegaconf import OmegaConf\n",
        "models/base.py": "import benchmark.runner\nfrom . import other\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    broken = read_sources(tmp_path)
    assert sorted(crossing_imports(broken)) == [
        ("metrics.kid", "models.base.Sampler"),
        ("models.base", "benchmark.runner"),
    ]
    assert configuration_imports(broken) == [("models", "omegaconf.OmegaConf")]
    assert heavy_imports(broken, "benchmark.cli") == [("benchmark.deep", "keras.ops")]
    assert asserts(broken) == [("metrics.kid", 3)]
