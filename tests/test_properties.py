"""What must hold of any input: hypothesis looks for one for which it does not."""

import math
import re

import numpy as np
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from benchmark import config as configuration
from benchmark.datasets.idx import read_idx
from benchmark.errors import UserError
from benchmark.files import Folder
from benchmark.report.formats import significant, two_lines
from benchmark.report.markup import markdown, tex, to_markdown
from benchmark.report.tables import Table
from metrics.coverage import kl_divergence, mode_coverage
from metrics.fid import fid
from metrics.kid import kid
from metrics.prdc import prdc
from models.schedules import CosineSchedule, LinearSchedule, VariancePreservingSchedule

SPACINGS = ("trailing", "leading", "linspace", "log_snr")
SCHEDULES = (LinearSchedule, CosineSchedule, VariancePreservingSchedule)
seeds = st.integers(0, 2**32 - 1)
texts = st.text(max_size=30)
few = settings(max_examples=30, deadline=None)
in_one_folder = settings(
    few, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # each example writes its own files


def features(seed, count, num_features=5, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1.0, (count, num_features))


@few
@given(st.sampled_from(SCHEDULES), st.integers(1, 2000))
def test_signal_only_falls_on_the_way_to_noise(schedule, num_timesteps):
    try:
        levels = schedule(num_timesteps=num_timesteps).alpha_bars
    except ValueError:  # betas of more than 1
        assume(False)
    assert len(levels) == num_timesteps
    assert (levels > 0).all() and (levels < 1).all() and (np.diff(levels) < 0).all()


@few
@given(st.sampled_from(SCHEDULES), st.integers(21, 1000), st.sampled_from(SPACINGS), st.data())
def test_any_number_of_steps_goes_one_way_along_different_levels(
    schedule, num_timesteps, spacing, data
):
    num_steps = data.draw(st.integers(1, num_timesteps))
    path = schedule(num_timesteps=num_timesteps).path(num_steps, spacing)
    assert len(path.times) == num_steps
    assert (np.diff(path.times) < 0).all()
    assert path.times.max() < num_timesteps and path.times.min() >= 0
    if spacing != "leading":
        assert path.times[0] == num_timesteps - 1


@few
@given(seeds, st.integers(4, 30), st.integers(4, 30))
def test_distances_know_no_order_and_no_side(seed, num_real, num_generated):
    real, generated = features(seed, num_real), features(seed + 1, num_generated, shift=0.5)
    one_way = fid(real_features=real, generated_features=generated)
    shuffled = np.random.default_rng(seed).permutation(generated)
    in_other_order = fid(real_features=real, generated_features=shuffled)
    other_way = fid(real_features=generated, generated_features=real)
    assert math.isclose(one_way, in_other_order, rel_tol=1e-6)
    assert math.isclose(one_way, other_way, rel_tol=1e-6)
    assert one_way >= -1e-8
    assert abs(fid(real_features=real, generated_features=real)) < 1e-8


@few
@given(seeds, st.integers(10, 40))
def test_kid_is_that_of_the_sets_whatever_their_order(seed, count):
    """With a single subset of all, which is drawn without replacement."""
    real, generated = features(seed, count), features(seed + 1, count, shift=1.0)
    whole = {"num_subsets": 1, "subset_size": count}
    mean, _ = kid(real_features=real, generated_features=generated, **whole)
    shuffled = np.random.default_rng(seed).permutation(generated)
    again, _ = kid(real_features=real, generated_features=shuffled, **whole)
    back, _ = kid(real_features=generated, generated_features=real, **whole)
    assert math.isclose(mean, again, rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(mean, back, rel_tol=1e-9, abs_tol=1e-9)


@few
@given(seeds, st.integers(7, 30), st.integers(7, 30), st.integers(1, 6))
def test_fractions_of_balls_are_fractions(seed, num_real, num_generated, nearest_k):
    real, generated = features(seed, num_real), features(seed + 1, num_generated)
    found = prdc(real_features=real, generated_features=generated, nearest_k=nearest_k)
    assert all(0.0 <= found[name] <= 1.0 for name in ("precision", "recall", "coverage"))
    assert 0.0 <= found["density"] <= num_real / nearest_k
    far = prdc(real_features=real, generated_features=generated + 1e4, nearest_k=nearest_k)
    assert far == {"precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0}
    swapped = prdc(real_features=generated, generated_features=real, nearest_k=nearest_k)
    assert (swapped["precision"], swapped["recall"]) == (found["recall"], found["precision"])


@few
@given(st.lists(st.integers(0, 9), min_size=1, max_size=80), seeds)
def test_modes_are_counted_and_the_divergence_is_none_below_zero(classes, seed):
    real_fractions = np.full(10, 0.1)
    found = mode_coverage(
        generated_classes=np.array(classes),
        confidences=np.random.default_rng(seed).uniform(size=len(classes)),
        real_fractions=real_fractions,
    )
    assert 0 <= found["modes_covered"] <= min(len(set(classes)), found["num_modes"])
    assert -1e-12 <= found["mode_kl"] <= math.log(10) + 1e-12
    low, high = found["rejected_fraction_low"], found["rejected_fraction_high"]
    assert 0.0 <= low <= found["rejected_fraction"] <= high <= 1.0
    assert (
        abs(kl_divergence(generated_fractions=real_fractions, reference_fractions=real_fractions))
        < 1e-12
    )


@few
@given(st.lists(st.lists(texts, min_size=3, max_size=3), max_size=5))
@example([["|", "\\|", "]("], ["<b>", "\n\n", "\r"], ["`", "$x$", "\x00"]])
def test_no_text_breaks_a_table(body):
    lines = to_markdown(Table(["a", "b", "c"], [False, True, False], body, [])).splitlines()
    assert len(lines) == 2 + len(body)
    for line in lines:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 4
    for cell in (cell for cells in body for cell in cells):
        assert "<" not in markdown(cell) and "\n" not in tex(cell)
        assert len(re.findall(r"(?<!\\)[&%#]", tex(cell))) == 0


@few
@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_a_number_is_written_to_three_digits(value):
    written = float(significant(value).replace(",", "").replace("−", "-"))
    assert math.isclose(written, value, rel_tol=5.1e-3, abs_tol=1e-300)


@few
@given(st.lists(st.text("abc", min_size=1, max_size=8), min_size=1, max_size=6))
def test_a_title_in_two_lines_has_all_its_words(words):
    title = " ".join(words)
    lines = two_lines(title)
    assert len(lines) <= 2 and " ".join(lines) == title


numbers = st.one_of(st.integers(-5, 5), st.floats(), st.text(max_size=3), st.none(), st.booleans())
nodes = st.recursive(
    numbers,
    lambda parts: st.one_of(
        st.lists(parts, max_size=3), st.dictionaries(st.text("abc_", min_size=1), parts, max_size=3)
    ),
    max_leaves=8,
)


@few
@given(st.sampled_from(["num_steps", "widths", "learning_rate", "logit_mean", "levels"]), nodes)
def test_any_value_of_an_option_passes_or_is_named(key, node):
    try:
        configuration.check_numbers({key: node}, "model")
    except UserError as error:
        assert f"model.{key}" in str(error)


@in_one_folder
@given(st.binary(max_size=200))
@example(b"\x00\x00\x08\x01\x00\x00\x00\x00")
@example(b"\x00\x00\x08\x04" + b"\xff" * 16)
def test_any_bytes_are_an_idx_file_or_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    try:
        assert read_idx(tmp_path / "file").dtype == np.uint8
    except UserError as error:
        assert str(tmp_path / "file") in str(error)


@in_one_folder
@given(
    st.dictionaries(texts, st.one_of(st.none(), st.booleans(), st.integers(), texts), max_size=5)
)
def test_what_is_written_as_json_is_read_back(tmp_path, content):
    Folder(tmp_path).write_json("file.json", content)
    assert Folder(tmp_path).read_json("file.json") == content
