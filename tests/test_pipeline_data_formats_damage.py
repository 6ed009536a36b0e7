"""Damaged, swollen and changed files: refused or noticed, whatever the format."""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import nibabel
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import PreprocessConfig
from pipeline.data.cache import VolumeCache, stamp_of
from pipeline.data.cases import Case
from pipeline.data.formats.dispatch import companions, read_volume
from pipeline.data.transforms import preprocessing_key
from pipeline.data.volumes import VolumeStore
from pipeline.errors import StorageError
from volume_makers import (
    AFFINE,
    NAMES,
    copy_of,
    outcome,
    refusal,
    values_of,
    write_all,
)

nib: Any = nibabel  # has no types for what is used here
sitk: Any = SimpleITK  # has no types


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_all(tmp_path_factory.mktemp("written"), values_of(), AFFINE)


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_is_kept(written: dict[str, Path], name: str) -> None:
    assert refusal(written[name], budget=400).code == "E_BUDGET"


def test_bombs_are_refused_before_they_fill_the_memory(
    written: dict[str, Path], tmp_path: Path
) -> None:
    zeros = bytes(64 << 20)
    bombs = {"a.mgz": gzip.compress(written["mgh"].read_bytes() + zeros)}
    for name, pack in (("nrrd packed", gzip.compress), ("mha packed", zlib.compress)):
        content = written[name].read_bytes()
        end = content.index(b"\n\n") + 2 if name[0] == "n" else content.index(b"LOCAL") + 6
        bombs[f"a.{name[:4]}"] = content[:end] + pack(zeros)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
        assert refusal(tmp_path / name, budget=16 << 20).code == "E_BUDGET"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def cut_or_flipped(content: bytes, generator: random.Random, cut: bool) -> bytes:
    if cut:
        return content[: generator.randrange(len(content))]
    changed = bytearray(content)
    # Headers are small: half of the changes shall be there.
    end = generator.choice((min(700, len(changed)), len(changed)))
    for _ in range(generator.randint(1, 4)):
        changed[generator.randrange(end)] = generator.randrange(256)
    return bytes(changed)


@given(name=st.sampled_from(NAMES), seed=st.integers(0, 10**9), cut=st.booleans())
@settings(max_examples=400, deadline=None)
def test_damage_gives_a_volume_or_a_refusal(
    written: dict[str, Path], name: str, seed: int, cut: bool
) -> None:
    generator = random.Random(seed)
    whole = read_volume(written[name]).content
    with tempfile.TemporaryDirectory() as folder:
        path = copy_of(written, name, Path(folder))
        victim = generator.choice(sorted(path.parent.iterdir()))
        victim.write_bytes(cut_or_flipped(victim.read_bytes(), generator, cut))
        companions(path)
        found = outcome(path)
    if cut:  # what follows the voxels, or the end of the last line, is no loss
        assert found.startswith("E_") or found == whole


@pytest.mark.parametrize("name", ["nii.gz", "mgz", "nrrd packed", "mha packed", "mhd packed"])
def test_every_flipped_bit_of_compressed_voxels_is_detected(
    written: dict[str, Path], name: str, tmp_path: Path
) -> None:
    path = copy_of(written, name, tmp_path)
    victim = next((file for file in tmp_path.iterdir() if file.suffix == ".zraw"), path)
    content = bytearray(victim.read_bytes())
    start = {"nii.gz": 10, "mgz": 10, "mhd packed": 0}.get(name)
    if start is None:  # gzip has ten bytes that hold no voxels and that no checksum covers
        start = content.index(b"\n\n") + 12 if b"NRRD" in content else content.index(b"LOCAL") + 6
    generator = random.Random(0)
    for _ in range(60):
        place, bit = generator.randrange(start, len(content)), 1 << generator.randrange(8)
        content[place] ^= bit
        victim.write_bytes(content)
        assert refusal(path).code in ("E_CRC", "E_TRUNCATED")
        content[place] ^= bit


