"""Files that were changed at random, read by each reader: whole, or refused by our own errors."""

import gzip
import io
import json
import resource
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark import console, stored_results
from benchmark.datasets.idx import read_idx
from benchmark.datasets.picture_files import UnusablePicture, open_picture
from benchmark.errors import EnvironmentProblem, UserError
from benchmark.external import arrays
from benchmark.external.arrays import read_array
from benchmark.files import Folder
from benchmark.stored_results import StoredRow, collect_rows
from tests.benchmark.conftest import build_rows, write_results
from tests.faults.test_wrong_inputs import IMAGES, idx, npy, npz

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
FEW, MANY = 100, 14_000  # inputs for each reader: by default, and of all that -m faults runs
MOST_MEMORY = 2 * 2**30  # more than an honest reader of these small files ever takes


def picture(kind):
    buffer = io.BytesIO()
    Image.fromarray(IMAGES[0, :, :, 0]).save(buffer, format=kind)
    return buffer.getvalue()


def read_picture(path):
    with open_picture(path) as image:
        return np.asarray(image.convert("RGB"))


def read_own_arrays(path):
    return Folder(path.parent).read_arrays(path.name)


def own_arrays(folder):
    Folder(folder).write_arrays("a.npz", {"a": IMAGES[:3], "b": np.arange(5.0)})
    return (folder / "a.npz").read_bytes()


OURS = (UserError, EnvironmentProblem, UnusablePicture)
SMALL = IMAGES[:5]
READERS = {
    "idx": ("a-idx3-ubyte", lambda _: idx(SMALL[..., 0]), read_idx),
    "idx.gz": ("a-idx3-ubyte.gz", lambda _: gzip.compress(idx(SMALL[..., 0])), read_idx),
    "npy": ("a.npy", lambda _: npy(SMALL), read_array),
    "npz": ("a.npz", lambda _: npz(samples=SMALL), read_array),
    "own npz": ("a.npz", own_arrays, read_own_arrays),
    **{
        kind: (f"a.{kind}", lambda _, kind=kind: picture(kind), read_picture)
        for kind in ("png", "jpeg", "bmp", "tiff", "webp", "ppm")
    },
}


def changed(content, generator):
    """A file with a few bits flipped, bytes set, cut out, put in or repeated, or its end cut."""
    content = bytearray(content)
    for _ in range(generator.integers(1, 6)):
        if not content:
            break
        start = int(generator.integers(len(content)))
        length = int(generator.integers(1, 20))
        kind = generator.integers(7)
        if kind == 0:
            content[start] ^= 1 << int(generator.integers(8))
        elif kind == 1:
            content[start] = int(generator.choice([0, 1, 127, 128, 255]))
        elif kind == 2:
            del content[start : start + length]
        elif kind == 3:
            content[start:start] = generator.bytes(length)
        elif kind == 4:
            content[start:start] = content[start : start + length]
        elif kind == 5:
            words = [b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4]
            content[start : start + 4] = words[generator.integers(3)]
        else:
            del content[start:]
    return bytes(content)


@pytest.fixture
def little_memory():
    """A reader that wants more than a small file can hold fails."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def fuzz(kind, folder, count, seed=0):
    """How many of the changed files are refused; another error than our own is a failure."""
    name, make, read = READERS[kind]
    content, generator, refused = make(folder), np.random.default_rng(seed), 0
    for index in range(count):
        (folder / name).write_bytes(changed(content, generator))
        try:
            read(folder / name)
        except OURS as error:
            refused += 1
            assert "\n" not in str(error), (index, error)
        except BaseException as error:
            pytest.fail(f"input {index} of {kind}: {type(error).__name__}: {error}")
    return refused


@pytest.mark.filterwarnings("ignore")  # of Pillow, for what it reads in spite of all
@pytest.mark.parametrize("kind", READERS)
def test_a_changed_file_is_read_or_refused(kind, tmp_path, little_memory):
    assert fuzz(kind, tmp_path, FEW) > FEW // 10


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", READERS)
def test_a_file_that_is_changed_in_many_ways_is_read_or_refused(kind, tmp_path, little_memory):
    count = MANY // 2 if kind in ("png", "jpeg", "bmp", "tiff", "webp", "ppm") else MANY
    assert fuzz(kind, tmp_path, count, seed=1) > count // 10


def fuzz_run_folders(folder, whole, count, seed, monkeypatch):
    """Changes a file anywhere in a results folder and reads it as a report does."""
    monkeypatch.setattr(console, "say", lambda text, style="": None)
    generator, found = np.random.default_rng(seed), 0
    files = [path for path in sorted(whole.rglob("*")) if path.is_file()]
    for _ in range(count):
        source = files[generator.integers(len(files))]
        target = folder / source.relative_to(whole)
        target.write_bytes(changed(source.read_bytes(), generator))
        rows = collect_rows(folder)
        for path in rows["path"]:
            row = StoredRow(folder, path)
            seen = [row.samples(3), row.details("mode_coverage"), row.pictures]
            if row.run:
                seen += [row.run.state, row.run.config, row.run.history, row.run.pictures]
        found += bool(stored_results.damages)
        shutil.copyfile(source, target)
    return found


@pytest.fixture
def results(tmp_path):
    rows = build_rows().iloc[[0, 3, 5]]
    for folder in (tmp_path / "whole", tmp_path / "changed"):
        write_results(folder, rows.reset_index(drop=True))
    return tmp_path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [FEW // 2, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_results_folder_with_a_changed_file_is_read(results, count, monkeypatch):
    assert fuzz_run_folders(results / "changed", results / "whole", count, 0, monkeypatch) > 0


HDF5 = """
    import sys
    from pathlib import Path
    import h5py, numpy as np
    from metrics.encoders import check_whole
    from tests.faults.test_fuzz import changed
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    with h5py.File(folder / "whole.h5", "w") as file:
        file.create_dataset("a/b", data=np.arange(100.0))
    content, generator = (folder / "whole.h5").read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(count):
        (folder / "a.h5").write_bytes(changed(content, generator))
        try:
            check_whole(folder / "a.h5")
        except ValueError:
            refused += 1
    print(refused)
"""


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY // 2, marks=pytest.mark.slow)])
def test_changed_weights_files_are_read_or_refused(tmp_path, count):
    """In a process of its own, as a library in C reads them."""
    command = [sys.executable, "-c", textwrap.dedent(HDF5), str(tmp_path), str(count)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    assert int(process.stdout) > count // 20


def test_a_small_archive_that_unpacks_to_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "physical_bytes", lambda: 10**6)
    np.savez_compressed(tmp_path / "a.npz", samples=np.zeros(2 * 10**6, "uint8"))
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    with pytest.raises(EnvironmentProblem, match="unpacks to"):
        read_array(tmp_path / "a.npz")
    with pytest.raises(EnvironmentProblem, match="damaged"):
        Folder(tmp_path).read_arrays("a.npz")


def test_deep_and_long_texts_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(console, "say", lambda text, style="": None)
    for content in (b"{" * 10**6, json.dumps({"a": "x" * 10**6}).encode()[:-1]):
        path = tmp_path / "runs" / "a" / "b" / "c" / "run.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        collect_rows(tmp_path)
        assert path in stored_results.damages
