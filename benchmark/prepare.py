"""`python -m benchmark.prepare dataset=cifar10`: fetches and caches what a run needs.

Afterwards, runs with the same options need no network. It loads the dataset, finds the encoder's
weights, and trains the dataset's classifier if the package has none; it trains no model.
"""

import sys

from benchmark import cli, console, interruption
from benchmark.tool import command

USAGE = """\
Usage: python -m benchmark.prepare [dataset=cifar10] [encoder=inception_v3] [preset=...]
Takes the options of a run and caches what they need."""


def prepare(builder: cli.RunBuilder) -> None:
    """Loads and caches everything that a run needs from elsewhere, and says what it found."""
    from benchmark.machine import seated

    with seated():
        cli.choose_device(builder.settings)
        cli.import_backend()
        from benchmark.evaluation import build_evaluator

        dataset = builder.load_dataset()
        console.stage(f"Preparing for runs on {dataset.name}, preset={builder.settings['preset']}")
        shape = "x".join(map(str, dataset.image_shape))
        console.say(
            f"{len(dataset.train_images):,} training and {len(dataset.test_images):,} test images "
            f"of {shape}"
        )
        evaluator = build_evaluator(builder, dataset)
        console.say(f"encoder: {evaluator.encoder.label}")
        if evaluator.classifier is not None:
            console.say(evaluator.classifier.description)
        console.say(f"cache: {builder.settings['cache_dir']}")
        console.say("ready: runs with these options need no network")


@command(USAGE)
def main(arguments: list[str]) -> None:
    """Runs `python -m benchmark.prepare`."""
    with interruption.handled():
        prepare(cli.compose(*arguments))


if __name__ == "__main__":
    sys.exit(main())
