"""Tables of the results: which rows may stand together, and how their numbers are written."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from benchmark.report import collapse, formats
from benchmark.report.rows import is_sanity
from benchmark.results import COLUMNS

_WHOLE_NUMBERS = (
    "seed", "network_passes", "throughput_batch_size", "modes_covered", "num_modes",
    "num_parameters", "num_samples",
)  # fmt: skip
_TEXTS = (
    "dataset", "model", "sampler", "checkpoint", "preset", "status", "kid_encoder", "protocol",
    "classifier", "judge", "run",
    "overrides", "device", "notes", "path",
)  # fmt: skip
_SIZE = ("Parameters", "GFLOPs/pass", "Peak memory", "Train time")
_IN_ORDER = ("finished", "sanity", "")
MISSING = "–"


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


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: What stands above it.
        write: Function from a row, a Series, to the text of the cell.
        right: Whether the cells are aligned to the right, as numbers are.
        empty: What stands in a cell without text.
    """

    title: str
    write: Callable[[pd.Series], str]
    right: bool = True
    empty: str = MISSING


@dataclass(frozen=True)
class Table:
    """The texts of a table.

    Attributes:
        titles: One per column.
        right: One per column: whether it is aligned to the right.
        body: Cells of the models' rows, row by row.
        sanity: Cells of the sanity rows.
        footnotes: The notes that the numbers of the last column stand for; without any, there is
            no such column.
    """

    titles: list[str]
    right: list[bool]
    body: list[list[str]]
    sanity: list[list[str]]
    footnotes: list[str]


def complete(rows):
    """Brings rows to the raw columns in their order, with no text missing; notes collapses."""
    extra = [name for name in rows.columns if name not in COLUMNS]
    rows = rows.reindex(columns=[*COLUMNS, *extra])
    for name in _TEXTS:
        rows[name] = rows[name].astype(object).where(rows[name].notna(), "").astype(str)
    numbers = [name for name in COLUMNS if name not in _TEXTS]
    rows[numbers] = rows[numbers].apply(pd.to_numeric, errors="coerce").astype(float)
    return collapse.note_collapses(rows.reset_index(drop=True))


def to_csv(rows):
    """Writes all raw columns at full precision."""
    rows = complete(rows)
    for name in _WHOLE_NUMBERS:
        rows[name] = rows[name].round().astype("Int64")
    return rows.to_csv(index=False, lineterminator="\n")


def group_rows(rows):
    """Splits rows into groups within which numbers may be compared.

    Sanity rows belong to every group of their dataset and protocol. A row that was never evaluated
    (a diverged run) has no protocol and nothing to compare: it stands in every group of its dataset
    and preset.

    Args:
        rows: DataFrame of results.

    Returns:
        List of `Group`, by dataset, preset and protocol.
    """
    rows = complete(rows)
    sanity, trained = rows[is_sanity(rows)], rows[~is_sanity(rows)]
    keys = set(trained[["dataset", "preset", "protocol"]].itertuples(index=False, name=None))
    measured = {key for key in keys if key[2]}
    unmeasured = {key for key in keys - measured if not any(key[:2] == k[:2] for k in measured)}
    groups = []
    for dataset, preset, protocol in sorted(measured | unmeasured):
        alike = (trained["dataset"] == dataset) & (trained["preset"] == preset)
        alike &= trained["protocol"].isin(["", protocol])
        checks = (sanity["dataset"] == dataset) & (sanity["protocol"] == protocol)
        chosen = [_sorted(trained[alike]), _measured_alike(sanity[checks], trained[alike])]
        several = sum(key[:2] == (dataset, preset) for key in measured) > 1
        groups.append(
            Group(
                dataset,
                preset,
                protocol,
                figure_stem(dataset, preset, protocol if several else ""),
                pd.concat(chosen, ignore_index=True),
            )
        )  # fmt: skip
    return groups


def _measured_alike(sanity, trained):
    """Picks one row a check, preferably measured by the same code and options as the models."""
    alike = sanity["judge"].isin(trained["judge"])
    return pd.concat([sanity[alike], sanity[~alike]]).drop_duplicates("model")


