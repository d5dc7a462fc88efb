"""results/validity.md: what was measured, what it shows, and what it does not show."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.validity import sets, verdict
from benchmark.validity.candidates import CANDIDATES, COMPANIONS, Candidate
from benchmark.validity.experiment import Measured
from benchmark.validity.record import from_record
from benchmark.validity.sets import DIVERSITY, QUALITY, UNDAMAGED, Damage, SetName
from benchmark.validity.verdict import RULE, SEEN, Score

DECIDING = "quick"
WITH, WITHOUT = "with_classifier", "without_classifier"
COPIES = (sets.MEMORISED.name, 1.0)
REMADE: tuple[tuple[SetName, str], ...] = (
    (UNDAMAGED, "test images"),
    ((sets.SWAPPED.name, 1.0), "upper half of one on the lower half of another"),
    ((sets.HOLES.name, 0.3), "30 % with a hole of 2/7 of the height (8x8)"),
    ((sets.FEW.name, 200.0), "200 images, repeated"),
    ((sets.FEW.name, 20.0), "20 images, repeated"),
    (sets.FIFTH, "20 % unrecognisable (superposed and rejected)"),
    (COPIES, "copies of training images"),
)
SHOWN = {  # column: title, factor, digits
    "kid_mean": ("KID ×1000", 1e3, 2),
    "kid_rbf_mean": ("KID RBF ×1000", 1e3, 2),
    "fid": ("FID", 1.0, 3),
    "kid_digits_mean": ("classifier KID ×1000", 1e3, 1),
    "fid_digits": ("classifier FID", 1.0, 2),
    "rejected_fraction": ("rejected %", 1e2, 1),
    "density": ("density", 1.0, 3),
    "coverage": ("coverage", 1.0, 3),
}


def write_page(record: dict[str, Any]) -> str:
    """The page, Markdown.

    Args:
        record: What results/validity.json has (see `benchmark.validity.__main__`).
    """
    results, headline = from_record(record["presets"]), record["headline"]
    presets = ", ".join(f"{name} (N = {r.plan.num_samples:,})" for name, r in results.items())
    parts = [
        "# Which quality metric to believe",
        f"Made by `{record['command']}`: {presets}; {minutes(record['seconds'])} on "
        f"{record['machine']}. What has been encoded or measured before is not done again.",
        f"{record['dataset']}; {record['encoder']}; {record['classifier'] or 'no classifier'}. "
        "Distances between distributions are to 10,000 training images.",
        "## Verdict",
        verdict_text(headline, results, record["decided_by"]),
        f"The rule, set before anything was measured: {RULE}",
        *remade_section(results, headline),
        *by_number(results),
        *(
            part
            for name, result in results.items()
            for part in preset_section(name, result, record["has_classifier"])
        ),
        *definitions(results, record["picture"]),
    ]
    return "\n\n".join(parts) + "\n"


def choose(results: dict[str, Measured], has_classifier: bool) -> dict[str, Any]:
    """The winners, ready for JSON: of the deciding preset and of each one."""
    winners = {}
    for name, result in results.items():
        winners[name] = {
            kind: ranking(result, kind == WITH)[0].column
            for kind in (WITH, WITHOUT)
            if has_classifier or kind == WITHOUT
        }
    deciding = DECIDING if DECIDING in results else next(iter(results))
    return {"decided_by": deciding, "headline": winners[deciding], "winners": winners}


def ranking(result: Measured, has_classifier: bool, pooled: bool = True) -> list[Score]:
    return verdict.rank_candidates(
        result.values,
        result.damages,
        spread_factor=result.plan.spread_factor,
        has_classifier=has_classifier,
        pooled=pooled,
    )


def verdict_text(headline: dict[str, str], results: dict[str, Measured], decided_by: str) -> str:
    """Who wins, at which presets, and with which draws left out."""
    lines = []
    if len(results) > 1:
        lines.append(f"One headline is used at all presets: the winner at {decided_by}.\n")
    for kind, winner in headline.items():
        words = kind.replace("_", " a ")
        lines.append(f"- Headline {words}: **{title_of(winner)}** (`{winner}`).")
        for name, result in results.items():
            found = ranking(result, kind == WITH)
            order = " > ".join(title_of(score.column) for score in found[:4])
            again = without_each_draw(result, kind == WITH)
            kept = sum(column == found[0].column for column in again)
            otherwise = ranking(result, kind == WITH, pooled=False)[0].column
            lines.append(
                f"  - {name}: {order}. The winner is the same in {kept} of {len(again)} cases when "
                "one draw is left out; with z over the spread of undamaged sets alone it would be "
                f"{title_of(otherwise)}."
            )
    return "\n".join(lines)


def without_each_draw(result: Measured, has_classifier: bool) -> list[str]:
    """The winners when each of the draws is left out in turn."""
    winners = []
    for left_out in range(len(result.plan.draws)):
        values = {
            name: {column: list(np.delete(found, left_out)) for column, found in columns.items()}
            for name, columns in result.values.items()
        }
        ranked = verdict.rank_candidates(
            values,
            result.damages,
            spread_factor=result.plan.spread_factor,
            has_classifier=has_classifier,
        )
        winners.append(ranked[0].column)
    return winners


def remade_section(results: dict[str, Measured], headline: dict[str, str]) -> list[str]:
    """Some sets in the metrics' own units, and whether the headline detects each."""
    name = DECIDING if DECIDING in results else next(iter(results))
    result = results[name]
    chosen = [column for column in headline.values() if column not in SHOWN]
    columns = [c for c in [*SHOWN, *chosen] if c in result.values[UNDAMAGED]]
    best = next(iter(headline.values()))
    titles = ["set", *(SHOWN[c][0] if c in SHOWN else title_of(c) for c in columns)]
    titles += ["copied %", f"standard errors worse by {title_of(best)}", "more than three"]
    lines, tried, seen = [], set(), set()
    for set_name, words in REMADE:
        if set_name not in result.values:
            continue
        cells = [with_error(result, set_name, column) for column in columns]
        copied = result.copied.get(set_name)
        behind = z_of(result, best, set_name, difference=True)
        is_seen = "yes" if behind > SEEN else "no"
        if set_name not in (UNDAMAGED, COPIES):
            tried.add(words)
            seen |= {words} if behind > SEEN else set()
        lines.append(
            [
                words,
                *cells,
                "" if copied is None else f"{1e2 * copied:.1f}",
                "" if set_name == UNDAMAGED else shown_z(behind),
                "" if set_name == UNDAMAGED else is_seen,
            ]
        )
    return [
        f"## Some sets at N = {result.plan.num_samples:,}",
        f"Means over {len(result.plan.draws)} draws ± the standard error of one set. The last "
        "columns: the difference from the test images, in standard errors of that difference "
        "between two single sets. Copies of training images are good images: no quality metric "
        "can detect them and none should; the copied fraction does.",
        to_markdown(titles, lines),
        f"By {title_of(best)}, {len(seen)} of these {len(tried)} sets, copies aside, are more than "
        f"three standard errors worse than the test images"
        + (f"; not: {', '.join(sorted(tried - seen))}." if tried - seen else "."),
    ]


