"""Features of every stage: whose network, which numbers, and that nothing computed is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config import Config
from pipeline.crossval import cross_validate
from pipeline.errors import ConfigError, DataError, StorageError
from pipeline.feature_table import FeatureTable, read_features, training_path, write_features
from pipeline.features import extract
from pipeline.inputs import open_run, trained_network, with_volumes
from pipeline.predict import predict
from pipeline.progress import Bar, Silent
from pipeline.run import Member
from pipeline.storage import read_json, write_arrays

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

Build = Callable[..., Config]
CHANNELS = (4, 8, 8, 8)


class Impatient(Silent):
    """Stops after some cases, as Ctrl-C would, and counts what was skipped."""

    def __init__(self, patience: int) -> None:
        self.patience, self.skipped = patience, 0

    def bar(self, name: str, total: int) -> Bar:
        return self if name.startswith("extracting") else Silent()

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.patience -= amount
        if self.patience < 0:
            raise KeyboardInterrupt

    def skip(self, amount: int) -> None:
        self.skipped += amount


@pytest.fixture(scope="module")
def table(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of the reference run."""
    out = tmp_path_factory.mktemp("features") / "reference.parquet"
    extract(reference, [], out, Silent())
    return out


def folds_of(run: Path) -> list[dict[str, list[str]]]:
    document = read_json(run / "folds.json")
    assert isinstance(document, dict)
    return document["folds"]  # type: ignore[return-value]


def test_every_case_is_described_by_the_network_that_did_not_see_it(
    table: Path, reference: Path
) -> None:
    found = read_features(table)
    assert list(found.case_ids) == sorted(found.case_ids)
    assert len(found.case_ids) == 20
    assert not any(found.seen)
    tested = {name: k for k, fold in enumerate(folds_of(reference)) for name in fold["test"]}
    assert [tested[name] for name in found.case_ids] == list(found.folds)
    assert list(found.models) == [f"fold_{fold}" for fold in found.folds]
    assert set(found.labels) == {"left", "right"}
    assert found.origin.channels == CHANNELS
    assert {name: block.shape[1] for name, block in found.blocks.items()} == {
        f"stage{n}_{kind}": c for n, c in enumerate(CHANNELS, 1) for kind in ("mean", "max", "std")
    }


def test_the_training_parts_lie_beside_them(table: Path, reference: Path) -> None:
    found = read_features(training_path(table))
    assert all(found.seen)
    assert found.origin == read_features(table).origin
    for number, fold in enumerate(folds_of(reference)):
        rows = {
            name
            for name, model in zip(found.case_ids, found.models, strict=True)
            if model == f"fold_{number}"
        }
        assert rows == {*fold["train"], *fold["validation"]}


def test_the_numbers_are_those_of_the_network(table: Path, reference: Path) -> None:
    found = read_features(table)
    run = open_run(reference, Silent())
    from pipeline.feature_sources import _run_cases

    run = with_volumes(run, _run_cases(run))
    for place in (0, 7, 19):
        case = run.cases[found.case_ids[place]]
        fold = found.folds[place]
        network = trained_network(run, Member(fold)).eval()
        image = run.store.fetch_known(case, run.contents[case.case_id]).image
        with torch.inference_mode():
            *stages, _ = network(image.unsqueeze(0))
        for number, stage in enumerate(stages, start=1):
            voxels = stage[0].flatten(1).double().numpy()
            expected = [voxels.mean(1), voxels.max(1), voxels.std(1)]
            assert np.allclose(found.stage(number)[place], np.concatenate(expected), atol=1e-5)


def test_pandas_reads_a_column_for_every_number(table: Path) -> None:
    frame = pd.read_parquet(table)
    assert list(frame.columns[:6]) == ["case_id", "patient_id", "label", "fold", "model", "seen"]
    assert len(frame.filter(like="stage4_mean").columns) == CHANNELS[3]
    assert len(frame.columns) == 6 + 3 * sum(CHANNELS)
    assert frame["fold"].isin([0, 1]).all()


def test_npz_holds_the_same(table: Path, reference: Path, tmp_path: Path) -> None:
    extract(reference, [], tmp_path / "f.npz", Silent())
    for path in (table, training_path(table)):
        one = read_features(path)
        other = read_features(
            tmp_path / path.name.replace("reference", "f").replace("parquet", "npz")
        )
        assert one.origin == other.origin
        for name in ("case_ids", "patient_ids", "labels", "folds", "models", "seen"):
            assert getattr(one, name) == getattr(other, name)
        assert all(np.array_equal(one.blocks[key], other.blocks[key]) for key in one.blocks)


