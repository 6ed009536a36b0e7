"""What Optuna is asked: the same trials give the same answer, within the space, and no more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tune_config import Dimension
from pipeline.tune_record import Curve, Monitor, Subject, Trial, TuneRecord, read_record
from pipeline.tune_search import is_behind, optuna_version, propose

SPACE = {
    "train.lr": Dimension(low=1e-4, high=1e-1, log=True),
    "train.clip": Dimension(low=0.0, high=0.3, step=0.1),
    "train.batch_size": Dimension(low=8, high=32, step=8),
    "model.options.depth": Dimension(low=1, high=64, log=True),
    "preprocess.size": Dimension(choices=([8, 8, 8], [16, 16, 8])),
    "model.drop_path": Dimension(choices=(None, 0.1, 1, True)),
}


def subject(
    monitor: Monitor = "auroc", startup: int = 3, spared: int = 0, seed: int = 0
) -> Subject:
    return Subject(
        name="search", monitor=monitor, seed=seed, startup=startup, pruner="median",
        spared=spared, space=SPACE, settings={"train.seeds": 1}, scheme="kfold",
        folds_sha256="f" * 64, folds=(), fold_count=5, untouched=(0,),
    )  # fmt: skip


def test_a_grid_tries_all_combinations_in_order() -> None:
    space = {
        "augment.flip": Dimension(choices=(0.5, 0.0)),
        "model.mixer": Dimension(choices=("pool", "conv")),
    }
    about = subject().model_copy(update={"sampler": "grid", "space": space})
    asked: list[Trial] = []
    for number in range(4):
        asked.append(trial(number, 0.5).model_copy(update={"parameters": propose(about, asked)}))
    values = [tuple(item.parameters.values()) for item in asked]
    assert values == [(0.5, "pool"), (0.5, "conv"), (0.0, "pool"), (0.0, "conv")]


def trial(number: int, *figures: float, about: Subject | None = None, **more: object) -> Trial:
    """A complete trial of one network."""
    about = about or subject()
    curve = Curve(fold=0, replica=0, figures=figures)
    made = Trial(number=number, parameters=first(about), curves=(curve,))
    update = {"state": "complete", "value": about.counted_of(figures), **more}
    return made.model_copy(update=update)


def first(about: Subject) -> dict[str, object]:
    return {**propose(about, [])}


def searched(count: int, about: Subject) -> list[Trial]:
    """Trials whose figure is best at a small rate of learning; some are pruned, some fail."""
    optuna_version()
    trials: list[Trial] = []
    for number in range(count):
        parameters = propose(about, trials)
        rate = parameters["train.lr"]
        assert isinstance(rate, float)
        figure = 1.0 - rate
        state = ("complete", "complete", "pruned", "failed")[number % 4]
        curves = (Curve(fold=0, replica=0, figures=(figure,)),) if state != "failed" else ()
        value = figure if state == "complete" else None
        trials.append(
            Trial.model_validate(
                {"number": number, "parameters": parameters, "state": state, "value": value,
                 "curves": curves}
            )
        )  # fmt: skip
    return trials


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_parameters_lie_in_the_space(seed: int) -> None:
    for item in searched(7, subject(seed=seed)):
        chosen = item.parameters
        rate, clip = chosen["train.lr"], chosen["train.clip"]
        assert isinstance(rate, float)
        assert 1e-4 <= rate <= 1e-1
        assert clip in [pytest.approx(tenths / 10) for tenths in range(4)]
        assert chosen["train.batch_size"] in (8, 16, 24, 32)
        depth = chosen["model.options.depth"]
        assert isinstance(depth, int)
        assert 1 <= depth <= 64
        assert chosen["preprocess.size"] in ([8, 8, 8], [16, 16, 8])
        assert chosen["model.drop_path"] in (None, 0.1, 1, True)


def test_a_search_read_from_its_record_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    about = subject()
    whole = searched(12, about)
    for stopped in (1, 3, 4, 8, 11):
        TuneRecord(tmp_path / "tuning.json", "5", about, whole[:stopped]).write()
        read = read_record(tmp_path)
        assert read is not None
        assert read.subject == about
        assert read.trials == whole[:stopped]
        assert propose(read.subject, read.trials) == whole[stopped].parameters


def test_the_search_learns_from_earlier_trials() -> None:
    about = subject()
    trials = searched(10, about)
    turned = [
        item.model_copy(update={"value": None if item.value is None else -item.value})
        for item in trials
    ]
    assert propose(about, trials) != propose(about, turned)
    assert propose(about, trials[:2]) == propose(about, turned[:2])  # random until startup
    assert propose(subject(seed=1), trials) != propose(about, trials)


def curve(*figures: float, fold: int = 0) -> Curve:
    return Curve(fold=fold, replica=0, figures=figures)


def test_a_network_behind_the_median_is_stopped() -> None:
    about = subject()
    earlier = [trial(k, 0.5, value) for k, value in enumerate((0.6, 0.7, 0.8))]
    assert is_behind(about, earlier, curve(0.4, 0.69))
    assert not is_behind(about, earlier, curve(0.4, 0.7))
    assert is_behind(about, earlier, curve(0.4))
    assert not is_behind(about, earlier, curve(0.5))


def test_a_loss_is_better_when_it_is_lower() -> None:
    about = subject("loss")
    earlier = [trial(k, value, about=about) for k, value in enumerate((0.6, 0.7, 0.8))]
    assert is_behind(about, earlier, curve(0.71))
    assert not is_behind(about, earlier, curve(0.7))


def test_nothing_is_stopped_before_startup_trials_and_spared_epochs() -> None:
    earlier = [trial(k, 0.9, 0.9, 0.9) for k in range(3)]
    assert not is_behind(subject(), earlier[:2], curve(0.1))
    about = subject(spared=2)
    assert not is_behind(about, earlier, curve(0.1, 0.1))
    assert is_behind(about, earlier, curve(0.1, 0.1, 0.1))


def test_pruned_and_failed_trials_and_repetitions_are_no_measure() -> None:
    earlier = [trial(k, 0.9) for k in range(3)]
    for change in ({"state": "pruned", "value": None}, {"curves": ()}):
        others = [*earlier[:2], earlier[2].model_copy(update=change)]
        assert not is_behind(subject(), others, curve(0.1))


def test_a_network_that_ended_early_is_compared_by_its_last_best() -> None:
    earlier = [trial(k, 0.5, 0.9, 0.8) for k in range(3)]
    assert is_behind(subject(), earlier, curve(0.5, 0.9, 0.8, 0.7, 0.6)) is False
    assert is_behind(subject(), earlier, curve(0.5, 0.8, 0.8, 0.7, 0.6)) is True


def test_each_fold_is_compared_with_its_own_fold() -> None:
    hard = tuple(
        item.model_copy(update={"curves": (*item.curves, curve(0.6, fold=1))})
        for item in (trial(k, 0.9) for k in range(3))
    )
    assert is_behind(subject(), hard, curve(0.7))
    assert not is_behind(subject(), hard, curve(0.7, fold=1))


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [("auroc", (0.5, 0.8, 0.8), 1), ("loss", (0.5, 0.3, 0.8), 1), ("auroc", (), None)],
)
def test_the_best_trial_is_the_earliest_of_equal_ones(
    monitor: Monitor, values: Sequence[float], best: int | None, tmp_path: Path
) -> None:
    about = subject(monitor)
    trials = [trial(k, value, about=about) for k, value in enumerate(values)]
    trials.append(trial(len(values), 9.0, about=about, state="pruned", value=None))
    found = TuneRecord(tmp_path / "tuning.json", "5", about, trials).best
    assert (None if found is None else found.number) == best


def test_the_last_figure_counts_where_the_last_epoch_is_kept() -> None:
    best, last = subject(), subject().model_copy(update={"keep": "last"})
    assert (best.counted_of((0.6, 0.9, 0.7)), last.counted_of((0.6, 0.9, 0.7))) == (0.9, 0.7)
    # Once ahead, now behind: checkpoints of the last epoch would be.
    earlier = [trial(k, 0.8, about=last) for k in range(3)]
    fallen = Curve(fold=0, replica=0, figures=(0.9, 0.9, 0.9, 0.6))
    assert not is_behind(best, earlier, fallen)
    assert is_behind(last, earlier, fallen)


def test_optuna_is_loaded_for_a_search_alone() -> None:
    code = (
        "import sys; import pipeline.cli, pipeline.tune_plan, pipeline.tune_search; "
        "sys.exit('optuna' in sys.modules or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False)
    assert done.returncode == 0