def by_number(results: dict[str, Measured]) -> list[str]:
    """What the test images themselves score at each number of images."""
    first = next(iter(results.values())).values[UNDAMAGED]
    columns = [column for column in SHOWN if column in first]
    lines = [
        [
            f"{name}, N = {result.plan.num_samples:,}",
            *(with_error(result, UNDAMAGED, column) for column in columns),
        ]
        for name, result in results.items()
    ]
    return [
        "## Test images at each number of images",
        "What a perfect generator would score. A Fréchet distance is biased: it falls as the "
        "number of images grows, so it must not be compared across numbers of images, and the "
        "tables never do. The kernel distances and the rejected fraction are not biased. Density "
        "and coverage use as many real images as there are samples. In a jackknife, each draw has "
        "four fifths of the number.",
        to_markdown(["preset", *(SHOWN[column][0] for column in columns)], lines),
    ]


def preset_section(name: str, result: Measured, has_classifier: bool) -> list[str]:
    """The z-scores, rank agreements and blind spots of one preset."""
    plan = result.plan
    draws = (
        f"Each of {len(plan.draws)} fifths left out in turn (jackknife)"
        if plan.is_jackknife
        else f"{len(plan.draws)} draws that share no image"
    )
    scores = ranking(result, has_classifier)
    columns = [score.column for score in scores]
    titles = [title_of(column) for column in columns]
    companions = [c.column for c in COMPANIONS if c.column in result.values[UNDAMAGED]]
    return [
        f"## {name}: N = {plan.num_samples:,}",
        f"{draws}. z-scores: positive where the damaged set is rated worse; from {SEEN:g} on, the "
        "damage is detected. Metrics in the order of the rule.",
        to_markdown(["damage", *titles], z_lines(result, columns, QUALITY, DIVERSITY)),
        "Kendall's tau between the known order and the values, undamaged sets included. *Across*, "
        "which the rule does not use: each damage at its weakest, where nine tenths of the images "
        "are real or all are still recognisable, against every other one at its strongest.",
        to_markdown(["damage", *titles], tau_lines(result.damages, scores)),
        "What each metric does not detect at the strongest:",
        "\n".join(
            f"- {title_of(s.column)}: {', '.join((*s.unseen, *s.unseen_collapse)) or 'nothing'}"
            for s in scores
        ),
        "What the diversity metrics detect (z):",
        to_markdown(["damage", *map(title_of, companions)], z_lines(result, companions, DIVERSITY)),
        *stated_errors(result),
    ]


def z_lines(result: Measured, columns: Sequence[str], *kinds: str) -> list[list[str]]:
    return [
        [
            damage.label(strength),
            *(shown_z(z_of(result, column, (damage.name, strength))) for column in columns),
        ]
        for damage in result.damages
        for strength in damage.strengths
        if damage.kind in kinds
    ]


