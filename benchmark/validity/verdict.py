"""What the measured values say: z-scores, rank agreement, blind spots, and which number wins.

Values are given as `values[set][column]`, a list over the draws; a set is `UNDAMAGED` or a pair
(name of the damage, strength). Strengths follow the damages, the weakest first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.validity.candidates import CANDIDATES, Candidate
from benchmark.validity.sets import DIVERSITY, MEMORISED, QUALITY, UNDAMAGED, Damage, SetName

SEEN = 3.0  # a damage is seen from this z on

RULE = f"""\
A metric detects a damage if its z at the strongest strength is {SEEN:g} or more; a metric that
rates the damaged set *better* does not detect it. The winner has, in this order: (1) the fewest
undetected quality damages; (2) the fewest undetected among `few images` and `dropped classes`;
(3) the highest mean of its Kendall taus over the quality damages, rounded to two decimals; (4) the
highest median z over the quality damages at the weakest strength. Quality comes first, as that is
what the metric is for. Collapse comes second, because the headline is read alone: it must not
praise a generator that shows the same twenty images, but it need not rank how many it shows.
Memorised images decide nothing: they are good images, and a metric that penalised them would
penalise the data; authenticity and the copied fraction are there for them."""

Values = Mapping[SetName, Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Score:
    """How one number fares.

    Attributes:
        column: The number.
        unseen: Names of the quality damages that it does not see at their strongest.
        unseen_collapse: The same of few images and dropped classes.
        taus: Kendall's tau, by damage.
        across: Tau over pairs of different damages, one at its weakest, the other at its strongest.
        mean_tau: Over the quality damages.
        weakest_z: Median z over the quality damages at their weakest.
    """

    column: str
    unseen: tuple[str, ...]
    unseen_collapse: tuple[str, ...]
    taus: dict[str, float]
    across: float
    mean_tau: float
    weakest_z: float

    @property
    def rank(self) -> tuple[int, int, float, float]:
        """The rule, as a key to sort by: the winner comes first."""
        return (
            len(self.unseen),
            len(self.unseen_collapse),
            -round(self.mean_tau, 2),
            -self.weakest_z,
        )


def z_score(
    damaged: Sequence[float],
    undamaged: Sequence[float],
    *,
    sign: float,
    spread_factor: float,
    pooled: bool = True,
) -> float:
    """How far a damaged set lies behind undamaged ones, in standard errors of one set.

    (mean damaged - mean undamaged) / sqrt((s_d^2 + s_u^2) / 2), with s the standard error of the
    number of one set on either side.

    Args:
        damaged: The number's values of damaged sets, two or more.
        undamaged: Its values of undamaged sets.
        sign: 1 where a higher number is worse, -1 where it is better.
        spread_factor: Standard error of one set over the standard deviation of the values.
        pooled: `False` leaves s_d out and takes s_u alone, which asks whether a damaged set may be
            an undamaged one, and not how well single sets of the two are distinguished.

    Returns:
        Positive where the damaged sets are judged worse; infinite where no value varies.
    """
    difference = sign * (float(np.mean(damaged)) - float(np.mean(undamaged)))
    sides = (damaged, undamaged) if pooled else (undamaged,)
    variances = [np.var(values, ddof=1) for values in sides]
    error = spread_factor * float(np.sqrt(np.mean(variances)))
    if error == 0.0:
        return 0.0 if difference == 0.0 else float(np.copysign(np.inf, difference))
    return difference / error


def kendall(groups: Sequence[Sequence[float]]) -> float:
    """Kendall's tau between known order and values: over pairs of values of different groups.

    (pairs in the right order - pairs in the wrong order) / pairs; equal values are in neither.

    Args:
        groups: Values whose order among themselves is not known, by group, the lowest group first.
    """
    total, pairs = 0.0, 0
    for index, lower in enumerate(groups):
        for higher in groups[index + 1 :]:
            differences = np.subtract.outer(np.asarray(higher), np.asarray(lower))
            total += float(np.sign(differences).sum())
            pairs += differences.size
    return total / pairs


def score(
    candidate: Candidate,
    values: Values,
    damages: Sequence[Damage],
    *,
    spread_factor: float,
    pooled: bool = True,
) -> Score:
    """Scores one candidate by the values of one preset."""
    sign = -1.0 if candidate.higher_is_better else 1.0

    def of(name: SetName) -> list[float]:
        return [sign * value for value in values[name][candidate.column]]

    def z_of(damage: Damage, strength: float) -> float:
        return z_score(
            of((damage.name, strength)),
            of(UNDAMAGED),
            sign=1.0,
            spread_factor=spread_factor,
            pooled=pooled,
        )

    quality = [damage for damage in damages if damage.kind == QUALITY]
    collapse = [
        damage for damage in damages if damage.kind == DIVERSITY and damage is not MEMORISED
    ]
    taus = {
        damage.name: kendall([of(UNDAMAGED), *(of((damage.name, s)) for s in damage.strengths)])
        for damage in damages
    }

    def unseen(among: Sequence[Damage]) -> tuple[str, ...]:
        return tuple(d.name for d in among if z_of(d, d.strengths[-1]) < SEEN)

    return Score(
        column=candidate.column,
        unseen=unseen(quality),
        unseen_collapse=unseen(collapse),
        taus=taus,
        across=across_damages(of, quality),
        mean_tau=float(np.mean([taus[damage.name] for damage in quality])),
        weakest_z=float(np.median([z_of(damage, damage.strengths[0]) for damage in quality])),
    )


def across_damages(of: Callable[[SetName], list[float]], damages: Sequence[Damage]) -> float:
    """Tau over pairs of sets: one damage at its weakest against another at its strongest.

    Of two different damages these pairs alone have an order that needs no taste: nine tenths of the
    images of the one set are real, or all are so slightly changed that each is still recognisable;
    of the other, all images are plainly damaged.
    """
    pairs = [(weak, strong) for weak in damages for strong in damages if weak is not strong]
    return float(
        np.mean(
            [
                kendall(
                    [of((weak.name, weak.strengths[0])), of((strong.name, strong.strengths[-1]))]
                )
                for weak, strong in pairs
            ]
        )
    )


def rank_candidates(
    values: Values,
    damages: Sequence[Damage],
    *,
    spread_factor: float,
    has_classifier: bool,
    pooled: bool = True,
) -> list[Score]:
    """Scores of the candidates, the winner first.

    Args:
        values: The measured values of one preset.
        damages: Those that were measured.
        spread_factor: That of the preset's `Plan`.
        has_classifier: Whether numbers that rest on the dataset's classifier may win.
        pooled: As of `z_score`. The rule pools; the other way shows how firm its verdict is.
    """
    scores = [
        score(candidate, values, damages, spread_factor=spread_factor, pooled=pooled)
        for candidate in CANDIDATES
        if candidate.column in values[UNDAMAGED]
        and (has_classifier or not candidate.requires_classifier)
    ]
    return sorted(scores, key=lambda one: one.rank)
