"""The tables of the MedMNIST benchmark, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .evaluation.published import PUBLISHED
from .rung_table import RungFigures, rung_rows


@dataclass(frozen=True, eq=False)
class SetFigures:
    """A set.

    Attributes:
        name: As MedMNIST calls it.
        counts: Cases of the official training, validation and test part.
        rules: What was decided before, in words.
        rungs: In the order of the ladder.
        reference: Title of the one that the others are held against.
    """

    name: str
    counts: tuple[int, ...]
    rules: Sequence[str]
    rungs: Sequence[RungFigures]
    reference: str


def table_lines(sets: Sequence[SetFigures], missing: Sequence[str], size: int) -> list[str]:
    """All tables, with what they mean.

    Args:
        sets: What was run.
        missing: Names of the sets that were not there.
        size: Voxels along each axis.
    """
    command = "make benchmark-medmnist" if size == 28 else f"make benchmark-medmnist-{size}"
    absent = f"Not at hand when this was written: {', '.join(missing)}." if missing else ""
    lines = [
        f"Written by `{command}`: official splits, one recipe for all sets",
        "(`configs/benchmarks/medmnist3d.yaml`), the weights of the last epoch; a test case meets",
        "a network when it has been trained. Mean and deviation over the seeds; beside them all",
        "seeds together (their mean probability), with 95 % intervals over cases, for",
        "MedMNIST publishes no patients; and that AUROC's difference to the reference. The",
        "histogram weighs the classes evenly, all others answer at their shares, so its accuracy",
        "is lower than it could be where a class is rare.",
        *([absent] if absent else []),
        "",
    ]
    for item in sets:
        lines += [*_one(item, with_published=size == 28), ""]
    return lines


def _one(item: SetFigures, *, with_published: bool) -> list[str]:
    parts = " / ".join(map(str, item.counts))
    published = [
        f"| {row.method} (published) | {row.figures[item.name][0]:.3f} "
        f"| {row.figures[item.name][1]:.3f} | | | |"
        for row in PUBLISHED
        if with_published
    ]
    return [
        f"### {item.name}",
        "",
        f"{parts} cases for training, validation and test. {' '.join(item.rules)}",
        "",
        *rung_rows(item.rungs, item.reference),
        *published,
    ]
