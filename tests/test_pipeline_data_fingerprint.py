"""Fingerprints: facts of files and volumes, whatever their format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from pipeline.data.cases import Case
from pipeline.data.fingerprint import PERCENTILES, extent_of, file_facts, grey_values, read_expected
from pipeline.data.formats.dispatch import read_volume
from pipeline.data.volume import VolumeError
from pipeline.errors import DataError
from volume_makers import put, values_of, write_all

nib: Any = nibabel  # has no types for what is used here


def test_a_volume_that_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    put(path)
    case = Case("a", "patient", path)
    assert extent_of(read_expected(case, read_volume(path).content)).shape == (6, 5, 4)
    with pytest.raises(DataError, match="case a changed meanwhile"):
        read_expected(case, "0" * 64)


def test_formats_and_voxel_types_are_told_apart(tmp_path: Path) -> None:
    values = values_of("i2")
    files = write_all(tmp_path, values, np.diag([1.0, 1.5, 2.0, 1.0]))
    found = {name: file_facts(path) for name, path in files.items()}
    assert found["nii"].file_format == "nifti"
    assert found["nii.gz"].file_format == "nifti, gzip"
    assert found["pair"].file_format == "nifti pair"
    assert found["pair"] == file_facts(files["pair"].with_suffix(".img"))
    assert found["mgh"].file_format == "mgh"
    assert found["mgz"].file_format == "mgh, gzip"
    assert found["nrrd"].file_format == "nrrd, raw"
    assert found["nrrd packed"].file_format == "nrrd, gzip"
    assert found["mha"].file_format == "metaimage, raw"
    assert found["mhd packed"].file_format == "metaimage, zlib"
    assert {found[name].voxel_type for name in ("nii", "nii.gz", "pair", "mgh")} == {"int16"}
    assert found["mha"].voxel_type == "met_short"
    contents = {name: read_volume(path).content for name, path in files.items()}
    extents = {
        extent_of(read_expected(Case(name, name, path), contents[name]))
        for name, path in files.items()
        if name in ("nii", "nrrd", "mha", "mgz")
    }
    assert len(extents) == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_second_nifti_is_understood_in_both_byte_orders(order: str, tmp_path: Path) -> None:
    header = nib.Nifti2Header(endianness=order)
    header.set_data_dtype(np.uint16)
    image = nib.Nifti2Image(values_of("u2"), np.eye(4), header)
    nib.save(image, tmp_path / "a.nii")
    assert file_facts(tmp_path / "a.nii").voxel_type == "uint16"


def test_a_file_that_is_no_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="E_MISSING"):
        file_facts(tmp_path / "none.nii")
    (tmp_path / "a.nii").write_text("a text")
    with pytest.raises(VolumeError, match="E_FORMAT"):
        file_facts(tmp_path / "a.nii")


def test_grey_values_do_not_know_places() -> None:
    image = np.random.default_rng(0).permutation(np.linspace(-1, 1, 60, dtype=np.float32))
    first = grey_values(image)
    assert first == pytest.approx(grey_values(np.flip(image)))
    assert first[0] == -1.0
    assert first[-3] == 1.0
    assert len(first) == len(PERCENTILES) + 2
