import json
import logging

import keras
import numpy as np
import pytest

from metrics import latency
from metrics.base import Evaluation, NotMeasured
from metrics.cost import PeakMemory
from metrics.host import HostReading
from metrics.latency import Latency, measure_latency
from tests.metrics.conftest import FakeClock, LazyResult

# An image of FakeSampler takes 35 ms at batch 1, 45 ms at batch 32, 65 ms at 64, 345 ms at 512.
NUMBERS = {
    "latency_ms_per_pass_p50": 3.5,
    "latency_ms_per_image_p50": 35.0,
    "latency_ms_per_image_iqr": 0.0,
    "images_per_second": 256 / 185e-3,
    "images_per_second_1": 1 / 35e-3,
    "images_per_second_64": 64 / 65e-3,
    "throughput_batch_size": 256,
    "compile_seconds": 4.0,
    "network_passes": 10,
}
HOST = {"backend": "a library", "device": "a processor", "threads": 2, "intra_op_threads": 0}


class FakeSampler:
    """A pass takes 2 ms and 1 ms an image up to 16 of them; an image has 10 passes and 5 ms.

    The first call of each kind and batch takes 4 s more. All work is done when the result is taken
    to the host.
    """

    latent_shape, network_passes = (3,), 10

    def __init__(self, clock, *, disturbances=()):
        self.clock = clock
        self.network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)])
        self.disturbances = iter(disturbances)
        self.seen = set()
        self.last_inputs = None

    def _work(self, kind, batch_size, seconds):
        if (kind, batch_size) not in self.seen:
            self.seen.add((kind, batch_size))
            seconds += 4.0
        return LazyResult(self.clock, seconds + next(self.disturbances, 0.0))

    def _pass_seconds(self, batch_size):
        return 2e-3 + 1e-3 * max(1, batch_size / 16)

    def pass_inputs(self, latents):
        return latents

    def single_pass(self, latents):
        return self._work("pass", len(latents), self._pass_seconds(len(latents)))

    def sample(self, latents, seeds):
        self.last_inputs = latents, seeds
        seconds = 10 * self._pass_seconds(len(latents)) + 5e-3
        return {"images": [self._work("sample", len(latents), seconds)]}


@pytest.fixture(autouse=True)
def readings(monkeypatch):
    """Readings of the host before and after a measurement, changed by the test."""
    readings = [HostReading(0.0, 0.0, 0.0, 2), HostReading(10.0, 4.0, 4.5, 2)]
    monkeypatch.setattr(latency, "read_host", lambda: readings.pop(0))
    return readings


@pytest.fixture(autouse=True)
def described_device(monkeypatch):
    monkeypatch.setattr(latency, "describe_device", lambda: dict(HOST))


def evaluation(sampler):
    pixels = np.zeros((1, 4, 4, 1), dtype=np.uint8)
    return Evaluation(real_images=pixels, generated_images=pixels, seed=3, sampler=sampler)


def functions(sampler):
    """The sampler as plain functions of the batch size."""
    return {
        "sample": lambda size: sampler.sample(np.zeros((size, 3)), None),
        "single_pass": lambda size: sampler.single_pass(np.zeros((size, 3))),
    }


def words(numbers):
    return {name: value for name, value in numbers.items() if isinstance(value, str)}


def without_words(numbers):
    return {name: value for name, value in numbers.items() if not isinstance(value, str)}


def test_metric_reports_times_and_costs(monkeypatch):
    clock = FakeClock()
    held = []

    def peak_memory(call, held_bytes):
        held.append(held_bytes)
        return PeakMemory(8 * 10**6, 10**6, "GPU:0", 2 * 10**6)

    monkeypatch.setattr(latency, "peak_memory", peak_memory)
    judged = evaluation(FakeSampler(clock))
    numbers = Latency(clock=clock)(judged)
    costs = {"num_parameters": 20, "gflops_per_pass": 30e-9, "peak_memory_mb": 9.0}
    expected = {**NUMBERS, **costs, "latency_threads": 2}
    assert without_words(numbers) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert words(numbers) == {"latency_device": "a processor", "latency_precision": "float32"}
    assert all(type(number) is float for number in without_words(numbers).values())
    assert held == [20 * 4]  # the weights
    details = judged.details["latency"]
    assert details["peak_memory"] == {
        "of": "GPU:0",
        "peak_mb": 8.0,
        "before_mb": 1.0,
        "held_mb": 2.0,
        "increase_mb": 9.0,
        "batch_size": 64,
    }
    assert details["not_measured"] == {}
    assert details["precision"] == "float32"
    assert json.loads(json.dumps(details)) == details


