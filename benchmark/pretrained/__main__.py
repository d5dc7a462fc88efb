"""`python -m benchmark.pretrained <run folder>`: a run's weights as a file for the package."""

import hashlib
import sys
from pathlib import Path

from benchmark import cli, console
from benchmark.errors import UserError
from benchmark.files import write_atomically
from benchmark.pretrained import pack
from benchmark.sample import trained
from benchmark.tool import command

USAGE = "Usage: python -m benchmark.pretrained <run folder>"


@command(USAGE)
def main(arguments: list[str]) -> None:
    """Writes `<model>.npz` into the working folder, and prints its SHA-256."""
    folder = parse(arguments)
    cli.choose_device({"device": "auto"})
    cli.import_backend()
    settings, image_shape, model = trained(folder)
    builder = cli.RunBuilder(settings, ())
    content = pack(settings, image_shape, model.sampler(builder.build_methods()[0]))
    path = Path(f"{settings['model']['name']}.npz")
    write_atomically(path, content)
    sha256 = hashlib.sha256(content).hexdigest()
    console.say(f"{path}: {len(content):,} bytes, SHA-256 {sha256}")


def parse(arguments: list[str]) -> Path:
    """The folder of the run.

    Raises:
        UserError: If the arguments are not as `USAGE` says.
    """
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise UserError(f"cannot read the arguments {' '.join(arguments)}. {USAGE}")
    return Path(arguments[0])


if __name__ == "__main__":
    sys.exit(main())
