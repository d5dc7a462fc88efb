"""Tables as Markdown, LaTeX and HTML: best cells bold, ties with a dagger."""

import re
import unicodedata

from markupsafe import Markup, escape

from benchmark.report.formats import two_lines
from benchmark.report.tables import BEST, TIE

DAGGER = "†"
_MARKDOWN = {BEST: "**{}**", TIE: f"{{}} {DAGGER}"}
_LATEX = {BEST: r"\textbf{{{}}}", TIE: r"{}$^\dagger$"}
_HTML = {BEST: "<b>{}</b>", TIE: f"{{}} {DAGGER}"}
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "×": r"$\times$", "–": "--", "−": "$-$", "↓": r"$\downarrow$",
    "↑": r"$\uparrow$", DAGGER: r"$^\dagger$",
    "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}", "æ": r"\ae{}",
    "‘": "`", "’": "'", "“": "``", "”": "''",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip
_ACCENTS = {
    "GRAVE ACCENT": "`", "ACUTE ACCENT": "'", "CIRCUMFLEX ACCENT": "^", "TILDE": "~", "MACRON": "=",
    "BREVE": "u", "DOT ABOVE": ".", "DIAERESIS": '"', "RING ABOVE": "r", "CARON": "v",
    "DOUBLE ACUTE ACCENT": "H", "DOT BELOW": "d", "CEDILLA": "c",
}  # fmt: skip


def to_markdown(table):
    """Writes a table in Markdown, padded so that it also reads as plain text."""
    body = [
        [
            _MARKDOWN.get(table.marks.get((line, index)), "{}").format(markdown(cell))
            for index, cell in enumerate(cells)
        ]
        for line, cells in enumerate(table.body)
    ]
    sanity = [[markdown(cell) for cell in line] for line in table.sanity]
    separator = [[""] * len(table.titles)] if table.sanity else []
    lines = [table.titles, *body, *separator, *sanity]
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


def markdown(text):
    """Escapes what would end a cell of a table, be taken for HTML, or become a link."""
    text = " ".join(text.split()).replace("\\", "\\\\")
    text = text.replace("|", "\\|").replace("](", "]\\(")
    return text.replace("<", "&lt;")


def html_cells(cells, right, marks=None, row=None, color=""):
    """Writes the cells of a row of an HTML table; templates take too long for thousands of rows.

    Args:
        cells: Their texts.
        right: Whether each is aligned to the right.
        marks: Optional, the table's marks, of which those of `row` apply.
        row: Index of the row.
        color: That of a dot before the first cell; without it there is none.
    """
    texts = [escape(cell) for cell in cells]
    for (line, index), mark in (marks or {}).items():
        if line == row:
            texts[index] = _HTML[mark].format(texts[index])
    if color:
        texts[0] = f'<span class="dot" style="background:{escape(color)}"></span>{texts[0]}'
    return Markup(
        "\n".join(
            f'<td class="right">{text}</td>' if is_right else f"<td>{text}</td>"
            for text, is_right in zip(texts, right, strict=True)
        )
    )


def tex_body(table):
    """The lines of a table's body as LaTeX, without their line ends."""
    return [
        " & ".join(
            _LATEX.get(table.marks.get((line, index)), "{}").format(tex(cell))
            for index, cell in enumerate(cells)
        )
        for line, cells in enumerate(table.body)
    ]


def tex(text):
    """Escapes text for LaTeX, on one line, and sets a leading minus in mathematics."""
    text = " ".join(text.split())
    text = re.sub(r"(?<![\w)])-(?=\d)", "−", text)
    return "".join(_TEX.get(letter) or _tex_letter(letter) for letter in text)


def _tex_letter(letter):
    """Writes a letter in ASCII, accents as commands; one that TeX has no sign for as its code."""
    if letter.isascii():
        return letter
    written, *marks = unicodedata.normalize("NFD", letter)
    for mark in marks:
        accent = _ACCENTS.get(unicodedata.name(mark, "").removeprefix("COMBINING "))
        written = rf"\{accent}{{{written}}}" if accent else letter
    return written if written.isascii() else rf"\texttt{{U+{ord(letter):04X}}}"


def tex_title(title):
    """Sets a column's title in two lines of about equal length, to keep the column narrow."""
    lines = [tex(line) for line in two_lines(title)]
    return lines[0] if len(lines) == 1 else rf"\shortstack[r]{{{lines[0]}\\{lines[1]}}}"