def test_a_stopped_extraction_goes_on_and_ends_the_same(
    table: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.features._PART_CASES", 4)
    whole = tmp_path / "whole.parquet"
    extract(reference, [], whole, Silent())
    out = tmp_path / "stopped.parquet"
    with pytest.raises(KeyboardInterrupt):
        extract(reference, [], out, Impatient(17))
    assert not out.exists()
    parts = sorted((tmp_path / ".stopped.parquet.parts").glob("*.npz"))
    assert len(parts) == 4
    parts[0].write_bytes(parts[0].read_bytes()[:-40])
    display = Impatient(999)
    extract(reference, [], out, display)
    assert display.skipped == 12
    assert out.read_bytes() == whole.read_bytes()
    assert training_path(out).read_bytes() == training_path(whole).read_bytes()
    assert not (tmp_path / ".stopped.parquet.parts").exists()
    extract(reference, [], out, Impatient(0))
    assert out.read_bytes() == whole.read_bytes()
    one, other = read_features(table), read_features(out)
    assert all(np.allclose(one.blocks[k], other.blocks[k], atol=1e-5) for k in one.blocks)


def test_parts_of_another_network_are_not_used(
    reference: Path, small_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.features._PART_CASES", 4)
    out = tmp_path / "f.parquet"
    with pytest.raises(KeyboardInterrupt):
        extract(reference, [], out, Impatient(17))
    display = Impatient(999)
    extract(small_config(), [], out, display)
    assert display.skipped == 0


def test_features_of_another_model_are_not_overwritten(
    table: Path, small_config: Build, reference: Path, tmp_path: Path
) -> None:
    out = tmp_path / "f.parquet"
    shutil.copy(table, out)
    before = out.read_bytes()
    with pytest.raises(ConfigError, match="holds other features") as caught:
        extract(small_config(), [], out, Silent())
    assert "weights" in str(caught.value)
    with pytest.raises(ConfigError, match="holds other features"):
        extract(reference, [], out, Silent(), model="fold_1")
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    "change", ["model.mixer=identity", "model.strides=[1,1,1]", "train.precision=bf16"]
)
def test_settings_that_leave_the_weights_alone_make_other_features(
    small_config: Build, tmp_path: Path, change: str
) -> None:
    out = tmp_path / "f.parquet"
    extract(small_config(), [], out, Silent())
    with pytest.raises(ConfigError, match="it differs in settings"):
        extract(small_config(change), [], out, Silent())


def test_corrected_labels_reach_the_file_without_a_second_pass(
    reference: Path, small_manifest: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_manifest.parent / "images", tmp_path / "images")
    text = small_manifest.read_text()
    (tmp_path / "one.csv").write_text(text)
    (tmp_path / "two.csv").write_text(text.replace("left", "L").replace("right", "left"))
    out = tmp_path / "f.parquet"
    first = extract(reference, [str(tmp_path / "one.csv")], out, Silent()).table
    extract(reference, [str(tmp_path / "two.csv")], out, Impatient(0))
    second = read_features(out)
    assert first.labels != second.labels
    assert set(second.labels) == {"L", "left"}
    assert np.array_equal(first.stage(2), second.stage(2))


def test_a_run_keeps_its_labels(small_manifest: Path, small_config: Build, tmp_path: Path) -> None:
    shutil.copytree(small_manifest.parent / "images", tmp_path / "images")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(small_manifest.read_text())
    config = small_config("train.epochs=1", f"data.manifest={manifest}")
    cross_validate(config, tmp_path / "run", Silent())
    text = manifest.read_text()
    manifest.write_text(text.replace("left", "X").replace("right", "left").replace("X", "right"))
    with pytest.raises(DataError, match="is left in the folds and right in the manifest"):
        extract(tmp_path / "run", [], tmp_path / "f.parquet", Silent())


def test_a_copy_with_another_header_is_known(
    reference: Path, small_manifest: Path, tmp_path: Path
) -> None:
    (tmp_path / "moved").mkdir()
    for path in (small_manifest.parent / "images").iterdir():
        image = nib.load(path)
        affine = np.array(image.affine)  # type: ignore[attr-defined]
        affine[0, 3] += 1.0
        voxels = np.asarray(image.dataobj)  # type: ignore[attr-defined]
        nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "moved" / f"new_{path.name}")
    done = extract(reference, [str(tmp_path / "moved")], tmp_path / "f.parquet", Silent())
    assert [f"fold_{fold}" for fold in done.table.folds] == list(done.table.models)
    found = predict(reference, [str(tmp_path / "moved")], tmp_path / "p.csv", Silent())
    assert all(item.seen for item in found)


