"""One photograph that needs no network: it comes with matplotlib."""

from pathlib import Path

from benchmark.datasets.base import ImageDataset
from benchmark.datasets.image_folder import load_image_folder
from benchmark.errors import EnvironmentProblem

PHOTOGRAPH = "grace_hopper.jpg"


def load_sample_picture(
    *,
    name: str | None = None,
    source: str | Path | None = None,
    image_size: int = 64,
    cache_dir: str | Path,
) -> ImageDataset:
    """Loads the portrait of Grace Hopper, or pictures of your own, for training and for testing.

    The portrait is a photograph of the US Navy and in the public domain.

    Args:
        name: Name of the dataset; `None` for the name of the picture or of the folder.
        source: A picture or a folder of pictures, as for `load_image_folder`; `None` for the
            portrait.
        image_size: Side in pixels to which the central square is scaled.
        cache_dir: Folder of all caches.

    Returns:
        An `ImageDataset` of `(image_size, image_size, channels)` images.

    Raises:
        UserError: If the pictures cannot be used.
        EnvironmentProblem: If the portrait is not installed, or the cache cannot be written.
    """
    return load_image_folder(
        name=name,
        source=find_photograph() if source is None else source,
        channels=None,
        num_crops=None,
        crop_size=None,
        crop_seed=0,
        image_size=image_size,
        horizontal_flip=False,
        cache_dir=cache_dir,
    )


def find_photograph() -> Path:
    """The path of the photograph in matplotlib's sample data.

    Raises:
        EnvironmentProblem: If that is not installed, as some distributions package it separately.
    """
    from matplotlib.cbook import get_sample_data

    path = Path(get_sample_data(PHOTOGRAPH, asfileobj=False))
    if not path.is_file():
        raise EnvironmentProblem(
            f"The sample data of matplotlib is not installed: there is no {path}. Install "
            "matplotlib from PyPI, or give a picture of your own: dataset.source=<file or folder>."
        )
    return path
