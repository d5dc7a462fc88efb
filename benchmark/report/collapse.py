"""Mode collapse: which rows show it, and how their notes say so."""

import math
import re

from benchmark.report.rows import is_sanity, sanity_value

COLLAPSE = "mode collapse"
MOST_MODES = 0.5  # as a fraction of the modes that as many test images cover
LEAST_VENDI = 1 / 3  # as a fraction of the test images' score
MOSTLY_REJECTED = 0.5
OF_TEST_IMAGES = ("modes_covered", "vendi")  # what samples are compared with
NEEDED = [*OF_TEST_IMAGES, "num_modes", "rejected_fraction", "notes"]  # columns


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
    rows, notes = rows.copy(), rows["notes"].copy()
    for _, alike in rows.groupby(["dataset", "protocol"]):
        real = {name: sanity_value(alike, "test_images", name) for name in OF_TEST_IMAGES}
        samples = alike.loc[~is_sanity(alike), NEEDED]
        for index, row in zip(samples.index, samples.to_dict("records"), strict=True):
            found = signs_of_collapse(row, real)
            if found and COLLAPSE not in row["notes"]:
                note = f"{COLLAPSE}: {', '.join(found)}"
                notes[index] = f"{note}; {row['notes']}" if row["notes"] else note
    rows["notes"] = notes
    return rows


def signs_of_collapse(row, real):
    """Says what shows that a row's samples collapsed; empty if nothing does.

    Args:
        row: The row.
        real: `dict` of the numbers of `OF_TEST_IMAGES` that the test images have, measured alike;
            NaN where they were not.
    """
    signs = []
    seen, real_vendi = real["modes_covered"], real["vendi"]
    modes = row["num_modes"] if math.isnan(seen) else min(seen, row["num_modes"])
    if row["modes_covered"] <= MOST_MODES * modes:
        signs.append(f"{row['modes_covered']:,.0f} of {row['num_modes']:,.0f} modes covered")
        if row["rejected_fraction"] > MOSTLY_REJECTED:
            signs.append(f"{100 * row['rejected_fraction']:.0f} % of the samples rejected")
    if row["vendi"] < LEAST_VENDI * real_vendi:
        signs.append(f"Vendi score {row['vendi']:.1f} (test images: {real_vendi:.1f})")
    return signs


def warning(lines):
    """One sentence that names the lines whose samples collapsed, each with the first sign of it."""
    named = []
    for line in (each for each in lines if not each.is_check):
        notes = [note for note in line.rows["notes"] if note.startswith(COLLAPSE)]
        if notes:
            sign = re.split("[,;]", notes[0].removeprefix(COLLAPSE + ": "))[0]
            count = f" in {len(notes)} of {len(line.rows)} rows" if len(line.rows) > 1 else ""
            named.append(f"{line.label}{count} ({sign})")
    return f"Mode collapse: {'; '.join(named)}." if named else ""
