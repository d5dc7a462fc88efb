"""`python -m benchmark.validity`: which quality metric to believe.

Computes every metric on real images damaged in a known order, at the number of images of each
preset, and writes results/validity.md and results/validity.json. Words with `=` are those of
`python -m benchmark`: dataset, cache_dir, results_dir, encoder.image_size.
"""

import argparse
import sys
from typing import Any

import numpy as np

from benchmark import console
from benchmark.classifiers import load_classifier
from benchmark.cli import choose_device, compose, exit_on_user_error, import_backend
from benchmark.errors import UserError
from benchmark.machine import seated
from benchmark.results import Folder

PRESETS = {"smoke": 300, "quick": 2_000, "standard": 10_000}
SHOWN = 20  # images of each kind in the picture
ENCODER = ("encoder=inception_v3", "encoder.weights=embedded", "encoder.image_size=75")


def main(arguments: list[str] | None = None) -> int:
    """Runs `python -m benchmark.validity [dataset=mnist] [preset ...]`."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.validity", description=__doc__)
    parser.add_argument(
        "words", nargs="*", metavar="word", help=f"of {', '.join(PRESETS)} (quick), or key=value"
    )
    words = parser.parse_args(arguments).words
    presets = [word for word in words if "=" not in word] or ["quick"]
    with exit_on_user_error():
        if set(presets) - set(PRESETS):
            raise UserError(f"presets are {', '.join(PRESETS)}. Received: {' '.join(presets)}")
        parts = compose(*ENCODER, *(word for word in words if "=" in word))
        with seated():
            choose_device(parts.settings)
            import_backend()
            examine(parts, presets, " ".join(["python -m benchmark.validity", *words]))
    return 0


def examine(parts, presets: list[str], command: str) -> None:
    """Measures, decides, and writes the page and its figures."""
    from benchmark.validity.experiment import Experiment
    from benchmark.validity.page import choose, write_page
    from benchmark.validity.pools import Pools
    from benchmark.validity.record import from_record, to_record

    dataset = parts.load_dataset()
    if dataset.channel_dataset is not None:
        raise UserError(f"dataset {dataset.name} is of channels; try the dataset of one channel")
    cache = Folder(parts.settings["cache_dir"])
    classifier = believed_classifier(dataset, cache, parts.settings["metric"])
    pools = Pools(dataset, encoder=parts.build_encoder(), classifier=classifier, cache=cache)
    experiment, results = Experiment(pools), {}
    for preset in presets:
        console.stage(f"{preset}: {PRESETS[preset]:,} images")
        results[preset] = experiment.run(PRESETS[preset])
    presets_record = to_record(results)
    stem = "validity" if dataset.name == "mnist" else f"validity_{dataset.name}"
    record = {
        "dataset": dataset.name,
        "encoder": pools.encoder.label,
        "classifier": classifier.description if classifier else "",
        "has_classifier": classifier is not None,
        "machine": machine(),
        "command": command,
        "seconds": round(pools.seconds + sum(result.seconds for result in results.values())),
        "picture": f"{stem}.png",
        **choose(from_record(presets_record), classifier is not None),
        "presets": presets_record,
    }
    folder = Folder(parts.settings["results_dir"])
    folder.write_json(f"{stem}.json", record)
    folder.write_text(f"{stem}.md", write_page(record))
    folder.write_image(f"{stem}.png", draw_pools(pools))
    for kind, column in record["headline"].items():
        console.say(f"headline {kind.replace('_', ' a ')}: {column}", style="bold")
    console.say(str(folder.path / f"{stem}.md"))


def draw_pools(pools):
    """A row of the test images, then one of the same images in each pool of damaged ones."""
    from benchmark.drawing.figures import image_grid
    from benchmark.validity.page import picture_rows

    rows = [pools.images(name)[:SHOWN] for name in picture_rows()]
    return image_grid(np.concatenate(rows), columns=SHOWN, scale=1)


def believed_classifier(dataset, cache: Folder, metrics: dict[str, Any]):
    """The dataset's classifier, or `None` where there is none or mode coverage would refuse it."""
    if not dataset.num_classes:
        return None
    classifier = load_classifier(dataset, cache)
    least = metrics["mode_coverage"]["minimum_accuracy"]
    return classifier if classifier.test_accuracy >= least else None


def machine() -> str:
    from benchmark.provenance import environment

    facts = environment()
    return f"{facts['device']}, {facts['cpu_count']} processors"


if __name__ == "__main__":
    sys.exit(main())
