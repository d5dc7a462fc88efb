"""A sitting: one person, a number of images in random order, an answer to each."""

import base64
import io
import math
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmark.errors import UserError
from benchmark.files import Folder
from benchmark.humans.answers import FOLDER, REAL, errors
from benchmark.report.groups import complete
from benchmark.report.rows import is_sanity, row_labels
from benchmark.stored_results import StoredRow

SCHEMA = 1
FEWEST = 2  # images of a kind


@dataclass(frozen=True)
class Item:
    """One image: the folder of its samples below the results folder (empty: a real one)."""

    samples: str
    index: int
    image: np.ndarray


class Sitting:
    """The images that a person is shown, and the answers so far, which are saved after each one.

    Args:
        items: The images in their order.
        labels: What the page calls each folder of samples.
        results_dir: Where the answers go, into humans/.
        person: Name of the person; empty if not given.
        seconds: How long each image is shown, or `None` for as long as it takes.
    """

    def __init__(
        self,
        items: list[Item],
        labels: dict[str, str],
        *,
        results_dir: str,
        person: str = "",
        seconds: float | None = None,
    ) -> None:
        self.items = items
        self.labels = labels
        self.folder = Folder(Path(results_dir) / FOLDER)
        self.record: dict[str, Any] = {
            "schema": SCHEMA,
            "person": person,
            "began": time.strftime("%Y-%m-%d %H:%M:%S"),
            "seconds": seconds,
            "answers": [],
        }
        self.name = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{secrets.token_hex(4)}.json"

    @property
    def path(self) -> Path:
        return self.folder.path / self.name

    @property
    def num_answers(self) -> int:
        return len(self.record["answers"])

    @property
    def is_done(self) -> bool:
        return self.num_answers == len(self.items)

    def state(self) -> dict[str, Any]:
        """What the page shows next: an image, or at the end the errors."""
        if self.is_done:
            return {"done": True, "scores": self.scores()}
        return {
            "done": False,
            "number": self.num_answers,
            "total": len(self.items),
            "seconds": self.record["seconds"],
            "image": picture(self.items[self.num_answers].image),
        }

    def answer(self, number: int, said_real: bool, milliseconds: float) -> None:
        """Records the answer to the current image; ignores an answer to any other."""
        if self.is_done or number != self.num_answers:
            return
        item = self.items[number]
        self.record["answers"].append(
            {
                "samples": item.samples,
                "index": item.index,
                "said_real": said_real,
                "milliseconds": round(milliseconds),
            }
        )
        self.folder.write_json(self.name, self.record)

    def scores(self) -> list[dict[str, Any]]:
        """By model: the human error and its interval, each in percent."""
        found = errors([self.record])
        return [
            {"label": label, **found[path].error.in_percent()}
            for path, label in self.labels.items()
            if path in found
        ]


def picture(image: np.ndarray) -> str:
    """An image as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def choose_samples(rows: pd.DataFrame, results_dir: str, names: list[str]) -> dict[str, StoredRow]:
    """The samples of each requested model, from its first seed.

    Args:
        rows: Rows of one dataset.
        results_dir: Their results folder.
        names: Models, or models with a sampler such as `ddpm/ddim-25`; none for every model's first
            sampler.

    Returns:
        Dict from their label on the page to the `StoredRow`.

    Raises:
        UserError: If there are no samples of one of them.
    """
    rows = rows.sort_values(["seed", "sampling_seed"], kind="stable")
    lines = rows.drop_duplicates(["model", "sampler", "checkpoint", "overrides"])
    known = [f"{model}/{sampler}" for model, sampler in lines[["model", "sampler"]].to_numpy()]
    chosen = {}
    for name in names or list(dict.fromkeys(lines["model"])):
        alike = [index for index, text in enumerate(known) if name in (text, text.split("/")[0])]
        if not alike:
            raise UserError(
                f"`model` must be among {', '.join(sorted(set(known)))}. Received: model={name}"
            )
        (label,) = row_labels(lines.iloc[[alike[0]]])
        chosen[label] = StoredRow(results_dir, lines["path"].iloc[alike[0]])
    return chosen


def rows_of_dataset(rows: pd.DataFrame, results_dir: str, dataset: str) -> pd.DataFrame:
    """The rows of samples of a dataset, or of the only dataset if none is named.

    Raises:
        UserError: If there are none, or several datasets to choose from.
    """
    complete_rows = complete(rows)
    own = complete_rows[~is_sanity(complete_rows) & (complete_rows["sampler"] != "")]
    known = sorted(set(own["dataset"]))
    name = dataset or (known[0] if len(known) == 1 else "")
    if name not in known:
        received = f" Received: dataset={dataset}" if dataset else ""
        raise UserError(
            f"`dataset` must be one of those with samples in '{results_dir}', "
            f"{', '.join(known) or 'of which there are none'}.{received}"
        )
    return own[own["dataset"] == name]


def arrange(
    samples: dict[str, StoredRow], real_images: np.ndarray, count: int, seed: int, results_dir: str
) -> tuple[list[Item], dict[str, str]]:
    """Draws half of the images from the samples, equally many per model, and half from real ones.

    Returns:
        The items in random order, and what each folder of samples is called.

    Raises:
        UserError: If samples are missing, or there are fewer images than asked for.
    """
    rng = np.random.default_rng(seed)
    each = max(FEWEST, math.ceil(count / 2 / len(samples)))
    items, labels = [], {}
    for label, row in samples.items():
        images = row.samples(10**9)
        if images is None or len(images) < each or row.samples_path is None:
            raise UserError(
                f"{label} has {0 if images is None else len(images)} stored samples, but {each} "
                "are needed: give a smaller count, or make the samples again"
            )
        path = row.samples_path.relative_to(results_dir).as_posix()
        labels[path] = label
        drawn = rng.choice(len(images), each, replace=False)
        items += [Item(path, int(index), images[index]) for index in drawn]
    num_real = min(len(items), len(real_images))
    drawn = rng.choice(len(real_images), num_real, replace=False)
    items += [Item(REAL, int(index), real_images[index]) for index in drawn]
    return [items[index] for index in rng.permutation(len(items))], labels
