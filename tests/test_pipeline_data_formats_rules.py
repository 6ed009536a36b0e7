"""What a user may decide about doubtful volumes; without a decision they are refused."""

from __future__ import annotations

import gzip
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.data import DataConfig
from pipeline.data.formats.dispatch import read_volume
from pipeline.data.formats.rules import Rules, reading_by, rules_in_force, rules_of
from pipeline.data.formats.values import sparse
from pipeline.data.volume import Volume
from volume_makers import refusal, values_of

nib: Any = nibabel  # has no types for what is used here
SHAPE = (12, 10, 8)
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1]])


def codes(volume: Volume) -> list[str]:
    return [finding.code for finding in volume.findings]


def read(path: Path, **rules: Any) -> Volume:  # noqa: ANN401  # values of any of the rules
    with reading_by(Rules(**rules)):
        return read_volume(path)


def save(path: Path, voxels: np.ndarray[Any, Any], affine: np.ndarray[Any, Any] = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(voxels, affine, dtype=voxels.dtype), path)
    return path


def test_rules_are_those_of_the_configuration_and_end_with_their_block() -> None:
    stated = DataConfig(nan="fill", frame=2, assume_orientation="LPS", prefer="qform")
    with reading_by(rules_of(stated)):
        assert rules_in_force() == Rules("fill", 2, "LPS", "qform")
        assert rules_in_force().key().keys() == {"nan", "frame", "orientation", "prefer"}
    assert rules_in_force() == Rules() == rules_of(DataConfig())
    assert Rules(budget=7).key() == {} != Rules(shear="resample").key()


@pytest.mark.parametrize("text", ["LPX", "LL", "LRS", "lps", "LPSS", "", "itk"])
def test_an_orientation_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="three letters"):
        DataConfig(assume_orientation=text)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_values_that_are_not_finite_are_refused_or_filled_and_counted(
    number: float, dtype: str, tmp_path: Path
) -> None:
    voxels = values_of(dtype, SHAPE).astype(np.float64) - 50
    whole = read(save(tmp_path / "whole.nii", voxels.astype(dtype))).voxels
    voxels[1, 2, 3] = voxels[3, 2, 1] = number
    path = save(tmp_path / "a.nii", voxels.astype(dtype))
    assert refusal(path).reason == "2 of 960 voxels"
    volume = read(path, nan="fill")
    assert codes(volume) == ["W_FILLED"]
    least = np.where(np.isfinite(voxels), voxels, np.inf).min()
    assert volume.findings[0].text.startswith(f"2 of 960 voxels were not finite and are {least:g} ")
    differ = np.argwhere(volume.voxels != whole)
    assert {tuple(place) for place in differ.tolist()} <= {(10, 2, 3), (8, 2, 1)}
    assert volume.voxels[10, 2, 3] == volume.voxels[8, 2, 1] == least


def test_a_volume_without_a_finite_value_and_one_filled_to_a_constant_are_refused(
    tmp_path: Path,
) -> None:
    with reading_by(Rules(nan="fill")):
        nothing = save(tmp_path / "a.nii", np.full(SHAPE, np.nan, "f4"))
        assert refusal(nothing).code == "E_NONFINITE"
        voxels = np.full(SHAPE, 3, "f4")
        voxels[0, 0, 0] = np.inf
        assert refusal(save(tmp_path / "b.nii", voxels)).code == "E_CONSTANT"
        voxels = values_of("f8", SHAPE)
        voxels[0, 0, :2] = (np.nan, 1e300)
        assert refusal(save(tmp_path / "c.nii", voxels)).code == "E_RANGE"


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mgh", "mgz", "mha", "mhd"])
def test_a_frame_of_a_series_is_refused_or_the_one_that_was_asked_for(
    ending: str, tmp_path: Path
) -> None:
    values = values_of("i2", (*SHAPE, 3))
    path = tmp_path / f"a.{ending}"
    if ending.startswith("mh"):
        lines = [
            "NDims = 4",
            "DimSize = 12 10 8 3",
            "ElementSpacing = 2 1.5 3 1",
            "TransformMatrix = 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
            "ElementType = MET_SHORT",
            f"ElementDataFile = {'LOCAL' if ending == 'mha' else 'a.raw'}",
        ]
        data = values.astype("<i2").tobytes(order="F")
        inside = data if ending == "mha" else b""
        path.write_bytes("\n".join([*lines, ""]).encode() + inside)
        if ending == "mhd":
            (tmp_path / "a.raw").write_bytes(data)
    elif ending.startswith("mg"):
        nib.save(nib.MGHImage(values, AFFINE), path)
    else:
        save(path, values)
    error = refusal(path)
    assert error.code == "E_NDIM"
    assert "data.frame=0 takes the first" in (error.remedy or "")
    seen = []
    for frame in range(3):
        volume = read(path, frame=frame)
        assert codes(volume) == ["W_FRAME"]
        assert volume.findings[0].text.startswith(f"frame {frame} of its 3, counted from 0, ")
        seen.append(volume.content)
        orientation = nib.io_orientation(volume.original_affine)
        expected = nib.apply_orientation(values[..., frame], orientation)
        np.testing.assert_array_equal(volume.voxels, expected)
    assert len(set(seen)) == 3
    with reading_by(Rules(frame=3)):
        error = refusal(path)
    assert (error.code, "the last one is 2" in error.reason) == ("E_NDIM", True)


