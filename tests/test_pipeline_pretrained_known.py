"""What a pretraining has seen is known to every command that starts from it, not to `train` alone.

And a pretraining is the same to a run that began from it, whatever comes to it later.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
from conftest import SMALL, Lines
from pretrainings import PRETRAINING, Stopping, on, unlabelled_copy

from pipeline.build import build_task, describe_start
from pipeline.config import Config
from pipeline.crossval import cross_validate
from pipeline.data.folds_file import read_folds
from pipeline.errors import ConfigError, DataError, PreemptedError
from pipeline.features import extract
from pipeline.pretrain import pretrain
from pipeline.pretrained import read_pretraining
from pipeline.probe import probe
from pipeline.progress import Silent
from pipeline.storage import read_table
from pipeline.tune import tune

MakeConfig = Callable[..., Config]
SHORT = (*PRETRAINING, "train.epochs=1")
ALL = (*SHORT, "pretrain.scope=all")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, small_config: MakeConfig) -> Path:
    """A small pretraining of both folds."""
    out = tmp_path_factory.mktemp("made") / "pretrained"
    pretrain(small_config(*SHORT), out, Silent())
    return out


@pytest.fixture(scope="module")
def made_of_all(tmp_path_factory: pytest.TempPathFactory, small_config: MakeConfig) -> Path:
    """A small pretraining of all cases."""
    out = tmp_path_factory.mktemp("all") / "pretrained"
    pretrain(small_config(*ALL), out, Silent())
    return out


@pytest.fixture(scope="module")
def made_of_others(tmp_path_factory: pytest.TempPathFactory, small_manifest: Path) -> Path:
    """A small pretraining of other people."""
    folder = tmp_path_factory.mktemp("others")
    manifest = unlabelled_copy(small_manifest, folder / "unlabelled")
    pretrain(on(manifest, *ALL), folder / "pretrained", Silent())
    return folder / "pretrained"


def test_features_of_a_network_that_saw_what_a_fold_tests_are_refused(
    made_of_all: Path, reference: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    config = small_config(f"model.init={made_of_all}")
    # As a ladder gives its own folds to the probe, and as the configuration makes them.
    for folds in (read_folds(reference / "folds.json"), None):
        with pytest.raises(DataError, match="E_PRETRAINED_ON_TEST") as caught:
            extract(config, [], tmp_path / "f.parquet", Silent(), folds=folds)
        assert "saw 20 cases" in str(caught.value)
        assert "pretrain.scope=fold" in str(caught.value.remedy)
    assert not (tmp_path / "f.parquet").exists()


def test_the_network_for_the_refit_describes_no_case_that_it_saw(
    small_config: MakeConfig, tmp_path: Path
) -> None:
    pre = tmp_path / "pre"
    pretrain(small_config(*SHORT, "cv.refit=true"), pre, Silent())
    with pytest.raises(DataError, match="E_PRETRAINED_ON_TEST"):
        extract(small_config(f"model.init={pre}"), [], tmp_path / "f.parquet", Silent())


def test_without_folds_what_the_pretraining_saw_is_marked_and_said(
    made_of_all: Path, small_config: MakeConfig, small_manifest: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(small_manifest.parent / "images", images)
    manifest = unlabelled_copy(small_manifest, tmp_path / "unlabelled")
    shutil.copy(manifest.parent / "images/p00_0.nii.gz", images / "new.nii.gz")
    lines, config = Lines(), small_config(f"model.init={made_of_all}")
    done = extract(config, [str(images)], tmp_path / "f.parquet", lines)
    marked = dict(zip(done.table.case_ids, done.table.seen, strict=True))
    assert [name for name, seen in marked.items() if not seen] == ["new"]
    assert any("the pretraining saw 20 of these 21 cases" in line for line in lines.shown)
    assert done.table.origin.start == "pretraining"


def test_features_from_other_patients_are_probed_as_pretrained_ones(
    made_of_others: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    config = small_config(f"model.init={made_of_others}")
    done = extract(config, [], tmp_path / "f.parquet", Silent())
    assert not any(done.table.seen)
    assert done.table.origin.start == "pretraining"
    result = probe(tmp_path / "f.parquet", tmp_path / "probe", Silent(), resamples=100)
    page = result.page.read_text()
    assert "trained on none of these cases" in page
    assert "weights come from a file" not in page
    assert json.loads((tmp_path / "probe/competitor.json").read_text())["start"] == "pretrained"


def test_features_of_volumes_that_are_prepared_otherwise_are_refused(
    made_of_others: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    config = small_config(f"model.init={made_of_others}", "preprocess.intensity={name: unit}")
    with pytest.raises(ConfigError, match="prepared otherwise") as caught:
        extract(config, [], tmp_path / "f.parquet", Silent())
    assert "- preprocess.intensity.name: " in str(caught.value.why)


def search(folder: Path, init: Path, space: dict[str, object], **more: object) -> str:
    """A tuning file of one trial on the first fold; JSON is YAML."""
    content = {"config": "base", "trials": 1, "startup": 1, "spared": 0, "space": space, **more}
    path = folder / "search.yaml"
    path.write_text(json.dumps({**content, "set": {"model.init": str(init)}}))
    return str(path)


RATE: dict[str, object] = {"train.lr": {"low": 1e-4, "high": 1e-1, "log": True}}


def test_a_search_needs_a_pretraining_of_its_folds_and_preparation(
    small_config: MakeConfig, small_manifest: Path, tmp_path: Path
) -> None:
    pre = tmp_path / "pre"
    pretrain(small_config(*SHORT), pre, Silent(), fold=0)
    given = [*SMALL, f"data.manifest={small_manifest}", "train.monitor=loss", "train.epochs=1"]
    other = [*given, "preprocess.intensity={name: unit}"]
    with pytest.raises(ConfigError, match="prepared otherwise"):
        tune(search(tmp_path, pre, RATE), tmp_path / "other", Silent(), other)
    with pytest.raises(ConfigError, match="no network for fold 1"):
        tune(search(tmp_path, pre, RATE, folds=[1]), tmp_path / "missing", Silent(), given)
    # Only the folds of the search are needed.
    found = tune(search(tmp_path, pre, RATE, folds=[0]), tmp_path / "good", Silent(), given)
    assert [trial.state for trial in found.record.trials] == ["complete"]


def test_a_trial_that_prepares_volumes_otherwise_fails_by_itself(
    made: Path, small_manifest: Path, tmp_path: Path
) -> None:
    kept = [text for text in SMALL if not text.startswith("preprocess.intensity")]
    given = [*kept, f"data.manifest={small_manifest}", "train.monitor=loss", "train.epochs=1"]
    space: dict[str, object] = {"preprocess.intensity.name": {"choices": ["unit", "percentiles"]}}
    with pytest.raises(ConfigError, match="no trial was complete") as caught:
        tune(search(tmp_path, made, space), tmp_path / "out", Silent(), given)
    assert "prepared otherwise than in the pretraining" in str(caught.value.why)


def test_a_network_for_the_refit_that_comes_later_breaks_no_run(
    made: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    pre, out, short = tmp_path / "pre", tmp_path / "run", "train.epochs=1"
    shutil.copytree(made, pre)
    with pytest.raises(PreemptedError):
        cross_validate(small_config(f"model.init={pre}", short), out, Stopping())
    before = read_pretraining(pre)
    pretrain(small_config(*SHORT, "cv.refit=true"), pre, Silent(), resume=True)
    after = read_pretraining(pre)
    assert len(after.networks) == 3
    assert after.start == before.start
    config = small_config(f"model.init={pre}", "cv.refit=true", short)
    cross_validate(config, out, Silent(), resume=True)
    assert len(read_table(out / "predictions.csv")) == 20
    assert (out / "refit" / "checkpoints").is_dir()


def test_a_fold_that_starts_later_starts_from_the_noted_pretraining(
    made: Path, small_config: MakeConfig
) -> None:
    config, start = small_config(f"model.init={made}"), read_pretraining(made).start
    build_task(config, [0, 1], 2, 7, fold=1, noted=start)
    with pytest.raises(ConfigError, match="not the one any more that this run began with"):
        build_task(config, [0, 1], 2, 7, fold=1, noted="another")


def test_an_encoder_that_is_named_as_a_file_is_refused(
    made: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    encoder = made / "fold_0" / "encoder.safetensors"
    (best,) = (made / "fold_0/checkpoints").glob("best-*.safetensors")
    unmarked = tmp_path / "pre" / "fold_0" / "encoder.safetensors"
    shutil.copytree(made, tmp_path / "pre")
    safetensors.torch.save_file(safetensors.torch.load_file(encoder), unmarked)
    (tmp_path / "link.safetensors").symlink_to(unmarked)
    shutil.copy(encoder, tmp_path / "copy.safetensors")
    for path in (encoder, best, unmarked, tmp_path / "link.safetensors"):
        with pytest.raises(ConfigError, match="part of a pretraining") as caught:
            describe_start(small_config(f"model.weights={path}").model, 2)
        folder = made if path in (encoder, best) else tmp_path / "pre"
        assert f"model.init={folder}" in str(caught.value.remedy)
    with pytest.raises(ConfigError, match="part of a pretraining") as caught:
        describe_start(small_config(f"model.weights={tmp_path / 'copy.safetensors'}").model, 2)
    assert "model.init=FOLDER" in str(caught.value.remedy)
