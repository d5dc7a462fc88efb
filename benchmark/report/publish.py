"""Copies results to where they are committed: what the tables and figures are derived from."""

import functools
import importlib.resources
import json
import shutil
from collections import defaultdict
from pathlib import Path

import pandas as pd
import yaml

from benchmark.errors import UserError
from benchmark.outcomes import settled
from benchmark.report.choice import choose
from benchmark.report.groups import complete
from benchmark.report.page import write_report
from benchmark.report.rows import is_sanity, line_identities
from benchmark.results import Folder, write_atomically
from benchmark.stored_results import StoredRow, collect_rows

NUM_IMAGES = 20
MOST_BYTES = 6_000_000
_FOLDERS = ("results_dir", "cache_dir")  # of the machine that it ran on
_DERIVED = ("runs", "external", "sanity", "figures")


def publish(results_dir, target_dir, chosen=None):
    """Replaces the published results by those of a results folder.

    Args:
        results_dir: The results folder.
        target_dir: The folder to publish in, such as results/reference.
        chosen: Optional mapping from a column (`seed`, `dataset`, `preset`, `model`, `sampler`,
            `checkpoint`) to a list of texts: the rows that are published. Checks are published
            with the datasets that they belong to.

    Returns:
        The paths of the tables and figures written, as `write_report` returns them.

    Raises:
        UserError: If no rows are left, or what is published would be too large to commit.
    """
    results_dir, target_dir = Path(results_dir), Path(target_dir)
    if target_dir.resolve() == results_dir.resolve():
        raise UserError(f"'{target_dir}' is where the results lie; publish them in another folder")
    rows = choose(complete(collect_rows(results_dir)), chosen or {})
    for name in _DERIVED:
        shutil.rmtree(target_dir / name, ignore_errors=True)
    for path, is_shown in zip(rows["path"], _are_shown(rows), strict=True):
        _copy_row(results_dir, path, target_dir, with_samples=is_shown)
    paths = write_report(target_dir, collect_rows(target_dir))
    (target_dir / "report.html").unlink()  # as large as all else, and made again by one command
    write_atomically(target_dir / "README.md", _readme(results_dir, target_dir, rows).encode())
    size = sum(path.stat().st_size for path in target_dir.rglob("*") if path.is_file())
    if size > MOST_BYTES:
        raise UserError(
            f"'{target_dir}' has {size:,} bytes, more than the {MOST_BYTES:,} that should be "
            "committed; publish fewer rows, as with seed=10,11"
        )
    return [path for path in paths if path.exists()]


def _are_shown(rows):
    """Marks the rows whose samples figures show: of each line that of the first seed."""
    alike = pd.concat([rows[["dataset", "preset", "protocol"]], line_identities(rows)], axis=1)
    in_order = rows.sort_values(["seed", "sampling_seed"], kind="stable").index
    return ~alike.loc[in_order].duplicated().reindex(rows.index)


def _copy_row(results_dir, path, target_dir, with_samples):
    """Copies the small files behind a row, perhaps its first samples; no weights.

    JSON files lose their indentation, which is half of a long list.
    """
    row = StoredRow(results_dir, path)
    files = [results_dir / path / "metrics.json"]
    files += [row.samples_path / "latency.json"] if row.samples_path else []
    if row.run and row.run.state:
        files.append(row.run.path / "run.json")
    if row.run and row.run.history is not None:
        files.append(row.run.path / "history.csv")
    for file in files:
        if file.is_file():
            content = file.read_text()
            if file.suffix == ".json":
                stored = settled(file.parent, json.loads(content))
                content = json.dumps(stored, separators=(",", ":")) + "\n"
            write_atomically(target_dir / file.relative_to(results_dir), content.encode())
    if row.run and row.run.config:
        folder = Folder(target_dir / row.run.path.relative_to(results_dir))
        config = without_folders(row.run.config)
        folder.write_text("config.yaml", yaml.safe_dump(config, sort_keys=False))
    images = row.samples(NUM_IMAGES) if with_samples else None
    if images is not None:
        folder = Folder(target_dir / row.samples_path.relative_to(results_dir))
        folder.write_array("samples.npy", images)


def without_folders(config):
    """A configuration without the folders of the machine that it ran on."""
    if not isinstance(config, dict):
        return config
    return {key: without_folders(value) for key, value in config.items() if key not in _FOLDERS}


def _readme(results_dir, target_dir, rows):
    """Says how the published results were made, by which commands and on which machine."""
    environments = [StoredRow(results_dir, path).run for path in rows["path"]]
    states = [run.state.get("environment", {}) for run in environments if run is not None]
    facts = defaultdict(set)
    for state in states:
        versions = ", ".join(f"{name} {text}" for name, text in state.get("versions", {}).items())
        for name, text in {**state, "versions": versions}.items():
            if text not in ("", None) and not isinstance(text, dict | list):
                facts[name.replace("_", " ")].add(str(text))
    machine = "\n".join(f"- {name}: {' or '.join(sorted(facts[name]))}" for name in facts)
    return (
        "# Published results\n\n"
        "Numbers, histories and first samples of the runs below; the tables and figures here are "
        f"derived from them, and again by `python -m benchmark.report {target_dir.as_posix()}`. "
        "The runs themselves, with weights and all samples, are made by:\n\n"
        "```\n" + "\n".join(commands(rows)) + "\n```\n\n"
        f"They were made on:\n\n{machine}\n"
    )


@functools.cache
def _samples_of_preset(preset):
    """The number of samples that a preset asks for; `None` if it goes with the dataset."""
    file = importlib.resources.files("conf").joinpath("preset", f"{preset}.yaml")
    count = yaml.safe_load(file.read_text("utf-8")).get("num_samples") if file.is_file() else None
    return count if isinstance(count, int) else None


def commands(rows):
    """The commands that make a results folder's rows of trained models."""
    trained = rows[~is_sanity(rows) & rows["seed"].notna()]
    models = defaultdict(list)
    for (dataset, preset, overrides, model, seed), part in trained.groupby(
        ["dataset", "preset", "overrides", "model", "seed"], sort=False
    ):
        options = [text for text in overrides.split() if not text.startswith("model=")]
        if part["sampling_seed"].max() > 0:  # counted from 0
            options.append(f"sampling.seeds={part['sampling_seed'].max() + 1:g}")
        if _samples_of_preset(preset) not in (None, part["num_samples"].iloc[0]):
            options.append(f"num_samples={part['num_samples'].iloc[0]:g}")
        models[f"dataset={dataset} preset={preset}", " ".join(options), model].append(int(seed))
    alike = defaultdict(list)
    for (start, options, model), seeds in models.items():
        alike[start, options, tuple(sorted(seeds))].append(model)
    return [
        f"python -m benchmark --multirun {start} model={','.join(names)} "
        f"seed={','.join(map(str, seeds))} {options}".rstrip()
        for (start, options, seeds), names in alike.items()
    ]
