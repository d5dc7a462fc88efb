"""Finds a dataset of TensorFlow Datasets and prepares it, or says within seconds why it cannot."""

import difflib
import logging
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from benchmark.console import quiet_standard_error
from benchmark.errors import EnvironmentProblem, UserError

NETWORK_TIMEOUT_SECONDS = 4


def find_builder(name: str, source: str | Path | None) -> Any:
    """Returns the TFDS builder of a dataset, prepared or not.

    Args:
        name: Name as TFDS spells it.
        source: Folder to search first: one laid out like TFDS's (`<name>/<version>`), the dataset's
            folder within it, or the folder of a version, which holds `dataset_info.json`. `None`
            for TFDS's own folder.

    Returns:
        A `tfds.core.DatasetBuilder`.

    Raises:
        UserError: If there is no such folder or dataset, or the folder holds another dataset.
        EnvironmentProblem: If a package that the dataset's code needs is missing.
    """
    with quiet_standard_error():
        import tensorflow  # noqa: F401, which TFDS imports later, and loudly
        import tensorflow_datasets as tfds

    # TFDS warns of every dataset that is not prepared yet; we report that ourselves.
    logging.getLogger("absl").setLevel(logging.ERROR)
    if source is None:
        return _build(name)
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Check dataset.source=<folder>.")
    stem = _stem(name)
    if (folder / "dataset_info.json").is_file():
        return _check_name(tfds.builder_from_directory(folder), stem, folder)
    is_own_folder = folder.name == stem and not (folder / stem).is_dir()
    builder = _build(name, data_dir=folder.parent if is_own_folder else folder)
    return builder if builder.is_prepared() else _build(name)


def prepare(builder: Any, source: str | Path | None) -> None:
    """Downloads a dataset, or takes its original archives from `source`, and converts it.

    Without a network TFDS retries for minutes, so the connection is checked first.

    Args:
        builder: A `tfds.core.DatasetBuilder` that is not prepared.
        source: Folder of the original archives, or `None`.

    Raises:
        EnvironmentProblem: If an archive cannot be fetched or read.
    """
    import tensorflow_datasets as tfds

    folder = None if source is None else Path(source).expanduser()
    missing = {
        url: info
        for url, info in builder.url_infos.items()
        if folder is None or not (folder / info.filename).is_file()
    }
    if missing and not _is_reachable(next(iter(missing))):
        reason = "there is no network to fetch it"
        raise EnvironmentProblem(_explain(builder, reason, missing, folder))
    try:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=folder, try_download_gcs=False)
        )
    except Exception as error:  # Hundreds of builders, each with different errors.
        reason = f"TFDS failed with {_first_line(error)}"
        raise EnvironmentProblem(_explain(builder, reason, missing, folder)) from error


def _build(name: str, **options: Any) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, **options)
    except ImportError as error:
        raise EnvironmentProblem(
            f"TFDS needs another package for {name!r}: {_first_line(error)}."
        ) from error
    except tfds.core.registered.DatasetNotFoundError as error:
        raise UserError(f"TFDS knows no dataset {name!r}.{_suggest(name)}") from error
    except (ValueError, AssertionError) as error:  # A wrong spelling, configuration or version.
        reason = str(error).strip().splitlines()[0].split(" Here are")[0]
        raise UserError(f"TFDS rejects {name!r}: {reason}{_suggest(name)}") from error


def _stem(name: str) -> str:
    """The name without configuration and version."""
    return name.split("/")[0].split(":")[0]


def _check_name(builder: Any, stem: str, folder: Path) -> Any:
    if builder.info.name != stem:
        raise UserError(
            f"{folder} holds the dataset {builder.info.name}, not {stem}. "
            f"Check dataset.source=<folder>, or use dataset=tfds dataset.name={builder.info.name}."
        )
    return builder


def _suggest(name: str) -> str:
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    stem = _stem(name).lower().replace("-", "_")
    if name.startswith(stem) and stem in known:
        configurations = tfds.builder_cls(stem).builder_configs
        return f" Its configurations: {', '.join(configurations)}." if configurations else ""
    close = difflib.get_close_matches(stem, known)
    if close:
        return f" Did you mean {', '.join(close)}?"
    return " The names are listed at https://www.tensorflow.org/datasets/catalog."


def _is_reachable(url: str) -> bool:
    """Whether the server answers at all, whatever it answers."""
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT_SECONDS).close()
            answered.set()
        except urllib.error.HTTPError:
            answered.set()
        except (OSError, ValueError):
            pass

    # In a thread, as the timeout does not cover the name look-up.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(NETWORK_TIMEOUT_SECONDS)
    return answered.is_set()


def _explain(builder: Any, reason: str, missing: dict[str, Any], folder: Path | None) -> str:
    prepared = builder.data_dir
    problem = f"TFDS's {builder.info.full_name} is not prepared in {prepared}, and {reason}."
    if not missing:
        damaged = f"The files in {folder or 'TFDS'} are not the original ones"
        return f"{problem} {damaged}: download them again."
    files = "; ".join(f"{info.filename} ({info.size}) from {url}" for url, info in missing.items())
    place = (
        "Put these files into a folder and give dataset.source=<folder>"
        if folder is None
        else f"dataset.source={folder} lacks these files"
    )
    return (
        f"{problem} {place} (their checksums are verified): {files}. "
        f"Or copy {prepared} from a machine where TFDS has prepared it."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
