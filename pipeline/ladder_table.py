"""The table of a ladder: what each seed of its rungs reached, and what they differ by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .compare import Comparison, read_entry
from .ensemble import answers_by_seed
from .evaluation.seed_figures import seed_figures
from .ladder_config import Ladder
from .markdown import put_part
from .reports.wording import counted
from .rung_table import RungFigures, difference, rung_rows


def reference_of(plan: Ladder) -> str:
    """Title of the rung that the others are held against.

    The first network that is trained; the first rung where none is.
    """
    answering = [rung.plan for rung in plan.rungs if rung.plan.kind != "pretrain"]
    trained = [rung for rung in answering if rung.kind == "train"]
    return (trained or answering)[0].shown


def climbed(plan: Ladder, out: Path, compared: Comparison) -> dict[str, Path]:
    """Folders of the compared rungs by title, in the order of the ladder."""
    titles = {item.title for item in compared.evaluation.standings}
    folders = {rung.plan.shown: out / rung.plan.name for rung in plan.rungs}
    return {title: path for title, path in folders.items() if title in titles}


def waiting(plan: Ladder, compared: Comparison) -> str | None:
    """Which rungs were not climbed yet, in words."""
    titles = {item.title for item in compared.evaluation.standings}
    answering = [rung.plan.shown for rung in plan.rungs if rung.plan.kind != "pretrain"]
    missing = [title for title in answering if title not in titles]
    return f"Not trained yet: {'; '.join(missing)}." if missing else None


def rung_figures(
    compared: Comparison, folders: Mapping[str, Path], reference: str
) -> list[RungFigures]:
    """The figures of each rung.

    Args:
        compared: All of them.
        folders: By title, in the order of the table.
        reference: Title of the one that the others are held against, if it is among them.

    Raises:
        StorageError: A file of answers is damaged.
    """
    found = compared.evaluation
    places = {item.title: place for place, item in enumerate(found.standings)}
    against = places.get(reference)
    rows = []
    for title, path in folders.items():
        seeds = seed_figures([*answers_by_seed(path, read_entry(path).answers).values()])
        apart = None if against is None else difference(found, places[title], against)
        rows.append(RungFigures(found.standings[places[title]], seeds, apart))
    return rows


def put_ladder(page: Path, name: str, plan: Ladder, out: Path, compared: Comparison) -> None:
    """Writes a ladder's part of a page.

    Args:
        page: The Markdown file; its other parts stay.
        name: Of the ladder.
        plan: Its rungs.
        out: Its folder.
        compared: The rungs that were climbed.

    Raises:
        StorageError: The page cannot be written, or a file of answers is damaged.
    """
    found, reference = compared.evaluation, reference_of(plan)
    seeds = counted(plan.base.train.seeds, "seed")
    # The page may travel; where the file lies on this machine is nobody's business.
    name = Path(name).name if Path(name).is_absolute() else name
    lines = [
        f"Written by `volclass ladder --config {name} ... --page PAGE.md`: {found.cases} cases of",
        f"{found.patients} patients, {found.folds} folds by patient, {seeds} a network.",
        "AUROC is the mean over the folds, then over the seeds, with the deviation over the seeds;",
        "beside them all seeds together (their mean probability), with 95 % intervals over",
        f"patients, and that AUROC's paired difference to {reference}.",
        *([text] if (text := waiting(plan, compared)) else []),
        "",
        *rung_rows(rung_figures(compared, climbed(plan, out, compared), reference), reference),
    ]
    put_part(page, f"The ladder {Path(name).stem}", lines)
