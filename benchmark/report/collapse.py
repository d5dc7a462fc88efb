"""Mode collapse: which rows show it, and how their notes say so."""

import math
import re

from benchmark.report.lines import lines_of
from benchmark.report.rows import is_sanity, sanity_value

COLLAPSE = "mode collapse"
MOST_MODES = 0.5  # as a share of the modes that as many test images cover
LEAST_VENDI = 1 / 3  # as a share of the test images' score
MOSTLY_REJECTED = 0.5


def note_collapses(rows):
    """Opens the notes of the rows whose samples collapsed with what shows it.

    Samples have collapsed if they cover at most half of the modes, or if they amount to less than
    a third of the different images that the test images amount to (Vendi score). The test images
    are as many, of one dataset and protocol: of 1,000 modes, 300 perfect samples show no more
    than 300. Sanity rows are left as they are: the repeated image is there to collapse.

    Args:
        rows: DataFrame of results in the columns of `benchmark.report.tables.complete`.

    Returns:
        The DataFrame, its column `notes` changed.
    """
    rows = rows.copy()
    for index, row in rows[~is_sanity(rows)].iterrows():
        alike = (rows["dataset"] == row["dataset"]) & (rows["protocol"] == row["protocol"])
        found = signs_of_collapse(row, rows[alike])
        if found and COLLAPSE not in row["notes"]:
            note = f"{COLLAPSE}: {', '.join(found)}"
            rows.loc[index, "notes"] = f"{note}; {row['notes']}" if row["notes"] else note
    return rows


def signs_of_collapse(row, rows):
    """Says what shows that a row's samples collapsed; empty if nothing does.

    Args:
        row: The row.
        rows: Rows that were measured alike, with that of the test images.
    """
    signs = []
    seen = sanity_value(rows, "test_images", "modes_covered")
    modes = row["num_modes"] if math.isnan(seen) else min(seen, row["num_modes"])
    if row["modes_covered"] <= MOST_MODES * modes:
        signs.append(f"{row['modes_covered']:,.0f} of {row['num_modes']:,.0f} modes covered")
        if row["rejected_share"] > MOSTLY_REJECTED:
            signs.append(f"{100 * row['rejected_share']:.0f} % of the samples rejected")
    real_vendi = sanity_value(rows, "test_images", "vendi")
    if row["vendi"] < LEAST_VENDI * real_vendi:
        signs.append(f"Vendi score {row['vendi']:.1f} (test images: {real_vendi:.1f})")
    return signs


def warning(rows):
    """One sentence that names the lines whose samples collapsed, each with the first sign of it."""
    named = []
    for line in lines_of(rows[~is_sanity(rows)]):
        notes = [note for note in line.rows["notes"] if note.startswith(COLLAPSE)]
        if notes:
            sign = re.split("[,;]", notes[0].removeprefix(COLLAPSE + ": "))[0]
            count = f" in {len(notes)} of {len(line.rows)} rows" if len(line.rows) > 1 else ""
            named.append(f"{line.label}{count} ({sign})")
    return f"Mode collapse: {'; '.join(named)}." if named else ""
