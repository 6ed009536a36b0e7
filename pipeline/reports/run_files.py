"""The files of a run folder as typed values; all that a report knows comes from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..config import ReportConfig, is_volume_network
from ..errors import StorageError
from ..evaluation.cases import ScoredCases
from ..evaluation.disguise import Judged, read_judged
from ..storage import read_json
from .redaction import shown_settings
from .run_tables import Epoch, LeftOut, read_left_out, read_log, read_predictions
from .slices import SliceTable, read_slices


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)


class CaseEntry(_Section):
    """A case of the run as `folds.json` lists it."""

    patient_id: str
    label: str
    site: str | None = None
    content: str | None = None


class FoldPlan(_Section):
    """The case ids of one fold."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


class RunPlan(_Section):
    """The content of `folds.json`."""

    format: int = Field(ge=1, le=1)
    scheme: str
    classes: tuple[str, ...] = Field(min_length=2)
    cases: Mapping[str, CaseEntry]
    folds: tuple[FoldPlan, ...] = Field(min_length=1)


class _Settings(_Section):
    seed: int = Field(default=0, ge=0)
    report: ReportConfig = ReportConfig()


@dataclass(frozen=True, eq=False)
class RunFiles:
    """A run, read.

    Attributes:
        folder: The run folder.
        plan: Cases, classes and folds.
        case_ids: Case of each row of `scored`.
        scored: Out-of-fold predictions of the folds that are finished, sorted by case.
        logs: Epochs of each fold that has a log.
        left_out: Quarantined cases.
        seed: Seed of the run.
        settings: The section `report` of the config.
        config: Every config key as text, paths hidden.
        environment: Every entry of `environment.json` as text, paths hidden.
        notices: What is missing in the folder, one sentence each.
        slices: What each slice of each row of `scored` says; None for a 3D network.
        judged: How well its covariates tell the label alone; None where it reads none.
    """

    folder: Path
    plan: RunPlan
    case_ids: tuple[str, ...]
    scored: ScoredCases
    logs: Mapping[int, tuple[Epoch, ...]]
    left_out: tuple[LeftOut, ...]
    seed: int
    settings: ReportConfig
    config: Mapping[str, str]
    environment: Mapping[str, str]
    notices: tuple[str, ...]
    slices: SliceTable | None
    judged: Judged | None

    @property
    def unfinished(self) -> tuple[int, ...]:
        """Folds of which no test case has a prediction."""
        scored = set(self.scored.folds.tolist())
        return tuple(fold for fold in range(len(self.plan.folds)) if fold not in scored)


def read_run(run: Path) -> RunFiles:
    """Reads a run folder, finished or not.

    Raises:
        StorageError: The folder, `config.yaml`, `folds.json` or every prediction is missing, or a
            file is damaged or belongs to another run; or some folds have slices and others lack
            them.
    """
    if not run.is_dir():
        raise StorageError(
            f"no run folder {run.name}", where=str(run), remedy="give the --out of a training run"
        )
    plan, (config, settings) = _read_plan(run), _read_config(run)
    expected = _expected(plan)
    case_ids, scored = read_predictions(run, plan.classes, expected)
    environment = _read_environment(run)
    logs = {fold: read_log(run / f"fold_{fold}" / "log.csv") for fold in range(len(plan.folds))}
    left_out = read_left_out(run / "quarantine.csv")
    missing = [] if environment is not None else ["environment.json"]
    missing += [] if left_out is not None else ["quarantine.csv"]
    missing += [f"fold_{f}/log.csv" for f in sorted({*scored.folds.tolist()}) if logs[f] is None]
    slices = read_slices(
        run, plan.classes, case_ids, {case: fold for case, (fold, _, _) in expected.items()}
    )
    missing += ["slices.csv of every fold"] if slices is None and _reads_slices(config) else []
    judged = _read_judged(run) if config.get("data.covariates", "[]") != "[]" else None
    return RunFiles(
        folder=run,
        plan=plan,
        case_ids=case_ids,
        scored=scored,
        logs={fold: log for fold, log in logs.items() if log},
        left_out=left_out or (),
        seed=settings.seed,
        settings=settings.report,
        config=config,
        environment=environment or {},
        notices=(*_gaps(plan, scored), *(f"{name} is missing from the run." for name in missing)),
        slices=slices,
        judged=judged,
    )


def _reads_slices(config: Mapping[str, str]) -> bool:
    name = config.get("model.name")
    # A head that reads pooled stages hears no slice alone.
    by_stages = config.get("model.head.stages") == "all" or config.get("model.head.pool") == "stats"
    return name is not None and not is_volume_network(name) and not by_stages


def _read_judged(run: Path) -> Judged:
    """Needed: without it nobody would be told that a covariate is the label."""
    return read_judged(run / "covariates_judged.json")


def _expected(plan: RunPlan) -> dict[str, tuple[int, str, str]]:
    """Fold, patient and label of every case that is tested once."""
    result = {}
    for index, fold in enumerate(plan.folds):
        for case in fold.test:
            entry = plan.cases.get(case)
            if entry is None or entry.label not in plan.classes or case in result:
                raise StorageError(
                    "folds.json contradicts itself",
                    why=f"test case {case!r} of fold {index} is unknown, has no class, or is twice",
                    remedy="train again; folds.json must not be edited",
                )
            result[case] = (index, entry.patient_id, entry.label)
    return result


def _gaps(plan: RunPlan, scored: ScoredCases) -> list[str]:
    """Says which folds have only a part of their test cases scored."""
    sentences = []
    for fold, parts in enumerate(plan.folds):
        found = int((scored.folds == fold).sum())
        if 0 < found < len(parts.test):
            lacking = len(parts.test) - found
            sentences.append(f"Fold {fold}: {lacking} of its {len(parts.test)} test cases lack a "
                             "prediction and are in no figure.")  # fmt: skip
    return sentences


def _read_plan(run: Path) -> RunPlan:
    path = run / "folds.json"
    try:
        return RunPlan.model_validate(read_json(path))
    except ValidationError as error:
        raise _damaged(path, error) from error


def _read_config(run: Path) -> tuple[dict[str, str], _Settings]:
    path = run / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("not a mapping of keys")
        return shown_settings(values), _Settings.model_validate(values)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _damaged(path, error) from error


def _read_environment(run: Path) -> dict[str, str] | None:
    path = run / "environment.json"
    if not path.exists():
        return None
    values = read_json(path)
    if not isinstance(values, dict):
        raise _damaged(path, ValueError("not a mapping of names"))
    return shown_settings(values)


def _damaged(path: Path, error: Exception) -> StorageError:
    reason = str(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        reason = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    elif isinstance(error, OSError):
        reason = error.strerror or reason
    return StorageError(
        f"cannot read {path.name}",
        where=str(path),
        why=reason,
        remedy="is this the folder of a training run? If so, the file is damaged: restore it",
    )
