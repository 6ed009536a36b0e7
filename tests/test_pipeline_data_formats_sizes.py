"""Voxel sizes that contradict each other, or that are no scan's."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.formats.dispatch import read_volume
from pipeline.data.formats.plausible import implausible
from pipeline.data.formats.rules import Rules, reading_by
from pipeline.data.volume import Volume
from volume_makers import refusal, values_of

nib: Any = nibabel  # has no types for what is used here
sitk: Any = SimpleITK  # has no types
Triple = tuple[float, float, float]
SHAPE = (12, 10, 8)
SIZES = (2.0, 1.5, 3.0)
PIXDIM, UNITS, QFORM_CODE = 80, 123, 252  # bytes of a NIfTI-1 header; pixdim[1] is at 80


def codes(volume: Volume) -> list[str]:
    return [finding.code for finding in volume.findings]


def nifti(
    path: Path, sizes: Triple = SIZES, pixdim: Triple | None = None, *, qform: bool = False
) -> Path:
    """A file whose sform has some sizes, and pixdim the same ones or others."""
    image = nib.Nifti1Image(values_of("i2", SHAPE), np.diag([*sizes, 1.0]))
    image.set_sform(image.affine, code=1)
    image.set_qform(image.affine, code=int(qform))
    content = bytearray(image.to_bytes())
    if pixdim is not None:
        content[PIXDIM : PIXDIM + 12] = np.array(pixdim, "<f4").tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("qform", [False, True])
@pytest.mark.parametrize(
    "pixdim", [(1.0, 1.0, 1.0), (2.0, 1.5, 4.1), (2.0, 2.3, 3.0), (2e3, 1.5e3, 3e3)]
)
def test_voxel_sizes_far_from_those_of_the_sform_are_refused_unless_it_is_preferred(
    pixdim: Triple, qform: bool, tmp_path: Path
) -> None:
    path = nifti(tmp_path / "a.nii", pixdim=pixdim, qform=qform)
    error = refusal(path)
    assert error.code == "E_ORIENT_CONFLICT"
    assert f"{pixdim[2]:.4g} mm by its pixdim field and 2, 1.5, 3 mm by its sform" in error.reason
    assert "data.prefer=sform" in (error.remedy or "")
    with reading_by(Rules(prefer="sform")):
        volume = read_volume(path)
    assert volume.spacing == SIZES
    assert volume.findings[0].code == "W_SPACING"
    assert volume.findings[0].text.endswith("those of sform are taken")


def test_where_only_the_sform_states_axes_the_qform_cannot_be_preferred(tmp_path: Path) -> None:
    wrong = (1.0, 1.0, 1.0)
    with reading_by(Rules(prefer="qform")):
        error = refusal(nifti(tmp_path / "a.nii", pixdim=wrong))
        assert error.code == "E_ORIENT_CONFLICT"
        assert "data.prefer=sform alone can decide" in error.reason
        volume = read_volume(nifti(tmp_path / "b.nii", pixdim=wrong, qform=True))
    assert volume.spacing == wrong
    assert codes(volume) == ["W_SPACING", "W_ORIENTATION"]
    assert volume.findings[0].text.endswith("those of pixdim are taken")


@settings(max_examples=60, deadline=None)
@given(
    size=st.floats(0.05, 20.0),
    times=st.floats(0.4, 2.5),
    axis=st.integers(0, 2),
    prefer=st.sampled_from(["none", "sform"]),
)
def test_the_limits_are_a_hundredth_and_a_millimetre_or_half_as_much_again(
    tmp_path_factory: pytest.TempPathFactory,
    size: float,
    times: float,
    axis: int,
    prefer: Literal["none", "sform"],
) -> None:
    other = [size] * 3
    other[axis] = size * times
    apart, ratio = abs(other[axis] - size), max(times, 1 / times)
    if min(abs(apart - 1.0), abs(ratio - 1.01), abs(ratio - 1.5)) < 1e-4:
        return
    path = tmp_path_factory.mktemp("limits") / "a.nii"
    nifti(path, (size, size, size), (other[0], other[1], other[2]))
    with reading_by(Rules(prefer=prefer)):
        if prefer == "none" and ratio > 1.01 and (apart > 1.0 or ratio > 1.5):
            assert refusal(path).code == "E_ORIENT_CONFLICT"
            return
        told = [item for item in read_volume(path).findings if "pixdim field" in item.text]
    assert len(told) == (ratio > 1.01)


def test_sizes_of_any_file_that_nibabel_writes_agree(tmp_path: Path) -> None:
    turn = nib.eulerangles.euler2mat(0.3, -0.2, 0.4) @ np.diag([0.7, 0.7, 5.0])
    affine = nib.affines.from_matvec(turn, [3, -40, 12])
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        nib.save(kind(values_of("i2", SHAPE), affine), tmp_path / "a.nii.gz")
        assert not read_volume(tmp_path / "a.nii.gz").findings


@pytest.mark.parametrize("unit", [1, 3])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_in_metres_or_micrometres_is_refused(unit: int, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    image = nib.Nifti1Image(values_of("i2", SHAPE), np.diag([*SIZES, 1.0]))
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    error = refusal(path)
    assert error.code == "E_SPACING"
    assert {1: "in metres", 3: "in micrometres"}[unit] in error.reason


@pytest.mark.parametrize("times", [1e-3, 1e3])
@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha", "mgz"])
def test_sizes_of_another_unit_are_a_finding_in_every_format(
    times: float, ending: str, tmp_path: Path
) -> None:
    values, path = values_of("i2", SHAPE), tmp_path / f"a.{ending}"
    sizes = [size * times for size in SIZES]
    if ending == "nii.gz":
        nib.save(nib.Nifti1Image(values, np.diag([*sizes, 1.0])), path)
    elif ending == "mgz":
        nib.save(nib.MGHImage(values, np.diag([*sizes, 1.0])), path)
    else:
        image = sitk.GetImageFromArray(values.T)
        image.SetSpacing(sizes)
        sitk.WriteImage(image, str(path))
    (finding,) = read_volume(path).findings
    assert finding.code == "W_SPACING"
    assert finding.text == (
        f"it has voxels of {sizes[0]:.3g} mm along x, beyond 0.01 to 50 mm; "
        "is its unit another one?"
    )


@pytest.mark.parametrize(
    ("spacing", "shape", "said"),
    [
        ((0.01, 50.0, 1.0), (200, 60, 3000), None),
        ((1.0, 1.0, 0.0099), (9, 9, 900), "voxels of 0.0099 mm along z"),
        ((1.0, 50.5, 1.0), (9, 9, 9), "voxels of 50.5 mm along y"),
        ((0.1, 1.0, 1.0), (20, 9, 9), None),
        ((0.1, 1.0, 1.0), (19, 9, 9), "a field of view of 1.9 mm along x"),
        ((1.0, 1.0, 0.5), (9, 9, 1), None),
        ((10.0, 1.0, 1.0), (301, 9, 9), "a field of view of 3.01e+03 mm along x"),
    ],
)
def test_what_no_scan_has_is_told_by_its_first_axis(
    spacing: Triple, shape: tuple[int, int, int], said: str | None
) -> None:
    texts = [finding.text for finding in implausible(spacing, shape)]
    assert len(texts) == (said is not None)
    assert all(text.startswith(f"it has {said}, beyond ") for text in texts)
