"""Image datasets, one file per source; each loader returns an `ImageDataset`."""

from benchmark.datasets.base import ImageArray, ImageDataset

__all__ = ["ImageArray", "ImageDataset"]
