"""`volclass init` proposes folders of DICOM series like files, and a series by its own name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from dicom_makers import save, series, slices, structures, write
from pipeline.config_file import load_config
from pipeline.console import feature_source
from pipeline.data.drafts.geometry import sample
from pipeline.data.formats.dicom_series import series_hash
from pipeline.data.manifest import read_manifest
from pipeline.errors import DataError
from pipeline.init import Proposal, propose
from pipeline.progress import Silent
from volume_makers import put

pytestmark = pytest.mark.usefixtures("in_this_process")


def said(proposal: Proposal) -> str:
    return "\n".join(proposal.lines())


def images(proposal: Proposal) -> list[str]:
    """The volumes of what was proposed, as `train` takes them."""
    data = load_config(str(proposal.config)).data
    cases = read_manifest(data, labels_required=False).cases
    return sorted(str(case.image.relative_to(Path(data.root or "."))) for case in cases)


def scans_below(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        series(folder / name)
    return folder


def test_a_tree_of_dicom_folders_is_proposed_with_patients_labels_and_geometry(
    tmp_path: Path,
) -> None:
    names = [f"{c}/P{p:02d}/s{s}" for c in ("left", "right") for p in range(1, 4) for s in (1, 2)]
    names = [name.replace("P", "P1" if name < "m" else "P2") for name in names]
    source = scans_below(tmp_path / "data", names)
    write(source / "left" / "note", structures())
    proposal = propose(source, tmp_path / "out", Silent())
    text = said(proposal)
    assert proposal.cases == 12
    assert proposal.patients == 6
    assert proposal.classes == {"left": 3, "right": 3}
    assert "12 DICOM folders" in text
    assert "voxel size in mm (x, y, z): 0.7 x 0.8 x 3" in text
    assert images(proposal) == sorted(names)


def test_files_and_folders_together_are_proposed_with_a_warning(tmp_path: Path) -> None:
    source = scans_below(tmp_path / "data", ["P01", "P02", "P03"])
    for patient in (4, 5, 6):
        put(source / f"P{patient:02d}.nii.gz", (8, 8, 8))
    proposal = propose(source, tmp_path / "out", Silent())
    assert proposal.cases == 6
    assert any("keep one of both" in text for text in proposal.warnings)


def test_slices_beside_the_folders_of_others_are_left_out_and_told(tmp_path: Path) -> None:
    source = scans_below(tmp_path / "data", ["P01", "P02", "P03"])
    series(source)
    proposal = propose(source, tmp_path / "out", Silent())
    assert proposal.cases == 3
    assert "DICOM files of the folder itself" in "\n".join(proposal.warnings)


def test_a_folder_with_objects_that_are_no_images_holds_no_volume(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "plan", structures())
    with pytest.raises(DataError, match="E_EMPTY"):
        propose(tmp_path / "data", tmp_path / "out", Silent())


def test_a_table_may_name_one_series_of_a_folder(tmp_path: Path) -> None:
    made = [slices(), slices(6, seed=5)]
    save(tmp_path / "P01", [*made[0], *made[1]])
    first, second = (series_hash(str(items[0].SeriesInstanceUID)) for items in made)
    scans_below(tmp_path, ["P02", "P03"])
    cells = [f"P01#series={first}", f"P01#series={second}", "P02", "P03", "P09#series=ab"]
    rows = [f"{cell},{'ab'[place % 2]},{cell[:3]}" for place, cell in enumerate(cells)]
    (tmp_path / "cases.csv").write_text("\n".join(["image,label,patient_id", *rows, ""]))
    proposal = propose(tmp_path / "cases.csv", tmp_path / "out", Silent())
    text = said(proposal)
    assert "1 of 5 volumes do not exist: P09#series=ab" in text
    assert "geometry: of 4 volumes" in text
    (tmp_path / "cases.csv").write_text("\n".join(["image,label,patient_id", *rows[:-1], ""]))
    again = propose(tmp_path / "cases.csv", tmp_path / "again", Silent())
    assert "do not exist" not in said(again)
    assert len(read_manifest(load_config(str(again.config)).data).cases) == 4


def test_large_series_are_sampled_like_large_files(tmp_path: Path) -> None:
    folders = []
    for number in range(60):
        folder = tmp_path / f"P{number:02d}"
        folder.mkdir()
        with (folder / "slice").open("wb") as handle:
            handle.truncate(1 << 30)  # sparse: it takes no disk
        folders.append(folder if number % 2 else Path(f"{folder}#series=3f2a91bc"))
    assert len(sample(folders)) == 5


def test_a_series_of_a_folder_is_an_input_of_features_and_no_setting(tmp_path: Path) -> None:
    series(tmp_path / "CT")
    word = f"{tmp_path / 'CT'}#series=3f2a91bc"
    config, inputs = feature_source("base", [word, "train.batch_size=3"], None)
    assert inputs == [word]
    assert not isinstance(config, Path)
    assert config.train.batch_size == 3
