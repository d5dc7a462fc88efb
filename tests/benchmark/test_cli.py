from benchmark.cli import RunBuilder


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
