"""`python -m benchmark.humans`: a page on this machine where people judge samples."""

import secrets
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import cli, console
from benchmark.errors import UserError
from benchmark.humans.server import Server
from benchmark.humans.sitting import Sitting, arrange, choose_samples, rows_of_dataset
from benchmark.stored_results import StoredRow, collect_rows
from benchmark.tool import command, whole_number

USAGE = """\
Usage: python -m benchmark.humans [model=ddpm,vae] [dataset=mnist] [count=100] [seconds=0.5]
                                  [name=NAME] [results_dir=results] [port=8000]
Half of the images are real, half are samples, equally many of each model. With seconds, each image
is shown for that long only. Answers go into results/humans/; the next report shows the human
error."""
DEFAULTS = {
    "model": "", "dataset": "", "count": "100", "seconds": "", "name": "",
    "results_dir": "results", "port": "0",
}  # fmt: skip
LIMITS = {"count": (4, 10_000), "port": (0, 65_535)}


@command(USAGE)
def main(arguments: list[str]) -> None:
    """Runs `python -m benchmark.humans`."""
    options = parse(arguments)
    sitting = prepare(options)
    with Server(sitting, options["port"]) as server:
        console.say(f"open {server.url}   (Ctrl-C ends; answers are kept)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.say("stopped")
    report(sitting)


def parse(arguments: list[str]) -> dict[str, Any]:
    """The options.

    Raises:
        UserError: If they do not match `USAGE`.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if given.keys() - DEFAULTS.keys() or not all(given.values()):
        raise UserError(f"cannot read the arguments {' '.join(arguments)}. {USAGE}")
    options: dict[str, Any] = {**DEFAULTS, **given}
    for name, (least, most) in LIMITS.items():
        options[name] = whole_number(name, options[name], least, most)
    options["seconds"] = parse_seconds(options["seconds"])
    if not Path(options["results_dir"]).is_dir():
        raise UserError(f"no results folder '{options['results_dir']}'")
    return options


def parse_seconds(text: str) -> float | None:
    """The time limit; `None` without one."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.01 <= seconds <= 60:
        raise UserError(f"`seconds` must be from 0.01 to 60. Received: seconds={text}")
    return seconds


def prepare(options: dict[str, Any]) -> Sitting:
    """The sitting that the options ask for."""
    results_dir = options["results_dir"]
    rows = rows_of_dataset(collect_rows(results_dir), results_dir, options["dataset"])
    names = [name for name in options["model"].split(",") if name]
    samples = choose_samples(rows, results_dir, names)
    seed = secrets.randbits(32)  # no sitting shows the same images as another
    items, labels = arrange(
        samples, real_images(samples.values()), options["count"], seed, results_dir
    )
    console.say(f"{len(items)} images: samples of {', '.join(labels.values())}, and real ones")
    return Sitting(
        items,
        labels,
        results_dir=results_dir,
        person=options["name"],
        seconds=options["seconds"],
    )


def real_images(samples: Iterable[StoredRow]) -> np.ndarray:
    """The test images of the dataset that the runs were trained on.

    Raises:
        UserError: If no run says which dataset that was.
    """
    for row in samples:
        if row.run and (settings := row.run.trusted_config()):
            return cli.RunBuilder(settings, ()).load_dataset().test_images
    raise UserError("no run among these samples says which dataset it was trained on")


def report(sitting: Sitting) -> None:
    """Prints the results, and where the answers are stored."""
    if not sitting.num_answers:
        console.say("no answers")
        return
    for score in sitting.scores():
        console.say(
            f"{score['label']}: human error {score['rate']:.0f} % "
            f"({score['low']:.0f} to {score['high']:.0f} %)"
        )
    console.say(f"{sitting.num_answers} answers: {sitting.path}")


if __name__ == "__main__":
    sys.exit(main())
