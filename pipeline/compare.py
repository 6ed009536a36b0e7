"""`volclass report RUN RUN ...`: runs, probes and baselines on the same folds, compared fairly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from .config import is_volume_network
from .data.volume import volume_of
from .errors import ConfigError, DataError
from .evaluation.comparison import RESAMPLES, compare_answers
from .evaluation.comparison_results import ComparisonEvaluation
from .evaluation.competitors import (
    CARD,
    DISGUISED,
    PREDICTIONS,
    Card,
    Competitor,
    Initial,
    is_competitor,
    read_competitor,
)
from .evaluation.disguise import Judged
from .evaluation.same_cases import aligned
from .progress import Display
from .reports.compare_page import render_comparison_page
from .reports.compare_words import line_of, lost, sentence, warnings
from .reports.run_files import read_run
from .reports.start import start_source, started_from_a_file, untrained_parts
from .storage import check_writable, read_json, write_json, write_text

CONFIG = "config.yaml"
FOLDS = "folds.json"


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was written.

    Attributes:
        page: The HTML file.
        summary: The JSON file.
        evaluation: The figures in both.
    """

    page: Path
    summary: Path
    evaluation: ComparisonEvaluation

    @property
    def warnings(self) -> tuple[str, ...]:
        """What puts all results in doubt, one sentence each; usually nothing."""
        return warnings(self.evaluation)

    def lines(self) -> list[str]:
        """The result for the console: the ranking, the verdict, and where the page is."""
        found = self.evaluation
        return [
            *(line_of(place, item) for place, item in enumerate(found.standings)),
            sentence(found),
            *([text] if (text := lost(found)) else []),
            *(f"warning: {text}" for text in self.warnings),
            f"{found.cases} cases of {found.patients} patients",
            f"page: {self.page}",
        ]


@dataclass(frozen=True, eq=False)
class Entry:
    """A folder that can be compared.

    Attributes:
        answers: Who answered, and what.
        resamples: Bootstrap resamplings of its own report; None where it is no run.
        seed: Of these; None where it is no run.
    """

    answers: Competitor
    resamples: int | None = None
    seed: int | None = None


def compare(
    folders: Sequence[Path],
    out: Path,
    display: Display,
    *,
    titles: Mapping[Path, str] | None = None,
    resamples: int | None = None,
    seed: int | None = None,
) -> Comparison:
    """Compares what runs, probes and baselines answered for the same cases on the same folds.

    Args:
        folders: Two or more: of `volclass train`, of `volclass probe`, or any that holds
            `predictions.csv` and `competitor.json`.
        out: Folder for `index.html` and `comparison.json`.
        display: Shows the progress.
        titles: How folders are called, in place of their own titles.
        resamples: Bootstrap resamplings of patients, more for the differences of many pairs; by
            default those of the runs' own reports where these agree, else 2000.
        seed: Of the resamplings; by default that of the runs where they agree, else 0.

    Raises:
        ConfigError: Fewer than two folders, the same one twice, one without predictions, one that
            holds a run and another competitor, or `out` is one of them.
        DataError: A run is not finished; or cases, labels, classes, patients or folds differ.
        StorageError: A file is damaged, or `out` cannot be written.
    """
    _check_folders(folders, out)
    check_writable(out)
    read = {folder: read_entry(folder) for folder in folders}
    entries = {folder: entry.answers for folder, entry in read.items()}
    names = _different({folder: folder.resolve().name for folder in folders})
    same = aligned({names[folder]: item for folder, item in entries.items()})
    own = {folder: (titles or {}).get(folder, item.card.title) for folder, item in entries.items()}
    shown = _different(own)
    found = compare_answers(
        dict(zip((shown[folder] for folder in folders), same, strict=True)),
        display,
        resamples=resamples or _agreed([item.resamples for item in read.values()], RESAMPLES),
        seed=_agreed([item.seed for item in read.values()], 0) if seed is None else seed,
    )
    result = Comparison(out / "index.html", out / "comparison.json", found)
    write_text(result.page, render_comparison_page(found))
    write_json(result.summary, _summary(found))
    return result


def _agreed(values: Sequence[int | None], otherwise: int) -> int:
    """What all runs have in common."""
    known = {value for value in values if value is not None}
    return known.pop() if len(known) == 1 else otherwise


def _summary(found: ComparisonEvaluation) -> dict[str, JsonValue]:
    return {
        **found.as_json(),
        "sentence": sentence(found),
        "volumes_lost": lost(found) or None,
        "warnings": list(warnings(found)),
    }


