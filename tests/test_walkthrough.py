"""The walk through the benchmark in docs/ runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = "import subprocess, sys\nsubprocess.run([sys.executable, *{words}], check=True)\n"


def program(text):
    """One Python program of all blocks; commands become subprocesses."""
    parts = []
    for language, block in BLOCK.findall(text):
        lines = [block] if language == "python" else block.splitlines()
        for line in lines:
            if language == "sh":
                python, *words = line.split()
                assert python == "python"
                line = COMMAND.format(words=words)
            parts.append(line)
    return "\n".join(parts)


@pytest.mark.slow
def test_the_walk_through_runs_as_it_stands(tmp_path):
    text = program((ROOT / "docs" / "walkthrough.md").read_text())
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MPLBACKEND": "agg",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    result = subprocess.run(
        [sys.executable, "-c", text],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    table = pd.read_csv(tmp_path / "results" / "trilemma.csv")
    assert {"vae", "dcgan", "noisy"} <= set(table["model"])
    assert len(table[table["model"] == "vae"]) == 3
    assert min(Image.open(tmp_path / "samples.png").size) > 200
    for name in ("trilemma.tex", "report.html"):
        assert (tmp_path / "results" / name).is_file()
