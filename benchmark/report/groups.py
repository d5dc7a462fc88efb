"""Which rows may share a table, and the notes on them."""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from benchmark.report import collapse
from benchmark.report.columns import KEYS, TEXTS
from benchmark.report.lines import Line, devices, lines_of
from benchmark.report.rows import SANITY_MODELS, as_text, headline_of, is_sanity, joined

MEASURED_ALIKE = ("protocol", "kid_encoder", "classifier", "num_samples")


_UNMEASURED = {"diverged": "Trainings diverged", "failed": "Runs failed"}


@dataclass(frozen=True)
class Group:
    """Rows that were measured alike: one dataset, one preset, one protocol.

    Attributes:
        dataset, preset, protocol: What the rows have in common.
        stem: Start of the names of the group's figure files.
        rows: The rows of the trained models, sorted, then the sanity rows.
    """

    dataset: str
    preset: str
    protocol: str
    stem: str
    rows: pd.DataFrame

    @cached_property
    def headline(self) -> str:
        """Key of the column that is the headline of quality."""
        return headline_of(self.rows)

    @cached_property
    def lines(self) -> list[Line]:
        """The lines of the table by model, the checks last."""
        return lines_of(self.rows)


def complete(rows):
    """Brings rows to the described columns in their order, then others; notes collapses.

    Texts are never missing, numbers are floats. A column without a description is one of numbers
    if all that it holds are.
    """
    extra = [name for name in rows.columns if name not in KEYS]
    rows = rows.reindex(columns=[*KEYS, *extra])
    for name in rows.columns:
        numbers = pd.to_numeric(rows[name], errors="coerce").astype(float)
        is_text = name in TEXTS or (name in extra and (numbers.isna() & rows[name].notna()).any())
        rows[name] = rows[name].map(as_text) if is_text else numbers
    return collapse.note_collapses(rows.reset_index(drop=True))


def group_rows(rows):
    """Splits rows into groups within which numbers may be compared.

    Rows of another encoder, classifier, number of samples or reference make another group, whether
    or not their protocols say so. Sanity rows belong to every group of their dataset and protocol.
    A row that was never evaluated (a diverged run) has no protocol and nothing to compare: it
    stands in every group of its dataset and preset.

    Args:
        rows: DataFrame of results.

    Returns:
        List of `Group`, by dataset, preset and protocol.
    """
    rows = complete(rows)
    rows["alike"] = joined(rows[list(MEASURED_ALIKE)].map(as_text), "; ")
    rows["alike"] = rows["alike"].where(rows["protocol"] != "", "")
    sanity, trained = rows[is_sanity(rows)], rows[~is_sanity(rows)]
    keys = set(trained[["dataset", "preset", "alike"]].itertuples(index=False, name=None))
    measured = {key for key in keys if key[2]}
    unmeasured = {key for key in keys - measured if not any(key[:2] == k[:2] for k in measured)}
    groups = []
    for dataset, preset, alike in sorted(measured | unmeasured):
        here = (trained["dataset"] == dataset) & (trained["preset"] == preset)
        here &= trained["alike"].isin(["", alike])
        checks = (sanity["dataset"] == dataset) & (sanity["alike"] == alike)
        chosen = [_sorted(trained[here]), _fullest(sanity[checks])]
        several = sum(key[:2] == (dataset, preset) for key in measured) > 1
        groups.append(
            Group(
                dataset,
                preset,
                next((text for text in trained.loc[here, "protocol"] if text), ""),
                figure_stem(dataset, preset, alike if several else ""),
                pd.concat(chosen, ignore_index=True).drop(columns="alike"),
            )
        )
    return groups


def _fullest(sanity):
    """Picks one row a check, that with the most numbers, in the order of the checks."""
    counts = sanity.assign(count=-sanity.notna().sum(axis=1)).sort_values("count", kind="stable")
    fullest = sanity.loc[counts.index].drop_duplicates("model")
    return fullest.sort_values("model", key=lambda names: names.map(SANITY_MODELS.index))


def describe(group):
    """Says in one line what the numbers of a group's table rest on."""
    rows = group.rows
    trained = rows[~is_sanity(rows)]
    protocol, classifiers = group.protocol, _distinct(trained["classifier"])
    named = any(protocol.startswith(name) for name in _distinct(trained["kid_encoder"]))
    for name in classifiers:  # the protocol has its label, without how good it is
        protocol = protocol.replace(name.partition(",")[0], name)
    classifiers = [name for name in classifiers if name not in protocol]
    corrected = (rows["fractions_corrected"] == 1).any()  # as one classifier judges all rows
    names = devices([trained])
    facts = [
        f"dataset {group.dataset}",
        f"preset {group.preset}",
        f"encoder {protocol}" if named else protocol,
        " or ".join(classifiers),
        "class fractions corrected by the classifier's confusion matrix" if corrected else "",
        "times from " + " or ".join(names) if names else "",
    ]
    if chosen := validation_samplers(trained[trained["checkpoint"] == "best"]):
        facts.append(f"best weights chosen by samples of {chosen}")
    return "; ".join(fact for fact in facts if fact)


