import pandas as pd

from benchmark.report.groups import group_rows
from benchmark.report.rows import is_sanity, left_out, row_labels, row_styles, subject


def test_labels_name_model_and_sampler(rows):
    assert row_labels(rows)[:3] == ["ddpm-200", "ddpm ddim-50", "ddpm ddim-10"]
    assert row_labels(rows)[5:] == ["test_images", "noise", "repeated_image"]


def test_labels_tell_rows_apart_by_what_differs(rows):
    pair = rows.iloc[[3, 3]]
    assert row_labels(pair.assign(seed=[0, 1])) == ["vae decoder seed 0", "vae decoder seed 1"]
    by_overrides = row_labels(pair.assign(overrides=["", "model.beta=4"]))
    assert by_overrides == ["vae decoder", "vae decoder model.beta=4"]
    by_run = row_labels(pair.assign(overrides="", run=["aaaa", "bbbb"]))
    assert by_run == ["vae decoder aaaa", "vae decoder bbbb"]


def test_labels_tell_the_best_weights_from_the_last(rows):
    pair = rows.iloc[[3, 3]].assign(checkpoint=["last", "best"])
    assert row_labels(pair) == ["vae decoder", "vae decoder@best"]
    assert row_labels(pair.iloc[1:]) == ["vae decoder@best"]
    assert row_labels(pair.iloc[1:].drop(columns="sampler")) == ["vae"]
    assert len({style.color for style in row_styles(pair).values()}) == 2


def test_labels_are_distinct_even_of_equal_rows(rows):
    labels = row_labels(rows.iloc[[3, 3, 3]].assign(overrides=""))
    assert len(set(labels)) == 3


def test_styles_are_shared_between_tables(rows):
    both = row_styles(rows, rows.iloc[3:])
    assert both["vae decoder"] == row_styles(rows)["vae decoder"]
    assert set(both) == set(row_labels(rows[~is_sanity(rows)]))


def test_styles_colour_and_mark_models_and_shade_their_samplers(rows):
    styles = row_styles(rows)
    assert len({style.color for style in styles.values()}) == len(styles) == 5
    of_ddpm = [styles[name] for name in ("ddpm-200", "ddpm ddim-50", "ddpm ddim-10")]
    assert len({(style.model_color, style.marker) for style in of_ddpm}) == 1
    assert of_ddpm[0].color == of_ddpm[0].model_color
    lightness = [sum(style.color) for style in of_ddpm]
    assert lightness == sorted(lightness)
    assert len({style.marker for style in styles.values()}) == 3
    assert len({style.model_color for style in styles.values()}) == 3


def test_nine_models_look_different():
    names = [f"model{index}" for index in range(9)]
    rows = pd.DataFrame({"model": names, "sampler": "only", "seed": 0})
    styles = row_styles(rows).values()
    assert len({style.color for style in styles}) == len({style.marker for style in styles}) == 9


def test_a_sampler_named_after_its_model_stands_alone(rows):
    pair = rows.iloc[[3, 3]].assign(model="flow", sampler=["flow", "flows-2"])
    assert row_labels(pair) == ["flow", "flow flows-2"]


def test_seeds_share_a_style(rows):
    seeds = pd.concat([rows.iloc[[3, 4]].assign(seed=seed) for seed in (0, 1)], ignore_index=True)
    styles = row_styles(seeds)
    assert styles["vae decoder seed 0"] == styles["vae decoder seed 1"]
    assert styles["vae decoder seed 0"] != styles["dcgan generator seed 0"]


def test_a_line_and_its_rows_share_a_style_whatever_tells_them_apart(rows):
    pair = rows.iloc[[3, 3]].assign(seed=[0, 1], overrides=["", "model.beta=4"])
    styles = row_styles(pair)
    assert set(styles) == {"vae decoder", "vae decoder model.beta=4"}
    both = pd.concat([pair, pair.assign(seed=[2, 3])], ignore_index=True)
    styles = row_styles(both)
    assert styles["vae decoder seed 2"] == styles["vae decoder"] == styles["vae decoder seed 0"]
    assert styles["vae decoder model.beta=4 seed 3"] == styles["vae decoder model.beta=4"]


def test_rows_without_speed_are_named(rows, external_row, diverged_row):
    def named(rows):
        (group,) = group_rows(rows)
        return left_out(group.lines, "kid_mean", "images_per_second")

    assert named(rows) == ""
    both = pd.concat([rows, external_row, diverged_row], ignore_index=True)
    assert named(both) == "not shown, as their speed was not measured: my_model external"


def test_titles_name_the_number_of_seeds_of_each_line(rows, external_row):
    assert subject(rows) == "mnist, preset quick, N = 5,000"
    several = pd.concat([rows, rows.assign(seed=1)], ignore_index=True)
    assert subject(several).endswith(", 2 seeds")
    assert subject(several.drop(index=3)).endswith(", 1 to 2 seeds")
    assert "seed" not in subject(external_row)
