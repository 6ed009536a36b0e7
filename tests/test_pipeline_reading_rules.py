"""What a configuration decides about doubtful volumes holds wherever a volume is read."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from audit_makers import Scans, clean_scans, noisy
from conftest import SMALL

from pipeline.audit import Audit, audit
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.data.formats.dispatch import read_volume
from pipeline.data.formats.rules import Rules, reading_by
from pipeline.data.volume import VolumeError
from pipeline.evaluation import baselines as tables
from pipeline.predict import predict
from pipeline.progress import Silent
from volume_makers import put


def as_second_frame(scans: Scans) -> None:
    """Puts another picture before that of each file, which becomes a series of two frames."""
    for number, row in enumerate(scans.rows):
        path = scans.folder / row["image"]
        image = nib.Nifti1Image.from_filename(path)
        true = image.get_fdata(dtype=np.float32)
        other = np.random.default_rng(number).normal(size=true.shape).astype(np.float32)
        nib.save(nib.Nifti1Image(np.stack([other, true], axis=3), image.affine), path)


def pictures(found: Audit) -> dict[str, bytes]:
    """What was drawn for the page, by a name that the content of the volume decides."""
    folder = next(path for path in found.folder.parent.rglob("pictures") if path.is_dir())
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def test_a_frame_that_was_chosen_is_audited_drawn_trained_on_and_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "inner_splits", lambda *_: [])
    single = clean_scans(tmp_path / "single" / "data", patients=6)
    series = clean_scans(tmp_path / "series" / "data", patients=6)
    as_second_frame(series)
    manifest, frame = series.write(), "data.frame=1"

    for scans in (single, series):  # a near copy, so that the page has pictures
        scans.add("new", "a", noisy(scans.voxels(0) if scans is single else single.voxels(0)))
    as_second_frame(Scans(series.folder, series.out, rows=series.rows[-1:]))
    expected = audit(single.config(), single.out / "audit", Silent())
    found = audit(series.config(frame), series.out / "audit", Silent())
    assert found.record.refused == ()
    assert found.record.pairs == expected.record.pairs
    assert len(found.record.pairs) == 1
    assert {item.code for item in found.record.doubts} == {"W_FRAME"}
    assert len(pictures(found)) == 2
    assert pictures(found) == pictures(expected)

    series.rows.pop()
    assert series.write() == manifest
    config = load_config("base", [*SMALL, f"data.manifest={manifest}", frame, "train.epochs=1"])
    cross_validate(config, tmp_path / "run", Silent())
    image = str(series.folder / series.rows[0]["image"])
    (answer,) = predict(tmp_path / "run", [image], tmp_path / "answer.csv", Silent())
    assert answer.seen
    assert (tmp_path / "run/report/index.html").is_file()


def test_the_largest_size_that_is_allowed_is_that_of_the_rules(tmp_path: Path) -> None:
    put(tmp_path / "a.nii", (8, 8, 8))
    with reading_by(Rules(budget=1000)), pytest.raises(VolumeError) as caught:
        read_volume(tmp_path / "a.nii")
    assert caught.value.code == "E_BUDGET"
    with reading_by(Rules(budget=8**3 * 4 + 352)):
        assert read_volume(tmp_path / "a.nii").voxels.shape == (8, 8, 8)
    with reading_by(Rules(budget=1000)):
        assert read_volume(tmp_path / "a.nii", budget=1 << 20).voxels.shape == (8, 8, 8)