@pytest.mark.parametrize("packed", [True, False])
def test_a_series_must_be_whole_whichever_frame_is_taken(packed: bool, tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.nii", values_of("i2", (*SHAPE, 3))).read_bytes()
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(whole[:-1]) if packed else whole[:-1])
    with reading_by(Rules(frame=0)):
        assert refusal(path).code == "E_TRUNCATED"


def test_a_single_image_has_no_frames_to_choose_from(tmp_path: Path) -> None:
    for name, shape in (("a.nii", SHAPE), ("b.nii", (*SHAPE, 1))):
        path = save(tmp_path / name, values_of("i2", shape))
        assert read(path, frame=2).content == read(path).content
        assert not read(path, frame=2).findings


def unstated(path: Path) -> Path:
    image = nib.Nifti1Image(values_of("i2", SHAPE), None)
    image.header.set_zooms((2.0, 1.5, 3.0))
    nib.save(image, path)
    return path


def test_without_orientation_a_volume_is_refused_or_lies_as_the_user_says(tmp_path: Path) -> None:
    path = unstated(tmp_path / "a.nii")
    error = refusal(path)
    assert (error.code, error.reason) == (
        "E_ORIENT_MISSING",
        "its qform_code and sform_code are 0",
    )
    assert "data.assume_orientation=LPS" in (error.remedy or "")
    for letters in ("RAS", "LPS", "PIR", "nifti"):
        volume = read(path, orientation=letters)
        assert codes(volume) == ["W_ORIENTATION"]
        expected = "LAS" if letters == "nifti" else letters
        assert nib.aff2axcodes(volume.original_affine) == tuple(expected)
        sizes = np.linalg.norm(volume.original_affine[:3, :3], axis=0)
        np.testing.assert_allclose(sizes, [2, 1.5, 3])
    # Method 1 of NIfTI-1, which nibabel follows.
    ours = read(path, orientation="nifti").original_affine
    np.testing.assert_allclose(ours, nib.load(path).affine)


def test_what_states_its_orientation_needs_no_assumption(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", values_of("i2", SHAPE))
    assert read(path, orientation="PIR").content == read(path).content
    assert not read(path, orientation="PIR").findings


def conflicting(path: Path, turn: float = 0.0, shift: float = 0.0) -> Path:
    """Two orientations: the qform turned by some degrees, or moved by some mm, off the sform."""
    image = nib.Nifti1Image(values_of("i2", SHAPE), AFFINE)
    turned = nib.affines.from_matvec(nib.eulerangles.euler2mat(math.radians(turn)))
    moved = AFFINE.copy()
    moved[:3, :3] = turned[:3, :3] @ AFFINE[:3, :3]
    moved[0, 3] += shift
    image.set_sform(AFFINE, code=1)
    image.set_qform(moved, code=1)
    nib.save(image, path)
    return path


@pytest.mark.parametrize(("turn", "shift"), [(0.0, 1.1), (1.2, 0.0), (90.0, 0.0), (0.0, 50.0)])
def test_two_orientations_far_apart_are_refused_unless_one_is_preferred(
    turn: float, shift: float, tmp_path: Path
) -> None:
    path = conflicting(tmp_path / "a.nii", turn, shift)
    error = refusal(path)
    assert error.code == "E_ORIENT_CONFLICT"
    assert "data.prefer=sform" in (error.remedy or "")
    forms: tuple[Literal["sform", "qform"], ...] = ("sform", "qform")
    for prefer in forms:
        volume = read(path, prefer=prefer)
        assert codes(volume) == ["W_ORIENTATION"]
        assert volume.findings[0].text.endswith(f"; {prefer} is taken")
        image = nib.load(path)
        expected = image.get_sform() if prefer == "sform" else image.get_qform()
        np.testing.assert_allclose(volume.original_affine, expected, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 3.0), st.floats(0.0, 3.0))
