"""Synthetic runs of 2D networks for tests: what a run holds, and what its slices say."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import yaml

from pipeline.evaluation.cases import FloatArray
from pipeline.storage import read_table, write_table, write_text

AXIAL = (("axial", 16, tuple(range(16))),)
ALL = (
    ("sagittal", 12, (2, 6, 10)),
    ("coronal", 14, (3, 10)),
    ("axial", 16, tuple(range(1, 16, 2))),
)
HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>')
Axes = Sequence[tuple[str, int, Sequence[int]]]
Weigh = Callable[[int, np.random.Generator], FloatArray]


def made_by(name: str) -> ModuleType:
    return importlib.import_module(f"test_pipeline_reports_{name}")


def peaked(count: int, rng: np.random.Generator) -> FloatArray:
    """Weights with a hill over the fourth of sixteen parts."""
    hill = np.exp(-(((np.arange(count) - count * 3 / 16) / (0.12 * count)) ** 2))
    weights: FloatArray = (hill + 0.03) * rng.uniform(0.8, 1.2, count)
    shares: FloatArray = weights / weights.sum()
    return shares


def wandering(count: int, rng: np.random.Generator) -> FloatArray:
    """One heavy slice, at another place in every case."""
    weights = np.full(count, 0.5 / count)
    weights[rng.integers(count)] += 0.5
    return weights


def nearly_even(count: int, rng: np.random.Generator) -> FloatArray:
    weights = rng.uniform(0.98, 1.02, count)
    even: FloatArray = weights / weights.sum()
    return even


def even(count: int, rng: np.random.Generator) -> FloatArray:
    return np.full(count, 1.0 / count)


def make_slice_run(
    folder: Path,
    classes: Sequence[str] = ("healthy", "tumour"),
    axes: Axes = AXIAL,
    weigh: Weigh = peaked,
    *,
    model: Mapping[str, object] | None = None,
    **made: object,
) -> Path:
    """A synthetic run of a 2D network: a run, and what its slices say."""
    made_by("page").make_run(folder, classes, **{"pictures": False, "patients": 10, **made})
    config = yaml.safe_load((folder / "config.yaml").read_text())
    pool = "mean" if weigh is even else "attention"
    chosen = {"name": "resnet18", "init": "random", "slices": {"pool": pool}, **(model or {})}
    write_text(folder / "config.yaml", yaml.safe_dump({**config, "model": chosen}))
    rng = np.random.default_rng(0)
    for path in sorted(folder.glob("fold_*/predictions.csv")):
        rows = [
            row for cells in read_table(path) for row in case_rows(cells, classes, axes, weigh, rng)
        ]
        write_table(path.with_name("slices.csv"), list(rows[0]), rows)
    return folder


def case_rows(
    cells: Mapping[str, str],
    classes: Sequence[str],
    axes: Axes,
    weigh: Weigh,
    rng: np.random.Generator,
) -> list[dict[str, object]]:
    places = [(axis, index, length) for axis, length, indices in axes for index in indices]
    weights = weigh(len(places), rng)
    logits = rng.normal(0, 0.5, (len(places), len(classes)))
    logits[:, list(classes).index(cells["prediction"])] += 4 * weights * len(places) / 6
    said = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return [
        {
            "case_id": cells["case_id"],
            "fold": int(cells["fold"]),
            "axis": axis,
            "slice": index,
            "slices": length,
            "weight": float(weights[number]),
            **{f"p_{name}": float(said[number, k]) for k, name in enumerate(classes)},
        }
        for number, (axis, index, length) in enumerate(places)
    ]