def test_every_observation_and_the_protocol_are_kept():
    clock = FakeClock()
    judged = evaluation(FakeSampler(clock))
    Latency(clock=clock)(judged)
    details = judged.details["latency"]
    for batch, calls in (("batch_1", 30), ("batch_64", 30), ("batch_256", 30)):
        assert len(details[batch]["end_to_end_ms"]) == calls
        assert len(details[batch]["end_to_end_warmup_ms"]) == 5
    # The single call, which costs less or more than a pass of the loop, is told here alone.
    assert details["batch_1"]["pass_ms"] == pytest.approx([3.0] * 167)  # half a second of them
    assert details["batch_64"]["end_to_end_first_call_seconds"] == pytest.approx(4.065)
    assert set(details["images_per_second_by_batch_tried"]) == {"8", "16", "32", "64", "128", "256"}
    assert details["throughput_batch_size"] == 256
    assert details["largest_batch_size_tried"] == 256
    assert "5 to warm up, 30 to 167 repeats" in details["protocol"]
    assert "host memory" in details["protocol"]
    for name in ("device", "backend", "intra_op_threads", "usable_processors", "processor"):
        assert name in details


def test_a_pass_costs_what_it_costs_within_the_loop():
    clock = FakeClock()
    calls = functions(FakeSampler(clock))
    report = measure_latency(**calls, network_passes=10, max_batch_size=1, clock=clock)
    numbers = report.numbers
    product = numbers["network_passes"] * numbers["latency_ms_per_pass_p50"]
    assert product == pytest.approx(numbers["latency_ms_per_image_p50"])
    assert report.details["batch_1"]["pass_p50_ms"] == pytest.approx(3.0)


def test_plain_functions_are_measured_alike():
    clock = FakeClock()
    report = measure_latency(**functions(FakeSampler(clock)), network_passes=10, clock=clock)
    numbers = {**NUMBERS, "latency_threads": 2}
    assert without_words(report.numbers) == pytest.approx(numbers, rel=1e-9, abs=1e-12)
    assert words(report.numbers) == {"latency_device": "a processor"}
    assert json.loads(json.dumps(report.details)) == report.details


def test_what_a_sampler_does_not_offer_is_left_out():
    clock = FakeClock()
    sample = functions(FakeSampler(clock))["sample"]
    report = measure_latency(sample=sample, clock=clock, device="a card")
    per_image = {name: number for name, number in NUMBERS.items() if "pass" not in name}
    assert without_words(report.numbers) == pytest.approx(per_image, rel=1e-9, abs=1e-12)
    assert report.numbers["latency_device"] == report.details["device"] == "a card"
    assert "backend" not in report.details


def test_a_small_limit_leaves_the_common_batch_out_with_the_reason():
    clock = FakeClock()
    judged = evaluation(FakeSampler(clock))
    numbers = Latency(clock=clock, max_batch_size=1)(judged)
    assert numbers["images_per_second"] == numbers["images_per_second_1"]
    assert numbers["throughput_batch_size"] == 1
    assert "images_per_second_64" not in numbers
    reasons = judged.details["latency"]["not_measured"]
    assert reasons["images_per_second_64"] == "max_batch_size is 1"


@pytest.mark.parametrize(("max_seconds", "largest"), [(10.0, 256), (1.2, 128), (0.9, 64)])
def test_batches_above_the_common_one_are_tried_where_that_is_cheap(max_seconds, largest):
    # Nine calls of 64 images take 0.585 s; those of 128 would take 1.17 s at that speed.
    clock = FakeClock()
    report = measure_latency(**functions(FakeSampler(clock)), clock=clock, max_seconds=max_seconds)
    assert report.details["largest_batch_size_tried"] == largest
    assert report.numbers["throughput_batch_size"] == largest


def test_the_fastest_of_the_measured_batches_is_the_throughput():
    # In the search batches above 8 gain nothing, end to end the one of 64 does.
    clock = FakeClock()
    report = measure_latency(
        sample=lambda size: LazyResult(clock, 0.01 + 0.001 * size),
        single_pass=lambda size: LazyResult(clock, 0.001 * size),
        clock=clock,
    )
    assert {"batch_1", "batch_8", "batch_64"} <= report.details.keys()
    assert report.numbers["throughput_batch_size"] == 64
    assert report.numbers["images_per_second"] == report.numbers["images_per_second_64"]
    assert report.numbers["images_per_second"] == pytest.approx(64 / 0.074)


def test_options_reach_every_timing():
    clock = FakeClock()
    options = {"warmup": 2, "min_repeats": 4, "min_seconds": 0.0, "max_seconds": 50.0}
    details = measure_latency(
        **functions(FakeSampler(clock)), max_batch_size=8, clock=clock, **options
    ).details
    assert "2 to warm up, 4 to 4 repeats" in details["protocol"]


