"""Which differences are significant and which lines tie, in sentences below a table by model."""

import itertools

import numpy as np

from benchmark.report import comparison, formats
from benchmark.report.columns import HIGHER, QUALITY, column
from benchmark.report.lines import comparable, competing, standing
from benchmark.report.tables import Table

VALIDITY = "results/validity.md"
LATENCY, THROUGHPUT, COVERAGE = "latency_ms_per_image_p50", "images_per_second", "coverage"
_MOST_PAIRS = 6


def verdict(group):
    """Sentences on a group: corner by corner, how far lines lie apart, and how numbers disagree.

    Args:
        group: The `Group`.

    Returns:
        List of paragraphs; empty if no two lines have a number in common.
    """
    lines = competing(group.lines)
    found = [*winners(group), _spread(group, lines), *_disagreements(group, lines)]
    return [text for text in found if text]


def winners(group):
    """Sentences on who is best in each corner, who is worse and who ties."""
    lines = competing(group.lines)
    corners = {
        "Quality": group.headline,
        "Speed, one image": LATENCY,
        "Speed, many images": THROUGHPUT,
        "Diversity": COVERAGE,
    }
    found = [_corner(name, column(key), lines) for name, key in corners.items()]
    return [text for text in found if text]


def why_headline(group):
    """Says which column is the headline, and where the reason is."""
    return (
        f"The headline of quality is {column(group.headline).name}, chosen by an experiment with "
        f"damaged images ({VALIDITY})."
    )


def seeds_table(group):
    """The headline's standard deviations over training and over sampling seeds, line by line.

    Returns:
        A `Table`; `None` where nothing was sampled with several seeds.
    """
    headline, body = column(group.headline), []
    for line in competing(group.lines):
        known = line.rows.dropna(subset=[headline.key])
        samples = [part.to_numpy() for _, part in known.groupby("seed")[headline.key]]
        counts = sorted({len(part) for part in samples})
        found = comparison.variance_components(samples)
        if np.isnan(found.sampling):
            continue
        texts = [formats.write(value, headline.form) for value in found]
        names = [
            line.label,
            f"{len(samples)}",
            "–".join(str(n) for n in (counts[:1] + counts[1:][-1:])),
        ]
        body.append(names + [text or "–" for text in texts])
    if not body:
        return None
    titles = [
        "Model and sampler", "Training seeds", "Sampling seeds each",
        "Std over training seeds", "Std over sampling seeds",
    ]  # fmt: skip
    note = (
        f"Variance components of {headline.title}: its standard deviation over training seeds, and "
        "over draws of samples from the same weights."
    )
    return Table(titles, [False, True, True, True, True], body, note=note)


def _corner(name, described, lines):
    """One sentence on who is best in a corner, who is worse and who ties."""
    places = standing(lines, described)
    if places is None:
        return ""
    labels = [line.label for line in lines]
    best = " and ".join(labels[index] for index in places.best)
    top = lines[places.best[0]]
    number = formats.write(top.mean(described.key), described.form, top.std(described.key))
    text = f"{name} ({described.title or described.key}): best is {best} with {number}"
    parts = {
        "significantly worse": places.worse,
        "tied with the best": places.ties,
        "not tested, with one seed": places.untested,
    }
    told = [
        f"{words}: {', '.join(labels[index] for index in indices)}"
        for words, indices in parts.items()
        if indices
    ]
    return f"{text}; {'; '.join(told)}." if told else f"{text}."


def _spread(group, lines):
    """The F statistics of the metrics of quality, the headline's first: samplers over seeds."""
    found = {}
    for described in sorted(_quality_columns(lines), key=lambda each: each.key != group.headline):
        statistic = comparison.f_statistic([line.values(described.key) for line in lines])
        if statistic:
            found[described.name] = statistic
    if not found:
        return ""
    degrees = {(each.between, each.within) for each in found.values()}
    freedom = "F({}, {})".format(*degrees.pop()) if len(degrees) == 1 else "F"
    numbers = ", ".join(f"{formats.significant(each.f)} for {name}" for name, each in found.items())
    return (
        f"How well each metric separates models and samplers, against its spread over seeds: "
        f"{freedom} is {numbers}."
    )


def _disagreements(group, lines):
    """Sentences on the metrics of quality that rank lines otherwise than the headline does."""
    headline = column(group.headline)
    ours, alike = _worth(lines, headline), {}
    for described in _quality_columns(lines):
        theirs = _worth(lines, described)
        found = comparison.disagreement(ours, theirs)
        if described.key == headline.key or not found.reversed_pairs:
            continue
        sure = _told_apart_both(lines, headline, described)
        pairs = tuple(
            " before ".join(_in_order(lines, theirs, pair)) + "*" * (pair in sure)
            for pair in found.reversed_pairs
        )
        alike.setdefault((pairs, found.num_pairs, f"{found.tau:.2f}"), []).append(described.name)
    for (pairs, num_pairs, tau), names in alike.items():
        more = len(pairs) - _MOST_PAIRS
        listed = "; ".join(pairs[:_MOST_PAIRS]) + (f"; and {more} more" if more > 0 else "")
        star = " (*: significant in both)" if any("*" in pair for pair in pairs) else ""
        yield (
            f"Unlike {headline.name}, {_enumerate(names)} rank{'s' * (len(names) == 1)} {listed}"
            f"{star}: {len(pairs)} of {num_pairs} pairs, Kendall's tau {tau}."
        )


def _enumerate(names):
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _quality_columns(lines):
    keys = lines[0].seeds.columns if lines else []
    chosen = [column(key) for key in keys if column(key).group == QUALITY and column(key).better]
    return [each for each in chosen if each.tables]


def _worth(lines, described):
    sign = 1 if described.better == HIGHER else -1
    return [sign * line.mean(described.key) for line in lines]


def _in_order(lines, worth, pair):
    first, second = sorted(pair, key=lambda index: -worth[index])
    return lines[first].label, lines[second].label


def _told_apart_both(lines, *columns):
    """Pairs of lines that differ in each of the columns."""
    apart = [comparison.told_apart(comparable(lines, described)) for described in columns]
    both = np.logical_and.reduce(apart)
    return {pair for pair in itertools.combinations(range(len(lines)), 2) if both[pair]}