def _check_folders(folders: Sequence[Path], out: Path) -> None:
    if len(folders) < 2:
        raise ConfigError(
            "a comparison needs two or more runs",
            why=f"{len(folders)} named",
            remedy="name another run, probe or baseline on the same folds",
        )
    counts = Counter(folder.resolve() for folder in folders)
    for folder in folders:
        if counts[folder.resolve()] > 1:
            raise ConfigError(
                f"{folder} is named twice",
                why="a run cannot be compared with itself",
                remedy="name each folder once",
            )
    if out.resolve() in counts:
        raise ConfigError(
            "a comparison cannot be written into a run that it compares",
            where=str(out),
            remedy="choose another folder with --out",
        )


def read_entry(folder: Path) -> Entry:
    """Reads what a run, a probe or a baseline answered.

    Raises:
        ConfigError: The folder holds neither, or both a run and another competitor.
        DataError: The run is not finished.
        StorageError: A file is damaged.
    """
    if is_competitor(folder):
        if (folder / CONFIG).is_file():
            raise ConfigError(
                f"{folder.name} holds a run and another competitor",
                where=str(folder),
                why=f"it has both {CONFIG} and {CARD}, so nobody knows whose {PREDICTIONS} is",
                remedy=f"if the run's is meant, remove {CARD} and {PREDICTIONS}, then "
                "`volclass train ... --resume`; make the other again in a folder of its own",
            )
        return Entry(read_competitor(folder))
    if not all((folder / name).is_file() for name in (CONFIG, FOLDS)):
        raise ConfigError(
            f"{folder.name} holds no predictions",
            where=str(folder),
            why=f"it is no run of `volclass train`, and there is no {CARD}",
            remedy="name the --out of a finished run, or of `volclass probe`",
        )
    if not [*folder.glob(PREDICTIONS), *folder.glob(f"fold_*/{PREDICTIONS}")]:
        raise _unfinished(folder, "no fold has predictions")
    run = read_run(folder)
    tested = Counter(fold for fold, part in enumerate(run.plan.folds) for _ in part.test)
    scored = Counter(run.scored.folds.tolist())
    lacking = [str(fold) for fold in sorted(tested) if scored[fold] < tested[fold]]
    if lacking:
        raise _unfinished(folder, f"test cases of fold {', '.join(lacking)} have no prediction")
    cases = run.plan.cases.items()
    known = {name: volume_of(case.content) for name, case in cases if case.content is not None}
    answers = Competitor(_card(folder, run.config, run.judged), run.case_ids, run.scored, known)
    return Entry(answers, run.settings.bootstrap, run.seed)


def _unfinished(folder: Path, why: str) -> DataError:
    return DataError(
        f"{folder.name} is not finished, so it cannot be compared",
        where=str(folder),
        why=why,
        remedy="go on with it: `volclass train ... --resume`",
    )


def _card(folder: Path, settings: Mapping[str, str], judged: Judged | None) -> Card:
    """What a training run is, by its configuration, one text a key, and its covariates."""
    network = settings.get("model.name")
    notes = []
    if not is_volume_network(network):
        notes += [f"slices pooled by {pool}"] if (pool := settings.get("model.slices.pool")) else []
        notes += ["2.5D"] if settings.get("model.slices.neighbours", "0") != "0" else []
    if judged is not None:
        notes.append(f"reads {', '.join(judged.alone)}")
        notes += [DISGUISED] if judged.warnings() else []
    before = _before_training(settings)
    frozen = settings.get("model.slices.frozen") == "true"
    if frozen:
        notes.append("features as they are")
    elif source := start_source(settings):
        notes.append(f"started from {source}")
    folds = read_json(folder / FOLDS)
    checksum = folds.get("sha256") if isinstance(folds, dict) else None
    return Card(
        title=folder.resolve().name,
        kind="network",
        network=network,
        start=before if frozen else "trained",
        initial=None if frozen else before,
        untrained_parts=untrained_parts(settings),
        folds=checksum if isinstance(checksum, str) else None,
        notes=tuple(notes),
    )


def _before_training(settings: Mapping[str, str]) -> Initial:
    if started_from_a_file(settings):
        return "file"
    return "random" if settings.get("model.init", "random") == "random" else "pretrained"


def _different(names: Mapping[Path, str]) -> dict[Path, str]:
    """The names, those of several folders with as much of the path as tells them apart."""
    counts, shown = Counter(names.values()), dict(names)
    for depth in range(1, 1 + max(len(folder.resolve().parts) for folder in names)):
        if len(set(shown.values())) == len(shown):
            break
        for folder, name in names.items():
            if counts[name] > 1:
                shown[folder] = f"{name} ({'/'.join(folder.resolve().parts[-depth:])})"
    return shown
