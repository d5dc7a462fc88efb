import json
import logging

import keras
import numpy as np
import pytest

from metrics.base import Evaluation, NotMeasured
from metrics.latency import Latency, Timing, find_throughput_batch, measure


class FakeClock:
    """Time passes only when someone works."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class FakeSampler:
    """A pass takes 2 ms and 1 ms an image up to 16 of them; an image has 10 passes and 5 ms."""

    latent_shape, network_passes = (3,), 10

    def __init__(self, clock, *, compile_seconds=4.0, disturbances=()):
        self.clock = clock
        self.network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)])
        self.compile_seconds = compile_seconds
        self.disturbances = iter(disturbances)
        self.seen = set()
        self.last_inputs = None

    def _work(self, kind, batch_size, seconds):
        if (kind, batch_size) not in self.seen:
            self.seen.add((kind, batch_size))
            seconds += self.compile_seconds
        self.clock.now += seconds + next(self.disturbances, 0.0)

    def _pass_seconds(self, batch_size):
        return 2e-3 + 1e-3 * max(1, batch_size / 16)

    def single_pass(self, latents):
        self._work("pass", len(latents), self._pass_seconds(len(latents)))

    def sample(self, latents, seeds):
        self.last_inputs = latents, seeds
        self._work("sample", len(latents), 10 * self._pass_seconds(len(latents)) + 5e-3)


def evaluation(sampler):
    pixels = np.zeros((1, 4, 4, 1), dtype=np.uint8)
    return Evaluation(real_images=pixels, generated_images=pixels, seed=3, sampler=sampler)


def constant_call(clock, seconds):
    def call():
        call.count += 1
        clock.now += seconds

    call.count = 0
    return call


def test_the_first_call_and_the_warm_up_do_not_count():
    clock = FakeClock()
    durations = iter([9.0, *[5.0] * 2, *[1.0] * 30])

    def call():
        clock.now += next(durations)

    timing = measure(call, clock=clock, warmup=2, min_seconds=0.0, max_seconds=100.0)
    assert timing.seconds == (1.0,) * 30
    assert timing.warmup_seconds == (5.0, 5.0)
    assert timing.compile_seconds == 8.0


@pytest.mark.parametrize(
    ("seconds", "expected_repeats"),
    [(0.0625, 30), (1.0, 10), (7.0, 3), (2**-10, 512), (2**-20, 1000)],
    ids=["thirty", "ten seconds", "three", "half a second of quick calls", "a thousand"],
)
def test_repeats_stop_by_count_and_by_time(seconds, expected_repeats):
    clock = FakeClock()
    call = constant_call(clock, seconds)
    timing = measure(call, clock=clock, warmup=5, max_seconds=10.0)
    assert len(timing.seconds) == expected_repeats
    assert call.count == 1 + len(timing.warmup_seconds) + expected_repeats
    assert len(timing.warmup_seconds) == (2 if seconds == 7.0 else 5)


def test_median_range_and_spread():
    timing = Timing(10.0, (), (1.0, 2.0, 3.0, 4.0, 100.0))
    assert (timing.p50, timing.iqr, timing.compile_seconds) == (3.0, 2.0, 7.0)
    assert timing.spread == pytest.approx(61.6 / 1.4)
    assert timing.milliseconds == [1e3, 2e3, 3e3, 4e3, 1e5]


def test_batch_is_doubled_while_it_pays():
    # Up to 32 images a call costs the same, beyond it costs in proportion.
    best, tried = find_throughput_batch(
        lambda batch: max(1.0, batch / 32), first_batch_size=8, max_batch_size=512
    )
    assert best == 32
    assert tried == {8: 8.0, 16: 16.0, 32: 32.0, 64: 32.0}
    assert find_throughput_batch(lambda batch: batch, first_batch_size=8, max_batch_size=64)[0] == 8


def test_the_least_gain_decides():
    # Every doubling gains 4 %.
    options = {"first_batch_size": 1, "max_batch_size": 8}
    doublings = {1: 1.0, 2: 2 / 1.04, 4: 4 / 1.04**2, 8: 8 / 1.04**3}
    assert find_throughput_batch(doublings.get, **options)[0] == 1
    assert find_throughput_batch(doublings.get, **options, minimum_gain=0.03)[0] == 8


@pytest.mark.parametrize(("limit", "best"), [(1, 1), (4, 4), (16, 16), (24, 16)])
def test_batch_stays_below_its_limit(limit, best):
    found, tried = find_throughput_batch(
        lambda batch: 1.0, first_batch_size=8, max_batch_size=limit
    )
    assert found == best
    assert max(tried) <= limit


def test_metric_reports_passes_overhead_and_throughput():
    clock = FakeClock()
    sampler = FakeSampler(clock)
    judged = evaluation(sampler)
    numbers = Latency(clock=clock, max_batch_size=32)(judged)
    assert numbers == pytest.approx(
        {
            "latency_ms_per_pass_p50": 3.0,
            "latency_ms_per_pass_iqr": 0.0,
            "latency_ms_per_image_p50": 35.0,
            "latency_ms_per_image_iqr": 0.0,
            "overhead_ms_per_image": 5.0,
            "images_per_second": 32 / 45e-3,
            "throughput_batch_size": 32,
            "compile_seconds": 4.0,
            "network_passes": 10,
            "num_parameters": 20,
        },
        abs=1e-6,
    )
    details = judged.details["latency"]
    assert len(details["batch_1"]["end_to_end_ms"]) == 30
    assert len(details["batch_32"]["pass_warmup_ms"]) == 5
    assert set(details["images_per_second_of_single_passes"]) == {"8", "16", "32"}
    assert details["busy_host"] is False
    assert json.loads(json.dumps(details)) == details


def test_sampler_gets_latents_and_seeds_of_its_shapes():
    sampler = FakeSampler(FakeClock())
    Latency(clock=sampler.clock, max_batch_size=8)(evaluation(sampler))
    latents, seeds = sampler.last_inputs
    assert latents.shape == (8, 3) and latents.dtype == np.float32
    assert latents.std() > 0.5
    assert seeds.dtype == np.uint32
    np.testing.assert_array_equal(seeds, [[3, i] for i in range(8)])


def test_a_disturbed_host_is_reported(caplog):
    clock = FakeClock()
    sampler = FakeSampler(clock, disturbances=[0.0, 0.0, 0.002] * 200)
    judged = evaluation(sampler)
    with caplog.at_level(logging.WARNING):
        Latency(clock=clock, max_batch_size=1)(judged)
    assert judged.details["latency"]["busy_host"] is True
    assert "busy" in caplog.text


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
