import os
import platform

import pytest

from benchmark.cli import RunBuilder, choose_device


def test_rows_name_the_experiment_and_the_options_of_parts_alone():
    overrides = [
        "preset=smoke",
        "training.num_steps=5",
        "training.pictures_every=2",
        "model=vae",
        "experiment=vae_latent2",
        "model/schedule=cosine",
        "model.latent_dim=4",
        "results_dir=elsewhere",
        "metric.prdc.nearest_k=3",
    ]
    assert RunBuilder({}, overrides).overrides == [
        "experiment=vae_latent2",
        "model.latent_dim=4",
        "model/schedule=cosine",
        "training.num_steps=5",
    ]


@pytest.mark.parametrize(("machine", "asked"), [("x86_64", "1"), ("AMD64", "1"), ("arm64", None)])
def test_onednn_is_asked_for_where_it_is_made_for(monkeypatch, machine, asked):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    choose_device({"device": "auto"})
    assert os.environ.get("TF_ENABLE_ONEDNN_OPTS") == asked


def test_onednn_can_be_turned_off(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    choose_device({"device": "auto"})
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
