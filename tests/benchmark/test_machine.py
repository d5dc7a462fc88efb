import threading

import pytest

from benchmark import console, machine
from benchmark.machine import measuring_alone


@pytest.fixture(autouse=True)
def own_lock(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "lock_path", lambda: tmp_path / "speed.lock")


def test_the_second_measurement_waits_with_a_message_and_then_begins():
    order, begun, waiting = [], threading.Event(), threading.Event()

    def first():
        with measuring_alone():
            begun.set()
            waiting.wait(10)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    begun.wait(10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "say", lambda text, style="": (order.append(text), waiting.set()))
        with measuring_alone():
            order.append("second")
    thread.join()
    assert order == [
        "waiting: another run is measuring its speed on this machine",
        "first",
        "second",
    ]


def test_a_measurement_that_fails_lets_the_next_one_begin():
    with pytest.raises(ZeroDivisionError), measuring_alone():
        raise ZeroDivisionError
    with console.console.capture() as captured, measuring_alone():
        pass
    assert "waiting" not in captured.get()


def test_the_lock_does_not_depend_on_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.undo()
    before = machine.lock_path()
    monkeypatch.chdir(tmp_path)
    assert machine.lock_path() == before
    assert before.is_absolute()
