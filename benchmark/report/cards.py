"""A card for each model on the page: its pictures, times, configuration and environment."""

from benchmark.report.stages import stage_table
from benchmark.report.stored import shown_runs

MOST_CARDS, MOST_OPEN = 30, 4
_PROVENANCE = (
    "source",
    "environment",
    "versions",
    "packages",
    "git",
    "device",
    "python",
    "platform",
)
_FOLDERS = ("results_dir:", "cache_dir:")  # of the machine that it ran on


def cards(results_dir, group, gallery):
    """The cards of a group's models: each shows the first of the runs that differ in seeds only.

    Returns:
        List of dicts: `title`, `key` (the run's), `folder`, `is_open`, `pictures` (see
        `benchmark.report.gallery`), `stages` (a `Table` or `None`), `configuration` (YAML, or
        empty) and `facts` (see `facts`).
    """
    runs = dict(list(shown_runs(results_dir, group).items())[:MOST_CARDS])
    pictures = gallery.show(runs)
    return [
        {
            "title": title,
            "key": run.key,
            "folder": run.path.relative_to(results_dir).as_posix(),
            "is_open": index < MOST_OPEN,
            "pictures": pictures[title],
            "stages": stage_table({title: run.state.get("stage_seconds", {})}),
            "configuration": _configuration(run.path / "config.yaml"),
            "facts": facts(run.state),
        }
        for index, (title, (run, _)) in enumerate(runs.items())
    ]


def _configuration(path):
    """The text of a configuration, without the folders of its machine; empty if there is none."""
    lines = path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []
    return "\n".join(line for line in lines if not line.strip().startswith(_FOLDERS))


def facts(value, name=""):
    """Flattens the parts of `run.json` that name the environment into (name, text) pairs."""
    if isinstance(value, dict):
        chosen = value if name else {
            key: part for key, part in value.items() if any(word in key for word in _PROVENANCE)
        }  # fmt: skip
        return [
            fact
            for key, part in chosen.items()
            for fact in facts(part, f"{name} {key}".strip().replace("_", " "))
        ]
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return [(name, text)] if value not in (None, "", []) else []
