"""The damaged sets, in their known order, and the draws of real test images they are made of.

All images that any set holds are damaged and encoded once, in pools of as many images as the test
split has; a set is then a choice of rows from pools.
"""

from dataclasses import dataclass

import numpy as np

QUALITY, DIVERSITY = "quality", "diversity"
TEST = "test images"
FRACTIONS = (0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Damage:
    """One kind of damage at three strengths.

    Attributes:
        name: What is wrong with the images.
        kind: `"quality"`, images that look wrong, or `"diversity"`, good images but not all kinds.
        strengths: The weakest first.
        unit: Format of a strength.
        of_some: Whether the strength is the fraction of the images that are damaged.
    """

    name: str
    kind: str
    strengths: tuple[float, ...]
    unit: str
    of_some: bool = False

    def label(self, strength: float) -> str:
        """Damage and strength for a table."""
        return f"{self.name}, {self.unit.format(strength)}"


NOISE = Damage("noise", QUALITY, (16.0, 32.0, 64.0), "sd {:g} of 255")
BLUR = Damage("blur", QUALITY, (0.5, 1.0, 1.5), "sd {:g} pixels")
HOLES = Damage("holes", QUALITY, FRACTIONS, "{:.0%}", of_some=True)
SWAPPED = Damage("swapped halves", QUALITY, FRACTIONS, "{:.0%}", of_some=True)
SUPERPOSED = Damage("superposed", QUALITY, FRACTIONS, "{:.0%}", of_some=True)
FEW = Damage("few images", DIVERSITY, (200.0, 50.0, 20.0), "{:g} repeated")
DROPPED = Damage("dropped classes", DIVERSITY, (1.0, 3.0, 5.0), "{:g}")
MEMORISED = Damage("memorised", DIVERSITY, FRACTIONS, "{:.0%}", of_some=True)
DAMAGES = (NOISE, BLUR, HOLES, SWAPPED, SUPERPOSED, FEW, DROPPED, MEMORISED)
MOST_DROPPED = 5
UNRECOGNISABLE = 0.2


@dataclass(frozen=True)
class Draw:
    """A draw of test images.

    Attributes:
        rows: Integers, rows of the test split in random order.
        reserve: Rows that may take the place of others, for sets without some classes.
        fraction: How much of the intended number of images `rows` are: below 1 where a part is left
            out.
        number: Draws of different numbers lack different classes.
    """

    rows: np.ndarray
    reserve: np.ndarray
    fraction: float
    number: int


@dataclass(frozen=True)
class Plan:
    """The draws of one number of images, and what their spread means.

    Attributes:
        num_samples: Images of a set.
        draws: Sets of test images.
        spread_factor: Times the standard deviation over the draws: the standard error of one set of
            `num_samples` images.
    """

    num_samples: int
    draws: tuple[Draw, ...]
    spread_factor: float

    @property
    def is_jackknife(self) -> bool:
        """Whether each draw is the whole without a part, and not a set of its own."""
        return self.draws[0].fraction < 1


def plan_draws(
    *, num_images: int, num_samples: int, seed: int, most_draws: int = 5, num_parts: int = 5
) -> Plan:
    """Draws that share no image; where there are not three of these, a jackknife.

    The jackknife leaves out each of `num_parts` parts in turn. With G parts and a number that is
    near to a mean over the images, (G - 1) / sqrt(G) times the standard deviation of the G values
    is the standard error of the number of the whole (Efron and Stein 1981).

    Args:
        num_images: Test images.
        num_samples: Images of a set; where there are fewer test images, all are taken.
        seed: Seed of their order.
        most_draws: Upper limit of the draws.
        num_parts: G.
    """
    order = np.random.default_rng(seed).permutation(num_images)
    num_draws = min(most_draws, num_images // num_samples)
    if num_draws >= 3:
        draws = []
        for number in range(num_draws):
            place = slice(number * num_samples, (number + 1) * num_samples)
            draws.append(Draw(order[place], np.delete(order, place), 1.0, number))
        return Plan(num_samples, tuple(draws), 1.0)
    order = order[:num_samples]
    nothing = np.empty(0, dtype=order.dtype)
    parts = np.arange(len(order)) % num_parts
    fraction = 1.0 - 1.0 / num_parts
    draws = [Draw(order[parts != part], nothing, fraction, 0) for part in range(num_parts)]
    return Plan(len(order), tuple(draws), (num_parts - 1) / num_parts**0.5)


UNDAMAGED = ("", 0.0)
FIFTH = ("unrecognisable", UNRECOGNISABLE)

SetName = tuple[str, float]
"""A damage's name and a strength; `UNDAMAGED`; or `FIFTH`."""

Parts = list[tuple[str, np.ndarray]]
"""A set of images: names of pools, and the rows taken from each."""


def undamaged(draw: Draw) -> Parts:
    """The test images of a draw."""
    return [(TEST, draw.rows)]


def damaged(damage: Damage, strength: float, draw: Draw, labels: np.ndarray, seed: int) -> Parts:
    """The damaged set of a draw, as large as the draw where the test split allows it.

    Sets of one draw are nested: what is damaged at a strength is damaged at the next one too.

    Args:
        damage: One of `DAMAGES`.
        strength: One of its strengths.
        draw: The test images.
        labels: Integers `(T,)`, the classes of all test images.
        seed: Seed of the choice of dropped classes.
    """
    rows = draw.rows
    if damage.of_some:
        count = round(strength * len(rows))
        return [
            part for part in ((damage.name, rows[:count]), (TEST, rows[count:])) if len(part[1])
        ]
    if damage is FEW:
        distinct = max(2, round(strength * draw.fraction))
        return [(TEST, np.resize(rows[:distinct], len(rows)))]
    if damage is DROPPED:
        classes = np.random.default_rng([seed, draw.number]).permutation(np.unique(labels))
        candidates = np.concatenate([rows, draw.reserve])
        kept = candidates[~np.isin(labels[candidates], classes[: int(strength)])]
        return [(TEST, kept[: len(rows)])]
    return [(pool_name(damage, strength), rows)]


def pool_name(damage: Damage, strength: float) -> str:
    """The pool of damaged images that a set takes its rows from."""
    return damage.name if damage.of_some else f"{damage.name} {strength:g}"


def applicable(num_classes: int | None) -> tuple[Damage, ...]:
    """The damages that a dataset allows: classes can be dropped only where there are enough."""
    droppable = num_classes is not None and num_classes > MOST_DROPPED
    return tuple(damage for damage in DAMAGES if droppable or damage is not DROPPED)


def unrecognisable(draw: Draw, rejected: np.ndarray) -> Parts:
    """Test images of which a fifth give way to superposed digits that the classifier rejects.

    Args:
        draw: The test images.
        rejected: Integers, the rows of the pool of superposed digits that are rejected.
    """
    count = round(UNRECOGNISABLE * len(draw.rows))
    candidates = np.concatenate([draw.rows, draw.reserve])
    chosen = candidates[np.isin(candidates, rejected)][:count]
    return [(SUPERPOSED.name, chosen), (TEST, draw.rows[len(chosen) :])]
