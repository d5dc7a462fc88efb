"""The LaTeX tables, set by a real TeX where there is one."""

import shutil
import subprocess

import pandas as pd
import pytest

from benchmark.report import group_figures
from benchmark.report.page import write_report

CLASSES = (r"\documentclass{article}", r"\documentclass[twocolumn]{article}")
DOCUMENT = r"""%s
\usepackage{booktabs,graphicx}
\begin{document}
Text.
\input{trilemma.tex}
\end{document}
"""

NOTES = r"50 % of C:\x_{y}^2 & #1 ~ „ü ǖ ő“ Bińkowski Østergaard € 数 <a|b>"

pytestmark = pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")


@pytest.mark.parametrize("document_class", CLASSES)
def test_the_tables_compile_and_fit_the_page(
    tmp_path, monkeypatch, seeds, diverged_row, document_class
):
    monkeypatch.setattr(group_figures, "_rendered", lambda *arguments: b"png")
    stacked = diverged_row.assign(dataset="stacked_mnist", notes=NOTES)
    write_report(tmp_path, pd.concat([seeds, stacked], ignore_index=True))
    (tmp_path / "paper.tex").write_text(DOCUMENT % document_class)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    for _ in range(2):  # the second resolves references
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout[-2000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    for problem in ("Overfull", "Missing character", "undefined", "multiply defined", "too large"):
        assert problem not in log, [line for line in log.splitlines() if problem in line]
