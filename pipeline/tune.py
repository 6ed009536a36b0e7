"""`volclass tune`: searches settings, trial by trial, and judges them by validation parts alone.

Each trial trains the networks of the chosen folds on their training parts; no test part is read by
any of them, and no test figure is reported. A stopped search goes on with the trial at which it
stopped, and that with the step at which its training stopped.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .build import check_network, start_sha256
from .config import Config
from .config_file import config_text
from .errors import ConfigError, InterruptedRunError, PreemptedError
from .evaluation.competitors import CARD
from .progress import Display
from .reports.tune_page import render_tune_page
from .reports.tune_words import figure_name, optimism, shown, shown_parameters
from .run import Run
from .run_record import with_covariates
from .shared_cases import open_cases
from .start_record import check_pretraining
from .storage import (
    check_writable,
    locked,
    make_folder,
    remove_folder,
    remove_partial,
    write_text,
)
from .training.signals import StopRequest, heeding_signals
from .tune_config import overlapping
from .tune_plan import TuningPlan, check_space, read_tuning
from .tune_record import FILE, Subject, Trial, TuneRecord, check_same, read_record
from .tune_search import optuna_version, propose
from .tune_subject import subject_of
from .tune_trial import Search, TrialBar, run_trial, trial_folder

_BEST = "best.yaml"
_REDRAW = 20.0  # seconds between two pages while the search lasts


@dataclass(frozen=True, eq=False)
class Tuned:
    """What was written.

    Attributes:
        page: The HTML file.
        settings: The whole configuration of the best trial.
        record: All trials.
    """

    page: Path
    settings: Path
    record: TuneRecord

    def lines(self) -> list[str]:
        """The result for the console: the best trial, what to think of it, and where it is."""
        record, best = self.record, self.record.best
        assert best is not None, "a search without a complete trial raises"
        figure = shown(best.value)
        return [
            f"best of {len(record.trials)} trials: trial {best.number}, "
            f"{figure_name(record.subject)} {figure}",
            *(f"  {text}" for text in shown_parameters(best.parameters)),
            f"note: {optimism(record.subject, record.trials)}",
            f"settings: {self.settings}",
            f"page: {self.page}",
        ]


def tune(source: str, out: Path, display: Display, overrides: Sequence[str] = ()) -> Tuned:
    """Runs every trial that is not finished yet, and writes what was found.

    Args:
        source: A tuning file, or the name of a shipped one.
        out: The folder of the search: `tuning.json`, `best.yaml`, `report/index.html`, and a folder
            for each trial.
        display: Where progress is shown.
        overrides: `section.key=value`, for all trials; none of what is searched.

    Raises:
        VolclassError: Whatever the user can mend; finished trials stay.
    """
    plan = read_tuning(source, overrides, display.line)
    optuna = optuna_version()
    check_space(plan, check_network)
    check_writable(out)
    with locked(out, what="tuning folder"), heeding_signals() as stop:
        remove_partial(out)
        earlier = _earlier(out)
        try:
            run = with_covariates(_opened(plan.base, out, display, stop, masks=_reads_masks(plan)))
            subject = subject_of(plan, run.folds, start_sha256(plan.base.model), out)
            _check_pretraining(plan, run, subject)
            record = _record(out, earlier, subject, optuna, display)
            search = Search(plan, _without_test(run, subject), record, stop)
            _search(search, display)
        except (PreemptedError, InterruptedRunError) as error:
            error.remedy = "the same command goes on where it stopped"
            raise
        return _finished(search)


def _earlier(out: Path) -> TuneRecord | None:
    """The search that lies in a folder, where nothing else does."""
    held = [name for name in ("config.yaml", "ladder.json", CARD) if (out / name).is_file()]
    if held:
        raise ConfigError(
            "this folder holds something else than a tuning",
            where=str(out),
            why=f"it has {held[0]}",
            remedy="choose another folder with --out",
        )
    return read_record(out)


def _record(
    out: Path, earlier: TuneRecord | None, subject: Subject, optuna: str, display: Display
) -> TuneRecord:
    """A new record, or the one that is there, of the same search."""
    if earlier is None:
        return TuneRecord(out / FILE, optuna, subject, [])
    check_same(earlier.subject, subject, out)
    if earlier.optuna != optuna:
        display.line(
            f"tuning began with Optuna {earlier.optuna}, and goes on with {optuna}: another "
            "version may choose other settings"
        )
    return earlier


def _opened(config: Config, out: Path, display: Display, stop: StopRequest, *, masks: bool) -> Run:
    """All cases, checked once, and the folds.

    Volumes of test parts are checked too, so that the folds are those that a run would have, and
    no scan is under two patients; no trial is given them.
    """
    return open_cases(config, out, display, what="a search", between=stop.obey, masks=masks)


def _reads_masks(plan: TuningPlan) -> bool:
    """Whether any trial may need masks."""
    key = "model.masks"
    return any(overlapping(key, searched) for searched in plan.plan.space)


def _check_pretraining(plan: TuningPlan, run: Run, subject: Subject) -> None:
    """Refuses a start that fits no trial; where trials may differ in it, each is checked alone."""
    searched = any(
        overlapping(key, part) for key in plan.plan.space for part in ("preprocess", "model.init")
    )
    if not searched:
        check_pretraining(run, [item.fold for item in subject.folds])


def _without_test(run: Run, subject: Subject) -> Run:
    """The run with the cases that teach and judge, and no others; one cache for all trials."""
    parts = [run.folds.folds[item.fold] for item in subject.folds]
    known = {case_id for fold in parts for case_id in (*fold.train, *fold.validation)}
    cache = str(run.cache.resolve())
    system = run.config.system.model_copy(update={"cache_dir": cache})
    return replace(
        run,
        config=run.config.model_copy(update={"system": system}),
        cases={name: case for name, case in run.cases.items() if name in known},
        contents={name: content for name, content in run.contents.items() if name in known},
    )


def _search(search: Search, display: Display) -> None:
    plan, record = search.plan, search.record
    count = max(plan.plan.trials, len(record.trials))
    networks = len(record.subject.folds) * plan.base.train.seeds
    each = plan.base.train.epochs * networks
    bar = display.bar("epochs of all trials", count * each)
    drawn = -_REDRAW
    try:
        for number in range(count):
            trial = _next(record, number)
            if trial.state != "running":
                bar.skip(each)
                continue
            name = f"trial {number} of {count}"
            display.line(f"{name}: {', '.join(shown_parameters(trial.parameters))}")
            record.put(_tried(search, trial, TrialBar(bar, name, each)))
            display.line(f"{name}: {_became(record)}")
            _keep_best(search)
            if time.monotonic() - drawn > _REDRAW:
                _write_page(search)
                drawn = time.monotonic()
            search.stop.obey()
    finally:
        _keep_best(search)
        _write_page(search)


def _next(record: TuneRecord, number: int) -> Trial:
    """The trial of a number: as it is noted, or begun now."""
    if number < len(record.trials):
        return record.trials[number]
    trial = Trial(number=number, parameters=propose(record.subject, record.trials))
    record.put(trial)
    return trial


def _tried(search: Search, trial: Trial, bar: TrialBar) -> Trial:
    twin = search.record.twin_of(trial)
    if twin is None:
        return run_trial(search, trial, bar)
    bar.expect(0)
    why = "" if twin.reason is None else f": {twin.reason}"
    reason = f"the same settings as trial {twin.number}{why}"
    return twin.model_copy(
        update={"number": trial.number, "curves": (), "reason": reason, "seconds": 0.0}
    )


def _keep_best(search: Search) -> None:
    """Writes the best settings; removes the checkpoints of all other finished trials."""
    out, record, best = search.run.folder.path, search.record, search.record.best
    for trial in record.trials:
        if trial.state != "running" and (best is None or trial.number != best.number):
            _remove_checkpoints(search, trial)
    if best is not None:
        write_text(out / _BEST, config_text(search.plan.config(best.parameters), out))


def _write_page(search: Search) -> None:
    record = search.record
    page = make_folder(search.run.folder.report) / "index.html"
    write_text(page, render_tune_page(record.subject, record.trials, record.optuna))


def _remove_checkpoints(search: Search, trial: Trial) -> None:
    folder = trial_folder(search.run.folder, trial.number)
    for checkpoints in sorted(folder.path.rglob("checkpoints")):
        remove_folder(checkpoints)


def _became(record: TuneRecord) -> str:
    trial, best = record.trials[-1], record.best
    told = f"{trial.state}, {trial.reason}" if trial.reason else trial.state
    name = figure_name(record.subject)
    figure = "" if trial.value is None else f", {name} {shown(trial.value)}"
    leader = "" if best is None else f"; best is trial {best.number}, {shown(best.value)}"
    return f"{told}{figure}{leader}"


def _finished(search: Search) -> Tuned:
    record, folder = search.record, search.run.folder
    if record.best is None:
        reasons = sorted({trial.reason or "" for trial in record.trials})
        raise ConfigError(
            "no trial was complete, so there are no best settings",
            where=str(folder.path),
            why="".join(f"\n    - {text}" for text in reasons[:5]),
            remedy="correct the config or the space, and choose another folder with --out",
        )
    return Tuned(folder.report / "index.html", folder.path / _BEST, record)
