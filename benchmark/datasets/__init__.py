"""Image datasets, one file per source; each loader returns an `ImageDataset`."""

from benchmark.datasets.base import ImageDataset

__all__ = ["ImageDataset"]
