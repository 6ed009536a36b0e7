"""Which settings to try next, and which trial to stop: what Optuna says of the trials so far.

Nothing of Optuna lasts from trial to trial: each question is put to a study in memory that is made
of the record, with a seed of its own. So a search that goes on asks and hears the same as one that
was never stopped.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from .errors import ConfigError
from .seeds import derived_seed
from .tune_config import Dimension, Parameters, as_text
from .tune_record import Curve, Subject, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial


def optuna_version() -> str:
    """The version of Optuna, which must be there.

    Raises:
        ConfigError: It is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError(
            "tuning needs Optuna",
            why="the package optuna is not installed",
            remedy="pip install 'volclass[tune]'",
        )
    import optuna

    # A line for each study would say nothing that the display does not.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return str(optuna.__version__)


def propose(subject: Subject, earlier: Sequence[Trial]) -> Parameters:
    """Parameters of the next trial: the next of the grid, or by tree-structured Parzen estimators.

    Source: Bergstra et al. 2011, Algorithms for hyper-parameter optimization (NeurIPS 24).

    Args:
        subject: What is searched.
        earlier: All finished trials, by number.
    """
    if subject.sampler == "grid":
        choices = [item.choices or () for item in subject.space.values()]
        values = next(itertools.islice(itertools.product(*choices), len(earlier), None))
        return dict(zip(subject.space, values, strict=True))
    from optuna.samplers import TPESampler

    seed = derived_seed(subject.seed, "trial", len(earlier))
    study = _study(subject)
    study.sampler = TPESampler(seed=seed, n_startup_trials=subject.startup)
    spread = {key: _distribution(item) for key, item in subject.space.items()}
    for trial in earlier:
        study.add_trial(_told(subject, trial, spread))
    asked = study.ask(spread).params
    return {key: _outer(item, asked[key]) for key, item in subject.space.items()}


def is_behind(subject: Subject, earlier: Sequence[Trial], now: Curve) -> bool:
    """Whether a network does worse than the median of complete trials, on its fold at its epoch.

    Both are judged by the best figure up to that epoch, or by the last one, as checkpoints are.

    Args:
        subject: What is searched.
        earlier: All finished trials.
        now: The network's figures so far.
    """
    from optuna.pruners import MedianPruner
    from optuna.trial import TrialState, create_trial

    study = _study(subject)
    # A trial that took another's figures has no curves, and does not count twice.
    complete = [trial for trial in earlier if trial.state == "complete" and trial.curves]
    for trial in complete:
        (curve,) = (c for c in trial.curves if (c.fold, c.replica) == (now.fold, now.replica))
        steps = _so_far(subject, curve.figures, len(now.figures))
        study.add_trial(create_trial(value=trial.value, intermediate_values=steps))
    pruner = MedianPruner(n_startup_trials=subject.startup, n_warmup_steps=subject.spared + 1)
    steps = _so_far(subject, now.figures, len(now.figures))
    running = create_trial(state=TrialState.RUNNING, intermediate_values=steps)
    return bool(pruner.prune(study, running))


def _so_far(subject: Subject, figures: tuple[float, ...], epochs: int) -> dict[int, float]:
    """What counts at an epoch, alone, for the pruner takes the best of all that it is given.

    Of a network that stopped before, its last figure stays.
    """
    return {epochs: subject.counted_of(figures[:epochs])}


def _study(subject: Subject) -> Study:
    import optuna

    return optuna.create_study(direction="maximize" if subject.sign > 0 else "minimize")


def _told(subject: Subject, trial: Trial, spread: dict[str, BaseDistribution]) -> FrozenTrial:
    """A finished trial as Optuna knows it."""
    from optuna.trial import TrialState, create_trial

    parameters = {key: _inner(item, trial.parameters[key]) for key, item in subject.space.items()}
    reached = subject.reached(trial)
    epochs = sum(len(curve.figures) for curve in trial.curves)
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    return create_trial(
        state=states.get(trial.state, TrialState.FAIL),
        value=trial.value,
        params=parameters,
        distributions=spread,
        intermediate_values={} if reached is None else {epochs: reached},
    )


def _distribution(item: Dimension) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if item.choices is not None:
        return CategoricalDistribution([as_text(value) for value in item.choices])
    low, high = cast("float", item.low), cast("float", item.high)
    if item.whole:
        step = 1 if item.step is None else int(item.step)
        return IntDistribution(int(low), int(high), log=item.log, step=step)
    return FloatDistribution(float(low), float(high), log=item.log, step=item.step)


def _inner(item: Dimension, value: JsonValue) -> JsonValue:
    """A value as Optuna holds it: choices as text, since it knows no lists."""
    return value if item.choices is None else as_text(value)


def _outer(item: Dimension, value: JsonValue) -> JsonValue:
    return value if item.choices is None else cast("JsonValue", json.loads(str(value)))
