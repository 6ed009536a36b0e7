"""Real scans of soft-tissue sarcoma (Vallières et al. 2015, TCIA), where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.data.manifest import read_manifest
from pipeline.data.splits import make_folds
from pipeline.progress import Silent
from pipeline.storage import read_table

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("VOLCLASS_DATA", ROOT.parent / "shared" / "data")) / "sts"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="no real scans here; VOLCLASS_DATA names their folder"
)


@pytest.mark.parametrize(
    ("name", "cases", "patients", "classes"),
    [
        ("mr_patches", 158, 30, ("healthy", "tumour")),
        ("modality", 36, 12, ("CT", "MR_T1", "PET")),
    ],
)
def test_real_manifests_are_split_by_patient(
    name: str, cases: int, patients: int, classes: tuple[str, ...]
) -> None:
    config = load_config(f"volumes/{name}", [f"data.manifest={DATA / name / 'manifest.csv'}"])
    manifest = read_manifest(config.data)
    assert len(manifest.cases) == cases
    assert len({case.patient_id for case in manifest.cases}) == patients
    folds = make_folds(manifest.cases, config.cv, config.seed)
    assert folds.classes == classes
    assert len(folds.folds) == config.cv.folds


def test_real_scans_go_all_the_way_to_a_report(tmp_path: Path) -> None:
    config = load_config(
        "volumes/modality",
        [
            f"data.manifest={DATA / 'modality' / 'manifest.csv'}",
            f"system.cache_dir={tmp_path / 'cache'}",
            "preprocess.size=[12, 12, 12]",
            "preprocess.fit=resize",
            "model.options={depths: [1, 1, 1, 1], dims: [8, 8, 8, 8]}",
            "train.epochs=2",
            "cv.folds=2",
            "system.workers=0",
        ],
    )
    cross_validate(config, tmp_path / "run", Silent())
    assert len(read_table(tmp_path / "run" / "predictions.csv")) == 36
    page = (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "MR_T1" in page
