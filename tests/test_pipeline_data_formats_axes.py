"""Voxels are turned, scaled and looked at in blocks, and come out as if it were done at once."""

from __future__ import annotations

import gzip
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.data.formats import axes, stored
from pipeline.data.formats.axes import Scale, arranged
from pipeline.data.formats.dispatch import read_volume
from pipeline.data.formats.inflater import Inflater
from pipeline.data.formats.values import Values
from pipeline.data.volume import VolumeError, content_sha256
from volume_makers import refusal

Sizes = tuple[int, int, int]
WAYS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
DTYPES = ("<i2", ">i2", "u1", "<u2", "<i4", "<i8", "<u8", "<f4", ">f4", "<f8")


def affine_of(order: tuple[int, ...], signs: tuple[int, ...]) -> NDArray[np.float64]:
    """Stored axis i leads along axis `order[i]` of the patient, in steps of 1, 2 and 3 mm."""
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for stored_axis, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        affine[axis, stored_axis] = sign * (1.0 + stored_axis)
    affine[:3, 3] = (10.0, -20.0, 30.0)
    return affine


def raw_of(shape: Sizes, dtype: str, seed: int = 0) -> NDArray[np.generic]:
    """Stored values over the whole range of an integer type, the first axis fastest."""
    generator = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        values = generator.normal(0.0, 1000.0, shape).astype(kind)
    else:
        ends = np.iinfo(kind)
        native = kind.newbyteorder("=")
        values = generator.integers(ends.min, ends.max, shape, native, endpoint=True).astype(kind)
    return np.asfortranarray(values)


def at_once(
    raw: NDArray[np.generic], affine: NDArray[np.float64], slope: float, inter: float
) -> NDArray[np.float32]:
    """The same in the plainest way."""
    true = raw if (slope, inter) == (1.0, 0.0) else raw.astype(np.float64) * slope + inter
    turned = nib.orientations.apply_orientation(true, nib.orientations.io_orientation(affine))
    return np.ascontiguousarray(turned, dtype=np.float32)


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)),
    way=st.sampled_from(WAYS),
    dtype=st.sampled_from(DTYPES),
    scale=st.sampled_from([(1.0, 0.0), (2.0, -1024.0), (-0.37, 11.1)]),
    room=st.sampled_from([1, 100, 3000, 1 << 17]),
)
def test_every_order_of_axes_is_turned_without_a_voxel_out_of_place(
    shape: Sizes,
    way: tuple[tuple[int, ...], tuple[int, ...]],
    dtype: str,
    scale: tuple[float, float],
    room: int,
) -> None:
    raw, affine = raw_of(shape, dtype), affine_of(*way)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(axes, "_SCRATCH_VOXELS", room)
        voxels, turned = arranged(raw, affine, Scale(*scale))
    assert voxels.flags.c_contiguous
    assert np.array_equal(voxels, at_once(raw, affine, *scale))
    for index in itertools.product(*((0, size - 1) for size in shape)):
        there = np.linalg.solve(turned, affine @ (*index, 1.0))[:3].round().astype(int)
        assert voxels[tuple(there)] == np.float32(float(raw[index].item()) * scale[0] + scale[1])


def test_what_is_not_finite_is_filled_where_it_lies() -> None:
    raw = raw_of((9, 8, 7), "<f4")
    raw[1, 2, 3], raw[8, 7, 6], raw[0, 0, 0] = np.nan, np.inf, -np.inf
    voxels, _ = arranged(raw, np.eye(4), Scale(fill=-5.0))
    assert [voxels[1, 2, 3], voxels[8, 7, 6], voxels[0, 0, 0]] == [-5.0] * 3
    assert np.count_nonzero(voxels == raw) == raw.size - 3


@given(
    dtype=st.sampled_from(DTYPES),
    slope=st.floats(-1e6, 1e6).filter(bool),
    inter=st.floats(-1e6, 1e6),
    seed=st.integers(0, 1000),
)
def test_the_ends_of_the_stored_values_give_those_of_the_true_ones(
    dtype: str, slope: float, inter: float, seed: int
) -> None:
    raw, seen = raw_of((4, 3, 2), dtype, seed), Values()
    seen.see(raw, slope, inter)
    true = raw.astype(np.float64) * slope + inter
    assert sorted(seen.ends) == [true.min(), true.max()]


def test_ends_are_those_of_the_finite_values_and_the_others_are_counted() -> None:
    raw, seen = raw_of((4, 3, 2), "<f4"), Values()
    raw[0, 0, 0], raw[1, 0, 0] = np.nan, np.inf
    seen.see(raw, -2.0, 1.0)
    true = raw[np.isfinite(raw)].astype(np.float64) * -2.0 + 1.0
    assert sorted(seen.ends) == [true.min(), true.max()]
    assert (seen.nonfinite, seen.filler()) == (2, true.min())


def test_the_content_of_a_volume_is_the_hash_that_it_always_was(tmp_path: Path) -> None:
    raw, affine = raw_of((40, 30, 20), "<i2"), affine_of((1, 2, 0), (1, -1, -1))
    nib.save(nib.Nifti1Image(raw, affine), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    true = at_once(raw, affine, 1.0, 0.0)
    assert volume.content == content_sha256(true, volume.affine)
    voxels = hashlib.sha256(str(true.shape).encode() + true.tobytes()).hexdigest()
    assert volume.content.startswith(f"{voxels}-")


def header_byte(content: bytearray) -> None:
    """A header that says nothing true: its data type is none."""
    content[70:72] = b"\xff\x7f"


@pytest.mark.parametrize("megabytes", [0, 3, 20])
def test_damage_is_told_before_what_a_damaged_header_seems_to_say(
    megabytes: int, tmp_path: Path
) -> None:
    shape = (64, 64, max(2, 128 * megabytes))
    values = (np.indices(shape, dtype=np.int16).sum(axis=0) % 1000).astype(np.int16)
    plain = bytearray(nib.Nifti1Image(values, np.eye(4)).to_bytes())
    header_byte(plain)
    honest, path = gzip.compress(plain, 1), tmp_path / "a.nii.gz"
    path.write_bytes(honest)
    assert refusal(path).code == "E_DTYPE"
    path.write_bytes(honest[:-8] + bytes(4) + honest[-4:])
    # A checksum at the end of a large file is not worth the time; the volume is refused anyway.
    assert refusal(path).code == ("E_DTYPE" if megabytes > 16 else "E_CRC")


def test_no_more_of_a_file_is_decoded_for_its_header_than_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(5_000_000)))
    pieces: list[int] = []

    class Watched(Inflater):
        def __iter__(self) -> Iterator[bytes]:
            for piece in super().__iter__():
                pieces.append(len(piece))
                yield piece

    monkeypatch.setattr(stored, "Inflater", Watched)
    with path.open("rb") as handle:
        head, packed = stored.decoded_head(path, handle, 540)
    assert (head, packed) == (bytes(540), True)
    assert sum(pieces) == 540


@pytest.mark.parametrize("skip", [0, 352])
def test_a_plain_file_that_is_cut_while_it_is_read_is_refused(
    skip: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(500))
    monkeypatch.setattr(stored, "regular_size", lambda *_: 2000)
    place = stored.Place(path, skip=skip)
    with pytest.raises(VolumeError, match="E_TRUNCATED"):
        stored.read_stored(path, place, (10, 10, 10), np.dtype("u1"), 1 << 20)
