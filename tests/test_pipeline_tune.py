"""Search: judged by validation parts alone, resumed to the same trials, crashed by none."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import nibabel
import numpy as np
import pytest
from conftest import SMALL
from typer.testing import CliRunner

from pipeline import tune as module
from pipeline import tune_search, tune_trial
from pipeline.cli import app
from pipeline.config_file import load_config
from pipeline.data.cache import CachedVolume
from pipeline.data.cases import Case
from pipeline.data.folds_file import read_folds
from pipeline.data.volumes import VolumeStore
from pipeline.errors import ConfigError, DataError, PreemptedError, StorageError
from pipeline.progress import Display, Silent
from pipeline.run import Member
from pipeline.split import split
from pipeline.storage import locked, read_table
from pipeline.train import train_member
from pipeline.training.state import Row
from pipeline.tune import Tuned, tune
from pipeline.tune_plan import read_tuning
from pipeline.tune_record import Trial

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

nib: Any = nibabel  # has no types for what is used here
Json = dict[str, Any]

#: A checkpoint after every step; losses tell trials apart where AUROC of few cases does not.
SEARCHED = ("train.monitor=loss", "train.epochs=2", "train.checkpoint_seconds=1e-6")
SPACE: Json = {
    "train.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "train.batch_size": {"low": 4, "high": 8, "step": 2},
    "model.mixer": {"choices": ["pool", "identity"]},
}


class ShownLines(Display, Protocol):
    """A display that keeps its lines."""

    shown: list[str]


def written(folder: Path, space: Json | None = None, **more: object) -> str:
    """A tuning file; JSON is YAML."""
    content = {"config": "base", "trials": 5, "startup": 2, "spared": 0, "space": space or SPACE}
    path = folder / "search.yaml"
    path.write_text(json.dumps({**content, **more}))
    return str(path)


def trials_of(out: Path) -> list[Json]:
    """What became of all trials; how long they took is not among it."""
    found: list[Json] = json.loads((out / "tuning.json").read_text())["trials"]
    for trial in found:
        trial.pop("seconds")
    return found


@pytest.fixture(scope="module")
def overrides(small_manifest: Path) -> list[str]:
    small = [text for text in SMALL if not text.startswith(("train.batch_size", "train.epochs"))]
    return [*small, f"data.manifest={small_manifest}", *SEARCHED]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, overrides: list[str]) -> Tuned:
    """A search that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return tune(written(folder), folder / "out", Silent(), overrides)


def folder_of(found: Tuned) -> Path:
    return found.settings.parent


def test_a_trial_is_judged_by_the_best_figure_of_its_log(whole: Tuned) -> None:
    out = folder_of(whole)
    record = whole.record
    assert [trial.number for trial in record.trials] == [0, 1, 2, 3, 4]
    for trial in record.trials:
        log = read_table(out / f"trials/trial_{trial.number:04d}/fold_0/log.csv")
        figures = [float(row["validation_loss"]) for row in log]
        assert trial.curves[0].figures == tuple(figures)
        if trial.state == "complete":
            assert trial.value == min(figures)
    complete = [trial for trial in record.trials if trial.state == "complete"]
    assert record.best == min(complete, key=lambda trial: trial.value or math.inf)


def test_only_the_best_trial_keeps_its_checkpoints(whole: Tuned) -> None:
    kept = [path.parts[-3] for path in folder_of(whole).rglob("checkpoints")]
    assert whole.record.best is not None
    assert kept == [f"trial_{whole.record.best.number:04d}"]


def test_the_best_settings_are_a_whole_config_that_train_takes(
    whole: Tuned, overrides: list[str], tmp_path: Path
) -> None:
    best = whole.record.best
    assert best is not None
    plan = read_tuning(written(tmp_path), overrides)
    assert "base:" not in whole.settings.read_text()
    assert load_config(str(whole.settings)) == plan.config(best.parameters)
    words = ["train", "--config", str(whole.settings), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*words, "--dry-run"])
    assert result.exit_code == 0, result.output


def test_the_search_has_the_folds_that_a_run_has(whole: Tuned, tmp_path: Path) -> None:
    folds = read_folds(folder_of(whole) / "folds.json")
    (tmp_path / "run").mkdir()
    assert (
        folds.sha256 == split(load_config(str(whole.settings)), tmp_path / "run", Silent()).sha256
    )


def test_no_path_is_in_any_output(whole: Tuned, small_manifest: Path) -> None:
    secrets = [str(folder_of(whole).parent), str(small_manifest.parent)]
    for name in ("tuning.json", "report/index.html", "environment.json", "folds.json"):
        text = (folder_of(whole) / name).read_text()
        assert [secret for secret in secrets if secret in text] == [], name


