"""One trial of a search: networks taught by training parts, and judged by validation parts alone.

A trial knows no other cases: the test parts are not in its hands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from .build import (
    build_accelerator,
    build_store,
    check_augmentation,
    check_compile,
    check_network,
    start_sha256,
)
from .config import Config
from .data.volumes import check_refusals, prepare
from .errors import ConfigError, DivergedError, VolclassError
from .frozen import compute_slice_features
from .processes import check_shares
from .progress import Bar
from .reports.redaction import hide_paths
from .reports.wording import counted
from .run import Member, Run, RunFolder
from .start_record import check_pretraining
from .train import train_member
from .training.signals import StopRequest
from .training.state import Row
from .tune_plan import TuningPlan
from .tune_record import Curve, State, Subject, Trial, TuneRecord
from .tune_search import is_behind


class _StoppedEarlyError(Exception):
    """A network is behind the median of earlier ones."""


@dataclass
class TrialBar:
    """The part of the whole progress that belongs to one trial.

    Attributes:
        bar: Of all trials.
        name: Of the trial, for its notes.
        left: Epochs that are neither done nor left out.
    """

    bar: Bar
    name: str
    left: int = 0

    def expect(self, epochs: int) -> None:
        """Notes that the trial takes at most so many epochs, not as many as were left."""
        self.skip(self.left - epochs)

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Notes epochs that are done."""
        self.left -= amount
        self.bar.advance(amount, f"{self.name}, {note}")

    def skip(self, amount: int) -> None:
        """Notes epochs that need not be done."""
        self.left -= amount
        self.bar.skip(amount)


@dataclass
class _Watched:
    """What is seen of the networks of a trial, epoch by epoch.

    Attributes:
        subject: What is searched.
        earlier: All finished trials.
        epochs: Most epochs of a network.
        figures: By network, one an epoch.
        seconds: Of all training steps.
    """

    subject: Subject
    earlier: Sequence[Trial]
    epochs: int = 0
    figures: dict[Member, list[float]] = field(default_factory=dict)
    seconds: float = 0.0

    def note(self, member: Member, row: Row) -> None:
        """Notes an epoch.

        Raises:
            _StoppedEarlyError: The network is behind; not after its last epoch.
        """
        figure = row[f"validation_{self.subject.monitor}"]
        assert figure is not None, "every class is in the validation part"
        self.figures.setdefault(member, []).append(float(figure))
        self.seconds += float(row["seconds"] or 0.0)
        pruned = self.subject.pruner == "median" and int(row["epoch"] or 0) < self.epochs
        if pruned and is_behind(self.subject, self.earlier, self._curve(member)):
            raise _StoppedEarlyError

    def _curve(self, member: Member) -> Curve:
        assert member.fold is not None
        figures = tuple(self.figures[member])
        return Curve(fold=member.fold, replica=member.replica, figures=figures)

    @property
    def behind(self) -> str:
        """Where the last network was stopped, in words."""
        member, figures = list(self.figures.items())[-1]
        after = counted(len(figures), "epoch")
        return f"fold {member.fold}: behind the median of earlier trials after {after}"

    def ended(self, trial: Trial, state: State, reason: str | None) -> Trial:
        """The trial with what was seen of it."""
        return Trial(
            number=trial.number,
            parameters=trial.parameters,
            state=state,
            curves=tuple(self._curve(member) for member in self.figures),
            reason=reason,
            seconds=round(self.seconds, 3),
        )


@dataclass(frozen=True, slots=True)
class Search:
    """A search at work.

    Attributes:
        plan: What is searched, and from where.
        run: The search's own folder, with the cases of the training and validation parts alone.
        record: What is searched, as it is noted, and all trials so far.
        stop: Whether somebody asked to stop.
    """

    plan: TuningPlan
    run: Run
    record: TuneRecord
    stop: StopRequest


def run_trial(search: Search, trial: Trial, bar: TrialBar) -> Trial:
    """Trains the networks of a trial, from their newest checkpoints where there are some.

    Args:
        search: Where it belongs.
        trial: The trial, running.
        bar: Told of its epochs.

    Returns:
        The trial, complete, pruned, or failed where its settings do not fit each other or its
        training diverged.

    Raises:
        VolclassError: Whatever is not the fault of its settings.
    """
    subject = search.record.subject
    watched = _Watched(subject, search.record.trials[: trial.number])
    try:
        _train(search, trial, bar, watched)
    except _StoppedEarlyError:
        return watched.ended(trial, "pruned", watched.behind)
    except (ConfigError, DivergedError) as error:
        return watched.ended(trial, "failed", _told(error))
    except torch.OutOfMemoryError:
        reason = "the memory of the device is too small for these settings"
        return watched.ended(trial, "failed", reason)
    finally:
        bar.expect(0)
    complete = watched.ended(trial, "complete", None)
    return complete.model_copy(update={"value": subject.reached(complete)})


def _train(search: Search, trial: Trial, bar: TrialBar, watched: _Watched) -> None:
    folds = [item.fold for item in watched.subject.folds]
    run = _own_run(search.run, search.plan.config(trial.parameters), trial.number)
    members = [member for fold in folds for member in run.members(fold)]
    epochs = watched.epochs = run.config.train.epochs
    bar.expect(epochs * len(members))
    check_pretraining(run, folds)
    check_shares(run, [len(run.folds.folds[fold].train) for fold in folds])
    run = _with_volumes(run, search.run, search.stop)
    for member in members:
        note = partial(watched.note, member)
        train_member(run, member, (bar,), search.stop, epochs, watch=note)


def trial_folder(search: RunFolder, number: int) -> RunFolder:
    """Where the logs of a trial lie, and its checkpoints while they are needed."""
    return RunFolder(search.path / "trials" / f"trial_{number:04d}")


def _own_run(run: Run, config: Config, number: int) -> Run:
    """The run of a trial, before its volumes are there.

    Raises:
        ConfigError: Its network cannot be built, or the device cannot do what is asked for.
    """
    # All trials share one cache.
    config = config.model_copy(update={"system": run.config.system})
    check_network(config)
    accelerator = build_accelerator(config.system, config.train.precision)
    check_compile(config.system, accelerator.device)
    check_augmentation(config, accelerator.device)
    return replace(
        run,
        config=config,
        folder=trial_folder(run.folder, number),
        accelerator=accelerator,
        start=start_sha256(config.model),
    )


def _with_volumes(run: Run, search: Run, stop: StopRequest) -> Run:
    """The run with the volumes as its settings prepare them."""
    if run.config.preprocess != search.config.preprocess:
        store = build_store(run.config, run.cache)
        cases = list(run.cases.values())

        def advance() -> None:
            """Obeys a request to stop: what was read stays in the cache."""
            stop.obey()

        contents, refused = prepare(store, cases, run.config.system.workers, advance)
        check_refusals(refused, 0)
        run = replace(run, store=store, contents=contents)
    if run.config.model.slices.frozen:
        run = replace(run, slice_features=compute_slice_features(run, stop))
    return run


def _told(error: VolclassError) -> str:
    """The reason in one line, without a path; where it was is in the trial's own settings."""
    why = "" if error.why is None else f": {error.why}"
    return hide_paths(" ".join(f"{error.what}{why}".split()))
