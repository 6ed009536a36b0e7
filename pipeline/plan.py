"""`volclass plan`: looks at every volume, and proposes a config with a reason for each setting."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .build import build_accelerator, build_manifest, check_network
from .config import Config
from .data.cases import Case
from .data.formats.rules import rules_of
from .data.splits import Folds, make_folds
from .data.volumes import Refusal, check_refusals
from .errors import ConfigError
from .plan_forecast import PlanForecast, plan_forecast
from .plan_reading import Looks
from .planning.choices import Choice, in_order
from .planning.fingerprint import Fingerprint, Look
from .planning.proposal import Proposal, propose
from .planning.request import Request
from .planning.text import plan_text, printable
from .planning.training import Counts, folds_for, is_complete, shares, straddle
from .progress import Display, making_bar
from .reports.redaction import hide_paths
from .run import RunFolder
from .storage import write_text


@dataclass(frozen=True, slots=True)
class Plan:
    """What was found, proposed and written.

    Attributes:
        config: What `train` reads from the file.
        choices: The settings with their reasons, in the order of the configuration.
        fingerprint: What the volumes are like.
        refused: Volumes that cannot be used.
        warnings: What is doubtful.
        forecast: What training takes on this machine.
        fold: The fold whose training part alone was looked at; None for all cases.
        out: The file.
    """

    config: Config
    choices: tuple[Choice, ...]
    fingerprint: Fingerprint
    refused: tuple[Refusal, ...]
    warnings: tuple[str, ...]
    forecast: PlanForecast
    fold: int | None
    out: Path

    def lines(self) -> list[str]:
        """All of it, in lines to print."""
        part = "" if self.fold is None else f" --fold {self.fold}"
        return [
            f"{len(self.fingerprint.looks)} volumes (x, y, z)",
            *(f"  {line}" for line in self.fingerprint.lines()),
            *(choice.line() for choice in self.choices),
            *self.forecast.lines(),
            *(f"warning: {text}" for text in self.warnings),
            f"written: {self.out}",
            f"next: volclass train --config {shlex.quote(str(self.out))}{part} --out runs/planned",
        ]


def plan_for(
    cases: Sequence[Case],
    looks: Mapping[str, Look],
    config: Config,
    *,
    counts: Counts | None = None,
    asked: Collection[str] = (),
) -> Proposal:
    """Proposes settings for some cases, from them alone: other looks change nothing.

    So a plan may be made within a fold, on its training part.

    Args:
        cases: Those that are looked at.
        looks: What volumes are like, by case id; cases without one were refused.
        config: What is not proposed, and what was asked for.
        counts: How much there is to learn from; by default all these cases teach a network, and
            a validation part is still to be carved out of them.
        asked: Keys such as `preprocess.size` whose values in `config` stand.
    """
    seen = [looks[case.case_id] for case in cases if case.case_id in looks]
    if counts is None:
        patients = {case.patient_id for case in cases}
        counts = shares(len(patients), len(cases), 1, config.cv.validation)
    return propose(Fingerprint(tuple(seen)), counts, config, asked)


def plan(request: Request, out: Path, display: Display, *, fold: int | None = None) -> Plan:
    """Reads the volumes once, proposes settings for them, and writes these as a config.

    Labels decide nothing but the folds, as in a run.

    Args:
        request: The data, and what is decided already.
        out: The file to write; replaced where it is there.
        display: Where progress is shown.
        fold: Look at the training part of this fold alone, counted from 0.

    Raises:
        ConfigError: Settings that do not fit, no such fold, or several processes.
        DataError: The manifest is refused, cannot be split, or no volume can be used.
        StorageError: A file cannot be written.
    """
    config = request.config()
    accelerator = build_accelerator(config.system, config.train.precision)
    if accelerator.num_processes > 1:
        raise ConfigError(
            "a plan is made by one process",
            why=f"{accelerator.num_processes} were started",
            remedy="start a single one",
        )
    cache = RunFolder(out).cache(config)
    manifest = build_manifest(config, cache, making_bar(display), masks=False)
    for line in manifest.notes():
        display.line(line)
    split = _cross_validation(manifest.cases, config, request.asked)
    config = request.config(split)
    folds = make_folds(manifest.cases, config.cv, config.seed)
    cases, counts = _looked_at(manifest.cases, folds, config, fold)
    bar = display.bar("looking at volumes", len(cases))
    kept = Looks(cache, rules_of(config.data))
    looks, refused = kept.read(cases, config.system.workers, bar.advance)
    if not looks:
        check_refusals(refused, 0)
    made = plan_for(cases, looks, config, counts=counts, asked=request.asked)
    config = request.config([*made.choices, *split])
    check_network(config)
    display.line("measuring a training step")
    forecast, changed = plan_forecast(config, accelerator, folds, counts, request.asked)
    choices = in_order([*_replaced(made.choices, changed), *split])
    warnings = (*made.warnings, *forecast.warnings, *_refusals(refused))
    config = request.config(choices)
    done = Plan(config, choices, made.fingerprint, tuple(refused), warnings, forecast, fold, out)
    _write(done, request, len({case.patient_id for case in cases}))
    return done


def _cross_validation(
    cases: Sequence[Case], config: Config, asked: Collection[str]
) -> tuple[Choice, ...]:
    """Folds: the manifest's own split where it is whole, else as many as every class allows."""
    patients, labels = [case.patient_id for case in cases], [case.label or "" for case in cases]
    splits = [case.split or "" for case in cases]
    choices = []
    if "cv.scheme" not in asked and all(splits) and config.cv.scheme == "kfold":
        if not straddle(patients, splits) and is_complete(splits, labels):
            reason = "the manifest's column split says train, val or test of every case"
            choices.append(Choice("cv.scheme", "official", reason))
    if "cv.folds" in asked:
        return (*choices, Choice("cv.folds", config.cv.folds, "as you asked", asked=True))
    holders: defaultdict[str, set[str]] = defaultdict(set)
    for patient, label in zip(patients, labels, strict=True):
        holders[label].add(patient)
    counts = {label: len(group) for label, group in holders.items()}
    rarest = min(counts.values())
    folds = max(folds_for(counts, config.cv.folds), 2)
    reason = f"every class needs as many patients, and the rarest has {rarest}"
    return (*choices, Choice("cv.folds", folds, reason))