def test_nothing_left_is_refused(reference: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"nothing")
    words = [str(bad), "data.max_quarantine=1"]
    with pytest.raises(DataError, match="no usable volume is left"):
        extract(reference, words, tmp_path / "f.parquet", Silent())
    with pytest.raises(DataError, match="no usable volume is left"):
        predict(reference, words, tmp_path / "p.csv", Silent())


def test_a_damaged_companion_is_refused_and_a_missing_one_made_again(
    table: Path, reference: Path, tmp_path: Path
) -> None:
    out = tmp_path / "f.parquet"
    shutil.copy(table, out)
    extract(reference, [], out, Silent())
    assert training_path(out).read_bytes() == training_path(table).read_bytes()
    training_path(out).write_bytes(b"broken")
    with pytest.raises(StorageError, match=r"f\.training\.parquet"):
        extract(reference, [], out, Silent())


def test_a_network_is_not_probed_on_what_taught_it(reference: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "f.parquet")
    extract(reference, [], Path(out), Silent(), model="fold_0")
    done = CliRunner().invoke(app, ["probe", out, "--out", str(tmp_path / "p")])
    # Fold 1 was what this network was taught: its rows are no test.
    assert done.exit_code == 3
    assert "seen" in done.output or "trained" in done.output


def test_a_network_that_none_trained_describes_cases(
    small_config: Build, small_manifest: Path, tmp_path: Path
) -> None:
    done = extract(small_config(), [], tmp_path / "f.parquet", Silent())
    assert done.training is None
    assert set(done.table.models) == {"network"}
    assert set(done.table.folds) == {0, 1}
    again = extract(small_config("seed=3"), [], tmp_path / "g.parquet", Silent())
    assert again.table.origin.weights != done.table.origin.weights
    # Without labels, and straight from a folder, the numbers are the same and there are no folds.
    images = str(small_manifest.parent / "images")
    plain = extract(small_config(), [images], tmp_path / "h.parquet", Silent())
    assert set(plain.table.labels) == {None} == set(plain.table.folds)
    assert np.array_equal(plain.table.stage(3), done.table.stage(3))


def test_a_network_from_a_file_describes_cases(
    reference: Path, small_config: Build, table: Path, tmp_path: Path
) -> None:
    (best,) = (reference / "fold_0/checkpoints").glob("best-*.safetensors")
    config = small_config(f"model.weights={best}")
    done = extract(config, [], tmp_path / "f.parquet", Silent())
    of_run = read_features(table)
    rows = [place for place, fold in enumerate(of_run.folds) if fold == 0]
    assert np.allclose(done.table.stage(4)[rows], of_run.stage(4)[rows], atol=1e-5)


def test_a_run_of_one_finished_fold_can_be_probed(small_config: Build, tmp_path: Path) -> None:
    cross_validate(small_config("train.epochs=1"), tmp_path / "run", Silent(), fold=0)
    done = extract(tmp_path / "run", [], tmp_path / "f.parquet", Silent())
    assert done.training is None
    assert {
        fold is None for fold, seen in zip(done.table.folds, done.table.seen, strict=True) if seen
    } == {True}
    words = ["probe", str(tmp_path / "f.parquet"), "--out", str(tmp_path / "p")]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output


