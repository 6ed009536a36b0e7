"""Values that lost their sign look like the brightest ones, whatever type they are kept as."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.formats.dispatch import read_volume
from pipeline.data.formats.rules import Rules, reading_by
from pipeline.data.formats.wrapped import Wrapped
from pipeline.data.volume import Volume

nib: Any = nibabel  # has no types for what is used here
Values = np.ndarray[Any, np.dtype[Any]]
SHAPE = (12, 10, 8)
SIZES = (2.0, 1.5, 3.0)


def codes(volume: Volume) -> list[str]:
    return [finding.code for finding in volume.findings]


def ct() -> np.ndarray[Any, np.dtype[np.int16]]:
    """Air around soft tissue and a little bone, in CT numbers."""
    values = np.random.default_rng(0).normal(40, 20, SHAPE)
    values[:4] = np.random.default_rng(1).normal(-990, 8, (4, *SHAPE[1:]))
    values[6, 5] = 3071
    return values.astype(np.int16)


def save(path: Path, values: np.ndarray[Any, np.dtype[Any]]) -> Path:
    nib.save(nib.Nifti1Image(values, np.diag([*SIZES, 1.0]), dtype=values.dtype), path)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("turned", [(0, 1, 2), (2, 1, 0)])
def test_negative_values_stored_without_a_sign_are_a_finding(
    order: str, turned: tuple[int, int, int], tmp_path: Path
) -> None:
    # Along the first axis a slice holds both; along the last one it is of air or of tissue.
    wrapped = ct().view(np.uint16).transpose(turned).astype(f"{order}u2")
    (finding,) = read_volume(save(tmp_path / "a.nii.gz", wrapped)).findings
    least, most = (int(ends) for ends in (ct().min(), ct()[ct() < 0].max()))
    assert finding.code == "W_WRAPPED"
    assert f"are from {65536 + least} to {65536 + most}, and none from 3072 to " in finding.text
    assert f"look like {least} to {most} stored without a sign" in finding.text


def test_slope_and_intercept_do_not_hide_that_the_sign_is_lost(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ct().view(np.uint16), np.eye(4), dtype=np.uint16)
    content = bytearray(image.to_bytes())
    content[112:120] = np.array([0.5, -1024], "<f4").tobytes()  # scl_slope and scl_inter
    (tmp_path / "a.nii").write_bytes(content)
    assert codes(read_volume(tmp_path / "a.nii")) == ["W_WRAPPED"]


def test_values_that_were_meant_so_are_no_finding(tmp_path: Path) -> None:
    shifted = (ct().astype(np.int32) + 1024).astype(np.uint16)
    padded, noisy, wide = shifted.copy(), shifted.copy(), np.linspace(0, 65535, 960)
    padded[0] = 65535  # one value for what was not measured
    noisy[0, 0, :5] = 65000 + np.arange(5)  # a few dots
    for values in (ct(), shifted, padded, noisy, wide.reshape(SHAPE).astype(np.uint16)):
        assert not read_volume(save(tmp_path / "a.nii", values)).findings
    bright = (60_500 + np.arange(960)).reshape(SHAPE).astype(np.uint16)  # nothing is low
    assert not read_volume(save(tmp_path / "a.nii", bright)).findings


@pytest.mark.parametrize(
    ("kind", "bits"),
    [("<i4", 16), *product(["<u4", ">u4", "<i8", "<u8", "<f4", "<f8"], [16, 32])],
)
def test_any_type_may_hold_values_that_lost_their_sign(
    kind: str, bits: int, tmp_path: Path
) -> None:
    wrapped = (ct().astype(np.int64) & ((1 << bits) - 1)).astype(kind)
    (finding,) = read_volume(save(tmp_path / "a.nii", wrapped)).findings
    assert finding.code == "W_WRAPPED"
    assert "stored without a sign" in finding.text
    if kind != "<f4":  # which rounds those of 32 bits
        assert f"look like {ct().min()} to {ct()[ct() < 0].max()} stored" in finding.text
    assert "." not in finding.text


@pytest.mark.parametrize("kind", ["u2", "i4", "f4"])
@pytest.mark.parametrize("filler", [-1000, -1024, -2000, -3024])
def test_one_value_that_scanners_fill_with_is_enough(
    filler: int, kind: str, tmp_path: Path
) -> None:
    masked = np.where(ct() < 0, filler, ct()).astype(np.int64) & 0xFFFF
    (finding,) = read_volume(save(tmp_path / "a.nii", masked.astype(kind))).findings
    assert finding.code == "W_WRAPPED"
    assert f"values are {65536 + filler}, and none from 3072 to {65535 + filler}" in finding.text
    assert f"look like {filler} stored without a sign" in finding.text


def test_values_of_any_type_that_were_meant_so_are_no_finding(tmp_path: Path) -> None:
    wrapped = (ct().astype(np.int64) & 0xFFFF).astype(np.float32)
    fractions, negative, between, beyond = (wrapped.copy() for _ in range(4))
    fractions[0, 0, 0] += 0.5
    negative[6, 0, 0] = -1
    between[6, 0, 0] = 40_000
    beyond[6, 0, 0] = 1e12
    padded = np.where(wrapped > 60_000, 65_535, wrapped)
    saturated = np.where(wrapped > 60_000, 64_000, wrapped)
    for values in (fractions, negative, between, beyond, padded, saturated):
        assert not read_volume(save(tmp_path / "a.nii", values)).findings
    beyond = np.where(wrapped > 60_000, wrapped.astype(np.int64) + 2**40, wrapped)
    assert not read_volume(save(tmp_path / "a.nii", beyond.astype(np.float64))).findings


def test_holes_do_not_hide_that_the_sign_is_lost(tmp_path: Path) -> None:
    wrapped = (ct().astype(np.int64) & 0xFFFF).astype(np.float32)
    wrapped[7, 7, 7] = np.nan
    with reading_by(Rules(nan="fill")):
        found = codes(read_volume(save(tmp_path / "a.nii", wrapped)))
    assert found == ["W_FILLED", "W_WRAPPED"]


@given(
    cuts=st.lists(st.integers(1, SHAPE[0] - 1), max_size=4),
    kind=st.sampled_from(["u2", "u4", "i4", "f4", "f8"]),
    order=st.permutations(range(SHAPE[0])),
)
def test_slabs_in_any_order_tell_the_same(cuts: list[int], kind: str, order: list[int]) -> None:
    wrapped = (ct().astype(np.int64) & 0xFFFF).astype(kind)[order]
    whole, parts = Wrapped(), Wrapped()
    whole.see(wrapped)
    for part in np.split(wrapped, sorted(set(cuts))):
        parts.see(part)
    assert parts.findings() == whole.findings() != ()
