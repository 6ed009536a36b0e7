"""`volclass plan`: looks at every volume, and proposes a config with a reason for each setting."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .build import build_accelerator, build_manifest, check_network
from .config import Config
from .data.cases import Case
from .data.formats.rules import rules_of
from .data.volumes import Refusal
from .errors import ConfigError
from .plan_folds import divide, usable_cases
from .plan_forecast import PlanForecast, plan_forecast
from .plan_reading import Looks
from .planning.choices import Choice, in_order
from .planning.fingerprint import Fingerprint, Look
from .planning.proposal import Proposal, propose
from .planning.request import Request
from .planning.text import encodable, plan_text
from .planning.training import Counts, shares
from .printable import printable
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
        fold: Look at the training part of this fold alone, counted from 0; other volumes are read
            only to know which a run would leave out.

    Raises:
        ConfigError: Settings that do not fit, no such fold, or several processes.
        DataError: The manifest is refused, cannot be split, or no volume can be used; or a fold is
            asked for, and more volumes are refused than a run leaves out.
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
    # The folds of a run lose the cases whose masks are refused, too.
    manifest = build_manifest(config, cache, making_bar(display), masks=fold is not None)
    for line in manifest.notes():
        display.line(line)
    divide(manifest.cases, request, fold)  # what cannot be is told before anything is read
    bar = display.bar("looking at volumes", len(manifest.cases))
    kept = Looks(cache, rules_of(config.data))
    looks, found = kept.read(manifest.cases, config.system.workers, bar.advance)
    folders = {case.image.parent for case in manifest.cases}
    refused = tuple(replace(item, reason=hide_paths(item.reason, folders)) for item in found)
    allowed = config.data.max_quarantine
    parts = divide(usable_cases(manifest.cases, refused, allowed, fold), request, fold)
    config = request.config(parts.split)
    made = plan_for(parts.cases, looks, config, counts=parts.counts, asked=request.asked)
    config = request.config([*made.choices, *parts.split])
    check_network(config)
    display.line("measuring a training step")
    forecast, changed = plan_forecast(config, accelerator, parts.folds, parts.counts, request.asked)
    choices = in_order([*_replaced(made.choices, changed), *parts.split])
    warnings = (*made.warnings, *forecast.warnings, *_refusals(refused, allowed, fold))
    config = request.config(choices)
    done = Plan(config, choices, made.fingerprint, refused, warnings, forecast, fold, out)
    _write(done, request, len({case.patient_id for case in parts.cases}))
    return done


def _replaced(choices: Sequence[Choice], changed: Sequence[Choice]) -> list[Choice]:
    keys = {choice.key for choice in changed}
    return [*(choice for choice in choices if choice.key not in keys), *changed]


def _refusals(refused: Sequence[Refusal], allowed: int, fold: int | None) -> list[str]:
    if not refused:
        return []
    count = len(refused)
    volumes, them = ("volumes are", "them") if count > 1 else ("volume is", "it")
    if count > allowed:
        then = (
            f"`volclass train` stops at {them} unless mended or removed, or with "
            f"data.max_quarantine={count}"
        )
    elif fold is None:
        then = "`volclass train` leaves out as many by data.max_quarantine"
    else:
        then = (
            f"so does `volclass train` by data.max_quarantine, and makes its folds without {them}: "
            "after mending any, plan again before training"
        )
    return [
        f"{count} {volumes} refused and left out of this plan; {then}",
        *(printable(f"{item.file}: {item.code}, {item.reason}; {item.remedy}") for item in refused),
    ]


def _write(made: Plan, request: Request, patients: int) -> None:
    folder = made.out.parent
    text = plan_text(
        _head(made, patients),
        request.base(folder),
        made.choices,
        request.written(made.choices, folder),
    )
    write_text(made.out, encodable(text))


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
            f"--fold {made.fold}. Of other volumes nothing but whether they are refused is in this "
            "plan: folds are made without those."
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