def test_the_limit_is_one_millimetre_and_one_degree(
    tmp_path_factory: pytest.TempPathFactory, turn: float, shift: float
) -> None:
    path = conflicting(tmp_path_factory.mktemp("limit") / "a.nii", turn, shift)
    image = nib.load(path)
    ends = np.array([[x, y, z, 1] for x in (0, 11) for y in (0, 9) for z in (0, 7)])
    apart = np.linalg.norm((ends @ (image.get_qform() - image.get_sform()).T)[:, :3], axis=1).max()
    if abs(apart - 1) < 1e-3 or abs(turn - 1) < 1e-3:
        return
    if apart > 1 or turn > 1:
        assert refusal(path).code == "E_ORIENT_CONFLICT"
    else:
        assert np.allclose(read(path).original_affine, AFFINE)


def test_no_voxel_size_is_refused_unless_the_sform_states_it(tmp_path: Path) -> None:
    for number in (0.0, -2.0, math.nan):
        image = nib.Nifti1Image(values_of("i2", SHAPE), AFFINE)
        image.set_qform(AFFINE, code=1)
        image.set_sform(AFFINE, code=1)
        content = bytearray(image.to_bytes())
        content[84:88] = np.float32(number).tobytes()  # pixdim[2]
        path = tmp_path / "a.nii"
        path.write_bytes(content)
        volume = read(path)
        assert codes(volume)[-1] == "W_SPACING"
        assert volume.spacing == (2.0, 1.5, 3.0)
        with reading_by(Rules(prefer="qform")):
            assert refusal(path).code == "E_SPACING"
        content[254:256] = bytes(2)  # sform_code
        path.write_bytes(content)
        assert refusal(path).code == "E_SPACING"


def sheared(degrees: float) -> np.ndarray[Any, Any]:
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[1, 2] = 3 * math.tan(math.radians(degrees))
    return affine


def test_axes_that_are_not_at_right_angles_are_refused_or_a_finding(tmp_path: Path) -> None:
    for degrees in (0.05, 0.2, 15.0):
        path = save(tmp_path / "a.nii", values_of("i2", SHAPE), sheared(degrees))
        if degrees < 0.1:
            assert not read(path).findings
            continue
        error = refusal(path)
        assert (error.code, f"{degrees:.3g} degrees off" in error.reason) == ("E_SHEAR", True)
        volume = read(path, shear="resample")
        assert codes(volume) == ["W_SHEAR"]
        np.testing.assert_allclose(volume.original_affine, sheared(degrees), atol=1e-6)


def test_a_volume_that_shows_next_to_nothing_is_a_finding_and_a_shape_is_none() -> None:
    rest = np.zeros((30, 30, 30), np.float32)
    for others, found in ((200, True), (269, True), (271, False), (20_000, False)):
        voxels = rest.copy()
        places = np.random.default_rng(0).permutation(voxels.size)[:others]
        voxels.flat[places] = np.arange(1, others + 1)
        assert bool(sparse(voxels)) is found, others
        assert bool(sparse(voxels - 1000)) is found, others
    shape = rest.copy()
    shape.flat[:36] = 1
    assert not sparse(shape)
    shape.flat[9:] = 0
    (finding,) = sparse(shape)
    assert finding.text == "all but 9 of 27,000 voxels are 0"


def test_a_wrong_name_is_a_finding_and_never_decides(tmp_path: Path) -> None:
    plain = save(tmp_path / "right.nii", values_of("i2", SHAPE))
    expected = read(plain).content
    content = plain.read_bytes()
    for name, stored, found in (
        ("a.nii.gz", content, ["W_NAME"]),
        ("b.nii", gzip.compress(content), ["W_NAME"]),
        ("c.mha", content, ["W_NAME"]),
        ("d", content, []),
        ("E.NII.GZ", gzip.compress(content), []),
    ):
        (tmp_path / name).write_bytes(stored)
        volume = read(tmp_path / name)
        assert (volume.content, codes(volume)) == (expected, found)


def test_the_angle_to_the_patients_axes_is_known(tmp_path: Path) -> None:
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(math.radians(20)) @ np.diag([1, 2, 3]))
    oblique = read(save(tmp_path / "a.nii", values_of("i2", SHAPE), turn))
    straight = read(save(tmp_path / "b.nii", values_of("i2", SHAPE)))
    assert oblique.obliquity == pytest.approx(20, abs=1e-3)
    assert straight.obliquity == pytest.approx(0, abs=1e-3)
    assert replace(straight, findings=()).obliquity == straight.obliquity
