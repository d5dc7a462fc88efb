import inspect
import math

import numpy as np
import pandas as pd
import pytest

from benchmark.classifiers import rejected_fraction
from benchmark.datasets.mnist import load_mnist
from benchmark.evaluation import REFERENCE_SEED, draw
from benchmark.report import radar as module
from benchmark.report.groups import group_rows
from benchmark.report.radar import diversity_score, quality_score, radar, trilemma_scores
from metrics.classifier import load_packaged_classifier
from metrics.encoders import InceptionV3Encoder
from metrics.prdc import prdc


def scores_of(rows):
    (group,) = group_rows(rows)
    return trilemma_scores(group.lines)


def drawn(rows):
    (group,) = group_rows(rows)
    return radar(group)


def test_every_corner_has_a_fixed_scale(rows):
    numbers = ["rejected_fraction", "images_per_second", "coverage"]
    rows.loc[3, numbers] = [0.525, math.sqrt(1e4), 0.19]
    scores, rules = scores_of(rows)
    np.testing.assert_allclose(scores.loc["vae decoder"], [0.5, 0.5, 0.2])
    assert "quality: fraction of samples not rejected; 1 = 0.95 or more" in rules
    assert any("0 = 0.1, 1 = 100,000" in rule for rule in rules)
    assert "diversity: coverage; 1 = 0.95 or more" in rules


def test_no_other_row_changes_a_score(rows):
    numbers = ["density", "coverage", "images_per_second", "kid_mean", "rejected_fraction"]
    before = scores_of(rows)[0].loc["vae decoder"]
    others = rows["model"] != "vae"
    rows.loc[others, numbers] = rows.loc[others, numbers] * 1.7 + 0.01
    pd.testing.assert_series_equal(scores_of(rows)[0].loc["vae decoder"], before)
    alone = scores_of(rows[rows["model"] == "vae"])[0].loc["vae decoder"]
    pd.testing.assert_series_equal(alone, before)


def test_test_images_are_at_one_and_said_to_be(rows):
    rows.loc[rows["model"] == "test_images", "rejected_fraction"] = 0.012
    scores, rules = scores_of(rows)
    assert scores.loc["test_images", ["quality", "diversity"]].tolist() == [1, 1]
    assert "test images: quality 1.00, diversity 1.00" in rules


def test_scores_are_of_means_over_seeds(seeds):
    scores, _ = scores_of(seeds)
    coverage = seeds.loc[seeds["model"] == "vae", "coverage"].mean()
    assert scores.loc["vae decoder", "diversity"] == pytest.approx(coverage / 0.95)
    assert len(scores) == 6


def test_scores_stay_between_zero_and_one(rows):
    rows.loc[0, ["rejected_fraction", "coverage", "images_per_second"]] = [0.0, 1.0, 1e7]
    rows.loc[1, ["rejected_fraction", "coverage", "images_per_second"]] = [1.0, 0.0, 1e-3]
    scores, _ = scores_of(rows)
    assert scores.loc["ddpm-200"].tolist() == [1, 1, 1]
    assert scores.loc["ddpm ddim-50"].tolist() == [0, 0, 0]


def test_without_classifier_and_coverage_other_numbers_stand_in(rows):
    rows[["rejected_fraction", "coverage"]] = np.nan
    rows.loc[rows["model"] == "dcgan", ["modes_covered", "density"]] = [7, 0.475]
    scores, rules = scores_of(rows)
    assert scores.loc["dcgan generator", "diversity"] == pytest.approx(0.7)
    assert scores.loc["dcgan generator", "quality"] == pytest.approx(0.5)
    assert "density" in rules[0] and "modes" in rules[2]


def test_quality_and_diversity_do_not_measure_each_other():
    assert set(inspect.signature(quality_score).parameters) == {"rejected", "density"}
    assert set(inspect.signature(diversity_score).parameters) == {"coverage", "modes"}
    assert module.FULL_RECOGNISED == module.FULL_COVERAGE == 0.95


def test_radar_draws_closed_lines_of_the_complete_rows(rows):
    rows.loc[3, "images_per_second"] = np.nan
    figure = drawn(rows)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["dcgan generator", "ddpm-200"]
    lines = [line for line in figure.axes[0].lines if line.get_label() in labels]
    for line in lines:
        points = np.column_stack(line.get_data())
        assert points.shape == (4, 2)
        np.testing.assert_array_equal(points[0], points[-1])


