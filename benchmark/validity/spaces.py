"""The numbers that one feature space gives, by the suite's own metrics."""

import numpy as np

from metrics.fid import fid, fid_standard_error
from metrics.mmd import KERNELS, squared_mmd, sums_within
from metrics.prdc import prdc


class Space:
    """The real images of one feature space, and what is computed of them once.

    Args:
        large: `(R, D)`, the large reference in random order.
        fid_groups: Groups of the jackknife for the error of the Fréchet distance, which takes as
            many times as long as the distance; `None` leaves it out.
    """

    def __init__(self, large: np.ndarray, fid_groups: int | None = None) -> None:
        self.large = large
        self.fid_groups = fid_groups
        self.kernels = {name: build(large) for name, build in KERNELS.items()}
        self.sums = {name: sums_within(large, kernel) for name, kernel in self.kernels.items()}

    def numbers(self, features: np.ndarray, num_real: int) -> dict[str, float]:
        """The numbers of a set of images in this space.

        Args:
            features: `(N, D)`.
            num_real: Reference images for precision and density, as many as a run has samples;
                distances between distributions take them all.

        Returns:
            `precision`, `recall`, `density`, `coverage`, `fid`; by name of a kernel its squared
            discrepancy and, under `{kernel}_error`, the standard error that it states of itself,
            for draws of the images beside the same reference; `fid_error` likewise, if asked for.
        """
        numbers = prdc(real_features=self.large[:num_real], generated_features=features)
        pair = {"real_features": self.large, "generated_features": features}
        numbers["fid"] = fid(**pair)
        if self.fid_groups is not None:
            numbers["fid_error"] = fid_standard_error(**pair, num_groups=self.fid_groups)
        for name, kernel in self.kernels.items():
            found = squared_mmd(**pair, kernel=kernel, within_real=self.sums[name])
            numbers[name] = found.value
            numbers[f"{name}_error"] = found.standard_error_given_real
        return numbers
