"""The reader's figures on small samples, and what other readers do with some bad files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.reliability import (
    BadFile,
    Compared,
    Flips,
    bombs,
    collection,
    compare,
    flipped_bits,
    flipped_header_bits,
    mutated_headers,
    orientations,
)
from pipeline.reliability.bad_file import one_file
from pipeline.reliability.peers import comparable
from pipeline.reliability.readers import nibabel_decode
from pipeline.reliability.volumes import GOOD, SLOPE, nifti, patched, voxels


def test_every_flipped_bit_is_detected(tmp_path: Path) -> None:
    found = flipped_bits(tmp_path, count=40, seed=1)
    assert found == Flips(40, 40, 0, 0, 0)
    assert found.passed
    assert not replace(found, detected=39, silent=1).passed
    assert not replace(found, detected=39, crashed=1).passed


def test_bits_of_the_gzip_header_are_refused_or_mean_nothing(tmp_path: Path) -> None:
    # Time (32 bits), effort and system (8 each), and the flag of text mean nothing.
    assert flipped_header_bits(tmp_path) == Flips(80, 31, 49, 0, 0)


def test_the_same_flips_pass_others_by(tmp_path: Path) -> None:
    assert flipped_bits(tmp_path, count=5, peer="SimpleITK").silent == 5
    found = flipped_bits(tmp_path, count=20, peer="nibabel")
    assert found.silent > 10
    assert found.silent + found.detected == 20


def test_a_changed_header_is_refused_flagged_or_read_as_it_says(tmp_path: Path) -> None:
    found = mutated_headers(tmp_path, count=200, seed=1)
    parts = (found.refused, found.flagged, found.unchanged, found.as_reference)
    assert sum(parts) == found.tried == 200
    assert (found.silent, found.crashed, found.hung) == (0, 0, 0)
    assert min(found.refused, found.unchanged) > 0
    assert found.in_time
    assert found.within_memory
    assert not replace(found, slowest=5.5).in_time
    assert not replace(found, peak_bytes=300 << 20).within_memory


def test_bombs_are_refused_at_once_and_in_little_memory(tmp_path: Path) -> None:
    found = bombs(tmp_path)
    assert len(found) == 10
    assert [bomb for bomb in found if not bomb.passed] == []
    slow = replace(found[0], seconds=1.5)
    large = replace(found[0], peak_bytes=60_000_000)
    accepted = replace(found[0], end="accepted")
    assert [bomb.passed for bomb in (slow, large, accepted)] == [False] * 3


def test_six_orientations_are_as_worked_out_by_hand(tmp_path: Path) -> None:
    found = orientations(tmp_path)
    assert len(found) == 6
    assert [case for case in found if not case.passed] == []


def test_the_reference_is_an_independent_decode(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(patched(GOOD, SLOPE, "f", 2.0))
    decoded = nibabel_decode(path)
    assert decoded is not None
    assert decoded[0].max() == 508
    path.write_bytes(b"no volume")
    assert nibabel_decode(path) is None


def test_other_readers_are_told_apart(tmp_path: Path) -> None:
    chosen = {
        (1, "cut in half"),
        (40, "pipe"),
        (11, "refused"),
        (39, "the compressed one is named"),
    }
    files = [file for file in collection() if (file.row, file.name) in chosen]
    found = {item.row: item for item in compare(files, tmp_path, lambda: None, seconds=3.0)}
    assert all(isinstance(item, Compared) for item in found.values())
    assert found[1].verdicts["nibabel"] == "unnamed"
    assert found[1].verdicts["SimpleITK"] in ("silent", "warned")
    assert found[11].verdicts["nibabel"] == "silent"
    assert found[11].verdicts["MONAI"] == "silent"
    assert found[40].verdicts["SimpleITK"] == "hang"
    assert found[39].sound
    assert found[39].verdicts["nibabel"] == found[39].verdicts["MONAI"] == "right"
    assert found[39].verdicts["SimpleITK"] == "altered"
    assert [found[row].verdicts["volclass"] for row in (1, 11, 40)] == ["named"] * 3
    assert found[39].verdicts["volclass"] == "right"


def test_our_own_reader_is_judged_as_strictly(tmp_path: Path) -> None:
    other = BadFile(39, "other", "ok", (), one_file("x.nii", nifti(voxels(77))), twin=True)
    sound = BadFile(1, "sound", "quarantine", ("E_CRC",), one_file("x.nii", GOOD))
    found = compare([other, sound], tmp_path, lambda: None)
    assert [item.verdicts["volclass"] for item in found] == ["altered", "silent"]


def test_only_what_a_file_shows_by_itself_is_compared() -> None:
    rows = {file.row for file in collection() if comparable(file)}
    assert not rows & {34, 35, 41, *range(45, 54), 57}  # sets, rules of paths, tables
    assert {1, 4, 11, 28, 33, 39, 40, 43, 54, 55, 56} <= rows