def test_radar_draws_each_model_with_its_best_sampler(seeds):
    def named(rows):
        return [text.get_text() for text in drawn(rows).legends[0].get_texts()]

    assert named(seeds) == ["dcgan generator", "ddpm-200", "vae decoder"]
    seeds.loc[seeds["sampler"] == "ddim-10", "kid_mean"] = 0.0001
    assert named(seeds) == ["dcgan generator", "ddpm ddim-10", "vae decoder"]
    assert "each model with its best sampler by KID" in drawn(seeds).get_supxlabel()
    few = seeds[seeds["sampler"] != "ddim-50"]
    few = few[few["sampler"] != "ddim-10"]
    assert "best sampler" not in drawn(few).get_supxlabel()


def test_radar_legend_lies_beside_the_triangle(rows):
    figure = drawn(rows)
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert not legend.overlaps(figure.axes[0].get_window_extent())
    assert not legend.overlaps(figure._suptitle.get_window_extent())
    assert legend.x1 <= figure.bbox.x1


def test_radar_of_nothing_is_none(rows, diverged_row):
    assert drawn(diverged_row) is None
    rows["images_per_second"] = np.nan
    assert drawn(rows) is None


def test_rows_without_speed_are_named_and_not_drawn(rows, external_row):
    assert "not shown" not in drawn(rows).get_supxlabel()
    figure = drawn(pd.concat([rows, external_row], ignore_index=True))
    assert "my_model external" in figure.get_supxlabel()
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == 3 and "my_model external" not in names
    assert drawn(external_row) is None


NUM_IMAGES = 500


def damaged_sets(images, labels):
    """Real images damaged in known order, by what is done to them."""
    random = np.random.default_rng(0)
    shuffled = images[random.permutation(len(images))]

    def with_halves(count):
        mixed = images.copy()
        mixed[:count, :14] = shuffled[:count, :14]
        return mixed

    def with_holes(count):
        holed = images.copy()
        holed[:count, 10:18, 10:18] = 0
        return holed

    def noisy(scale):
        noise = random.normal(0, scale, images.shape)
        return (images + noise).clip(0, 255).astype("uint8")

    def repeated(count):
        return np.repeat(images[:count], len(images) // count, axis=0)

    def of_classes(count):
        kept = images[labels < count]
        return np.concatenate([kept] * 10)[: len(images)]

    return {
        "test images": images,
        "halves": [with_halves(len(images) * 3 // 10), with_halves(len(images))],
        "holes": [with_holes(len(images) * 3 // 10), with_holes(len(images))],
        "noise": [noisy(20), noisy(60)],
        "repeated": [repeated(100), repeated(20), repeated(1)],
        "dropped": [of_classes(7), of_classes(3)],
    }


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """Quality and diversity of damaged real sets, measured as those of the rows are."""
    classifier = load_packaged_classifier("mnist")
    dataset = load_mnist(cache_dir=tmp_path_factory.mktemp("cache"))
    encoder = InceptionV3Encoder(weights="embedded", image_size=75)
    real = encoder(draw(dataset.train_images, NUM_IMAGES, REFERENCE_SEED))

    def score(images):
        found = prdc(real_features=real, generated_features=encoder(images))
        found = {name: pd.Series([value]) for name, value in found.items()}
        unknown = pd.Series([math.nan])
        rejected = pd.Series([rejected_fraction(classifier, images)])
        quality, _ = quality_score(rejected, unknown)
        diversity, _ = diversity_score(found["coverage"], unknown)
        return quality[0], diversity[0]

    images, labels = (
        draw(array, NUM_IMAGES, REFERENCE_SEED)
        for array in (dataset.test_images, dataset.test_labels)
    )
    sets = damaged_sets(images, labels)
    real_score = score(sets.pop("test images"))
    return {name: [real_score, *map(score, images)] for name, images in sets.items()}


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["halves", "holes", "noise"])
def test_damaged_images_fall_in_quality_the_more_the_worse(damaged, damage):
    quality = [quality for quality, _ in damaged[damage]]
    assert quality[0] == 1.0
    assert (np.diff(quality) <= 0).all() and quality[-1] < 0.9 * quality[0]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["repeated", "dropped"])
def test_missing_images_fall_in_diversity_alone(damaged, damage):
    quality, diversity = zip(*damaged[damage], strict=True)
    assert diversity[0] == 1.0 and min(quality) > 0.85  # as twenty images tell it to a tenth
    assert (np.diff(diversity) < -0.05).all() and diversity[-1] < 0.6
