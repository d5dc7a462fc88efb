"""MNIST, embedded: no network needed."""

from pathlib import Path

from benchmark.datasets.base import ImageDataset
from benchmark.datasets.idx import load_idx_folder

EMBEDDED = Path(__file__).with_name("mnist_data")
CLASS_NAMES = tuple("0123456789")
# SHA-256 of the decompressed files.
CHECKSUMS = {
    "train_images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train_labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "test_images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "test_labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def load_mnist(
    *,
    name: str = "mnist",
    source: str | Path | None = None,
    image_size: int = 28,
    cache_dir: str | Path,
) -> ImageDataset:
    """Loads MNIST (LeCun, Cortes, Burges 1998), or other IDX files under another name.

    Args:
        name: Name of the dataset. A dataset named `mnist` must have MNIST's checksums; under
            another name, `source` may hold any images.
        source: Folder with the four IDX files, plain or `.gz`; `None` for the embedded ones.
        image_size: Side of the images in pixels; other than 28 means resizing.
        cache_dir: Folder of all caches.

    Returns:
        An `ImageDataset` of `(image_size, image_size, 1)` images.

    Raises:
        UserError: If a file is missing, damaged or not MNIST, or `image_size` out of range.
    """
    known = source is None or name == "mnist"
    return load_idx_folder(
        name=name,
        folder=EMBEDDED if source is None else source,
        checksums=CHECKSUMS if known else None,
        class_names=CLASS_NAMES if known else None,
        image_size=image_size,
        cache_dir=cache_dir,
    )
