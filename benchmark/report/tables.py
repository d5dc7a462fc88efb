"""Tables of a group's results: by model, and row by row."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from benchmark.report import formats
from benchmark.report.columns import (
    IDENTITY,
    MODELS,
    SEEDS,
    WHOLE_NUMBERS,
    column,
    shown_in,
)
from benchmark.report.groups import Group, complete, group_rows
from benchmark.report.lines import Line, competing, devices, standing
from benchmark.report.rows import as_text, is_sanity

__all__ = ["Table", "build_table", "complete", "group_rows", "table_by_model"]

MISSING = "–"
BEST, TIE = "best", "tie"
NUM_SEEDS = "n"
_IN_ORDER = ("finished", "sanity", "")
# No part of a name, and no hash of digits alone.
_NUMBER = re.compile(r"(?<![\w.,])(?<!run )\d+(?:,\d{3})*(?:\.\d+)?(?![.,]?\w)")


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
        keys: One per column: its key, empty where it has none.
        marks: `best` or `tie` by the line and the column of a cell of the body.
        note: What is to be known to read it.
        unfolded: By line of the body, the cells of each of its seeds, if it has several.
    """

    titles: list[str]
    right: list[bool]
    body: list[list[str]]
    sanity: list[list[str]] = field(default_factory=list)
    footnotes: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    marks: Mapping[tuple[int, int], str] = field(default_factory=dict)
    note: str = ""
    unfolded: Mapping[int, list[list[str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cells:
    """A column of a table: its heading and the function that writes a cell of it."""

    title: str
    write: Callable
    right: bool = True
    key: str = ""
    empty: str = MISSING


def to_csv(rows):
    """Writes all raw columns at full precision, a line for each row."""
    rows = complete(rows)
    for name in WHOLE_NUMBERS:
        rows[name] = rows[name].round().astype("Int64")
    return rows.to_csv(index=False, lineterminator="\n")


def to_csv_by_model(groups):
    """Writes the mean, standard deviation and number of seeds of each column of each line.

    It is long: a line for each number. `standing` is `best`, `tie`, `worse` or, where a seed is
    alone or neither direction is better, empty.
    """
    found = [entry for group in groups for entry in _numbers_by_model(group)]
    names = "dataset preset protocol model sampler checkpoint overrides column mean std num_seeds"
    return pd.DataFrame(found, columns=[*names.split(), "standing"]).to_csv(
        index=False, lineterminator="\n"
    )


def _numbers_by_model(group):
    lines = competing(group.lines) + [line for line in group.lines if line.is_check]
    numbers = [key for key in group.rows if group.rows[key].dtype.kind == "f"]
    for key in numbers:
        if column(key).group == IDENTITY:
            continue
        places = standing(competing(lines), column(key))
        for index, line in enumerate(lines):
            if len(line.values(key)):
                names = ("model", "sampler", "checkpoint", "overrides")
                yield (
                    group.dataset, group.preset, group.protocol, *(line.first[n] for n in names),
                    key, line.mean(key), line.std(key), len(line.values(key)),
                    _standing_of(index, line, places),
                )  # fmt: skip


def _standing_of(index, line, places):
    if places is None or line.is_check:
        return ""
    named = {BEST: places.best, TIE: places.ties, "worse": places.worse}
    return next((name for name, indices in named.items() if index in indices), "")


def table_by_model(group: Group) -> Table:
    """A line for each model and sampler: means over training seeds, best ones and ties marked."""
    lines = group.lines
    several = any(line.num_seeds > 1 for line in lines if not line.is_check)
    cells = _names_of_lines(lines)
    cells += [
        _mean_cells(each, group.rows, several)
        for each in shown_in(MODELS, group.rows, group.headline)
    ]
    checks, notes = [line.is_check for line in lines], _notes_of_lines(lines)
    table = _table(cells, lines, checks, notes, _marks(cells, lines), _how_to_read(lines, several))
    body = [line for line in lines if not line.is_check]
    seeds = {index: _seed_cells(cells, line) for index, line in enumerate(body)}
    seeds = {index: rows for index, rows in seeds.items() if len(rows) > 1}
    blank = [""] * (len(table.titles) - len(cells))
    return replace(
        table, unfolded={index: [row + blank for row in rows] for index, rows in seeds.items()}
    )


@dataclass(frozen=True)
class _Seed:
    """The numbers of one training seed, in the place of a line's means."""

    numbers: dict[str, float]

    def mean(self, key: str) -> float:
        return self.numbers.get(key, math.nan)

    def std(self, key: str) -> float:
        return math.nan


def _seed_cells(cells: list[Cells], line: Line) -> list[list[str]]:
    """The cells of each training seed of a line, under its name instead of the line's."""
    rows = []
    for seed, numbers in zip(line.seeds.index, line.seeds.to_dict("records"), strict=True):
        own, names = _Seed(numbers), iter([f"seed {seed:g}"])
        rows.append(
            [
                next(names, "") if is_name(each.key) else each.write(own) or each.empty
                for each in cells
            ]
        )
    return rows


def build_table(group: Group) -> Table:
    """A line for each row: each training and sampling seed alone, with its own errors."""
    rows = group.rows.to_dict("records")
    cells = _names_of_rows(group.rows)
    cells += [_row_cells(each, group.rows) for each in shown_in(SEEDS, group.rows, group.headline)]
    return _table(cells, rows, is_sanity(group.rows).tolist(), [_note(row) for row in rows], {}, "")


def _table(cells, lines, checks, notes, marks, note):
    footnotes = list(dict.fromkeys(text for text in notes if text))
    numbers = {text: f"[{index + 1}]" for index, text in enumerate(footnotes)}
    texts = [
        [each.write(line) or each.empty for each in cells] + [numbers.get(text, "")] * any(notes)
        for line, text in zip(lines, notes, strict=True)
    ]
    return Table(
        titles=[each.title for each in cells] + ["Notes"] * any(notes),
        right=[each.right for each in cells] + [False] * any(notes),
        body=[line for line, check in zip(texts, checks, strict=True) if not check],
        sanity=[line for line, check in zip(texts, checks, strict=True) if check],
        footnotes=footnotes,
        keys=[each.key for each in cells] + [""] * any(notes),
        marks=marks,
        note=note,
    )


def is_name(key):
    """Whether a column identifies the line of a table and holds no number of it."""
    return key == NUM_SEEDS or column(key).group == IDENTITY


def _names_of_lines(lines):
    trained = pd.DataFrame([line.first for line in lines if not line.is_check])
    cells = [
        Cells("Model", lambda line: _model(line.first), False, "model"),
        Cells("Sampler", lambda line: _sampler_or_status(line.first), False, "sampler"),
    ]
    for name in _distinguishing(trained, ["model", "sampler"], ["checkpoint", "overrides", "run"]):
        cells.append(Cells(name.title(), lambda line, name=name: line.first[name], False, name))
    if any(line.num_seeds > 1 for line in lines if not line.is_check):
        cells.append(Cells("n", _num_seeds, key=NUM_SEEDS))
    return cells


def _names_of_rows(rows):
    trained = rows[~is_sanity(rows)]
    cells = [
        Cells("Model", _model, False, "model"),
        Cells("Sampler", _sampler_or_status, False, "sampler"),
    ]
    names = ["checkpoint", "overrides", "seed", "sampling_seed", "run", "latency_device"]
    for name in _distinguishing(trained, ["model", "sampler"], names):
        title = name.removeprefix("latency_").replace("_", " ").capitalize()
        cells.append(
            Cells(title, lambda row, key=name: as_text(row[key]), name in WHOLE_NUMBERS, name)
        )
    return cells


def _distinguishing(trained, known, names):
    """The names of the columns that distinguish lines; always seeds, if several."""
    found = []
    for name in names:
        values = trained[name].replace("", None).dropna()
        always = name in ("seed", "sampling_seed", "latency_device") and values.nunique() > 1
        always |= name == "checkpoint" and (values == "best").any()
        if always or (trained.duplicated(known).any() and trained[name].nunique() > 1):
            found.append(name)
            known = [*known, name]
    return found


def _mean_cells(each, rows, several):
    """Means over seeds with their standard deviation; if no line has two, with their own error."""
    with_error = not several and bool(each.error) and rows[each.error].notna().any()
    heading, write_beside = _beside(each, rows)

    def write(line):
        error = line.mean(each.error) if with_error else line.std(each.key)
        mean = line.mean(each.key)
        text = formats.write(mean, _form(each, mean), error or float("nan"))
        return text + write_beside(line.mean, text)

    return Cells(heading + (" ± se" if with_error else ""), write, key=each.key)


def _row_cells(each, rows):
    """The numbers of single rows, with their standard error or their interval."""
    with_error = bool(each.error) and bool(rows[each.error].notna().any())
    ends = [f"{each.key}_low", f"{each.key}_high"] if each.interval else []
    with_interval = bool(ends) and bool(rows[ends].notna().any(axis=None))
    heading, write_beside = _beside(each, rows)
    suffix = " ± se" * with_error + " (95 %)" * with_interval

    def write(row):
        error = row[each.error] if with_error else float("nan")
        text = formats.write(row[each.key], each.form, error)
        if with_interval and text and not any(math.isnan(row[end]) for end in ends):
            low, high = (formats.write(row[end], each.form) for end in ends)
            text += f" ({low}–{high})"
        return text + write_beside(row.__getitem__, text)

    return Cells(heading + suffix, write, key=each.key)


def _form(each, mean):
    """Whole numbers' means have a decimal where they are not whole."""
    if each.whole and each.form(mean).divisor == 1 and not mean.is_integer():
        return formats.rounded(1)
    return each.form


def _beside(each, rows):
    """The heading of a column, and what its cells add: the number that it is read against."""
    if each.beside is None:
        return each.heading, lambda value, text: ""
    key, word = each.beside
    form = formats.rounded(0) if key == "num_modes" else each.form
    shared = {formats.write(value, form) for value in rows[key].dropna()}
    if len(shared) == 1:
        title = f"{each.title} ({word} {shared.pop()})"
        return each.heading.replace(each.title, title), lambda value, text: ""

    def write(value, text):
        number = formats.write(value(key), form)
        return f" ({word} {number})" if text and number else ""

    return each.heading, write


def _marks(cells, lines):
    """Which cells are the best of their column, and which do not differ from them significantly."""
    body = [line for line in lines if not line.is_check]
    places = {id(line): index for index, line in enumerate(body)}
    models = competing(body)
    marks = {}
    for index, each in enumerate(cells):
        found = standing(models, column(each.key)) if each.key else None
        if found and len({*found.best}) < len(models):
            for mark, chosen in ((BEST, found.best), (TIE, found.ties)):
                marks |= {(places[id(models[line])], index): mark for line in chosen}
    return marks


def _how_to_read(lines: list[Line], several: bool) -> str:
    if not several:
        return "One training seed each, which says little about a model; ± se: standard error."
    seeds = sorted({int(seed) for line in lines if not line.is_check for seed in line.seeds.index})
    named = ", ".join(str(seed) for seed in seeds if seed >= 0)
    return (
        f"Mean ± standard deviation over n training seeds ({named}). Bold: best mean of a column; "
        "†: no significant difference from it (Welch's t-tests of all pairs, Holm-corrected, level "
        "0.05)."
    )


def _model(row):
    return row["model"].replace("_", " ")


def _sampler_or_status(row):
    return row["sampler"] or ("" if row["status"] in _IN_ORDER else row["status"])


def _num_seeds(line):
    return "" if line.is_check else f"{line.num_seeds}"


def _notes_of_lines(lines):
    """The notes of each line, and its machine where the times come from several."""
    notes = [_notes_of_seeds(line) for line in lines]
    if len(devices(line.rows for line in lines)) < 2:
        return notes
    machines = [" or ".join(devices([line.rows])) for line in lines]
    return [
        "; ".join(filter(None, [machine and f"times from {machine}", note]))
        for machine, note in zip(machines, notes, strict=True)
    ]


def _notes_of_seeds(line):
    """The notes of a line's rows; with their seeds where they differ in more than numbers."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for row in line.rows.to_dict("records"):
        sampled = f" sampled {row['sampling_seed']:g}" if row["sampling_seed"] > 0 else ""
        text = _note(row)
        seeds, texts = found.setdefault(_NUMBER.sub("#", text), ([], []))
        seeds.append(f"{row['seed']:g}{sampled}")
        texts.append(text)
    if len(found) == 1:
        return _with_ranges(next(iter(found.values()))[1])
    return "; ".join(
        f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}: {_with_ranges(texts)}"
        for seeds, texts in found.values()
        if texts[0]
    )


def _with_ranges(texts):
    """One text for several that differ in numbers alone: with `1.5 to 1.8` where they differ."""
    slots = zip(*(_NUMBER.findall(text) for text in texts), strict=True)
    numbers = [sorted(set(slot), key=lambda text: float(text.replace(",", ""))) for slot in slots]
    ranges = iter([" to ".join(dict.fromkeys([slot[0], slot[-1]])) for slot in numbers])
    return _NUMBER.sub(lambda _: next(ranges), texts[0])


def _note(row):
    """Returns the notes of a row; they open with its status where that is out of order."""
    notes, status = row["notes"].strip(), row["status"]
    if status in _IN_ORDER or status in notes.lower():
        return notes
    return f"{status}: {notes}" if notes else status
