import math

import pandas as pd
import pytest

from benchmark.humans.answers import add_columns, check_sitting, errors, human_error
from metrics.intervals import wilson_interval

FAKE, OTHER = "runs/mnist/vae/a/samplers/decoder", "runs/mnist/dcgan/b/samplers/generator"


def sitting(*answers, seconds=None):
    return {
        "seconds": seconds,
        "answers": [{"samples": path, "said_real": said} for path, said in answers],
    }


def test_the_error_is_the_mean_of_both_rates_of_mistakes():
    found = human_error((3, 1), (10, 20))
    assert found.rate == pytest.approx((0.3 + 0.05) / 2)
    (low, _), (other_low, _) = wilson_interval(3, 10), wilson_interval(1, 20)
    assert found.low == pytest.approx(found.rate - math.hypot(0.3 - low, 0.05 - other_low) / 2)
    assert human_error((0, 0), (10, 10)).low == 0.0
    assert human_error((10, 10), (10, 10)).high == 1.0
    assert human_error((0, 0), (10, 10)).high > 0.05


def test_real_images_count_for_every_model_of_a_sitting():
    one = sitting((FAKE, True), (FAKE, False), (OTHER, False), ("", True), ("", False), ("", True))
    found = errors([one])
    assert found[FAKE].error == human_error((1, 1), (2, 3))
    assert found[OTHER].error == human_error((0, 1), (1, 3))
    assert (found[FAKE].num_answers, found[OTHER].num_answers) == (2, 1)


def test_sittings_add_up():
    found = errors([sitting((FAKE, True), ("", True)), sitting((FAKE, False), ("", False))])
    assert found[FAKE].error == human_error((1, 1), (2, 2))


def test_a_model_without_answers_of_both_kinds_has_no_error():
    assert errors([sitting((FAKE, True))]) == errors([sitting(("", True))]) == {}


def test_rows_get_columns_by_the_samples_that_were_seen():
    paths = [f"{FAKE}/measurements/0", f"{FAKE}@best/measurements/0", f"{OTHER}/measurements/0"]
    rows = add_columns(pd.DataFrame({"path": paths}), [sitting((FAKE, True), ("", True))])
    assert rows["human_error"].tolist()[0] == 0.5
    assert rows["human_error"].isna().tolist() == [False, True, True]
    assert rows["human_answers"].tolist()[0] == 1.0
    assert rows["human_error_low"][0] < 0.5 < rows["human_error_high"][0]


def test_a_limited_time_has_columns_of_its_own():
    rows = pd.DataFrame({"path": [f"{FAKE}/measurements/0"]})
    answers = [(FAKE, True), ("", True)]
    rows = add_columns(rows, [sitting(*answers), sitting(*answers[:1], ("", False), seconds=0.5)])
    assert rows["human_error"].tolist() == [0.5]
    assert rows["human_error_500ms"].tolist() == [1.0]
    assert rows["human_answers_500ms"].tolist() == [1.0]


def test_without_rows_or_answers_nothing_is_added():
    empty = pd.DataFrame()
    assert add_columns(empty, [sitting((FAKE, True), ("", True))]).empty
    rows = pd.DataFrame({"path": ["a"]})
    assert add_columns(rows, []).columns.tolist() == ["path"]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"seconds": None},
        {"seconds": "1", "answers": []},
        {"seconds": -1, "answers": []},
        {"seconds": None, "answers": [{"samples": "a"}]},
        {"seconds": None, "answers": [{"samples": "a", "said_real": 1}]},
        {"seconds": None, "answers": [{"samples": 3, "said_real": True}]},
        {"seconds": None, "answers": 3},
    ],
)
def test_what_is_no_sitting_is_refused(wrong):
    with pytest.raises((KeyError, TypeError, ValueError)):
        check_sitting(wrong)