def describe(group):
    """Says in one line what the numbers of a group's table rest on."""
    rows = group.rows
    trained = rows[~is_sanity(rows)]
    named = any(group.protocol.startswith(name) for name in _distinct(trained["kid_encoder"]))
    devices = _distinct(trained["device"])
    facts = [
        f"dataset {group.dataset}",
        f"preset {group.preset}",
        f"encoder {group.protocol}" if named else group.protocol,
        " or ".join(_distinct(trained["classifier"])),
        "device " + " or ".join(devices) if devices else "",
    ]
    return "; ".join(fact for fact in facts if fact)


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
        "protocol": "KID and PRDC change with encoder, reference images and number of samples",
    }
    differing = [name for name in reasons if len({getattr(group, name) for group in groups}) > 1]
    return (
        f"The results stand in {len(groups)} sections because they differ in "
        f"{' and '.join(differing)}: {'; '.join(reasons[name] for name in differing)}. "
        "Numbers of different sections must not be compared."
    )


def warnings(group):
    """Says what a reader of the group's table should beware of, one sentence each."""
    trained = group.rows[~is_sanity(group.rows)]
    found = [sentence for sentence in [collapse.warning(group.rows)] if sentence]
    if len(_distinct(trained["device"])) > 1:
        found.append("The times come from different devices and must not be compared.")
    if len(_distinct(group.rows["judge"])) > 1:
        found.append(
            "Some rows were measured with other options of the metrics or by another version of "
            "their code; run their commands again."
        )
    if group.preset == "smoke":
        found.append("The smoke preset shows that all parts work; its numbers mean nothing.")
    return found


def build_table(group):
    """Writes a group's numbers as text, rounded to what a reader can use.

    Args:
        group: The `Group`.

    Returns:
        A `Table`.
    """
    rows = group.rows
    notes = [_note(row) for _, row in rows.iterrows()]
    footnotes = list(dict.fromkeys(note for note in notes if note))
    columns = [*_identity_columns(rows), *_measurement_columns(rows)]
    if footnotes:
        columns.append(Column("Notes", lambda row: _number(row, footnotes), right=False, empty=""))
    cells = [
        [column.write(row) or column.empty for column in columns] for _, row in rows.iterrows()
    ]
    checks = is_sanity(rows).tolist()
    return Table(
        titles=[column.title for column in columns],
        right=[column.right for column in columns],
        body=[line for line, check in zip(cells, checks, strict=True) if not check],
        sanity=[line for line, check in zip(cells, checks, strict=True) if check],
        footnotes=footnotes,
    )


def to_markdown(table):
    """Writes a table in Markdown, padded so that it also reads as plain text."""
    separator = [[""] * len(table.titles)] if table.sanity else []
    lines = [table.titles, *table.body, *separator, *table.sanity]
    lines = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(3, *(len(line[index]) for line in lines)) for index in range(len(table.titles))]
    padded = [
        [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, table.right, strict=True)
        ]
        for line in lines
    ]
    rule = [
        "-" * (width - right) + ":" * right
        for width, right in zip(widths, table.right, strict=True)
    ]
    padded.insert(1, rule)
    return "\n".join("| " + " | ".join(line) + " |" for line in padded)


def split(table):
    """Splits a table that is too wide for a page into speed and size, and quality and diversity."""
    kid = table.titles.index("KID ×1000")
    names, speed = range(table.titles.index("NFE")), range(table.titles.index("NFE"), kid)
    size = [table.titles.index(title) for title in _SIZE]
    quality = [index for index in range(kid, len(table.titles)) if index not in size]
    by_speed = _select(table, [*names, *speed, *size])
    return [replace(by_speed, sanity=[]), _select(table, [*names, *quality])]


def summarize(table):
    """Picks what fits a terminal: speed, if it is known of any row, then quality and diversity."""
    titles = ["NFE", "ms/pass", "ms/image", "images/s", "Train time"]
    speed = _pick(table, titles)
    quality = _pick(table, ["KID ×1000", "Modes", "KL", "Rejected %", "Right class %", "Coverage"])
    columns = [speed.titles.index(title) for title in titles]
    known = any(line[column] != MISSING for line in speed.body for column in columns)
    return [replace(speed, sanity=[]), quality] if known else [quality]


def _pick(table, titles):
    shown = {"Model", "Sampler", "Checkpoint", "Seed", "Overrides", "Run", *titles}
    short = [title.split(" (")[0] for title in table.titles]
    chosen = _select(table, [index for index, title in enumerate(short) if title in shown])
    return replace(chosen, titles=[title.split(" (")[0] for title in chosen.titles])


def _select(table, columns):
    def cut(line):
        return [line[index] for index in columns]

    return Table(
        titles=cut(table.titles),
        right=cut(table.right),
        body=[cut(line) for line in table.body],
        sanity=[cut(line) for line in table.sanity],
        footnotes=table.footnotes,
    )