def test_noise_in_the_test_part_changes_no_trial(
    whole: Tuned, overrides: list[str], small_manifest: Path, tmp_path: Path
) -> None:
    tested = read_folds(folder_of(whole) / "folds.json").folds[0].test
    assert len(tested) > 4
    (tmp_path / "images").mkdir()
    for number, row in enumerate(read_table(small_manifest)):
        image = nib.load(small_manifest.parent / row["image"])
        voxels = np.asarray(image.dataobj)
        name = Path(row["image"]).name
        if name.removesuffix(".nii.gz") in tested:
            voxels = np.random.default_rng(number).normal(5, 9, voxels.shape).astype("f4")
        nib.save(nib.Nifti1Image(voxels, image.affine), tmp_path / "images" / name)
    (tmp_path / "manifest.csv").write_text(small_manifest.read_text())
    chosen = [*overrides, f"data.manifest={tmp_path / 'manifest.csv'}"]
    tune(written(tmp_path), tmp_path / "out", Silent(), chosen)
    assert trials_of(tmp_path / "out") == trials_of(folder_of(whole))


@pytest.mark.parametrize(
    "space", [SPACE, {"preprocess.intensity.name": {"choices": ["unit", "none"]}}]
)
def test_no_trial_asks_for_a_volume_of_the_test_part(
    space: Json, whole: Tuned, overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = set(read_folds(folder_of(whole) / "folds.json").folds[0].test)
    asked: set[str] = set()
    fetch, inspect, begin = VolumeStore.fetch_known, VolumeStore.inspect, tune_search.propose

    def fetched(store: VolumeStore, case: Case, content: str) -> CachedVolume:
        asked.add(case.case_id)
        return fetch(store, case, content)

    def inspected(store: VolumeStore, case: Case) -> object:
        asked.add(case.case_id)
        return inspect(store, case)

    def proposed(*words: Any) -> Any:  # noqa: ANN401  # handed on as it is
        # What was read for the folds and their checks was read before any trial.
        if not words[1]:
            asked.clear()
        return begin(*words)

    monkeypatch.setattr(VolumeStore, "fetch_known", fetched)
    monkeypatch.setattr(VolumeStore, "inspect", inspected)
    monkeypatch.setattr(module, "propose", proposed)
    tune(written(tmp_path, space, trials=2), tmp_path / "out", Silent(), overrides)
    assert len(asked) > 4
    assert asked.isdisjoint(tested)


def test_a_finished_search_is_not_repeated_and_more_trials_follow(
    whole: Tuned, overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    tune(written(tmp_path, trials=3), out, Silent(), overrides)
    assert trials_of(out) == trials_of(folder_of(whole))[:3]
    with monkeypatch.context() as patch:
        patch.setattr(module, "run_trial", lambda *_: pytest.fail("a trial is repeated"))
        (out / "best.yaml").unlink()
        tune(written(tmp_path, trials=2), out, Silent(), overrides)
    assert (out / "best.yaml").is_file()
    tune(written(tmp_path), out, Silent(), overrides)
    assert trials_of(out) == trials_of(folder_of(whole))
    assert (out / "best.yaml").read_text().count("mixer") == 1


def interrupting(at: int, how: Callable[[], object]) -> Callable[..., None]:
    """Notes of epochs, the `at`-th of which is interrupted."""
    seen, note = [0], tune_trial._Watched.note

    def interrupted(self: tune_trial._Watched, member: Member, row: Row) -> None:
        seen[0] += 1
        if seen[0] == at:
            how()
        note(self, member, row)

    return interrupted


def killed() -> None:
    raise KeyboardInterrupt


def asked_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("how", "error"), [(killed, KeyboardInterrupt), (asked_to_stop, PreemptedError)]
)
def test_stopped_again_and_again_it_comes_to_the_same_trials(
    how: Callable[[], object],
    error: type[BaseException],
    whole: Tuned,
    overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, out = written(tmp_path), tmp_path / "out"
    for at in (1, 3, 2):
        with monkeypatch.context() as patch:
            patch.setattr(tune_trial._Watched, "note", interrupting(at, how))
            with pytest.raises(error) as caught:
                tune(source, out, Silent(), overrides)
        assert (out / "tuning.json").is_file()
    if error is PreemptedError:
        assert "the same command goes on" in str(caught.value)
    tune(source, out, Silent(), overrides)
    assert trials_of(out) == trials_of(folder_of(whole))
    ours, theirs = load_config(str(out / "best.yaml")), load_config(str(whole.settings))
    assert ours == theirs


def test_a_trial_goes_on_with_the_step_at_which_it_stopped(
    whole: Tuned, overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = written(tmp_path, trials=1), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(tune_trial._Watched, "note", interrupting(2, asked_to_stop))
        with pytest.raises(PreemptedError):
            tune(source, out, Silent(), overrides)
    folder = out / "trials/trial_0000/fold_0"
    (first,) = folder.glob("tensorboard/*")
    steps = [path.name for path in folder.glob("checkpoints/step-*")]
    tune(source, out, Silent(), overrides)
    assert trials_of(out)[0] == trials_of(folder_of(whole))[0]
    assert len(list(folder.glob("tensorboard/*"))) == 1
    assert [path.name for path in folder.glob("checkpoints/step-*")] == steps
    assert first.is_file()


def failing(out: Path) -> list[str]:
    return [trial["reason"] for trial in trials_of(out) if trial["state"] == "failed"]


def test_settings_that_do_not_fit_each_other_are_a_failed_trial(
    overrides: list[str], tmp_path: Path, lines: ShownLines
) -> None:
    space = {
        "train.sampler": {"choices": ["shuffle", "balanced"]},
        "train.class_weights": {"choices": ["balanced", "none"]},
    }
    out = tmp_path / "out"
    tune(written(tmp_path, space, trials=8, pruner="none"), out, lines, overrides)
    assert any("classes would be balanced twice" in text for text in failing(out))
    assert "failed" in (out / "report/index.html").read_text()
    assert any("failed, " in text for text in lines.shown)
    twins = [item for item in trials_of(out) if "the same settings as" in (item["reason"] or "")]
    assert len(twins) >= 4
    assert all(item["curves"] == [] for item in twins)


def test_a_batch_too_small_and_a_training_that_diverges_are_failed_trials(
    overrides: list[str], tmp_path: Path
) -> None:
    space = {
        "train.batch_size": {"choices": [1, 4]},
        "train.lr": {"choices": [1e-3, 1e30]},
        "model.options.norm": {"choices": ["batch", "group"]},
    }
    out = tmp_path / "out"
    tune(written(tmp_path, space, trials=9, startup=9), out, Silent(), overrides)
    reasons = failing(out)
    assert any("not finite" in text for text in reasons)
    assert any("a batch of 1 is too small: 2 cases are needed" in text for text in reasons)
    assert any(trial["state"] == "complete" for trial in trials_of(out))


def test_where_every_trial_fails_the_reasons_are_told(overrides: list[str], tmp_path: Path) -> None:
    space = {"train.lr": {"choices": [1e30, 1e31]}}
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="no trial was complete") as caught:
        tune(written(tmp_path, space, trials=2), out, Silent(), overrides)
    assert "not finite" in str(caught.value)
    assert not (out / "best.yaml").exists()
    assert "no best settings" in (out / "report/index.html").read_text()


def test_too_little_memory_is_a_failed_trial(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def large(run: Any, *words: Any, **more: Any) -> None:  # noqa: ANN401  # handed on as they are
        if run.config.train.batch_size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        train_member(run, *words, **more)

    monkeypatch.setattr(tune_trial, "train_member", large)
    space = {"train.batch_size": {"choices": [4, 8]}}
    tune(written(tmp_path, space, trials=4, startup=4), tmp_path / "out", Silent(), overrides)
    assert any("memory of the device is too small" in text for text in failing(tmp_path / "out"))


def test_several_folds_and_networks_are_averaged(overrides: list[str], tmp_path: Path) -> None:
    source = written(tmp_path, trials=1, folds="all", set={"train.seeds": 2})
    found = tune(source, tmp_path / "out", Silent(), [*overrides, "train.epochs=1"])
    (trial,) = found.record.trials
    places = [(curve.fold, curve.replica) for curve in trial.curves]
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1)]
    best = [min(curve.figures) for curve in trial.curves]
    assert trial.value == pytest.approx(sum(best) / 4, abs=1e-12)
    assert found.record.subject.untouched == ()
    assert whole_fold(found) == (0, 1)


def whole_fold(found: Tuned) -> tuple[int, ...]:
    return tuple(item.fold for item in found.record.subject.folds)


def test_the_untouched_test_part_is_named(whole: Tuned) -> None:
    assert whole.record.subject.untouched == (0,)
    assert "--fold 0 has an honest test figure" in whole.page.read_text()
    assert any("no trial was given a test case" in line for line in whole.lines())


CHANGES: Sequence[tuple[Json, list[str], str]] = [
    ({"seed": 1}, [], "tuning.seed: 0 in the folder, 1 now"),
    ({"startup": 3}, [], "startup"),
    ({"pruner": "none"}, [], "pruner"),
    ({"folds": [1]}, [], "folds"),
    ({"space": {**SPACE, "train.clip": {"low": 0.5, "high": 1.0}}}, [], "space.train.clip"),
    ({}, ["train.epochs=3"], "train.epochs: 2 in the folder, 3 now"),
    ({}, ["seed=1"], "seed"),
    ({}, ["train.monitor=auroc"], "tuning.monitor"),
]


@pytest.mark.parametrize(("change", "more", "words"), CHANGES)
def test_another_search_in_the_same_folder_is_refused(
    change: Json, more: list[str], words: str, whole: Tuned, overrides: list[str], tmp_path: Path
) -> None:
    before = (folder_of(whole) / "tuning.json").read_bytes()
    with pytest.raises((ConfigError, DataError)) as caught:
        tune(written(tmp_path, **change), folder_of(whole), Silent(), [*overrides, *more])
    assert words in str(caught.value)
    assert (folder_of(whole) / "tuning.json").read_bytes() == before


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"format": 1}', '{"format": 2, "optuna": "5", "subject": {}, "trials": []}'],
)
def test_a_damaged_record_is_refused(text: str, overrides: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/tuning.json").write_text(text)
    with pytest.raises(StorageError, match=r"tuning\.json"):
        tune(written(tmp_path), tmp_path / "out", Silent(), overrides)


@pytest.mark.parametrize("change", ["number", "running"])
def test_trials_out_of_order_are_refused(
    change: str, whole: Tuned, overrides: list[str], tmp_path: Path
) -> None:
    tree = json.loads((folder_of(whole) / "tuning.json").read_text())
    tree["trials"][1] |= {"number": 7} if change == "number" else {"state": "running"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out/tuning.json").write_text(json.dumps(tree))
    with pytest.raises(StorageError, match="is damaged"):
        tune(written(tmp_path), tmp_path / "out", Silent(), overrides)


@pytest.mark.parametrize("name", ["config.yaml", "ladder.json", "competitor.json"])
def test_a_folder_of_something_else_is_refused(
    name: str, overrides: list[str], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("{}")
    with pytest.raises(ConfigError, match="something else than a tuning"):
        tune(written(tmp_path), tmp_path / "out", Silent(), overrides)


def test_two_searches_in_one_folder_at_once_are_refused(
    overrides: list[str], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"), pytest.raises(StorageError, match="tuning folder"):
        tune(written(tmp_path), tmp_path / "out", Silent(), overrides)


def test_a_fold_that_is_not_there_is_refused(overrides: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no fold 2"):
        tune(written(tmp_path, folds=[2]), tmp_path / "out", Silent(), overrides)


def test_a_validation_part_without_a_class_cannot_judge_by_auroc(
    whole: Tuned, overrides: list[str], tmp_path: Path
) -> None:
    tree = json.loads((folder_of(whole) / "folds.json").read_text())
    labels = {name: case["label"] for name, case in tree["cases"].items()}
    fold = tree["folds"][0]
    moved = [name for name in fold["validation"] if labels[name] == "left"]
    fold["validation"] = [name for name in fold["validation"] if name not in moved]
    fold["train"] = sorted([*fold["train"], *moved])
    tree.pop("sha256")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/folds.json").write_text(json.dumps(tree))
    chosen = [*overrides, "train.monitor=auroc"]
    with pytest.raises(ConfigError, match="validation part of fold 0 has no AUROC") as caught:
        tune(written(tmp_path), tmp_path / "out", Silent(), chosen)
    assert "class left" in str(caught.value)


def test_another_version_of_optuna_is_told(
    whole: Tuned, overrides: list[str], tmp_path: Path, lines: ShownLines,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "optuna_version", lambda: "99.0")
    tune(written(tmp_path), folder_of(whole), lines, overrides)
    assert any("goes on with 99.0" in text for text in lines.shown)


def test_the_verb_tells_the_result(whole: Tuned, overrides: list[str], tmp_path: Path) -> None:
    words = ["tune", "-c", written(tmp_path), "--out", str(folder_of(whole)), *overrides]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "best of 5 trials: trial" in result.output
    assert "so that figure is too good" in result.output
    assert str(whole.settings) in result.output


def test_the_verb_refuses_before_it_works(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "out")
    result = CliRunner().invoke(app, ["tune", "-c", "no_such_search", "--out", out])
    assert result.exit_code == 2
    assert "tuning/mr_patches" in result.output
    result = CliRunner().invoke(app, ["tune", "-h"])
    assert "Example: volclass tune" in " ".join(result.output.split())
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    result = CliRunner().invoke(app, ["tune", "-c", written(tmp_path), "--out", out, *overrides])
    assert result.exit_code == 2
    assert "pip install 'volclass[tune]'" in result.output
    assert not Path(out).exists()


def test_the_script_is_the_verb() -> None:
    path = Path(__file__).parents[1] / "scripts" / "tune_volumes.py"
    assert os.access(path, os.X_OK)
    assert 'main("tune")' in path.read_text()


def test_a_trial_knows_its_own_parameters_alone(whole: Tuned) -> None:
    assert all(set(trial.parameters) == set(SPACE) for trial in whole.record.trials)
    assert isinstance(whole.record.trials[0], Trial)
    assert len({json.dumps(trial.parameters) for trial in whole.record.trials}) == 5
