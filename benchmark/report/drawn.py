"""The figures of an earlier report that need not be drawn again: nothing they show has changed."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from benchmark import drawing, report
from benchmark.report.group_figures import CAPTIONS, KINDS, SWEEP
from benchmark.report.stored import NUM_SAMPLES_SHOWN
from benchmark.results import write_atomically
from benchmark.stored_results import StoredRow

RECORD = ".drawn.json"


class DrawnFigures:
    """The figures in a folder, and a record of what they were drawn from.

    Args:
        folder: The folder of the figures.
    """

    def __init__(self, folder):
        self._folder = Path(folder)
        self._record = _recorded(self._folder / RECORD)

    def recall(self, stem, sources, kinds):
        """The figures of a group, if they were drawn from the same sources.

        Args:
            stem: What the names of the group's files start with.
            sources: Result of `digest_of`.
            kinds: The kinds of files that are needed.

        Returns:
            The bytes of the files by their names, in the order in which they were drawn; `None` if
            they must be drawn.
        """
        entry = self._record.get(stem, {})
        if entry.get("sources") != sources:
            return None
        pictures = {}
        for name, digest in entry["pictures"].items():
            figure, _, kind = name.rpartition(".")
            is_ours = figure in CAPTIONS or figure.startswith(SWEEP)
            if not is_ours or kind not in KINDS or "/" in name:
                return None
            path = self._folder / f"{stem}_{name}"
            content = path.read_bytes() if path.is_file() else b""
            if _hash(content) != digest:
                return None
            pictures[name] = content
        has_all = set(kinds) <= {name.rpartition(".")[2] for name in pictures}
        return pictures if has_all or not pictures else None

    def record(self, sources, pictures):
        """Writes what the figures were drawn from.

        Args:
            sources: Results of `digest_of` by stem.
            pictures: By stem, the bytes of the files by their names.
        """
        entries = {
            stem: {
                "sources": sources[stem],
                "pictures": {name: _hash(content) for name, content in drawn.items()},
            }
            for stem, drawn in pictures.items()
        }
        write_atomically(self._folder / RECORD, json.dumps(entries, indent=1).encode())


def digest_of(results_dir, group, styles, real_images):
    """Hash of all that the figures of a group depend on.

    It takes the files of the runs by their size and time, as reading them takes long.

    Args:
        results_dir: The results folder.
        group: The `Group`.
        styles: Result of `row_styles`.
        real_images: As `benchmark.report.group_figures.draw_group` takes them.
    """
    sha = hashlib.sha256(f"{version('matplotlib')} {styles}".encode())
    for package in (drawing, report):
        for path in sorted(Path(package.__file__).parent.glob("*.py")):
            sha.update(path.read_bytes())
    sha.update(group.rows.to_csv(index=False).encode())
    stored = [StoredRow(results_dir, path) for path in group.rows["path"]]
    for path in sorted({path for row in stored for path in row.files}):
        if path.exists():
            status = path.stat()
            sha.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
    if real_images is not None:
        sha.update(real_images[:NUM_SAMPLES_SHOWN].tobytes())
    return sha.hexdigest()


def _recorded(path):
    """The record, empty if there is none or it was damaged: then the figures are drawn again."""
    try:
        entries = json.loads(path.read_bytes())
        return {
            stem: {"sources": str(entry["sources"]), "pictures": dict(entry["pictures"])}
            for stem, entry in entries.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _hash(content):
    return hashlib.sha256(content).hexdigest()
