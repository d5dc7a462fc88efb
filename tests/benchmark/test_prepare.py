from benchmark import config as configuration
from benchmark import console
from benchmark.cli import RunBuilder
from benchmark.prepare import prepare


def test_data_and_instruments_are_found_and_nothing_is_trained(
    compose_config, shared_cache, tmp_path
):
    folders = [f"cache_dir={shared_cache}", f"results_dir={tmp_path}/results"]
    config = compose_config("preset=smoke", "dataset=mnist", *folders)
    with console.console.capture() as captured:
        prepare(RunBuilder(configuration.validate(config), ()))
    text = captured.get()
    assert "60,000 training and 10,000 test images of 28x28x1" in text
    assert "encoder: inception_v3 embedded" in text and "test accuracy 99.56%" in text
    assert not list(tmp_path.rglob("runs"))