def test_sampler_gets_latents_and_seeds_of_its_shapes():
    sampler = FakeSampler(FakeClock())
    Latency(clock=sampler.clock, max_batch_size=8)(evaluation(sampler))
    latents, seeds = sampler.last_inputs
    assert latents.shape == (8, 3) and latents.dtype == np.float32
    assert latents.std() > 0.5
    assert seeds.dtype == np.uint32
    np.testing.assert_array_equal(seeds, [[3, i] for i in range(8)])


def test_costs_that_cannot_be_told_are_left_out_with_the_reason(monkeypatch):
    def refuse(*_, **__):
        raise NotMeasured("nobody knows")

    monkeypatch.setattr(latency, "count_flops", refuse)
    monkeypatch.setattr(latency, "peak_memory", refuse)
    clock = FakeClock()
    judged = evaluation(FakeSampler(clock))
    numbers = Latency(clock=clock)(judged)
    words = {"latency_device", "latency_threads", "latency_precision"}
    assert numbers.keys() == {*NUMBERS, *words, "num_parameters"}
    assert judged.details["latency"]["not_measured"] == {
        "gflops_per_pass": "nobody knows",
        "peak_memory_mb": "nobody knows",
    }


def test_a_quiet_host_is_not_suspected(caplog):
    clock = FakeClock()
    judged = evaluation(FakeSampler(clock))
    with caplog.at_level(logging.WARNING):
        Latency(clock=clock, max_batch_size=8)(judged)
    details = judged.details["latency"]
    assert details["busy_host"] is False
    assert details["busy_reasons"] == []
    assert details["fraction_of_other_processes"] == pytest.approx(0.025)
    assert details["largest_spread"] == pytest.approx(1.0)
    assert not caplog.records


@pytest.mark.parametrize("max_batch_size", [1, 8])
def test_timings_that_vary_are_reported(caplog, max_batch_size):
    clock = FakeClock()
    sampler = FakeSampler(clock, disturbances=[0.0, 0.0, 0.002] * 5000)
    judged = evaluation(sampler)
    with caplog.at_level(logging.WARNING):
        Latency(clock=clock, max_batch_size=max_batch_size)(judged)
    details = judged.details["latency"]
    assert details["busy_host"] is True
    assert details["busy_reasons"] == ["the timings vary by a factor of 1.7"]
    assert "busy: the timings vary" in caplog.text


def test_variation_at_the_throughput_batch_alone_is_reported():
    clock = FakeClock()
    sampler = FakeSampler(clock)
    # The calls of batch 1 and of the search come first; then every third is disturbed.
    sampler.disturbances = iter([0.0] * (6 + 167 + 36 + 8) + [0.0, 0.0, 0.3] * 500)
    judged = evaluation(sampler)
    Latency(clock=clock, max_batch_size=8)(judged)
    details = judged.details["latency"]
    assert max(details["batch_1"]["end_to_end_ms"]) < 40.0
    assert details["busy_host"] is True


@pytest.mark.parametrize(("busy", "is_busy"), [(5.9, False), (6.1, True), (8.0, True)])
def test_other_processes_are_reported(caplog, readings, busy, is_busy):
    readings[1] = HostReading(10.0, 4.0, busy, 2)  # 10 % of 2 x 10 s are 2 s
    clock = FakeClock()
    judged = evaluation(FakeSampler(clock))
    with caplog.at_level(logging.WARNING):
        Latency(clock=clock, max_batch_size=8)(judged)
    details = judged.details["latency"]
    assert details["fraction_of_other_processes"] == pytest.approx((busy - 4.0) / 20.0)
    assert details["busy_host"] is is_busy
    assert ("other processes took" in caplog.text) is is_busy


def test_a_host_that_tells_no_load_is_judged_by_the_timings(monkeypatch):
    monkeypatch.setattr(latency, "read_host", lambda: None)
    clock = FakeClock()
    judged = evaluation(FakeSampler(clock))
    Latency(clock=clock, max_batch_size=8)(judged)
    details = judged.details["latency"]
    assert details["fraction_of_other_processes"] is None
    assert details["busy_host"] is False


def test_images_alone_have_no_latency():
    with pytest.raises(NotMeasured, match="needs a sampler"):
        Latency()(evaluation(None))
    assert Latency.requires_sampler


@pytest.mark.parametrize(
    "wrong", [{"min_repeats": 2}, {"warmup": 0}, {"max_batch_size": 0}, {"max_seconds": 0.0}]
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be"):
        Latency(**wrong)
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be"):
        measure_latency(sample=np.zeros, **wrong)
