"""The numbers that one feature space gives, by the suite's own metrics."""

import numpy as np

from metrics.fid import fid
from metrics.mmd import KERNELS, squared_mmd, sums_within
from metrics.prdc import prdc


class Space:
    """The real images of one feature space, and what is computed of them once.

    Args:
        large: `(R, D)`, the large reference in random order.
    """

    def __init__(self, large: np.ndarray) -> None:
        self.large = large
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
            for draws of the images beside the same reference.
        """
        numbers = prdc(real_features=self.large[:num_real], generated_features=features)
        numbers["fid"] = fid(real_features=self.large, generated_features=features)
        for name, kernel in self.kernels.items():
            found = squared_mmd(
                real_features=self.large,
                generated_features=features,
                kernel=kernel,
                within_real=self.sums[name],
            )
            numbers[name] = found.value
            numbers[f"{name}_error"] = found.standard_error_given_real
        return numbers
