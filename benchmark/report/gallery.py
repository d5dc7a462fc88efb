"""The runs' pictures: on the report's page, or linked where it is full."""

import base64
import urllib.parse
from pathlib import Path

CAPTIONS = {
    "grid": "Samples, not selected.",
    "learning": "Samples from the same latents while the model trains.",
    "reconstructions": "Real images, and what the model makes of them.",
    "reconstruction": "Real images, and beside or below them their way into the noise and back.",
    "forward": "Real images on their way to noise.",
    "manifold": "What the decoder makes of a plane of the latent space, evenly spaced in the "
    "quantiles of the prior.",
    "directions": "What changes on the way from one sample towards two others.",
    "latents": "Where the encoder puts test images: the means of their posteriors.",
    "divergences": "How much each latent dimension encodes: the mean KL divergence of its "
    "posterior from the prior.",
    "process": "From noise to images.",
    "predictions": "States on their way out of the noise, and the image predicted from each.",
    "denoising": "Images on their way out of the noise.",
    "interpolation": "Images on the way from one latent to another, a row for each pair.",
    "neighbours": "The samples likeliest to be copies, and their nearest training images.",
    "loss": "Losses of the training over the images seen.",
}
EMBEDDED_BYTES = 1_800_000  # of a page's figures and pictures, so that it is light enough to send


class Gallery:
    """Collects the pictures of a page's runs.

    Args:
        results_dir: The results folder, in which the page lies.
        num_groups: How many groups share what a page may weigh.
        num_bytes: What its figures weigh.
    """

    def __init__(self, results_dir, num_groups=1, num_bytes=0):
        self._results_dir = Path(results_dir)
        self._room = (EMBEDDED_BYTES - num_bytes) // max(1, num_groups)

    def show(self, runs):
        """The pictures of the runs of a group, embedded as far as there is room: grids come first.

        Args:
            runs: Mapping from a run's title to its `StoredRun` and its `StoredRow`s.

        Returns:
            By title, a list of dicts of `caption`, `uri` and `is_linked`, a file beside the page.
        """
        found = {title: _pictures_of(*stored) for title, stored in runs.items()}
        embedded = self._embedded([file for pictures in found.values() for file, _ in pictures])
        return {
            title: [
                {
                    "caption": text,
                    "uri": data_uri(file.suffix[1:], file.read_bytes())
                    if file in embedded
                    else urllib.parse.quote(file.relative_to(self._results_dir).as_posix()),
                    "is_linked": file not in embedded,
                }
                for file, text in pictures
            ]
            for title, pictures in found.items()
        }

    def _embedded(self, files):
        chosen, room = set(), self._room
        for file in sorted(files, key=_rank):  # stable: by kind, then by model
            size = file.stat().st_size
            if size <= room:
                chosen.add(file)
                room -= size
        return chosen


def _pictures_of(run, rows):
    """The pictures of a run and of its samplers, each with its caption, the grids first."""
    found = [(file, caption(file.stem)) for file in run.pictures]
    samplers = {row.name: row for row in reversed(rows)}
    for name, row in reversed(samplers.items()):
        start = f"{name}: " if len(samplers) > 1 else ""
        found += [(file, start + caption(file.stem)) for file in row.pictures]
    return sorted(found, key=lambda entry: _rank(entry[0]))


def _rank(file):
    """The place of a picture: the known ones in the order of their captions, then by name."""
    known = list(CAPTIONS)
    is_known = file.stem in CAPTIONS
    return (known.index(file.stem) if is_known else len(known), "" if is_known else file.name)


def caption(stem):
    """What a picture of that name shows; of an unknown one, its name."""
    return CAPTIONS.get(stem) or f"{stem.replace('_', ' ').capitalize()}."


def data_uri(kind, content):
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
