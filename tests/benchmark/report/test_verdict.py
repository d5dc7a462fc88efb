import numpy as np
import pandas as pd
import pytest

from benchmark.report.groups import group_rows
from benchmark.report.verdict import seeds_table, verdict, why_headline


def told(rows):
    (group,) = group_rows(rows)
    return verdict(group)


def test_each_corner_names_its_best_its_ties_and_the_rest(seeds):
    quality, latency, throughput, diversity = told(seeds)[:4]
    assert quality.startswith("Quality (KID ×1000): best is ddpm-200 with 12.38 ± 0.62; ")
    assert "significantly worse: dcgan generator, ddpm ddim-10, vae decoder" in quality
    assert quality.endswith("tied with the best: ddpm ddim-50.")
    assert "(ms/image): best is vae decoder" in latency and "dcgan generator" in latency
    assert "(images/s): best is vae decoder with 4,194" in throughput
    assert "(Coverage): best is ddpm-200" in diversity


def test_times_are_compared_as_ratios(seeds):
    """1 ms and 1,000 ms differ though the latter's deviation is larger than the former."""
    seeds.loc[seeds["sampler"] == "ddpm-200", "latency_ms_per_image_p50"] = [1e3, 2e3, 4e3]
    (latency,) = (text for text in told(seeds) if "ms/image" in text)
    worse = latency.partition("significantly worse: ")[2].partition(";")[0]
    assert "ddpm-200" in worse


def test_single_seeds_are_not_tested(rows):
    quality = told(rows)[0]
    assert "best is ddpm-200 with 12.30" in quality and "±" not in quality
    assert "not tested, with one seed: dcgan generator" in quality and "tied" not in quality


def test_the_spread_between_samplers_is_stated_against_that_of_seeds(seeds):
    (text,) = (text for text in told(seeds) if "F(" in text)
    trained = seeds[seeds["status"] == "finished"]
    samples = [part["kid_mean"] for _, part in trained.groupby("sampler")]
    grand = np.mean(samples)
    between = 3 * sum((part.mean() - grand) ** 2 for part in samples) / 4
    within = sum(((part - part.mean()) ** 2).sum() for part in samples) / 10
    assert "against its spread over seeds: F(4, 10) is " in text
    assert f"is {between / within:.0f} for KID" in text
    assert "Density" not in text  # alike in all seeds


def test_numbers_that_rank_otherwise_than_the_headline_are_named(seeds):
    seeds["kid_digits_mean"] = seeds["kid_mean"]
    vae, dcgan = seeds["model"] == "vae", seeds["model"] == "dcgan"
    kids = seeds["kid_mean"].copy()
    seeds.loc[vae, "kid_digits_mean"] = kids[dcgan].to_numpy()
    seeds.loc[dcgan, "kid_digits_mean"] = kids[vae].to_numpy()
    expected = (
        "Unlike KID, classifier KID ranks vae decoder before dcgan generator* (*: significant in "
        "both): 1 of 10 pairs, Kendall's tau 0.80."
    )
    assert expected in told(seeds)
    assert sum(text.startswith("Unlike") for text in told(seeds)) == 1
    seeds["kid_rbf_mean"] = seeds["kid_digits_mean"]
    assert any("Unlike KID, classifier KID and RBF KID rank vae" in text for text in told(seeds))


def test_agreeing_numbers_are_not_mentioned(seeds):
    seeds["kid_digits_mean"] = 2 * seeds["kid_mean"]
    assert not any("Unlike" in text for text in told(seeds))


def test_checks_take_no_part(seeds):
    seeds.loc[seeds["status"] == "sanity", ["kid_mean", "coverage"]] = [-1.0, 2.0]
    text = " ".join(told(seeds))
    assert not any(name in text for name in ("test_images", "noise", "repeated"))


def test_one_line_says_nothing(rows, diverged_row):
    assert told(rows.iloc[:1]) == [] and told(diverged_row) == []


def test_the_headline_is_named_with_its_reason(rows):
    (group,) = group_rows(rows)
    assert "KID" in why_headline(group) and "results/validity.md" in why_headline(group)


def test_training_and_sampling_seeds_are_told_apart(seeds):
    (group,) = group_rows(seeds)
    assert seeds_table(group) is None
    vae = seeds["model"] == "vae"
    again = seeds[vae].assign(sampling_seed=1, kid_mean=seeds.loc[vae, "kid_mean"] + 0.001)
    (group,) = group_rows(pd.concat([seeds, again], ignore_index=True))
    table = seeds_table(group)
    kids = 1e3 * seeds.loc[vae, "kid_mean"]
    training = np.sqrt(kids.var(ddof=1) - 0.5 / 2)
    assert table.body == [["vae decoder", "3", "2", f"{training:.2f}", "0.71"]]
    assert "KID ×1000" in table.note


@pytest.mark.parametrize("column", ["kid_mean", "density"])
def test_the_verdict_follows_the_headline(seeds, column):
    text = told(seeds.assign(headline=column))[0]
    assert text.startswith(
        {"kid_mean": "Quality (KID ×1000)", "density": "Quality (Density)"}[column]
    )
