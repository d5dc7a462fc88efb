import keras
import numpy as np
import pytest
from keras import layers, ops

from benchmark import checkpoints, console
from benchmark.checkpoints import CHECKPOINTS, Progress
from benchmark.errors import EnvironmentProblem
from benchmark.results import RunFolder

WEIGHT = np.float32(8.25)  # is in the last checkpoint


def build_model(width=3):
    """A compiled network that has weights, seeds, moments and running means."""
    keras.utils.clear_session(free_memory=False)
    inputs = keras.Input((2,))
    outputs = layers.Dense(width, name="dense")(layers.Dropout(0.5, seed=1)(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss="mse")
    model.optimizer.build(model.trainable_variables)
    model.layers[-1].bias.assign(np.full(width, -3.75))
    return model


def values(model):
    variables = checkpoints.stateful_variables(model)
    return {name: ops.convert_to_numpy(variable) for name, variable in variables.items()}


def change(model, by):
    for variable in checkpoints.stateful_variables(model).values():
        variable.assign(variable + by)
    return values(model)


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path, "random", "model", "key")


@pytest.fixture
def told(monkeypatch):
    texts = []
    monkeypatch.setattr(console, "say", lambda text, style="": texts.append(text))
    return texts


def saved(run, *steps):
    """What the model's variables were at each step."""
    model = build_model()
    at_step = {}
    for step in steps:
        at_step[step] = change(model, step)
        checkpoints.save(run, model, Progress(step=step, seconds=2.0 * step))
    return at_step


def damage(path, how):
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "foreign":
        path.write_bytes(b"not a checkpoint")
    else:
        place = content.index(WEIGHT.tobytes())
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


def assert_same(left, right):
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_array_equal(left[key], right[key], err_msg=key)


def test_the_last_two_are_kept_and_the_last_is_taken(run, told):
    at_step = saved(run, 4, 8, 12)
    assert [path.name for path in checkpoints.paths(run)] == ["00000008.npz", "00000012.npz"]
    model = build_model()
    progress = checkpoints.load(run, model)
    assert (progress.step, progress.seconds, told) == (12, 24.0, [])
    assert_same(values(model), at_step[12])
    kinds = {name.partition("/")[0] for name in at_step[12]}
    assert kinds == {"model", "optimizer", "metrics"}
    assert len(progress.running_means) == len(model.metrics_variables) > 0


@pytest.mark.parametrize("how", ["cut", "empty", "foreign", "flipped"])
def test_a_damaged_one_falls_back_to_the_one_before_and_says_so(run, told, how):
    at_step = saved(run, 4, 8)
    before, last = checkpoints.paths(run)
    damage(last, how)
    model = build_model()
    assert checkpoints.load(run, model).step == 4
    assert_same(values(model), at_step[4])
    (warning,) = told
    assert warning.startswith(f"warning: {last} is damaged")
    assert warning.endswith(f"using {before} instead")


def test_if_both_are_damaged_the_way_out_is_told_and_nothing_is_deleted(run):
    saved(run, 4, 8)
    for path in checkpoints.paths(run):
        damage(path, "cut")
    before = values(model := build_model())
    with pytest.raises(EnvironmentProblem, match=r"00000008.*00000004.*force=true"):
        checkpoints.load(run, model)
    assert_same(values(model), before)
    assert len(checkpoints.paths(run)) == 2


def test_another_network_is_refused_with_what_differs(run):
    saved(run, 4)
    with pytest.raises(
        EnvironmentProblem, match=r"dense/kernel has the shape \(2, 3\), not \(2, 5"
    ):
        checkpoints.load(run, build_model(width=5))
    deeper = build_model()
    deeper = keras.Model(deeper.inputs, layers.Dense(3, name="second")(deeper.output))
    deeper.compile(optimizer=keras.optimizers.Adam(0.1), loss="mse")
    with pytest.raises(EnvironmentProblem, match=r"it lacks model/.*second.*and \d+ more"):
        checkpoints.load(run, deeper)


def test_another_format_is_refused(run, monkeypatch):
    monkeypatch.setattr(checkpoints, "FORMAT", 0)
    saved(run, 4)
    monkeypatch.undo()
    with pytest.raises(EnvironmentProblem, match=f"format is 0, not {checkpoints.FORMAT}"):
        checkpoints.load(run, build_model())


def test_a_file_that_is_whole_but_no_checkpoint_is_refused(run):
    run.write_arrays(f"{CHECKPOINTS}/00000004.npz", {"a": np.zeros(3)})
    with pytest.raises(EnvironmentProblem, match="its format is None"):
        checkpoints.load(run, build_model())


def test_another_version_is_taken_with_a_warning(run, told, monkeypatch):
    monkeypatch.setattr(checkpoints, "versions", lambda: {"keras": "3.0.1", "tensorflow": "2.16"})
    at_step = saved(run, 4)
    monkeypatch.undo()
    monkeypatch.setattr(console, "say", lambda text, style="": told.append(text))
    model = build_model()
    checkpoints.load(run, model)
    assert_same(values(model), at_step[4])
    (warning,) = told
    assert "was written by keras 3.0.1, tensorflow 2.16; training goes on with keras 3." in warning
