"""Parts of a table that is too wide for a page, a terminal or paper."""

import itertools
import re
from dataclasses import replace

from benchmark.report import formats
from benchmark.report.columns import COST, DIVERSITY, QUALITY, SPEED, TERMINAL, column
from benchmark.report.tables import is_name


def split(table):
    """Splits a table that is too wide for a page: quality and diversity, then speed and cost."""
    return [part for _, part in _parts(table, {SPEED: (SPEED, COST)})]


def split_by_corner(table):
    """Splits a table for print: quality, then what there is of diversity, speed and cost.

    Returns:
        Pairs of a part's name and the part.
    """
    return _parts(table, {corner: (corner,) for corner in (DIVERSITY, SPEED, COST)})


def _parts(table, apart):
    """Takes the columns of some groups apart; the first part, quality, has all others.

    Sanity rows have neither speed nor cost, so these parts leave them out.
    """
    groups = [column(key).group for key in table.keys]
    names = [index for index, key in enumerate(table.keys) if is_name(key)]
    chosen = {
        part: [index for index, group in enumerate(groups) if group in members]
        for part, members in apart.items()
    }
    taken = [*names, *itertools.chain(*chosen.values())]
    chosen = {QUALITY: [index for index in range(len(groups)) if index not in taken], **chosen}
    parts = [
        (part.title(), _select(table, [*names, *indices]))
        for part, indices in chosen.items()
        if indices
    ]
    return [
        (name, replace(part, sanity=[]) if name.lower() in (SPEED, COST) else part)
        for name, part in parts
    ]


def summarize(table, headline=""):
    """Picks what fits a terminal: quality and diversity, then speed, if it is known of any row.

    The column of the headline quality is always among them.
    The numbers stand without their errors, the headings in two lines.
    """
    chosen = [
        index
        for index, key in enumerate(table.keys)
        if is_name(key) or (key and (key == headline or TERMINAL in column(key).tables.split()))
    ]
    return [_shortened(part) for part in split(_select(table, chosen))]


def _shortened(table):
    def plain(line):
        return [
            cell if is_name(key) else re.sub(r" ± [^ ]*| \(.*\)", "", cell)
            for cell, key in zip(line, table.keys, strict=True)
        ]

    return replace(
        table,
        titles=["\n".join(formats.two_lines(title)) for title in plain(table.titles)],
        body=[plain(line) for line in table.body],
        sanity=[plain(line) for line in table.sanity],
    )


def _select(table, chosen):
    def cut(line):
        return [line[index] for index in chosen]

    return replace(
        table,
        titles=cut(table.titles),
        right=cut(table.right),
        body=[cut(line) for line in table.body],
        sanity=[cut(line) for line in table.sanity],
        keys=cut(table.keys),
        marks={
            (line, chosen.index(place)): mark
            for (line, place), mark in table.marks.items()
            if place in chosen
        },
        unfolded={index: [cut(row) for row in rows] for index, rows in table.unfolded.items()},
    )
