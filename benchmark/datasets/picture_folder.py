"""Finds the pictures in a folder, and their classes."""

from dataclasses import dataclass
from pathlib import Path

from benchmark import console
from benchmark.datasets.picture_files import SUFFIXES, is_picture, name_kinds, natural_order
from benchmark.errors import UserError

LAYOUT = (
    "Pictures lie directly in dataset.source=<folder>, or directly in its sub-folders, one for "
    "each class."
)


@dataclass(frozen=True)
class PictureFolder:
    """The image files of a folder, class by class, in natural order of their names.

    Attributes:
        name: The folder's name; for a single picture, its name without the suffix.
        path: The folder.
        files: The files.
        labels: For each file, the index of its class; all 0 where there are no classes.
        class_names: Names of the sub-folders; empty where there are fewer than two.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]

    @property
    def stamps(self) -> list[tuple[str, int, int]]:
        """Names, sizes and modification times, which change when a file does."""
        stamps = []
        for file in self.files:
            try:
                status = file.stat()
            except OSError as error:
                raise UserError(f"{file} cannot be read ({error.strerror}).") from None
            name = file.relative_to(self.path).as_posix()
            stamps.append((name, status.st_size, status.st_mtime_ns))
        return stamps


def find_pictures(source: str | Path | None) -> PictureFolder:
    """Lists the pictures of a folder, or of its sub-folders; says what it skips.

    Args:
        source: The folder, in which hidden entries are ignored, or the file of a single picture.

    Returns:
        The `PictureFolder`.

    Raises:
        UserError: If there is no such folder, no picture in it, or pictures at several depths.
    """
    if source is None:
        raise UserError("dataset=image_folder needs dataset.source=<folder of pictures>.")
    path = Path(source).expanduser().resolve()
    if path.is_file() and is_picture(path):
        return PictureFolder(path.stem, path.parent, (path,), (0,), ())
    if path.is_file():
        raise UserError(
            f"{path} must be a folder or a picture ({', '.join(SUFFIXES)}). "
            f"Received: a {path.suffix or 'file without suffix'}."
        )
    if not path.is_dir():
        raise UserError(f"There is no folder {path}. Check dataset.source=<folder>.")
    pictures, folders, others = _list(path)
    if pictures and folders:
        raise UserError(
            f"{path} holds {len(pictures):,} pictures beside folders "
            f"({name_kinds(folders)}). {LAYOUT}"
        )
    _tell(others)
    if folders:
        return _find_classes(path, folders)
    if not pictures:
        raise UserError(
            f"{path} must hold pictures ({', '.join(SUFFIXES)}). "
            f"Found: {name_kinds(others) or 'nothing'}."
        )
    return PictureFolder(path.name, path, tuple(pictures), (0,) * len(pictures), ())


def _find_classes(path: Path, folders: list[Path]) -> PictureFolder:
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        pictures, deeper, others = _list(folder)
        if deeper:
            raise UserError(
                f"{path} holds folders of folders ({deeper[0].relative_to(path)}). {LAYOUT} "
                f"Did you mean dataset.source={folder}?"
            )
        if not pictures:
            raise UserError(
                f"{folder} must hold pictures ({', '.join(SUFFIXES)}), as each sub-folder is a "
                f"class. Found: {name_kinds(others) or 'nothing'}."
            )
        _tell(others)
        files += pictures
        labels += [label] * len(pictures)
    names = tuple(folder.name for folder in folders)
    class_names = names if len(names) > 1 else ()
    return PictureFolder(path.name, path, tuple(files), tuple(labels), class_names)


def _list(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """The pictures, the folders and the other entries of a folder, in natural order."""
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}).") from None
    entries.sort(key=natural_order)
    folders = [path for path in entries if path.is_dir()]
    files = [path for path in entries if not path.is_dir()]
    pictures = [path for path in files if is_picture(path)]
    return pictures, folders, [path for path in files if not is_picture(path)]


def _tell(others: list[Path]) -> None:
    if others:
        console.say(f"skipped in {others[0].parent}: {name_kinds(others)}")