def _looked_at(
    cases: Sequence[Case], folds: Folds, config: Config, fold: int | None
) -> tuple[list[Case], Counts]:
    """The cases that are looked at, and how many of them teach a network."""
    if fold is None and folds.scheme == "kfold":
        patients = len({case.patient_id for case in cases})
        counts = shares(patients, len(cases), len(folds.folds), config.cv.validation)
        return list(cases), counts
    if not 0 <= (fold or 0) < len(folds.folds):
        raise ConfigError(
            f"there is no fold {fold}",
            where="--fold",
            why=f"folds count from 0 to {len(folds.folds) - 1}",
        )
    chosen = folds.folds[fold or 0]
    taught = [case for case in cases if case.case_id in set(chosen.train)]
    patients = len({case.patient_id for case in taught})
    counts = Counts(patients, len(taught), len(chosen.validation))
    return list(cases) if fold is None else taught, counts


def _replaced(choices: Sequence[Choice], changed: Sequence[Choice]) -> list[Choice]:
    keys = {choice.key for choice in changed}
    return [*(choice for choice in choices if choice.key not in keys), *changed]


def _refusals(refused: Sequence[Refusal]) -> list[str]:
    if not refused:
        return []
    count = len(refused)
    return [
        f"{count} volume{'s are' if count > 1 else ' is'} refused and left out of this plan; "
        f"`volclass train` stops at {'them' if count > 1 else 'it'} unless mended or removed, or "
        f"with data.max_quarantine={count}",
        *(
            printable(hide_paths(f"{item.file}: {item.code}, {item.reason}; {item.remedy}"))
            for item in refused
        ),
    ]


def _write(made: Plan, request: Request, patients: int) -> None:
    folder = made.out.parent
    text = plan_text(
        _head(made, patients),
        request.base(folder),
        made.choices,
        request.written(made.choices, folder),
    )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            "the path of the data cannot be written in a config",
            why="the name of a folder is not UTF-8 text",
            remedy="rename the folder",
        ) from error
    write_text(made.out, text)


def _head(made: Plan, patients: int) -> list[str]:
    """What stands above the settings."""
    found = made.fingerprint
    if made.fold is None:
        seen = (
            "All of them were looked at, test cases too: their geometry and grey values, never "
            "their labels, which decide the folds alone. --fold 0 plans on the training part of "
            "a fold."
        )
    else:
        seen = (
            f"Looked at was the training part of fold {made.fold} alone: train that fold with "
            f"--fold {made.fold}."
        )
    return [
        f"Proposed by `volclass plan` for {len(found.looks)} volumes of {patients} patients.",
        seen,
        "Whatever is not named here has the value that the base shows.",
        "What the volumes are like, along x, y, z:",
        *(f"  {line}" for line in found.lines()),
        *made.forecast.lines(),
        *(f"Warning: {text}" for text in made.warnings),
    ]
