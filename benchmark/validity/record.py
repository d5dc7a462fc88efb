"""results/validity.json: all that was measured, from which the page follows."""

from typing import Any

from benchmark.evaluation import REFERENCE_SEED
from benchmark.validity import sets
from benchmark.validity.experiment import Measured
from benchmark.validity.sets import SetName

DIGITS = 5  # of each number that is kept


def to_record(results: dict[str, Measured]) -> dict[str, Any]:
    """What each preset gave, ready for JSON.

    Args:
        results: By preset.
    """
    return {
        preset: {
            "num_samples": result.plan.num_samples,
            "num_test_images": result.num_test_images,
            "damages": [damage.name for damage in result.damages],
            "copied": {_text(name): fraction for name, fraction in result.copied.items()},
            "values": {
                _text(name): {
                    column: [float(f"{value:.{DIGITS}g}") for value in values]
                    for column, values in columns.items()
                }
                for name, columns in result.values.items()
            },
        }
        for preset, result in results.items()
    }


def from_record(record: dict[str, Any]) -> dict[str, Measured]:
    """The inverse of `to_record`, up to rounding."""
    return {
        preset: Measured(
            plan=sets.plan_draws(
                num_images=stored["num_test_images"],
                num_samples=stored["num_samples"],
                seed=REFERENCE_SEED,
            ),
            damages=tuple(damage for damage in sets.DAMAGES if damage.name in stored["damages"]),
            num_test_images=stored["num_test_images"],
            values={_set_name(text): columns for text, columns in stored["values"].items()},
            copied={_set_name(text): fraction for text, fraction in stored["copied"].items()},
        )
        for preset, stored in record.items()
    }


def _text(name: SetName) -> str:
    damage, strength = name
    return f"{damage}|{strength:g}"


def _set_name(text: str) -> SetName:
    damage, strength = text.rsplit("|", 1)
    return damage, float(strength)
