import pandas as pd
import pytest

from benchmark.report import groups
from benchmark.report.groups import group_rows
from benchmark.report.rows import SANITY_MODELS, is_sanity


def with_other_protocol(rows):
    """The rows, and some of them measured by another encoder."""
    other = rows.iloc[[0, 3, 5]].assign(protocol="inception_v3 imagenet @299; N=5000")
    return pd.concat([rows, other], ignore_index=True)


def warnings_of(rows):
    (group,) = group_rows(rows)
    return " ".join(groups.warnings(group))


def test_protocols_never_share_a_table(rows):
    found = group_rows(with_other_protocol(rows))
    assert [len(group.rows) for group in found] == [8, 3]
    for group in found:
        assert set(group.rows["protocol"]) == {group.protocol}
    stems = [group.stem for group in found]
    assert len(set(stems)) == 2
    assert all(stem.startswith("mnist_quick_") and len(stem) == 16 for stem in stems)


@pytest.mark.parametrize("column", ["dataset", "preset"])
def test_datasets_and_presets_never_share_a_table(rows, column):
    rows.loc[0, column] = "other"
    found = group_rows(rows)
    assert len(found) == 2
    assert {group.stem for group in found} == {
        "mnist_quick",
        "other_quick" if column == "dataset" else "mnist_other",
    }


@pytest.mark.parametrize(
    ("column", "value"),
    [("classifier", "digits 12345678"), ("kid_encoder", "digits"), ("num_samples", 2000)],
)
def test_what_was_not_measured_alike_is_refused_even_under_one_protocol(rows, column, value):
    rows["classifier"] = "digits 87654321"
    rows.loc[[0, 5], column] = value
    found = group_rows(rows)
    assert sorted(len(group.rows) for group in found) == [2, 6]
    assert len({group.stem for group in found}) == 2
    assert all(group.rows[column].nunique() == 1 for group in found)
    assert "classifier" in groups.why_apart(found)


def test_sanity_rows_follow_dataset_and_protocol_and_stand_last(rows):
    rows.loc[0, "preset"] = "standard"
    for group in group_rows(rows):
        assert is_sanity(group.rows).tolist()[-3:] == [True, True, True]
        assert not is_sanity(group.rows)[:-3].any()
    rows.loc[0, "dataset"] = "fashion_mnist"
    assert not is_sanity(group_rows(rows)[0].rows).any()


def test_sanity_rows_measured_twice_stand_once_with_the_most_numbers(rows):
    fuller = rows.iloc[5:].assign(recall=0.5)
    (group,) = group_rows(pd.concat([rows, fuller], ignore_index=True))
    checks = group.rows[is_sanity(group.rows)]
    assert len(checks) == 3 and (checks["recall"] == 0.5).all()


def test_sanity_rows_stand_from_best_to_worst(rows):
    few = rows.iloc[[6]].assign(model="few_images")
    (group,) = group_rows(pd.concat([rows, few], ignore_index=True))
    assert tuple(group.rows["model"][-4:]) == SANITY_MODELS


def test_several_tables_are_explained(rows):
    assert groups.why_apart(group_rows(rows)) == ""
    found = group_rows(with_other_protocol(rows))
    text = groups.why_apart(found)
    assert "2 sections" in text and "protocol" in text and "encoder" in text
    assert len(set(groups.titles(found))) == 2


def test_description_names_what_the_numbers_rest_on(rows):
    (group,) = group_rows(rows)
    text = groups.describe(group)
    for fact in ("mnist", "quick", "1f3a9c2e", "N=5000", "reference", "times from cpu"):
        assert fact in text