def validation_samplers(rows):
    """Names the samplers that made the samples of validation: `dpm-10 (ddpm), ...`, or empty."""
    known = rows.loc[rows["validation_sampler"] != "", ["validation_sampler", "model"]]
    return ", ".join(
        f"{sampler} ({model})" for sampler, model in known.drop_duplicates().to_numpy()
    )


def titles(groups):
    """Names each group by dataset and preset, and by protocol where these are not enough."""
    names = [f"{group.dataset}, preset {group.preset}" for group in groups]
    return [
        f"{name}, {group.protocol}" if names.count(name) > 1 and group.protocol else name
        for name, group in zip(names, groups, strict=True)
    ]


def why_apart(groups):
    """Says why there are several tables; empty for a single one."""
    if len(groups) < 2:
        return ""
    reasons = {
        "dataset": "distances depend on the data",
        "preset": "a preset fixes how long a model trains and how it is measured",
        "protocol": "quality and diversity change with encoder, classifier, reference images and "
        "number of samples",
    }
    differing = [name for name in reasons if len({getattr(group, name) for group in groups}) > 1]
    differing = differing or ["protocol"]
    return (
        f"The results stand in {len(groups)} sections because they differ in "
        f"{' and '.join(differing)}: {'; '.join(reasons[name] for name in differing)}. "
        "Numbers of different sections must not be compared."
    )


def warnings(group):
    """Says what a reader of the group's table should beware of, one sentence each."""
    trained = group.rows[~is_sanity(group.rows)]
    counted = [_unmeasured(trained, status, what) for status, what in _UNMEASURED.items()]
    found = [collapse.warning(group.lines), *counted, *_repeats(group.lines)]
    if len(devices([trained])) > 1:
        found.append("The times come from different devices and must not be compared.")
    elif len(_timings(trained)) > 1:
        found.append("The times come from different numbers of threads or precisions.")
    if group.preset == "smoke":
        found.append("The smoke preset shows that all parts work; its numbers mean nothing.")
    return [sentence for sentence in found if sentence]


def _timings(trained):
    timed = trained[trained["latency_ms_per_image_p50"].notna()]
    return timed[["latency_threads", "latency_precision"]].drop_duplicates()


def _unmeasured(trained, status, what):
    """Says how many training seeds have no figures, as the means are of the others."""
    counts = [
        f"{model} {part.loc[part['status'] == status, 'run'].nunique()} of {part['run'].nunique()}"
        for model, part in trained.groupby("model")
        if (part["status"] == status).any()
    ]
    return f"{what}: {', '.join(counts)}; means are of the others." if counts else ""


def _repeats(lines):
    """Sentences on lines in which a seed appears twice, as of two versions of the code."""
    for line in lines:
        repeated = line.rows.loc[line.rows.duplicated(["seed", "sampling_seed"], keep=False)]
        runs = _distinct(repeated["run"])
        if len(runs) > 1 and not line.is_check:
            yield (
                f"{line.label}: several runs of one seed ({', '.join(runs)}) count as one, by "
                "their mean; remove the folders of those that do not belong."
            )


def _distinct(values):
    return sorted({value for value in values if value})


def _sorted(rows):
    order = [
        "model", "network_passes", "sampler", "checkpoint", "overrides", "seed", "sampling_seed",
        "run",
    ]  # fmt: skip
    ascending = [name not in ("network_passes", "checkpoint") for name in order]
    line = ["model", "sampler", "checkpoint", "overrides"]  # not all sampling seeds are timed
    passes = rows.groupby(line)["network_passes"].transform("max")
    placed = rows.assign(network_passes=passes).sort_values(
        order, ascending=ascending, kind="stable", key=_in_counting_order
    )
    return rows.loc[placed.index]


def _in_counting_order(values):
    """Fills the numbers within overrides up with zeros, so that 2 comes before 16."""
    if values.name != "overrides":
        return values
    return values.map(lambda text: re.sub(r"\d+", lambda found: found[0].zfill(12), text))


def figure_stem(dataset, preset, protocol=""):
    """Returns the start of the names of a group's figures; a protocol adds four hex digits."""
    parts = [dataset, preset]
    if protocol:
        parts.append(hashlib.sha256(protocol.encode()).hexdigest()[:4])
    return "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", part) for part in parts if part)
