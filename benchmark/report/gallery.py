"""The pictures that runs made of themselves, embedded in the report's page, grouped by run."""

import base64
from pathlib import Path

CAPTIONS = {
    "learning": "Samples from the same latents while the model trains.",
    "reconstructions": "Real images, and what the model makes of them.",
    "reconstruction": "Real images, and beside or below them their way into the noise and back.",
    "forward": "Real images on their way to noise.",
    "manifold": "What the decoder makes of a plane of the latent space, evenly spaced in the "
    "quantiles of the prior.",
    "directions": "What changes on the way from one sample towards two others.",
    "latents": "Where the encoder puts test images: the means of their posteriors.",
    "divergences": "What each latent dimension tells of an image: the mean KL divergence of its "
    "posterior from the prior.",
    "process": "From noise to images.",
    "predictions": "States on their way out of the noise, and the image predicted from each.",
    "denoising": "Images on their way out of the noise.",
    "interpolation": "Images on the way from one latent to another, a row for each pair.",
    "neighbours": "The samples likeliest to be copies, and their nearest training images.",
}
MAX_PICTURE_BYTES = 4_000_000
MAX_PAGE_BYTES = 12_000_000
MOST_OPEN = 4
_SHOWN_ELSEWHERE = ("loss.png", "grid.png")


class Gallery:
    """Collects the pictures of a page's runs, within what a page may weigh."""

    def __init__(self, results_dir):
        self._results_dir = Path(results_dir)
        self._left = MAX_PAGE_BYTES

    def show(self, runs):
        """Returns the pictures of each run that has any.

        Args:
            runs: Mapping from a run's title to its `StoredRun` and its `StoredRow`s.

        Returns:
            List of dicts: `title`, `folder`, `is_open` (whether to show them at once), `pictures`
            (dicts of `caption` and `uri`) and `num_left_out` for want of room.
        """
        shown = [self._of_run(title, *stored) for title, stored in runs.items()]
        shown = [run for run in shown if run["pictures"] or run["num_left_out"]]
        for index, run in enumerate(shown):
            run["is_open"] = index < MOST_OPEN
        return shown

    def _of_run(self, title, run, rows):
        found = [(file, caption(file.stem)) for file in _in_order(run.pictures)]
        samplers = {row.name: row for row in reversed(rows)}
        for name, row in reversed(samplers.items()):
            start = f"{name}: " if len(samplers) > 1 else ""
            found += [(file, start + caption(file.stem)) for file in _in_order(row.pictures)]
        pictures = [
            {"caption": text, "uri": data_uri(file.suffix[1:], file.read_bytes())}
            for file, text in found
            if self._has_room(file)
        ]
        return {
            "title": title,
            "folder": run.path.relative_to(self._results_dir),
            "pictures": pictures,
            "num_left_out": len(found) - len(pictures),
        }

    def _has_room(self, file):
        size = file.stat().st_size
        if size > min(MAX_PICTURE_BYTES, self._left):
            return False
        self._left -= size
        return True


def caption(stem):
    """What a picture of that name shows; of an unknown one, its name."""
    return CAPTIONS.get(stem) or f"{stem.replace('_', ' ').capitalize()}."


def data_uri(kind, content):
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _in_order(files):
    """The known pictures in the order of their captions, then the others by name."""
    known = list(CAPTIONS)
    shown = [file for file in files if file.name not in _SHOWN_ELSEWHERE]
    return sorted(
        shown,
        key=lambda file: (
            known.index(file.stem) if file.stem in known else len(known),
            file.name,
        ),
    )