def tau_lines(damages: Sequence[Damage], scores: Sequence[Score]) -> list[list[str]]:
    lines = [[d.name, *(f"{s.taus[d.name]:.2f}" for s in scores)] for d in damages]
    lines.append(["*across*", *(f"{s.across:.2f}" for s in scores)])
    lines.append(["**mean, quality**", *(f"**{s.mean_tau:.2f}**" for s in scores)])
    lines.append(["**median z, weakest**", *(f"**{shown_z(s.weakest_z)}**" for s in scores)])
    return lines


def stated_errors(result: Measured) -> list[str]:
    """How the standard errors that the kernel distances state compare with the seen spread."""
    if result.plan.is_jackknife:
        return []
    names = [
        UNDAMAGED,
        *((d.name, s) for d in result.damages if d.kind == QUALITY for s in d.strengths),
    ]
    lines = []
    for candidate in CANDIDATES:
        stated = f"{candidate.column}_error"
        if stated in result.values[UNDAMAGED]:
            seen = [np.var(result.values[n][candidate.column], ddof=1) for n in names]
            said = [np.mean(np.square(result.values[n][stated])) for n in names]
            ratios = np.sqrt(np.divide(said, seen))
            lines.append(f"- {candidate.title}: {np.median(ratios):.2f}")
    return [
        "Stated standard error (of the samples, beside the same reference) over the standard "
        f"deviation of the draws, median over {len(names)} sets. As the sets share their draws, "
        "these ratios are accurate to about a third:",
        "\n".join(lines),
    ]


def picture_rows() -> list[str]:
    """The pools that the picture shows, from above."""
    damaged = [sets.pool_name(d, s) for d in sets.DAMAGES if d.kind == QUALITY for s in d.strengths]
    return list(dict.fromkeys([sets.TEST, *damaged]))


def definitions(results: dict[str, Measured], picture: str) -> list[str]:
    """What was done to the images, and what limits what is said."""
    damages = next(iter(results.values())).damages
    kinds = {
        QUALITY: "a quality metric must detect it",
        DIVERSITY: "shown beside; collapse breaks ties",
    }
    lines = [
        [d.name, f"{d.kind}: {kinds[d.kind]}", MEANING[d.name], "; ".join(units(d))]
        for d in damages
    ]
    return [
        "## What was done",
        to_markdown(["damage", "kind", "what it is", "strengths"], lines, 4),
        f"![The same test images, damaged in each way]({picture})",
        f"From above: {', '.join(picture_rows())}.",
        "z = (mean of damaged sets - mean of undamaged sets) / sqrt((s_d² + s_u²) / 2), s being "
        "the standard error of one set: the standard deviation over the draws, or the jackknife's. "
        "Both are compared with one fixed reference, as the rows of a table are. With five draws, "
        "a z is accurate to about a quarter of itself.",
        "All images are real, damaged or not; none comes from a generator. A metric that orders "
        "these sets correctly may still be fooled by a flaw that none of them has. The classifier "
        "was trained on the training split, so copies of training images may look better to it "
        "than test images do.",
    ]


MEANING = {
    "noise": "normal noise on every pixel of all images",
    "blur": "a Gaussian over all images",
    "holes": "a black square of 8x8 pixels on the digit, in some of the images",
    "swapped halves": "upper half of an image on the lower half of another, some of the images",
    "superposed": "the brighter pixel of two images, some of the images",
    "few images": "so many different images, repeated",
    "dropped classes": "classes left out, different ones in each draw, and replaced by others",
    "memorised": "training images outside the reference in place of some test images",
}


def units(damage: Damage) -> list[str]:
    return [damage.unit.format(strength) for strength in damage.strengths]


def z_of(result: Measured, column: str, name: SetName, difference: bool = False) -> float:
    """The z-score of a set; with `difference`, over the error of the difference of two sets."""
    z = verdict.z_score(
        result.values[name][column],
        result.values[UNDAMAGED][column],
        sign=-1.0 if described(column).higher_is_better else 1.0,
        spread_factor=result.plan.spread_factor,
    )
    return z / math.sqrt(2.0) if difference else z


def with_error(result: Measured, name: SetName, column: str) -> str:
    values = result.values[name][column]
    _, factor, digits = SHOWN.get(column, ("", 1.0, 4))
    error = result.plan.spread_factor * np.std(values, ddof=1)
    return f"{factor * np.mean(values):z.{digits}f} ± {factor * error:.{digits}f}"


def shown_z(z: float) -> str:
    return (
        "∞" if z == math.inf else "-∞" if z == -math.inf else f"{z:z,.{1 if abs(z) < 10 else 0}f}"
    )


def title_of(column: str) -> str:
    return described(column).title


def described(column: str) -> Candidate:
    return next(one for one in (*CANDIDATES, *COMPANIONS) if one.column == column)


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes"


def to_markdown(titles: Sequence[str], lines: Sequence[Sequence[str]], num_left: int = 1) -> str:
    """A Markdown table, the first columns to the left."""
    rule = ["---"] * num_left + ["---:"] * (len(titles) - num_left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (titles, rule, *lines))
