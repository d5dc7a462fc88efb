"""Figures that papers published, to stand below our own tables and never among their rows."""

from dataclasses import dataclass

from benchmark.report.tables import Table

TITLE = "Published figures, not measured here"
NOTE = (
    "Copied from the papers. Classifiers, networks, training and numbers of samples differ between "
    "them and from the rows above."
)
DATASET = "stacked_mnist"
_HUANG = "figures from Huang et al. 2024, Table 3"


@dataclass(frozen=True)
class PublishedRow:
    """What a paper says of a model on Stacked MNIST.

    Attributes:
        model: Name of the model.
        modes: Modes covered, of 1,000.
        kl: KL(generated || uniform) in nats, with the digits that were published.
        source: The model's paper, and the table of the figures.
    """

    model: str
    modes: int
    kl: str
    source: str


ROWS = (
    PublishedRow("DCGAN", 99, "3.40", f"Radford et al. 2016 (ICLR); {_HUANG}"),
    PublishedRow("WGAN-GP", 959, "0.73", f"Gulrajani et al. 2017 (NeurIPS); {_HUANG}"),
    PublishedRow("PacGAN", 992, "0.28", f"Lin et al. 2018 (NeurIPS); {_HUANG}"),
    PublishedRow("StyleGAN2", 940, "0.42", f"Karras et al. 2020 (CVPR); {_HUANG}"),
    PublishedRow("VAEBM", 1000, "0.087", "Xiao et al. 2021 (ICLR), Table 5"),
    PublishedRow("DDGAN", 1000, "0.071", "Xiao et al. 2022 (ICLR), Table 3"),
    PublishedRow("MEG", 1000, "0.031", f"Kumar et al. 2019 (arXiv:1901.08508); {_HUANG}"),
    PublishedRow("R3GAN", 1000, "0.029", "Huang et al. 2024 (NeurIPS), Table 3"),
)


def published_table(dataset: str) -> Table | None:
    """Writes what was published on a dataset as a `Table`; `None` where nothing is known."""
    if dataset != DATASET:
        return None
    return Table(
        titles=["Model", "Modes (of 1,000)", "KL", "Source"],
        right=[False, True, True, False],
        body=[[row.model, f"{row.modes:,}", row.kl, row.source] for row in ROWS],
        sanity=[],
        footnotes=[],
    )
