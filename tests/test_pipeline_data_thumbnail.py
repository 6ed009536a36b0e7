"""Signatures: a copy is known again, whatever was done to it; another volume is another."""

from __future__ import annotations

import csv
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from audit_makers import Voxels, blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import zoom

from pipeline.data.formats.dispatch import read_volume
from pipeline.data.thumbnail import FREQUENCIES, signature_from, signature_of, signature_text
from pipeline.evaluation.audit_near import near_rows
from pipeline.evaluation.audit_turns import TURNS

DATA = Path(os.environ.get("VOLCLASS_DATA", Path(__file__).parents[1] / "../shared/data"))
Signatures = NDArray[np.int8]


def signatures(*volumes: Voxels) -> Signatures:
    return np.array([signature_of(volume) for volume in volumes])


def distance(one: Voxels, other: Voxels) -> float:
    """Of two volumes, 1 - cosine, over all mirror images."""
    first, second = (found.astype(np.float32) for found in signatures(one, other))
    box = second.reshape(1, FREQUENCIES, FREQUENCIES, FREQUENCIES)
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return 1.0 - max(float((turn.of(box).ravel() @ first) / scale) for turn in TURNS[:8])


@given(
    scale=st.floats(1e-3, 1e3),
    offset=st.floats(-1e3, 1e3),
    shape=st.tuples(*[st.integers(4, 40)] * 3),
)
@settings(max_examples=25, deadline=None)
def test_units_of_grey_play_no_part(
    scale: float, offset: float, shape: tuple[int, int, int]
) -> None:
    volume = blobs(1, shape)
    assert distance(volume, (volume * scale + offset).astype(np.float32)) < 0.01


@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_mirroring_changes_signs_alone(signs: tuple[int, int, int]) -> None:
    volume = blobs(2, (17, 22, 31))
    mirrored = volume[:: signs[0], :: signs[1], :: signs[2]]
    odd = np.indices((FREQUENCIES,) * 3) % 2
    turned = sum(odd[axis] for axis in range(3) if signs[axis] < 0) % 2
    expected = np.where(np.broadcast_to(turned, odd[0].shape) == 1, -1, 1).ravel()
    found = signature_of(mirrored).astype(int)
    assert np.abs(found - expected * signature_of(volume).astype(int)).max() <= 1


@given(st.integers(0, 10_000), st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_copies_are_near_and_other_volumes_are_not(one: int, other: int) -> None:
    volume = blobs(one)
    noise = np.random.default_rng(other).normal(0.0, 0.1 * volume.std(), volume.shape)
    assert distance(volume, (volume + noise).astype(np.float32)) < 0.1
    if one != other:
        assert distance(volume, blobs(other)) > 0.2


def test_another_voxel_size_is_the_same_picture() -> None:
    volume = blobs(3, (40, 36, 32))
    assert distance(volume, np.asarray(zoom(volume, 0.7, order=1), dtype=np.float32)) < 0.1


def test_a_volume_without_anything_to_see_is_like_no_other() -> None:
    board = (np.indices((64, 64, 64)).sum(axis=0) % 2).astype(np.float32)
    assert not signature_of(board).any()
    found = near_rows(signatures(board, board, blobs(1)))
    assert found.pairs == ()


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_text_gives_back_the_signature(seed: int) -> None:
    found = signature_of(blobs(seed))
    assert np.array_equal(signature_from(signature_text(found)), found)


@pytest.mark.parametrize("text", ["", "AAAA", "no base64!"])
def test_other_text_is_no_signature(text: str) -> None:
    with pytest.raises(ValueError, match=r"signature|base64|Non-base64|padding"):
        signature_from(text)


def real_volumes(name: str) -> tuple[Signatures, list[str]]:
    manifest = DATA / "sts" / name / "manifest.csv"
    if not manifest.is_file():
        pytest.skip(f"there is no {manifest.name} of {name} below VOLCLASS_DATA")
    with manifest.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    volumes = (read_volume(manifest.parent / row["image"]).voxels for row in rows)
    return signatures(*volumes), [row["patient_id"] for row in rows]


@pytest.mark.parametrize(("name", "least"), [("mr_patches", 0.3), ("modality", 0.5)])
def test_no_two_real_volumes_are_taken_for_copies(name: str, least: float) -> None:
    found = near_rows(real_volumes(name)[0])
    assert (found.pairs, found.crowded) == ((), ())
    assert found.nearest is not None
    assert found.nearest > least
