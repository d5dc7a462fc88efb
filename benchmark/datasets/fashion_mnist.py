"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), from IDX files or from TensorFlow Datasets."""

from pathlib import Path

from benchmark.datasets.base import ImageDataset
from benchmark.datasets.idx import load_idx_folder
from benchmark.datasets.tfds import load_tfds
from benchmark.errors import EnvironmentProblem

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# SHA-256 of the decompressed files.
CHECKSUMS = {
    "train_images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train_labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "test_images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "test_labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
HINT = (
    "The four IDX files may be plain or .gz; Debian's package dataset-fashion-mnist puts them into "
    f"{DEBIAN}, where they are found without any option."
)


def load_fashion_mnist(
    *,
    name: str = "fashion_mnist",
    source: str | Path | None = None,
    image_size: int = 28,
    cache_dir: str | Path,
) -> ImageDataset:
    """Loads Fashion-MNIST.

    The two sources hold the same images in different orders, so their fingerprints differ.

    Args:
        name: Name of the dataset. A dataset named `fashion_mnist` must have its checksums; under
            another name, `source` may hold any images.
        source: Folder with the four IDX files, plain or `.gz`; `None` for the folder of Debian's
            package dataset-fashion-mnist or, where it is not installed, TensorFlow Datasets.
        image_size: Side of the images in pixels; other than 28 means resizing.
        cache_dir: Folder of all caches.

    Returns:
        An `ImageDataset` of `(image_size, image_size, 1)` images.

    Raises:
        UserError: If a file is missing, damaged or a different one, or `image_size` out of range.
        EnvironmentProblem: If the dataset must be downloaded but cannot be.
    """
    if source is None and DEBIAN.is_dir():
        source = DEBIAN
    if source is None:
        return _load_from_tfds(image_size, cache_dir)
    known = name == "fashion_mnist"
    return load_idx_folder(
        name=name,
        folder=source,
        checksums=CHECKSUMS if known else None,
        class_names=CLASS_NAMES if known else None,
        image_size=image_size,
        cache_dir=cache_dir,
    )


def _load_from_tfds(image_size: int, cache_dir: str | Path) -> ImageDataset:
    try:
        return load_tfds(name="fashion_mnist", image_size=image_size, cache_dir=cache_dir)
    except EnvironmentProblem as problem:
        raise EnvironmentProblem(f"{problem} {HINT}") from problem