def test_maps_hold_every_voxel_and_are_made_once(
    table: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.features._PART_CASES", 4)
    out, maps = tmp_path / "f.parquet", tmp_path / "maps"
    with pytest.raises(KeyboardInterrupt):
        extract(reference, [], out, Impatient(17), maps=maps)
    display = Impatient(999)
    extract(reference, [], out, display, maps=maps)
    assert display.skipped == 16
    found = read_features(table)
    files = {path.relative_to(maps) for path in maps.glob("*/*.npz")}
    rows = zip(found.models, found.case_ids, strict=True)
    assert files == {Path(model, f"{case_id}.npz") for model, case_id in rows}
    file = maps / found.models[3] / f"{found.case_ids[3]}.npz"
    with np.load(file, allow_pickle=False) as stages:
        assert [stages[f"stage{n}"].shape[0] for n in range(1, 5)] == list(CHANNELS)
        mean = stages["stage2"].mean((1, 2, 3))
    assert np.allclose(found.blocks["stage2_mean"][3], mean, atol=1e-5)
    extract(reference, [], out, Impatient(0), maps=maps)
    file.unlink()
    extract(reference, [], out, Silent(), maps=maps)
    assert file.is_file()
    with pytest.raises(ConfigError, match="something else than maps"):
        extract(reference, [], tmp_path / "g.parquet", Silent(), model="fold_0", maps=maps)


def test_one_network_may_describe_all(reference: Path, tmp_path: Path) -> None:
    done = extract(reference, [], tmp_path / "f.parquet", Silent(), model="fold_1")
    assert set(done.table.models) == {"fold_1"}
    assert done.training is None
    for fold, seen in zip(done.table.folds, done.table.seen, strict=True):
        assert seen == (fold != 1)
    with pytest.raises(ConfigError, match="no network refit") as caught:
        extract(reference, [], tmp_path / "g.parquet", Silent(), model="refit")
    assert "fold_0, fold_1" in str(caught.value)


def test_new_volumes_are_described_by_one_network(
    reference: Path, make_volumes: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    new = make_volumes(tmp_path / "new", patients=12)
    done = extract(reference, [str(new)], tmp_path / "f.parquet", Silent())
    known = {
        name
        for name, fold in zip(done.table.case_ids, done.table.folds, strict=True)
        if fold is not None
    }
    assert len(known) == 20
    rest = [
        m for n, m in zip(done.table.case_ids, done.table.models, strict=True) if n not in known
    ]
    assert rest == ["fold_0"] * 4


def test_changed_and_missing_volumes_are_refused(
    small_manifest: Path, small_config: Build, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(small_manifest.parent, data)
    config = small_config("train.epochs=1", f"data.manifest={data / 'manifest.csv'}")
    cross_validate(config, tmp_path / "run", Silent())
    first, second = sorted((data / "images").iterdir())[:2]
    shutil.copy(second, first)
    with pytest.raises(DataError, match="not those that this run was trained with"):
        extract(tmp_path / "run", [], tmp_path / "f.parquet", Silent())


@pytest.mark.parametrize("name", ["f.csv", "features", "f.parquet.gz"])
def test_an_unknown_format_is_refused(reference: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"\.parquet nor in \.npz"):
        extract(reference, [], tmp_path / name, Silent())


def test_what_is_no_file_of_features_is_refused(table: Path, tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no file of features"):
        read_features(tmp_path / "a.parquet")
    write_arrays(tmp_path / "a.npz", {"a": np.zeros(2)})
    with pytest.raises(DataError, match="no file of features"):
        read_features(tmp_path / "a.npz")
    np.savez(tmp_path / "object.npz", case_id=np.array([{}], dtype=object))
    with pytest.raises(StorageError):
        read_features(tmp_path / "object.npz")
    (tmp_path / "b.parquet").write_bytes(table.read_bytes()[:-100])
    with pytest.raises(StorageError):
        read_features(tmp_path / "b.parquet")
    with pytest.raises(StorageError):
        read_features(tmp_path / "missing.parquet")
    frame = pd.read_parquet(table)
    del frame["stage2_max_3"]
    import pyarrow.parquet as pq

    kept = pq.read_schema(table).metadata
    import pyarrow as pa

    pq.write_table(pa.table(frame).replace_schema_metadata(kept), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="stage2_max_3"):
        read_features(tmp_path / "c.parquet")


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_unknown_labels_and_folds_survive(table: Path, tmp_path: Path, suffix: str) -> None:
    found = read_features(table)
    count = len(found.case_ids)
    changed = FeatureTable(
        tuple(f"=é, {n}" for n in range(count)),
        found.patient_ids,
        (None,) * count,
        (None,) * count,
        found.models,
        found.seen,
        found.blocks,
        found.origin,
    )
    path = tmp_path / f"t.{suffix}"
    write_features(path, changed)
    read = read_features(path)
    assert (read.case_ids, read.labels, read.folds) == (
        changed.case_ids,
        changed.labels,
        changed.folds,
    )


def test_the_verbs_work_together(reference: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "f.parquet")
    done = CliRunner().invoke(app, ["features", str(reference), "--out", out])
    assert done.exit_code == 0, done.output
    assert "20 cases, stages of 4, 8, 8, 8 channels" in done.output
    done = CliRunner().invoke(
        app, ["probe", out, "--out", str(tmp_path / "p"), "--run", str(reference)]
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "p/index.html").is_file()
    bad = CliRunner().invoke(app, ["features", "--out", out])
    assert bad.exit_code == 2
    bad = CliRunner().invoke(app, ["features", "-c", "base", "--model", "fold_0", "--out", out])
    assert bad.exit_code == 2
