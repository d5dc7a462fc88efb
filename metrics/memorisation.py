"""Memorisation: a copy of the training set would score perfectly on everything else."""

import numpy as np

from metrics.base import Evaluation, NotMeasured
from metrics.distances import nearest_neighbours
from metrics.intervals import with_interval

COPY_RATIO = 1.0 / 3.0
NUM_NEIGHBOURS = 5
NUM_SHOWN = 10


def memorisation(
    *, generated: np.ndarray, training: np.ndarray, num_neighbours: int = NUM_NEIGHBOURS
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """How many samples are nearer to a training image than training images are to each other.

    A sample is authentic when it is farther (`>`) from its nearest training image than that image
    is from its own nearest other one (Alaa et al. 2022, section 4.2, AuthPct). Even of unseen real
    images many are not: compare with the row of the test images. A sample is a copy when its
    nearest training image is nearer than a third of the way to the second nearest (Yoon et al.
    2023), of which unseen images have next to none.

    Args:
        generated: `(N, D)`, one sample a row; bytes give exact distances.
        training: `(T, D)`, all training images, T > `num_neighbours`; may be a memory map.
        num_neighbours: nearest training images that are returned, 2 or more.

    Returns:
        `authenticity` and `copied_fraction` in [0, 1]; and of each sample `neighbours`, the rows of
        its nearest training images `(N, num_neighbours)`, and `ratios` `(N,)`, its distance to the
        nearest one over that one's distance to its own nearest (infinite if that is zero).

    Raises:
        ValueError: if the arrays do not fit together.
    """
    if generated.ndim != 2 or training.ndim != 2 or generated.shape[1] != training.shape[1]:
        raise ValueError(
            "`generated` and `training` must be (N, D) and (T, D). "
            f"Received: {generated.shape} and {training.shape}"
        )
    if not 2 <= num_neighbours < len(training) or not len(generated):
        raise ValueError(
            "`num_neighbours` must be at least 2 and less than the number of training images, and "
            f"there must be samples. Received: num_neighbours={num_neighbours}, "
            f"{len(training)} training images, {len(generated)} samples"
        )
    distances, neighbours = nearest_neighbours(generated, training, num_neighbours)
    matched, positions = np.unique(neighbours[:, 0], return_inverse=True)
    spacings = nearest_neighbours(training[matched], training, 1, own_rows=matched)[0]
    spacing = spacings[positions, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.sqrt(distances[:, 0] / spacing)
    copied = distances[:, 0] <= COPY_RATIO**2 * distances[:, 1]
    numbers = {
        "authenticity": float(np.mean(distances[:, 0] > spacing)),
        "copied_fraction": float(np.mean(copied)),
    }
    ratios = np.where(distances[:, 0] == 0, 0.0, ratios)
    return numbers, {"neighbours": neighbours, "ratios": ratios}


class Memorisation:
    """Authenticity of the samples against all training images, in pixels.

    Beside the fixed training images each sample is counted or not, whatever the others are: both
    fractions have a binomial interval. The nearest training images of the samples that are the
    likeliest copies are left in the details.
    """

    requires_sampler = False
    minimum_samples = 1

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        training = evaluation.training_images
        if training is None:
            raise NotMeasured("memorisation needs the training images, and they are not at hand")
        if evaluation.stacked:
            raise NotMeasured("stacks of images are drawn at random: there is none to memorise")
        if len(training) <= NUM_NEIGHBOURS:
            raise NotMeasured(f"memorisation needs more than {NUM_NEIGHBOURS} training images")
        generated = evaluation.generated_images
        numbers, found = memorisation(
            generated=generated.reshape(len(generated), -1),
            training=np.asarray(training).reshape(len(training), -1),
        )
        likeliest = np.argsort(found["ratios"], kind="stable")[:NUM_SHOWN]
        evaluation.details["memorisation"] = {
            "num_training": len(training),
            "samples": likeliest.tolist(),
            "neighbours": found["neighbours"][likeliest].tolist(),
            "ratios": found["ratios"][likeliest].tolist(),
        }
        return {
            key: number
            for name, fraction in numbers.items()
            for key, number in with_interval(name, fraction, len(generated)).items()
        }
