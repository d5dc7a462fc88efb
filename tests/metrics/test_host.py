import os

import pytest

from metrics import host
from metrics.host import HostReading, busy_seconds, fraction_of_others, read_host, usable_processors

# user nice system idle iowait irq softirq steal guest guest_nice
STAT = """cpu  111 222 333 444 555 666 777 888 99 11
cpu0 100 20 30 9000 800 4 5 6 70 7
cpu1 200 0 0 9000 0 0 0 0 0 0
cpu10 1000000 0 0 0 0 0 0 0 0 0
intr 123 4 5
"""


def test_only_work_on_the_given_processors_counts(monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_CLK_TCK": 100}.__getitem__)
    assert busy_seconds(STAT, [0]) == pytest.approx(1.65)  # idle, waiting and guests are not work
    assert busy_seconds(STAT, [0, 1]) == pytest.approx(3.65)


@pytest.mark.parametrize(
    ("own", "busy", "expected"),
    [(4.0, 8.0, 0.2), (4.0, 4.0, 0.0), (4.0, 3.9, 0.0), (0.0, 20.1, 1.0)],
    ids=["others", "alone", "clocks disagree", "others alone"],
)
def test_others_have_what_is_busy_and_not_ours(own, busy, expected):
    before = HostReading(5.0, 1.0, 50.0, 2)
    after = HostReading(15.0, 1.0 + own, 50.0 + busy, 2)
    assert fraction_of_others(before, after) == pytest.approx(expected)


def test_there_is_no_fraction_without_readings(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "STAT", tmp_path / "stat")
    assert read_host() is None
    assert fraction_of_others(None, None) is None


def test_the_host_is_read(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "STAT", tmp_path / "stat")
    monkeypatch.setattr(host, "usable_processors", lambda: [0, 1])
    monkeypatch.setattr(os, "sysconf", {"SC_CLK_TCK": 100}.__getitem__)
    (tmp_path / "stat").write_text(STAT)
    first = read_host()
    sum(range(100_000))
    second = read_host()
    assert first.busy_seconds == second.busy_seconds == pytest.approx(3.65)
    assert first.num_processors == 2
    assert 0.0 < second.own_seconds - first.own_seconds
    assert 0.0 < second.wall_seconds - first.wall_seconds


@pytest.mark.skipif(not host.STAT.exists(), reason="the system tells no processor times")
def test_the_system_tells_its_processors():
    reading = read_host()
    assert reading.num_processors == len(usable_processors()) >= 1
    assert reading.busy_seconds > 0.0


def test_device_and_threads_are_told():
    tensorflow = pytest.importorskip("tensorflow")
    device = host.describe_device()
    assert device["backend"] == "tensorflow"
    assert device["devices"] == ["cpu:0"]
    assert device["device"] == host.processor_name()
    threads = tensorflow.config.threading.get_intra_op_parallelism_threads()
    assert device["intra_op_threads"] == threads
    assert device["threads"] == (threads or len(usable_processors()))


def test_an_accelerator_is_told_by_its_model(monkeypatch):
    tensorflow = pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0"])
    monkeypatch.setattr(tensorflow.config, "get_visible_devices", lambda kind: ["a card"])
    monkeypatch.setattr(
        tensorflow.config.experimental, "get_device_details", lambda gpu: {"device_name": "H200"}
    )
    assert host.describe_device()["device"] == "H200"


def test_the_processor_is_told_by_its_model(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "CPU_INFO", tmp_path / "cpuinfo")
    assert host.processor_name()  # the architecture, where nothing is told
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: A Processor @ 2 GHz\n")
    assert host.processor_name() == "A Processor @ 2 GHz"
    fields = "cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\n\n"
    (tmp_path / "cpuinfo").write_text(fields + fields.replace("25", "26"))  # of two processors
    assert host.processor_name() == "AMD EPYC (family 25, model 1)"
