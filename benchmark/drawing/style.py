"""The house style of all figures: sizes, colours, axes."""

import math
import textwrap

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

matplotlib.rcParams["pdf.fonttype"] = 42  # TrueType: some publishers refuse Type 3
matplotlib.rcParams["text.parse_math"] = False  # the name of a model may have a dollar sign

DPI = 150
TITLE_SIZE, LABEL_SIZE, TICK_SIZE, SMALL_SIZE = 10, 9, 8, 7
_LETTERS_PER_INCH = 12.5  # of a title
INK, MUTED, GRID = "#222222", "#6b6b6b", "#e3e3e3"
# Okabe & Ito (2008) without its yellow, which vanishes on white, and Tol's wine and olive (2021).
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444", "#882255",
    "#999933",
)  # fmt: skip

# Ten that are easy to distinguish on white, as dots and as the digits' names.
CLASS_COLORS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd",
    "#8c564b", "#e377c2", "#7f7f7f", "#a6a614", "#17becf",
)  # fmt: skip


def panel_shape(count):
    """Returns how many rows and columns of panels suit that many, at most three in a row."""
    columns = 2 if count == 4 else min(count, 3)
    return math.ceil(count / columns), columns


def wrapped(label, inches):
    """Breaks the label of a run between the overrides that it names, to about such a width."""
    letters = int(inches * _LETTERS_PER_INCH)
    return textwrap.fill(label, letters, break_long_words=False, break_on_hyphens=False)


def new_figure(width, height):
    """Makes an empty Figure of the given size in inches, on white, with automatic margins."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def style_axes(axes, *, grid="both"):
    """Gives axes the house style: no box, quiet ticks, a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(which="both", labelsize=TICK_SIZE, color=MUTED, labelcolor=INK)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.6)


def log_ticks(axis, low, high):
    """Writes plain numbers at 1, 2, 5 per decade on a log axis, or at whole decades if many."""
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
