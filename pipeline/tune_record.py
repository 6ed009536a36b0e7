"""`tuning.json`: what is searched, and what became of every trial so far.

It is written after each trial, and all that a search needs to go on stands in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from .errors import ConfigError
from .storage import write_json
from .tune_config import Dimension, Parameters, as_text
from .typed_files import damaged, read_typed

State = Literal["running", "complete", "pruned", "failed"]
Monitor = Literal["auroc", "loss"]

FILE = "tuning.json"


_REMEDY = "restore it, or choose another folder with --out"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Curve(_Part):
    """The validation figures of one network of a trial, one an epoch."""

    fold: int
    replica: int
    figures: tuple[float, ...]


class Trial(_Part):
    """One combination of settings, and what became of it."""

    number: int
    """Counted from 0, in order."""
    parameters: Parameters
    state: State = "running"
    value: float | None = None
    """Mean over its networks of the figure that counts; None unless it is complete."""
    curves: tuple[Curve, ...] = ()
    reason: str | None = None
    """Why it was stopped or failed, or whose figures it took."""
    seconds: Annotated[float, Field(ge=0.0)] = 0.0
    """Its training steps, over all sessions."""


class Fold(_Part):
    """A fold that trials learn and are judged on, in numbers of cases."""

    fold: int
    train: int
    validation: int
    patients: int
    """Of the validation part."""


class Subject(_Part):
    """What is searched: everything that decides the figure of a trial."""

    name: str
    monitor: Monitor
    keep: Literal["best", "last"] = "best"
    """Whose figure counts: that of a network's best epoch, or of its last."""
    seed: int
    startup: int
    sampler: Literal["tpe", "grid"] = "tpe"
    pruner: Literal["median", "none"]
    spared: int
    space: dict[str, Dimension]
    settings: Parameters
    """What all trials share, flat, and the content of weights that files hold."""
    scheme: str
    folds_sha256: str
    folds: tuple[Fold, ...]
    fold_count: int
    """Of the cross-validation, whether trials use them or not."""
    untouched: tuple[int, ...]
    """The folds whose test cases no trial can learn from or be judged by."""

    @property
    def sign(self) -> float:
        """1 where a higher figure is better, -1 where a lower one is."""
        return 1.0 if self.monitor == "auroc" else -1.0

    def counted_of(self, figures: tuple[float, ...]) -> float:
        """The figure that counts of those of some epochs, in their order."""
        if self.keep == "last":
            return figures[-1]
        return max(figures) if self.monitor == "auroc" else min(figures)

    def reached(self, trial: Trial) -> float | None:
        """Mean over the networks of a trial, as far as they were trained, of what counts."""
        best = [self.counted_of(curve.figures) for curve in trial.curves if curve.figures]
        return math.fsum(best) / len(best) if best else None


class _Document(_Part):
    format: Literal[1]
    optuna: str
    subject: Subject
    trials: tuple[Trial, ...]


@dataclass
class TuneRecord:
    """What is searched, and all trials so far.

    Attributes:
        path: The file.
        optuna: Version of the library that chose the parameters.
        subject: What is searched.
        trials: By number; the last one may be running.
    """

    path: Path
    optuna: str
    subject: Subject
    trials: list[Trial]

    @property
    def best(self) -> Trial | None:
        """The complete trial of the best figure, the earliest of equal ones."""
        return best_trial(self.subject, self.trials)

    def put(self, trial: Trial) -> None:
        """Notes a trial on disk, in place of what was noted of it before."""
        self.trials[trial.number :] = [trial]
        self.write()

    def twin_of(self, trial: Trial) -> Trial | None:
        """A finished trial of the same parameters: it would come to the same figures."""
        wanted = _canonical(trial.parameters)
        earlier = self.trials[: trial.number]
        return next((item for item in earlier if _canonical(item.parameters) == wanted), None)

    def write(self) -> None:
        """Writes the file."""
        document = _Document(
            format=1, optuna=self.optuna, subject=self.subject, trials=tuple(self.trials)
        )
        write_json(self.path, json.loads(document.model_dump_json()))


def best_trial(subject: Subject, trials: Sequence[Trial]) -> Trial | None:
    """The complete trial of the best figure, the earliest of equal ones; None without any."""
    complete = [item for item in trials if item.state == "complete" and item.value is not None]
    return max(complete, key=lambda item: subject.sign * (item.value or 0.0), default=None)


def _canonical(parameters: Mapping[str, JsonValue]) -> str:
    return json.dumps(parameters, sort_keys=True)


def read_record(out: Path) -> TuneRecord | None:
    """The record that lies in a folder; None where there is none.

    Raises:
        StorageError: It is damaged.
    """
    path = out / FILE
    if not path.is_file():
        return None
    document = read_typed(path, TypeAdapter(_Document), _REMEDY)
    trials = list(document.trials)
    if [trial.number for trial in trials] != list(range(len(trials))):
        raise damaged(path, "trials: they are not numbered from 0, one by one", _REMEDY)
    if any(trial.state == "running" for trial in trials[:-1]):
        raise damaged(path, "trials: one that is running is not the last", _REMEDY)
    return TuneRecord(path, document.optuna, document.subject, trials)


def check_same(earlier: Subject, now: Subject, out: Path) -> None:
    """Refuses to go on with another search in the same folder.

    Raises:
        ConfigError: Names everything that differs.
    """
    old, new = _facts(earlier), _facts(now)
    changes = [
        f"\n    - {key}: {as_text(old.get(key))} in the folder, {as_text(new.get(key))} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if changes:
        raise ConfigError(
            "this folder holds another tuning",
            where=str(out),
            why="".join(changes),
            remedy="use its settings, or choose another folder with --out",
        )


def _facts(subject: Subject) -> Parameters:
    """All that must be the same, by key; what the tuning file itself says apart from settings."""
    tree: Parameters = json.loads(subject.model_dump_json(exclude={"name", "settings", "space"}))
    own = {f"tuning.{key}": value for key, value in tree.items()}
    space: Parameters = {
        f"space.{key}": json.loads(item.model_dump_json()) for key, item in subject.space.items()
    }
    return {**own, **space, **subject.settings}
