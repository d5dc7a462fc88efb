import numpy as np
import pytest

from benchmark import speed
from benchmark.plain import plain_kid, plain_prdc
from benchmark.speed import Comparison, compare, main
from metrics.kid import kid
from metrics.prdc import prdc


@pytest.fixture
def features():
    generator = np.random.default_rng(0)
    real, generated = generator.gamma(1.0, 1.0, (2, 150, 12)).astype(np.float32)
    real[:, 3:5] = generated[:, 3:5] = 0.0
    return real, 1.1 * generated


def test_the_plain_ways_give_the_same_numbers(features):
    real, generated = features
    plan = {"num_subsets": 5, "subset_size": 60}
    ours = {"real_features": real, "generated_features": generated}
    assert kid(**ours, **plan) == pytest.approx(plain_kid(*features, **plan), rel=1e-9)
    assert prdc(**ours, nearest_k=4) == pytest.approx(plain_prdc(*features, nearest_k=4))


def test_ways_run_in_turn_and_their_ratios_are_told(monkeypatch):
    order, now = [], [0.0]

    def way(name, seconds):
        def call():
            order.append(name)
            now[0] += seconds

        return call

    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])
    comparison = Comparison("task", way("ours", 0.5), {"plain": way("plain", 2.0)})
    assert compare(comparison, 3) == [["task", "0.50 s", "plain", "2.00 s", "4.00", "4.00 to 4.00"]]
    assert order == ["ours", "plain"] * 3


def test_the_command_writes_its_table(monkeypatch, tmp_path):
    comparison = Comparison("sleeping", lambda: None, {"waking": lambda: None})
    monkeypatch.setattr(speed, "PARTS", {"sleep": lambda: [comparison]})
    assert main(["sleep", "--rounds", "1", "--results-dir", str(tmp_path)]) == 0
    text = (tmp_path / "speed.md").read_text()
    assert "| sleeping |" in text
    assert "tensorflow" in text


@pytest.mark.parametrize("arguments", [["nosuch"], ["kid", "--rounds", "0"]])
def test_wrong_arguments_end_with_the_choice(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "parts are kid, prdc, encoder, memory" in capsys.readouterr().err
