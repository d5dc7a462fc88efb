import numpy as np
import pytest

from benchmark.speed import __main__ as command
from benchmark.speed import compare as compare_module
from benchmark.speed.compare import Comparison, compare


@pytest.fixture
def way(monkeypatch):
    """Ways of known durations, by a clock of the test; `way.order` tells how they ran."""
    order, now = [], [0.0]
    monkeypatch.setattr(compare_module.time, "perf_counter", lambda: now[0])

    def make(name, seconds):
        def call():
            order.append(name)
            now[0] += seconds

        return call

    make.order = order
    return make


def test_ways_run_in_turn_and_their_ratios_are_told(way):
    comparison = Comparison("task", way("ours", 0.5), {"plain": way("plain", 2.0)})
    measured = compare(comparison, 3, warmup=1)
    assert measured.lines() == [["task", "0.50 s", "plain", "2.00 s", "4.00", "4.00 to 4.00"]]
    assert way.order == ["ours", "plain"] * 4
    assert measured.seconds == {"ours": [0.5] * 3, "plain": [2.0] * 3}


def test_amounts_are_compared_by_their_rates(way):
    """300 images in half a second are 600 a second; 100 in one second a sixth of that."""
    comparison = Comparison(
        "task",
        way("ours", 0.5),
        {"plain": way("plain", 1.0)},
        amounts={"ours": 300, "plain": 100},
        unit="images",
    )
    (line,) = compare(comparison, 2).lines()
    assert line == ["task", "600 images/s", "plain", "100 images/s", "6.00", "6.00 to 6.00"]


def test_the_command_writes_its_tables_and_keeps_those_of_other_parts(monkeypatch, tmp_path):
    def compare_sleep():
        """Sleeping or
        waking."""
        yield Comparison("sleeping", lambda: None, {"waking": lambda: None})

    monkeypatch.setitem(command.COMPARISONS, "loop", compare_sleep)
    monkeypatch.setitem(command.ALL, "loop", compare_sleep)
    monkeypatch.setitem(command.MEASUREMENTS, "samples", lambda: [["few", "1 GB", *[""] * 4]])
    for part in ("samples", "loop"):
        assert command.main([part, "--rounds", "1", "--results-dir", str(tmp_path)]) == 0
    text = (tmp_path / "speed.md").read_text()
    assert "## loop\n\nSleeping or waking.\n\nOn " in text
    assert "tensorflow" in text
    assert text.index("| sleeping |") < text.index("| few ")


@pytest.mark.parametrize("arguments", [["nosuch"], ["kid", "--rounds", "0"]])
def test_wrong_arguments_end_with_the_choice(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert "parts are loop, tutorial, machine" in capsys.readouterr().err


def test_ratios_are_those_of_the_rounds(way):
    comparison = Comparison("task", way("ours", 1.0), {"plain": way("plain", 1.0)})
    measured = compare(comparison, 2)
    measured.seconds = {"ours": [1.0, 2.0], "plain": [3.0, 2.0]}
    np.testing.assert_allclose(measured.ratios("plain"), [3.0, 1.0])
