"""Masked-volume pretraining: it learns, leaks nothing, and resumes by the bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SMALL, Lines
from pretrainings import PRETRAINING, Stopping, changed_copy, encoder, on
from typer.testing import CliRunner

from pipeline.batches import Batch
from pipeline.build import build_unlabelled
from pipeline.cli import app
from pipeline.config import Config
from pipeline.data.cache import CachedVolume
from pipeline.data.cases import Case
from pipeline.errors import ConfigError, DataError, PreemptedError
from pipeline.pretrain import pretrain, without_labels
from pipeline.pretrained import read_pretraining
from pipeline.progress import Silent
from pipeline.storage import read_table

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

MakeConfig = Callable[..., Config]


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


def test_the_reconstruction_gets_better(small_config: MakeConfig, tmp_path: Path) -> None:
    config = small_config(*PRETRAINING, "train.epochs=10", "train.lr=1e-2", "train.ema=0.5")
    lines = Lines()
    done = pretrain(config, tmp_path / "run", lines, fold=0)
    assert done is not None
    rows = read_table(tmp_path / "run" / "fold_0" / "log.csv")
    losses = [float(row["validation_loss"]) for row in rows]
    assert min(losses) < 0.9 * losses[0]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    (network,) = done.networks
    assert network.loss == min(losses)
    assert losses[network.epoch - 1] == network.loss
    assert f"fold 0: reconstruction loss {network.loss:.3f}" in done.lines()[0]


def test_only_stem_and_stages_are_kept(made: Path) -> None:
    names = {name.partition(".")[0] for name in encoder(made)}
    assert names == {"stem", "stages"}


def test_the_record_names_what_each_network_saw_and_not_what_it_did_not(made: Path) -> None:
    folds = json.loads((made / "folds.json").read_text())
    record = read_pretraining(made)
    assert [network.fold for network in record.networks] == [0, 1]
    for network, fold in zip(record.networks, folds["folds"], strict=True):
        assert sorted(network.train) == fold["train"]
        assert sorted(network.validation) == fold["validation"]
        assert not network.seen.keys() & set(fold["test"])
        for name, case in network.seen.items():
            assert folds["cases"][name]["content"].startswith(case.voxels)
            assert folds["cases"][name]["patient_id"] == case.patient_id
    assert str(made) not in (made / "pretrained.json").read_text()


def test_the_folds_are_those_of_train(made: Path, reference: Path) -> None:
    assert (made / "folds.json").read_bytes() == (reference / "folds.json").read_bytes()


def test_a_stopped_pretraining_resumes_to_the_same_bytes_with_any_workers(
    made: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for resume in (False, True):
        with pytest.raises(PreemptedError):
            pretrain(small_config(*PRETRAINING), out, Stopping(), resume=resume)
    more_workers = small_config(*PRETRAINING, "system.workers=1")
    pretrain(more_workers, out, Silent(), resume=True)
    for name in ("pretrained.json", "fold_0/encoder.safetensors", "fold_1/encoder.safetensors"):
        assert (out / name).read_bytes() == (made / name).read_bytes(), name


def test_a_finished_pretraining_resumes_to_itself(
    made: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(made, out)
    pretrain(small_config(*PRETRAINING), out, Silent(), resume=True)
    assert (out / "pretrained.json").read_bytes() == (made / "pretrained.json").read_bytes()


def test_the_test_part_of_a_fold_changes_nothing(
    made: Path, small_manifest: Path, tmp_path: Path
) -> None:
    test = set(json.loads((made / "folds.json").read_text())["folds"][0]["test"])
    manifest = changed_copy(small_manifest, tmp_path / "noisy", lambda name: name in test)
    out = tmp_path / "run"
    pretrain(on(manifest, *PRETRAINING), out, Silent(), fold=0)
    contents = [json.loads((f / "folds.json").read_text())["cases"] for f in (made, out)]
    assert {n for n in contents[0] if contents[0][n] != contents[1][n]} == test
    one, other = encoder(made), encoder(out)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert read_pretraining(out).networks[0] == read_pretraining(made).networks[0]


def test_labels_beyond_the_folds_change_nothing(
    made: Path, small_manifest: Path, tmp_path: Path
) -> None:
    manifest = changed_copy(small_manifest, tmp_path / "other", lambda name: False)
    text = manifest.read_text().replace("left", "x").replace("right", "left")
    manifest.write_text(text.replace(",x,", ",right,"))
    folds = (made / "folds.json").read_text().replace('"left"', '"x"').replace('"right"', '"left"')
    document = json.loads(folds.replace('"x"', '"right"'))
    document["classes"] = ["left", "right"]
    del document["sha256"]
    out = tmp_path / "run"
    out.mkdir()
    (out / "folds.json").write_text(json.dumps(document))
    pretrain(on(manifest, *PRETRAINING), out, Silent(), fold=0)
    one, other = encoder(made), encoder(out)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


class _OneVolume:
    def fetch_known(self, case: Case, content: str) -> CachedVolume:
        return CachedVolume(torch.zeros(1, 4, 4, 4), (1.0, 1.0, 1.0), content)


def test_masks_depend_on_seed_epoch_and_case_alone(small_config: MakeConfig) -> None:
    cases = [Case(name, name, Path(name), label="left") for name in ("a", "b")]
    contents = {"a": "1", "b": "2"}

    def seeds(seed: int, order: list[Case]) -> dict[tuple[str, int], int]:
        data = build_unlabelled(
            small_config(), order, contents, _OneVolume(), seed, augmented=False
        )
        items: dict[tuple[str, int], Batch] = {
            (case.case_id, epoch): data[epoch, place]
            for place, case in enumerate(order)
            for epoch in (0, 1)
        }
        return {key: int(item["label"]) for key, item in items.items()}

    first = seeds(0, cases)
    assert first == seeds(0, cases[::-1])
    assert len(set(first.values())) == 4
    assert not set(first.values()) & set(seeds(1, cases).values())


REFUSED = {
    "model.name=resnet18": "2D network",
    "pretrain.block=8": "take smaller blocks",
    "model.init=elsewhere": "does not start from another one",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_cannot_be_pretrained_is_refused(
    override: str, small_config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        pretrain(small_config(override), tmp_path / "run", Silent())
    assert REFUSED[override] in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_keeps_its_settings(
    made: Path, made_of_all: Path, small_config: MakeConfig, small_manifest: Path, tmp_path: Path
) -> None:
    for override, key in (("pretrain.hidden=0.5", "pretrain"), ("train.lr=0.5", "train.lr")):
        with pytest.raises(ConfigError, match="folder holds a") as caught:
            pretrain(small_config(*PRETRAINING, override), made, Silent(), resume=True)
        assert key in str(caught.value.why)
    with pytest.raises(ConfigError, match="already holds a run"):
        pretrain(small_config(*PRETRAINING), made, Silent())
    out = tmp_path / "all"
    shutil.copytree(made_of_all, out)
    config = small_config(*PRETRAINING, "pretrain.scope=all")
    with pytest.raises(ConfigError, match="already holds a run"):
        pretrain(config, out, Silent())
    manifest = changed_copy(small_manifest, tmp_path / "other", lambda name: False)
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(lines[:-2]) + "\n")
    fewer = on(manifest, *PRETRAINING, "pretrain.scope=all")
    with pytest.raises(DataError, match="cases are not those"):
        pretrain(fewer, out, Silent(), resume=True)


def test_folds_that_do_not_exist_are_refused(small_config: MakeConfig, tmp_path: Path) -> None:
    for overrides in ((), ("pretrain.scope=all",)):
        config = small_config(*PRETRAINING, *overrides)
        with pytest.raises(ConfigError, match="there is no fold 7"):
            pretrain(config, tmp_path / f"run{len(overrides)}", Silent(), fold=7)


def test_one_patient_is_too_few(make_volumes: Callable[..., Path], tmp_path: Path) -> None:
    manifest = make_volumes(tmp_path, patients=1)
    config = on(manifest, *PRETRAINING, "pretrain.scope=all")
    with pytest.raises(DataError, match="E_FEW_PATIENTS"):
        pretrain(config, tmp_path / "run", Silent())


def test_what_only_labels_need_is_left_out_and_named(small_config: MakeConfig) -> None:
    config, told = without_labels(
        small_config("augment.mixup=0.2", "train.loss=focal", "model.head.hidden=[4]")
    )
    assert told == ["augment.mixup", "model.head", "model.supervision", "train.loss"]
    assert config.train.monitor == "loss"
    assert without_labels(config) == (config, [])


def test_the_command_pretrains_and_says_how_to_go_on(small_manifest: Path, tmp_path: Path) -> None:
    words = ["pretrain", "-c", "base", *SMALL, *PRETRAINING, f"data.manifest={small_manifest}"]
    out = ["--out", str(tmp_path / "pre")]
    done = CliRunner().invoke(app, [*words, *out, "--fold", "1"])
    assert done.exit_code == 0, done.output
    assert "fold 1: reconstruction loss" in done.output
    assert "model.init=" in done.output
    again = CliRunner().invoke(app, [*words, *out, "--resume"])
    assert again.exit_code == 0, again.output
    assert "fold 0: reconstruction loss" in again.output
    refused = CliRunner().invoke(app, [*words, *out])
    assert refused.exit_code == 2
