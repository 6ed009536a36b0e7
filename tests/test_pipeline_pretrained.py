"""`train` from a pretraining: from exactly its tensors, and never from one that saw the test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import SMALL, Lines
from pretrainings import PRETRAINING, Stopping, encoder, on, unlabelled_copy
from torch import Tensor

from pipeline.build import build_task, describe_start
from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.errors import ConfigError, DataError, PreemptedError, StorageError
from pipeline.predict import predict
from pipeline.pretrain import pretrain
from pipeline.pretrained import read_pretraining
from pipeline.progress import Silent
from pipeline.storage import read_table

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

MakeConfig = Callable[..., Config]
Tensors = Callable[[Path, int, str], dict[str, Tensor]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, small_config: MakeConfig) -> Path:
    """A small pretraining of both folds."""
    out = tmp_path_factory.mktemp("made") / "pretrained"
    pretrain(small_config(*PRETRAINING), out, Silent())
    return out


@pytest.fixture(scope="module")
def made_of_all(tmp_path_factory: pytest.TempPathFactory, small_config: MakeConfig) -> Path:
    """A small pretraining of all cases."""
    out = tmp_path_factory.mktemp("all") / "pretrained"
    pretrain(small_config(*PRETRAINING, "pretrain.scope=all"), out, Silent())
    return out


def test_each_fold_starts_from_exactly_its_own_tensors(
    made: Path, small_config: MakeConfig
) -> None:
    config = small_config(f"model.init={made}", "model.head={stages: all, pool: stats}")
    for fold in (0, 1):
        task = build_task(config, [0, 1], 2, 7, fold=fold)
        start = task.plain_network.state_dict()
        taken = encoder(made, fold)
        assert [name for name in taken if not torch.equal(taken[name], start[name])] == []
    random = build_task(small_config("model.head={stages: all, pool: stats}"), [0, 1], 2, 7)
    fresh = random.plain_network.state_dict()
    head = [name for name in fresh if not name.startswith(("stem.", "stages."))]
    assert head
    assert [name for name in head if not torch.equal(fresh[name], start[name])] == []
    assert not torch.equal(encoder(made, 0)["stem.conv.weight"], taken["stem.conv.weight"])


def test_a_run_from_a_pretraining_says_so_and_keeps_what_is_frozen(
    made: Path, small_config: MakeConfig, tmp_path: Path, fold_tensors: Tensors
) -> None:
    config = small_config(f"model.init={made}", "train.freeze=[stem, stage1, stage2]")
    lines = Lines()
    cross_validate(config, tmp_path / "run", lines)
    assert any("each fold starts from its own" in line for line in lines.shown)
    for fold in (0, 1):
        best, taken = fold_tensors(tmp_path / "run", fold, "best"), encoder(made, fold)
        kept = {name for name in taken if torch.equal(best[name], taken[name])}
        assert {n for n in taken if n.startswith(("stem.", "stages.0.", "stages.1."))} <= kept
        assert not {n for n in kept if n.startswith("stages.3.") and taken[n].ndim > 1}
    assert json.loads((tmp_path / "run" / "start.json").read_text()) == {
        "sha256": read_pretraining(made).start
    }
    assert str(made) not in (tmp_path / "run" / "config.yaml").read_text()


def test_a_moved_pretraining_breaks_no_resume_and_a_trained_run_needs_none(
    made: Path, small_config: MakeConfig, small_manifest: Path, tmp_path: Path
) -> None:
    here, there, short = tmp_path / "here", tmp_path / "there", "train.epochs=2"
    shutil.copytree(made, here)
    out = tmp_path / "run"
    with pytest.raises(PreemptedError):
        cross_validate(small_config(f"model.init={here}", short), out, Stopping())
    here.rename(there)
    cross_validate(small_config(f"model.init={there}", short), out, Silent(), resume=True)
    cross_validate(small_config(f"model.init={made}", short), tmp_path / "whole", Silent())
    whole = (tmp_path / "whole" / "predictions.csv").read_bytes()
    assert (out / "predictions.csv").read_bytes() == whole
    shutil.rmtree(there)
    cross_validate(small_config(f"model.init={there}", short), out, Silent(), resume=True)
    predict(out, [str(small_manifest)], tmp_path / "again.csv", Silent(), out_of_fold=True)
    assert len(read_table(tmp_path / "again.csv")) == 20


def test_a_run_does_not_go_on_from_another_pretraining(
    made: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(PreemptedError):
        cross_validate(small_config(f"model.init={made}"), out, Stopping())
    other = tmp_path / "other"
    pretrain(small_config(*PRETRAINING, "pretrain.hidden=0.4", "train.epochs=1"), other, Silent())
    with pytest.raises(ConfigError, match="not those that this run began with"):
        cross_validate(small_config(f"model.init={other}"), out, Silent(), resume=True)


def test_volumes_without_labels_give_a_start_from_end_to_end(
    small_config: MakeConfig, small_manifest: Path, tmp_path: Path, fold_tensors: Tensors
) -> None:
    manifest = unlabelled_copy(small_manifest, tmp_path / "unlabelled")
    scope = (*PRETRAINING, "pretrain.scope=all")
    done = pretrain(on(manifest, *scope), tmp_path / "pre", Silent())
    assert done is not None
    (network,) = done.networks
    assert network.fold is None
    assert len(network.train) + len(network.validation) == 20
    people = [{c.patient_id for c in part.values()} for part in (network.train, network.validation)]
    assert not people[0] & people[1]
    init = f"model.init={tmp_path / 'pre'}"
    config = small_config(init, "train.freeze=[stem]", "train.epochs=1")
    cross_validate(config, tmp_path / "run", Silent())
    taken = safetensors.torch.load_file(tmp_path / "pre" / network.file)
    for fold in (0, 1):
        best = fold_tensors(tmp_path / "run", fold, "best")
        assert torch.equal(best["stem.conv.weight"], taken["stem.conv.weight"])
    pretrain(on(manifest, *scope), tmp_path / "pre", Silent(), resume=True)
    with pytest.raises(DataError, match="label"):
        pretrain(on(manifest, *PRETRAINING), tmp_path / "fold", Silent())


def test_a_refit_starts_from_the_network_of_all_cases(
    small_config: MakeConfig, tmp_path: Path
) -> None:
    refit = "cv.refit=true"
    pretrain(small_config(*PRETRAINING, refit, "train.epochs=1"), tmp_path / "pre", Silent())
    assert [n.fold for n in read_pretraining(tmp_path / "pre").networks] == [0, 1, None]
    init = f"model.init={tmp_path / 'pre'}"
    config = small_config(init, refit, "train.freeze=[stem]", "train.epochs=1")
    cross_validate(config, tmp_path / "run", Silent())
    taken = safetensors.torch.load_file(tmp_path / "pre" / "refit" / "encoder.safetensors")
    index = json.loads((tmp_path / "run/refit/checkpoints/checkpoints.json").read_text())
    best = safetensors.torch.load_file(tmp_path / "run/refit/checkpoints" / index["best"]["file"])
    assert torch.equal(best["stem.conv.weight"], taken["stem.conv.weight"])


ANOTHER = {
    "model.mixer=identity": "model.mixer",
    "model.options.dims=[4, 8, 8, 16]": "model.options.dims",
    "model.stem.kernel=5": "model.stem.kernel",
    "preprocess.size=[8, 8, 10]": "preprocess.size",
    "preprocess.spacing=[1.0, 1.0, 1.0]": "preprocess.spacing",
    "preprocess.intensity={name: unit}": "preprocess.intensity.name",
}


@pytest.mark.parametrize("override", ANOTHER)
def test_another_network_or_preparation_is_refused(
    override: str, made: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        cross_validate(small_config(f"model.init={made}", override), tmp_path / "run", Silent())
    message = str(caught.value)
    assert f"- {ANOTHER[override]}: " in message
    assert "in the pretraining" in message
    assert "here" in message


def test_another_network_is_refused_by_its_name(
    made: Path, small_manifest: Path, tmp_path: Path
) -> None:
    kept = [text for text in SMALL if not text.startswith("model.")]
    for name in ("monai_resnet18", "resnet18"):
        overrides = [*kept, f"data.manifest={small_manifest}", f"model.name={name}"]
        config = load_config("base", [*overrides, f"model.init={made}", "augment.flip=0.1"])
        with pytest.raises(ConfigError, match=f"poolformer3d_t in the pretraining, {name} here"):
            cross_validate(config, tmp_path / name, Silent())


def test_what_needs_no_other_encoder_may_differ(made: Path, small_config: MakeConfig) -> None:
    for override in ("model.drop_path=0.3", "model.head.hidden=[4]", "train.lr=0.1"):
        config = small_config(f"model.init={made}", override)
        assert "pretrained weights" in describe_start(config.model, 2)[0]


def test_a_pretraining_that_saw_the_test_part_is_refused(
    made: Path, made_of_all: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="E_PRETRAINED_ON_TEST") as caught:
        cross_validate(small_config(f"model.init={made_of_all}"), tmp_path / "run", Silent())
    assert "saw 20 cases" in str(caught.value)
    assert "fold 0: p0" in str(caught.value)
    assert not list((tmp_path / "run").glob("fold_*"))
    # The same folder may be used once there is a pretraining that did not see them.
    config = small_config(f"model.init={made}", "train.epochs=1")
    cross_validate(config, tmp_path / "run", Silent(), fold=0)


def test_a_copy_under_another_name_and_patient_is_known_by_its_voxels(
    small_config: MakeConfig, small_manifest: Path, tmp_path: Path
) -> None:
    manifest = unlabelled_copy(small_manifest, tmp_path / "unlabelled")
    shutil.copy(
        small_manifest.parent / "images/p03_1.nii.gz", manifest.parent / "images/p00_0.nii.gz"
    )
    pre = tmp_path / "pre"
    pretrain(on(manifest, *PRETRAINING, "pretrain.scope=all"), pre, Silent())
    with pytest.raises(DataError, match="saw 1 cases") as caught:
        cross_validate(small_config(f"model.init={pre}"), tmp_path / "run", Silent())
    assert "p03_1 has the voxels of p00_0" in str(caught.value)


def test_another_scan_of_a_test_patient_is_refused(
    small_config: MakeConfig, small_manifest: Path, tmp_path: Path
) -> None:
    manifest = unlabelled_copy(small_manifest, tmp_path / "unlabelled", patients="p")
    pre = tmp_path / "pre"
    pretrain(on(manifest, *PRETRAINING, "pretrain.scope=all"), pre, Silent())
    with pytest.raises(DataError, match="is of patient p0") as caught:
        cross_validate(small_config(f"model.init={pre}"), tmp_path / "run", Silent())
    assert "rename them in one of the manifests" in str(caught.value)


def test_other_folds_than_those_of_the_pretraining_are_refused(
    made: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="E_PRETRAINED_ON_TEST"):
        cross_validate(small_config(f"model.init={made}", "seed=5"), tmp_path / "run", Silent())
    with pytest.raises(ConfigError, match="no network for fold 2"):
        cross_validate(small_config(f"model.init={made}", "cv.folds=3"), tmp_path / "x", Silent())


def test_a_missing_fold_is_refused(small_config: MakeConfig, tmp_path: Path) -> None:
    pre = tmp_path / "pre"
    pretrain(small_config(*PRETRAINING), pre, Silent(), fold=0)
    with pytest.raises(ConfigError, match="no network for fold 1") as caught:
        cross_validate(small_config(f"model.init={pre}"), tmp_path / "run", Silent(), fold=0)
    assert "--resume" in str(caught.value)
    config = small_config(f"model.init={pre}", "cv.refit=true")
    with pytest.raises(ConfigError, match=r"all cases \(cv.refit\)"):
        cross_validate(config, tmp_path / "run", Silent(), fold=0)


def test_damaged_weights_are_refused(made: Path, small_config: MakeConfig, tmp_path: Path) -> None:
    pre = tmp_path / "pre"
    shutil.copytree(made, pre)
    path = pre / "fold_0" / "encoder.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match="missing or damaged"):
        cross_validate(small_config(f"model.init={pre}"), tmp_path / "run", Silent())
    path.unlink()
    with pytest.raises(StorageError, match="missing or damaged"):
        cross_validate(small_config(f"model.init={pre}"), tmp_path / "run", Silent())
    (pre / "pretrained.json").write_text('{"format": 1}')
    with pytest.raises(StorageError, match=r"pretrained\.json is damaged"):
        cross_validate(small_config(f"model.init={pre}"), tmp_path / "run", Silent())


def test_a_folder_of_something_else_is_refused(
    made: Path, reference: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    for folder in (reference, tmp_path / "nothing"):
        with pytest.raises(ConfigError, match="no pretraining to start from") as caught:
            cross_validate(small_config(f"model.init={folder}"), tmp_path / "run", Silent())
        assert "model.init" in str(caught.value.where)
    with pytest.raises(ConfigError, match="this folder holds a pretraining"):
        cross_validate(small_config(), made, Silent(), resume=True)
    shutil.copytree(reference, tmp_path / "copy")
    with pytest.raises(ConfigError, match="something else than a pretraining"):
        pretrain(small_config(*PRETRAINING), tmp_path / "copy", Silent(), resume=True)


def test_one_network_of_all_cases_is_not_made_up(made: Path, small_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="no network of all cases") as caught:
        build_task(small_config(f"model.init={made}"), [0, 1], 2, 0)
    assert "pretrain.scope=all" in str(caught.value)
