"""`volclass plan` on real files: what it proposes, and the reasons that it gives."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline.build import build_accelerator
from pipeline.config import IntensityConfig, PreprocessConfig
from pipeline.config_file import load_config
from pipeline.data.cases import Case
from pipeline.data.formats.rules import Rules
from pipeline.data.transforms import preprocessing
from pipeline.errors import DataError
from pipeline.forecast import measure_step
from pipeline.plan import Plan, plan
from pipeline.plan_reading import Looks
from pipeline.planning.request import request_of
from pipeline.progress import Silent
from pipeline.storage import read_table
from plan_makers import QUICK, SMALL, planned, scan, scans

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("VOLCLASS_DATA", ROOT.parent / "shared" / "data")) / "sts"


def settings_of(made: Plan) -> dict[str, object]:
    return {choice.key: choice.value for choice in made.choices}


def test_isotropic_volumes_keep_the_networks_own_strides(tmp_path: Path) -> None:
    made = planned(scans(tmp_path, shapes=[(40, 38, 33)]), tmp_path / "plan.yaml")
    preprocess, model = made.config.preprocess, made.config.model
    assert (preprocess.spacing, preprocess.size) == ((1.0, 1.0, 1.0), (40, 40, 40))
    assert (preprocess.crop, preprocess.fit, preprocess.intensity.name) == (
        "none",
        "pad_crop",
        "zscore",
    )
    assert (model.name, model.stem.stride, model.strides) == ("poolformer3d_n", None, None)
    assert made.config.train.keep == "last"
    assert made.warnings == ()


def test_anisotropic_volumes_are_strided_along_the_fine_axes(tmp_path: Path) -> None:
    cases = scans(tmp_path, spacings=[(1.0, 1.0, 4.0)], shapes=[(32, 32, 8)])
    made = planned(cases, tmp_path / "plan.yaml")
    assert made.config.preprocess.size == (32, 32, 8)
    assert made.config.model.stem.stride == (4, 4, 1)
    assert made.forecast.stages == ((4, 8, 8, 8), (8, 4, 4, 4), (8, 2, 2, 2))


def test_mixed_slices_get_the_thin_ones_spacing(tmp_path: Path) -> None:
    spacings = [(0.8, 0.8, 5.0)] * 3 + [(0.8, 0.8, 2.0)]
    made = planned(scans(tmp_path, spacings, [(20, 20, 12)]), tmp_path / "plan.yaml")
    assert made.config.preprocess.spacing == (0.8, 0.8, 2.0)
    assert "10th percentile, as nnU-Net" in (tmp_path / "plan.yaml").read_text()


def test_tiny_volumes_leave_no_stage_of_one_voxel(tmp_path: Path) -> None:
    made = planned(scans(tmp_path, shapes=[(6, 5, 3)]), tmp_path / "plan.yaml")
    assert made.config.preprocess.size == (8, 8, 8)
    assert min(count for stage in made.forecast.stages for count in stage[1:]) == 2
    assert made.warnings == ()


def test_large_fields_of_view_get_longer_voxels(tmp_path: Path) -> None:
    cases = scans(tmp_path, spacings=[(4.0, 4.0, 9.0)], shapes=[(120, 120, 84)], patients=6)
    request = request_of(None, [str(cases), *QUICK, SMALL, "train.batch_size=2"])
    made = plan(request, tmp_path / "plan.yaml", Silent())
    spacing = made.config.preprocess.spacing
    assert spacing is not None
    assert spacing[0] > 4.0
    assert np.prod(made.config.preprocess.size) <= 96**3
    assert "enlarged from 4 x 4 x 9" in (tmp_path / "plan.yaml").read_text()


def test_ct_gets_a_window_and_air_is_cut_off(tmp_path: Path) -> None:
    cases = scans(tmp_path, shapes=[(32, 32, 32)], body=(16, 18, 20), ct=True)
    made = planned(cases, tmp_path / "plan.yaml")
    preprocess = made.config.preprocess
    assert (preprocess.crop, preprocess.size) == ("foreground", (16, 24, 24))
    assert preprocess.intensity.name == "window"
    assert preprocess.intensity.low is not None
    assert preprocess.intensity.high is not None
    assert -80 <= preprocess.intensity.low < 0 < 100 < preprocess.intensity.high <= 160


def test_the_crop_is_the_one_of_preprocessing(tmp_path: Path) -> None:
    scan(tmp_path / "a.nii", shape=(20, 20, 20), body=(7, 11, 5))
    case = Case("a", "A", tmp_path / "a.nii")
    looks, _ = Looks(tmp_path, Rules()).read([case], 0, lambda: None)
    config = PreprocessConfig(
        spacing=None, size=looks["a"].crop, intensity=IntensityConfig(name="none")
    )
    cropped = preprocessing(config)({"image": str(tmp_path / "a.nii")})["image"]
    assert looks["a"].crop == (7, 11, 5)
    assert float(cropped.min()) > 60  # nothing was padded, and no air is left


def test_reasons_facts_and_forecast_stand_in_the_file(tmp_path: Path) -> None:
    made = planned(scans(tmp_path), tmp_path / "plan.yaml", "train.epochs=2", "seed=3")
    lines = (tmp_path / "plan.yaml").read_text().splitlines()
    for choice in made.choices:
        key = choice.key.partition(".")[2]
        (place,) = [n for n, line in enumerate(lines) if line.startswith(f"  {key}: ")]
        assert lines[place - 1].startswith("  # ")
        assert any(line.startswith(f"{choice.key} = ") for line in made.lines())
    text = "\n".join(lines)
    for words in ("All of them were looked at", "--fold 0", "voxel size in mm", "an epoch"):
        assert words in text
    assert made.config.train.epochs == 2
    assert made.config.seed == 3
    assert str(tmp_path) not in text  # paths are relative


def test_refused_volumes_are_named_and_left_out(tmp_path: Path) -> None:
    cases = scans(tmp_path)
    whole = (tmp_path / "p3.nii").read_bytes()
    (tmp_path / "p3.nii").write_bytes(whole[:-100])
    made = planned(cases, tmp_path / "plan.yaml")
    assert [(item.case_id, item.code) for item in made.refused] == [("p3", "E_TRUNCATED")]
    text = " ".join((tmp_path / "plan.yaml").read_text().replace("#", "").split())
    for words in ("1 volume is refused", "data.max_quarantine=1", "p3.nii: E_TRUNCATED"):
        assert words in text
        assert words in "\n".join(made.lines())
    assert len(made.fingerprint.looks) == 7


def test_without_any_good_volume_all_are_listed(tmp_path: Path) -> None:
    cases = scans(tmp_path, patients=8)
    for path in tmp_path.glob("*.nii"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="8 volumes cannot be used"):
        planned(cases, tmp_path / "plan.yaml")
    assert not (tmp_path / "plan.yaml").exists()


def test_the_rules_of_reading_are_obeyed(tmp_path: Path) -> None:
    cases = scans(tmp_path)
    voxels = np.full((16, 16, 16), 5.0, dtype=np.float32)
    voxels[:8], voxels[0, 0, 0] = 100.0, np.nan
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "p0.nii")
    assert len(planned(cases, tmp_path / "plan.yaml").refused) == 1
    made = planned(cases, tmp_path / "fill.yaml", "data.nan=fill")
    assert made.refused == ()
    assert made.config.data.nan == "fill"


def test_the_split_column_is_taken_where_it_is_whole(tmp_path: Path) -> None:
    cases = scans(tmp_path, patients=12)
    rows = read_table(cases)
    parts = ["train"] * 6 + ["val"] * 2 + ["test"] * 4
    for row, part in zip(rows, parts, strict=True):
        row["split"] = part
    with cases.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    made = planned(cases, tmp_path / "plan.yaml")
    assert made.config.cv.scheme == "official"
    assert "6 cases teach a network" in (tmp_path / "plan.yaml").read_text()
    assert planned(cases, tmp_path / "k.yaml", "cv.scheme=kfold").config.cv.scheme == "kfold"


def test_a_size_that_leaves_one_voxel_is_warned_of(tmp_path: Path) -> None:
    made = planned(scans(tmp_path), tmp_path / "plan.yaml", "preprocess.size=[16, 16, 1]")
    (text,) = made.warnings
    assert text.startswith("stages 1, 2, 3 of the network are one voxel wide along z")
    assert "one voxel wide along z" in (tmp_path / "plan.yaml").read_text()


def test_too_little_memory_makes_smaller_batches_in_more_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = scans(tmp_path, patients=40)
    plenty = planned(cases, tmp_path / "plan.yaml")
    assert (plenty.config.train.batch_size, plenty.config.train.accumulate) == (4, 1)
    monkeypatch.setattr("pipeline.plan_forecast._free", lambda device: 1)
    scarce = planned(cases, tmp_path / "scarce.yaml")
    assert (scarce.config.train.batch_size, scarce.config.train.accumulate) == (2, 2)
    asked = planned(cases, tmp_path / "asked.yaml", "train.batch_size=4")
    assert asked.config.train.batch_size == 4
    assert any("may not have room" in text for text in asked.warnings)


def test_what_a_step_keeps_grows_with_the_batch_and_with_nothing_else() -> None:
    sizes = ["preprocess.size=[16, 16, 16]", "model.name=poolformer3d_n", "system.device=cpu"]
    kept = {}
    for batch in (2, 4, 8):
        config = load_config("base", [*sizes, f"train.batch_size={batch}"])
        accelerator = build_accelerator(config.system, "fp32")
        step = measure_step(config, accelerator, 2)
        assert measure_step(config, accelerator, 2).kept == step.kept
        kept[batch] = step.kept
    weights = 4 * step.parameters
    assert kept[8] - kept[4] == pytest.approx(2 * (kept[4] - kept[2]), rel=0.01)
    assert kept[2] < 2 * (kept[4] - kept[2]) + weights


@pytest.mark.skipif(not DATA.is_dir(), reason="the STS volumes are not here")
def test_mr_patches_are_planned_as_a_colleague_would(tmp_path: Path) -> None:
    made = planned(DATA / "mr_patches/manifest.csv", tmp_path / "plan.yaml")
    found = settings_of(made)
    assert found["preprocess.spacing"] == [0.98, 0.98, 3.3]
    assert found["preprocess.size"] == [48, 48, 16]
    assert found["model.stem"] == {"kernel": [7, 7, 3], "stride": [4, 4, 1]}
    assert found["preprocess.intensity"] == {"name": "zscore", "low": None, "high": None}
    assert found["preprocess.crop"] == "none"
