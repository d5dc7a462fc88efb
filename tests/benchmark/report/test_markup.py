import re

import pytest

from benchmark.report import tables
from benchmark.report.groups import group_rows
from benchmark.report.markup import html_cells, tex, tex_body, tex_title, to_markdown
from benchmark.report.tables import BEST, TIE, Table


@pytest.fixture
def marked():
    return Table(
        ["Model", "KID ↓"], [False, True], [["a|b", "1.0"], ["c", "-1.5"], ["d", "9"]],
        [["noise", "90"]], marks={(1, 1): "best", (0, 1): "tie"},
    )  # fmt: skip


def test_markdown_sets_the_best_bold_and_marks_ties(marked):
    lines = to_markdown(marked).splitlines()
    assert lines[2:5] == [
        "| a\\|b  |    1.0 † |",
        "| c     | **-1.5** |",
        "| d     |        9 |",
    ]
    assert lines[-1] == "| noise |       90 |"


def test_markdown_is_aligned_as_plain_text(seeds):
    seeds.loc[0, "notes"] = "a | b"
    (group,) = group_rows(seeds)
    table = tables.table_by_model(group)
    lines = to_markdown(table).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert lines[1].count("-:") == sum(table.right)


def test_latex_sets_the_best_bold_and_marks_ties(marked):
    assert tex_body(marked) == [r"a\textbar{}b & 1.0$^\dagger$", r"c & \textbf{$-$1.5}", "d & 9"]


def test_latex_is_ascii_and_escaped():
    text = tex("50 % of {a_b} & \\c ~ ^ #1 $ ± × – ↓ ↑ † Bińkowski")
    assert text.isascii()
    assert r"50 \% of \{a\_b\} \& \textbackslash{}c \textasciitilde{}" in text
    assert tex("Bińkowski Ø ǖ €") == r"Bi\'{n}kowski \O{} \={\"{u}} \texttt{U+20AC}"
    assert tex("0.1 ± 0.2") == r"0.1 $\pm$ 0.2" and tex("a-1") == "a-1"


@pytest.mark.parametrize(
    ("title", "lines"),
    [("NFE ↓", ["NFE ↓"]), ("classifier KID ×1000 ↓", ["classifier", "KID ×1000 ↓"]), ("n", ["n"])],
)
def test_titles_are_broken_and_arrows_stay_with_their_word(title, lines):
    found = re.sub(r"\\shortstack\[r\]{(.*)}$", r"\1", tex_title(title)).split(r"\\")
    assert found == [tex(line) for line in lines]


def test_html_cells_are_escaped_aligned_and_marked():
    cells = html_cells(
        ["<a>", "1", "2"],
        [False, True, True],
        {(3, 1): BEST, (3, 2): TIE, (4, 1): TIE},
        3,
        "#0072b2",
    )
    dot = '<span class="dot" style="background:#0072b2"></span>'
    assert cells.splitlines() == [
        f"<td>{dot}&lt;a&gt;</td>",
        '<td class="right"><b>1</b></td>',
        '<td class="right">2 †</td>',
    ]
    assert html_cells(["a & b"], [False]) == "<td>a &amp; b</td>"