@pytest.mark.parametrize("name", NAMES)
def test_stamps_cover_every_file_of_a_volume(
    written: dict[str, Path], name: str, tmp_path: Path
) -> None:
    path = copy_of(written, name, tmp_path)
    before = stamp_of(path)
    files = sorted(tmp_path.iterdir())
    assert len(before) == len(files) + 3  # four numbers of the volume itself
    assert json.loads(json.dumps(before)) == before
    for file in files:
        os.utime(file, ns=(1, 1))
        changed = stamp_of(path)
        assert changed != before
        before = changed
    for file in files:
        if file != path:
            file.unlink()
            assert stamp_of(path) != before
    path.unlink()
    with pytest.raises(StorageError, match="vanished"):
        stamp_of(path)


@pytest.mark.parametrize(("name", "victim"), [("nii", "a.nii"), ("mhd", "a.raw")])
def test_a_file_replaced_by_one_of_its_size_and_time_is_noticed(
    written: dict[str, Path], name: str, victim: str, tmp_path: Path
) -> None:
    path = copy_of(written, name, tmp_path)
    file, other = tmp_path / victim, tmp_path / "other"
    before, status = stamp_of(path), file.stat()
    other.write_bytes(file.read_bytes()[:-1] + b"x")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)  # as `rsync -t` does
    assert file.stat().st_mtime_ns == status.st_mtime_ns
    assert stamp_of(path) != before
    before = stamp_of(path)
    time.sleep(0.02)  # a tick of the file system's clock
    file.write_bytes(file.read_bytes()[:-1] + b"y")  # as `cp -p` does, into the same inode
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert stamp_of(path) != before


def test_stamps_of_names_that_are_not_utf8_are_json(
    written: dict[str, Path], tmp_path: Path
) -> None:
    path = copy_of(written, "mhd", tmp_path)
    path.write_bytes(path.read_bytes().replace(b"a.raw", b"M\xfcller.raw"))
    for _ in range(2):
        assert json.loads(json.dumps(stamp_of(path)).encode()) == stamp_of(path)
        (tmp_path / "a.raw").rename(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller.raw"))
        (tmp_path / "a.raw").write_bytes(b"")


def test_links_with_companions_of_their_own_are_volumes_of_their_own(
    written: dict[str, Path], tmp_path: Path
) -> None:
    path = copy_of(written, "mhd", tmp_path / "data")
    link = tmp_path / "links" / path.name
    link.parent.mkdir()
    link.symlink_to(path)
    (link.parent / "a.raw").write_bytes((path.parent / "a.raw").read_bytes()[:-1] + b"x")
    config = PreprocessConfig(spacing=None, size=(8, 8, 8), crop="none")
    cache = VolumeCache(tmp_path / "cache", preprocessing_key(config))
    store = VolumeStore(config, cache)
    contents = [store.inspect(Case("a", "a", file)) for file in (path, link)]
    assert [cache.content_of(file) for file in (path, link)] == contents
    assert contents[0] != contents[1]


@pytest.mark.parametrize(
    ("name", "voxels"), [("mhd", "a.raw"), ("nhdr", "a.raw"), ("pair", "a.img")]
)
def test_changed_voxels_of_a_detached_header_are_noticed(
    written: dict[str, Path], name: str, voxels: str, tmp_path: Path
) -> None:
    path = copy_of(written, name, tmp_path / "data")
    config = PreprocessConfig(spacing=None, size=(8, 8, 8), crop="none")
    store = VolumeStore(config, VolumeCache(tmp_path / "cache", preprocessing_key(config)))
    case = Case("a", "a", path)
    first = store.inspect(case)
    assert store.has(case)
    content = bytearray((path.parent / voxels).read_bytes())
    content[0] ^= 1
    (path.parent / voxels).write_bytes(content)
    os.utime(path.parent / voxels, ns=(1, 1))
    assert not store.has(case)
    assert isinstance(store.inspect(case), str)
    assert store.inspect(case) != first
    (path.parent / voxels).unlink()
    assert getattr(store.inspect(case), "code", None) == "E_RAW_MISSING"