def test_the_sampler_that_chose_the_best_weights_is_described(rows):
    samplers = {"ddpm": "dpm-10", "vae": "decoder-mean", "dcgan": "generator"}
    rows = rows.assign(validation_sampler=rows["model"].map(samplers).fillna(""))
    assert "best weights" not in groups.describe(group_rows(rows)[0])
    chosen = rows["model"].isin(["ddpm", "vae"])
    rows = rows.assign(checkpoint=chosen.map({True: "best", False: "last"}))
    text = groups.describe(group_rows(rows)[0])
    assert text.endswith("best weights chosen by samples of dpm-10 (ddpm), decoder-mean (vae)")


def test_the_classifier_is_described_once(rows):
    label = "classifier 12345678 @28"
    rows["protocol"], rows["classifier"] = (
        f"{rows['protocol'][0]}; {label}",
        f"{label}, test accuracy 99 %",
    )
    (group,) = group_rows(rows)
    text = groups.describe(group)
    assert text.count(label) == 1 and "test accuracy 99 %" in text


def test_corrected_class_fractions_are_said_to_be(rows):
    for corrected in (0.0, 1.0):
        (group,) = group_rows(rows.assign(fractions_corrected=corrected))
        assert ("corrected by the classifier" in groups.describe(group)) == bool(corrected)


def test_sampling_seeds_that_are_not_timed_stand_beside_their_training_seed(seeds):
    again = seeds.assign(sampling_seed=1, network_passes=float("nan"))
    both = pd.concat([seeds, again[again["status"] == "finished"]], ignore_index=True)
    (group,) = group_rows(both)
    ddpm = group.rows[group.rows["model"] == "ddpm"]
    assert list(ddpm["sampler"].unique()) == ["ddpm-200", "ddim-50", "ddim-10"]
    assert list(ddpm["sampling_seed"])[:4] == [0, 1, 0, 1]
    assert list(ddpm["seed"])[:4] == [10, 10, 11, 11]


def test_the_headline_is_what_the_rows_say(rows):
    (group,) = group_rows(rows)
    assert group.headline == "kid_mean"
    (group,) = group_rows(rows.assign(headline="density"))
    assert group.headline == "density"
    (group,) = group_rows(rows.assign(headline="", kid_digits_mean=0.1))
    assert group.headline == "kid_digits_mean"


def test_rows_stand_in_the_order_of_the_numbers_in_their_overrides(rows):
    overrides = [f"model.latent_dim={value}" for value in (16, 2, 100, 4)]
    (group,) = group_rows(rows.iloc[[3] * 4].assign(overrides=overrides))
    found = [text.partition("=")[2] for text in group.rows["overrides"]]
    assert found == ["2", "4", "16", "100"]


def test_there_is_nothing_to_warn_of(rows, seeds):
    assert warnings_of(rows) == warnings_of(seeds) == ""


def test_times_that_do_not_compare_are_warned_of(rows):
    assert "devices" in warnings_of(rows.assign(latency_device=["gpu", *["cpu"] * 7]))
    threads = rows.assign(latency_threads=[1, *[2] * 7])
    assert "threads or precisions" in warnings_of(threads)
    threads["latency_ms_per_image_p50"] = float("nan")
    assert warnings_of(threads) == ""


def test_numbers_of_the_smoke_preset_are_warned_of(rows):
    assert "mean nothing" in warnings_of(rows.assign(preset="smoke"))


def test_failed_runs_are_counted(seeds, diverged_row):
    text = warnings_of(pd.concat([seeds, diverged_row.assign(status="failed")], ignore_index=True))
    assert text == "Runs failed: dcgan 1 of 4; means are of the others."


def test_diverged_trainings_are_counted(seeds, diverged_row):
    text = warnings_of(pd.concat([seeds, diverged_row], ignore_index=True))
    assert text == "Trainings diverged: dcgan 1 of 4; means are of the others."


def test_two_runs_of_one_seed_are_warned_of(rows):
    again = rows.iloc[[3]].assign(run="another")
    text = warnings_of(pd.concat([rows, again], ignore_index=True))
    assert "vae decoder: several runs of one seed (0e0e0e0e, another)" in text