def _identity_columns(rows):
    trained = rows[~is_sanity(rows)]
    columns = [
        Column("Model", lambda row: row["model"].replace("_", " "), right=False),
        Column("Sampler", _sampler_or_status, right=False),
    ]
    names = ["model", "sampler"]
    if (trained["checkpoint"] == "best").any():
        columns.append(Column("Checkpoint", lambda row: row["checkpoint"], right=False))
        names.append("checkpoint")
    if trained["seed"].nunique() > 1:
        columns.append(Column("Seed", lambda row: formats.whole(row["seed"])))
        names.append("seed")
    for name in ("overrides", "run", "device"):
        needed = name == "device" and trained["device"].replace("", None).nunique() > 1
        if needed or (trained.duplicated(names).any() and trained[name].nunique() > 1):
            columns.append(Column(name.title(), lambda row, name=name: row[name], right=False))
            names.append(name)
    return columns


def _measurement_columns(rows):
    floors = rows["mode_kl_floor"].dropna().map("{:.4f}".format).unique()
    kl_title = f"KL (floor {floors[0]})" if len(floors) == 1 else "KL (floor)"
    return [
        Column("NFE", lambda row: formats.whole(row["network_passes"])),
        Column("ms/pass", lambda row: formats.significant(row["latency_ms_per_pass_p50"])),
        Column("ms/image", lambda row: formats.significant(row["latency_ms_per_image_p50"])),
        Column("images/s", lambda row: formats.significant(row["images_per_second"])),
        Column("KID ×1000", lambda row: formats.kid(row["kid_mean"], row["kid_std"])),
        Column(
            "digit KID ×1000",
            lambda row: formats.kid(row["kid_digits_mean"], row["kid_digits_std"]),
        ),
        Column("Modes", formats.modes),
        Column(kl_title, lambda row: formats.divergence(row, len(floors) > 1)),
        Column("Rejected %", lambda row: formats.fixed(100 * row["rejected_share"], 1)),
        *([RIGHT_CLASS] if rows["conditional_accuracy"].notna().any() else []),
        *(
            Column(name.title(), lambda row, name=name: formats.fixed(row[name], 3))
            for name in ("precision", "recall", "density", "coverage")
        ),
        Column("Vendi", lambda row: formats.significant(row["vendi"])),
        Column("Authentic %", lambda row: formats.fixed(100 * row["authenticity"], 1)),
        Column("Copied %", lambda row: formats.fixed(100 * row["copied_share"], 1)),
        Column("Parameters", lambda row: formats.parameters(row["num_parameters"])),
        Column("GFLOPs/pass", lambda row: formats.significant(row["gflops_per_pass"])),
        Column("Peak memory", lambda row: formats.megabytes(row["peak_memory_mb"])),
        Column("Train time", lambda row: formats.duration(row["train_seconds"])),
    ]


RIGHT_CLASS = Column(
    "Right class %", lambda row: formats.fixed(100 * row["conditional_accuracy"], 1)
)


def _sampler_or_status(row):
    return row["sampler"] or ("" if row["status"] in _IN_ORDER else row["status"])


def _note(row):
    """Returns the notes of a row; they open with its status where that is out of order."""
    notes, status = row["notes"].strip(), row["status"]
    if status in _IN_ORDER or status in notes.lower():
        return notes
    return f"{status}: {notes}" if notes else status


def _number(row, footnotes):
    note = _note(row)
    return f"[{footnotes.index(note) + 1}]" if note else ""


def _distinct(values):
    return sorted({value for value in values if value})


def _sorted(rows):
    order = ["model", "network_passes", "sampler", "checkpoint", "seed", "overrides", "run"]
    ascending = [name not in ("network_passes", "checkpoint") for name in order]
    return rows.sort_values(order, ascending=ascending, kind="stable", key=_in_counting_order)


def _in_counting_order(values):
    """Fills the numbers within overrides up with zeros, so that 2 stands before 16."""
    if values.name != "overrides":
        return values
    return values.map(lambda text: re.sub(r"\d+", lambda found: found[0].zfill(12), text))


def figure_stem(dataset, preset, protocol=""):
    """Returns the start of the names of a group's figures; a protocol adds four hex digits."""
    parts = [dataset, preset]
    if protocol:
        parts.append(hashlib.sha256(protocol.encode()).hexdigest()[:4])
    return "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", part) for part in parts if part)
