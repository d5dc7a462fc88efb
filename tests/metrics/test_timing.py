import numpy as np
import pytest

from metrics.timing import Timing, find_throughput_batch, measure, to_host
from tests.metrics.conftest import FakeClock, LazyResult


def constant_call(clock, seconds):
    def call():
        call.count += 1
        clock.now += seconds
        return np.zeros(1)

    call.count = 0
    return call


def test_the_first_call_and_the_warm_up_do_not_count():
    clock = FakeClock()
    durations = iter([9.0, *[5.0] * 2, *[1.0] * 30])

    def call():
        clock.now += next(durations)
        return np.zeros(1)

    timing = measure(call, clock=clock, warmup=2, min_seconds=0.0, max_seconds=100.0)
    assert timing.seconds == (1.0,) * 30
    assert timing.warmup_seconds == (5.0, 5.0)
    assert timing.compile_seconds == 8.0


@pytest.mark.parametrize(
    ("seconds", "expected_repeats"),
    [(0.0625, 30), (1.0, 10), (7.0, 3), (2**-10, 512), (2**-20, 1000)],
    ids=["thirty", "ten seconds", "three", "half a second of quick calls", "a thousand"],
)
def test_repeats_stop_by_count_and_by_time_and_the_warm_up_does_not(seconds, expected_repeats):
    clock = FakeClock()
    call = constant_call(clock, seconds)
    timing = measure(call, clock=clock, warmup=5, max_seconds=10.0)
    assert len(timing.seconds) == expected_repeats
    assert len(timing.warmup_seconds) == 5
    assert call.count == 1 + 5 + expected_repeats


def test_median_range_and_spread():
    timing = Timing(10.0, (0.5,), (1.0, 2.0, 3.0, 4.0, 100.0))
    assert (timing.p50, timing.iqr, timing.compile_seconds) == (3.0, 2.0, 7.0)
    assert timing.spread == pytest.approx(61.6 / 1.4)
    assert timing.describe() == {
        "ms": [1e3, 2e3, 3e3, 4e3, 1e5],
        "warmup_ms": [500.0],
        "first_call_seconds": 10.0,
        "p50_ms": 3e3,
        "iqr_ms": 2e3,
    }


@pytest.mark.parametrize(
    ("wrap", "expected"),
    [
        (lambda lazy: lazy(), 2.0),
        (lambda lazy: [lazy(), lazy()], 4.0),
        (lambda lazy: {"images": lazy(), "states": (lazy(), [lazy()])}, 6.0),
    ],
    ids=["array", "list", "nested"],
)
def test_a_lazy_result_is_timed_in_full(wrap, expected):
    clock = FakeClock()
    timing = measure(lambda: wrap(lambda: LazyResult(clock, 2.0)), clock=clock)
    assert timing.first_seconds == expected
    assert set(timing.warmup_seconds) == set(timing.seconds) == {expected}


def test_a_torch_tensor_is_taken_from_its_device_first():
    class Tensor:
        """Like one of PyTorch on an accelerator: it refuses NumPy until it is on the host."""

        def __array__(self, dtype=None, copy=None):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")

        def detach(self):
            return self

        def cpu(self):
            return host_tensor

    host_tensor = LazyResult(FakeClock(), 0.0)
    to_host({"images": Tensor()})
    assert host_tensor.conversions == 1


def test_an_array_of_the_backend_is_taken_to_the_host():
    tensorflow = pytest.importorskip("tensorflow")
    to_host([tensorflow.ones(3), np.float32(1.0)])


@pytest.mark.parametrize("nothing", [None, [], {}, 3.0, (np.zeros(1), iter([]))])
def test_what_cannot_be_waited_for_is_refused(nothing):
    with pytest.raises(TypeError, match="must return arrays.*Received"):
        measure(lambda: nothing)


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
