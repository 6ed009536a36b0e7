"""Files of the cache: any tensors come back, any damage is seen, and soundness is found once."""

import hashlib
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import load
from torch import Tensor

from pipeline.data import cache_entry
from pipeline.data.cache import CachedVolume, VolumeCache
from pipeline.data.cache_entry import EntryReader, entry_bytes

MAPPED = pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])

_IN_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

_ARRAYS = st.sampled_from([np.float64, np.float32, np.uint8]).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0))
)


def entry(folder: Path, tensors: dict[str, Tensor] | None = None) -> Path:
    """A file of the cache with a volume, or with these tensors."""
    path = folder / "entry.volume"
    path.write_bytes(entry_bytes(tensors or {"image": torch.randn(1, 3, 4, 5)}))
    return path


def signed(header: bytes, data: bytes, length: int | None = None) -> bytes:
    """What another program may have written, under a digest that is right."""
    size = len(header) if length is None else length
    payload = size.to_bytes(8, "little") + header + data
    return hashlib.sha256(payload).hexdigest().encode() + payload


def image_header(**other: object) -> bytes:
    """The header of an image of four numbers, with other entries."""
    place = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **other}
    header = json.dumps({"image": place}).encode()
    return header.ljust(-8 * (-len(header) // 8))  # so that the numbers are aligned


@MAPPED
@given(tensors=st.dictionaries(st.text(max_size=5), _ARRAYS, min_size=1, max_size=3))
@_IN_FOLDER
def test_any_tensors_come_back_to_the_bit(
    mapped: bool,
    tensors: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
    tmp_path: Path,
) -> None:
    path = entry(tmp_path, {name: torch.from_numpy(array) for name, array in tensors.items()})

    found = EntryReader(mapped=mapped).read(path)

    assert found is not None
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        assert found[name].numpy().dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].numpy().tobytes() == array.tobytes()


def test_it_is_what_safetensors_reads(tmp_path: Path) -> None:
    path = entry(tmp_path, {"image": torch.randn(1, 2, 3, 4), "spacing": torch.ones(3).double()})

    ours, theirs = EntryReader().read(path), load(path.read_bytes()[64:])

    assert ours is not None
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@MAPPED
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), known=st.booleans())
@_IN_FOLDER
def test_a_flipped_bit_is_seen(
    mapped: bool, share: float, bit: int, known: bool, tmp_path: Path
) -> None:
    path, reader = entry(tmp_path), EntryReader(mapped=mapped)
    content = bytearray(path.read_bytes())
    if known:
        assert reader.read(path) is not None
    content[int(share * len(content))] ^= 1 << bit
    path.write_bytes(content)
    _a_second_later(path)

    assert reader.read(path) is None


@MAPPED
@given(share=st.floats(0, 1, exclude_max=True))
@_IN_FOLDER
def test_a_file_that_was_cut_is_seen(mapped: bool, share: float, tmp_path: Path) -> None:
    path, reader = entry(tmp_path), EntryReader(mapped=mapped)
    assert reader.read(path) is not None
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    assert reader.read(path) is None


@MAPPED
def test_what_is_missing_empty_or_a_folder_is_none(mapped: bool, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name in ("missing", "empty", "."):
        assert EntryReader(mapped=mapped).read(tmp_path / name) is None


def test_the_next_test_differs_from_a_good_file_in_one_thing(tmp_path: Path) -> None:
    path = tmp_path / "entry.volume"
    path.write_bytes(signed(image_header(), np.arange(4, dtype="<f4").tobytes()))

    found = EntryReader().read(path)

    assert found is not None
    assert found["image"].tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "content",
    [
        signed(b"", b""),
        signed(b"no json".ljust(8), bytes(16)),
        signed(image_header(), bytes(16), length=1 << 62),
        signed(image_header(dtype="BF16"), bytes(16)),
        signed(image_header(shape=[5]), bytes(16)),
        signed(image_header(shape=[2, -1]), bytes(16)),
        signed(image_header(shape=[1 << 70]), bytes(16)),
        signed(image_header(shape=[0, *[(1 << 40) - 1] * 4], data_offsets=[0, 0]), b""),
        signed(image_header(data_offsets=[0, 15]), bytes(16)),
        signed(image_header(data_offsets=[-16, 0]), bytes(16)),
        signed(image_header(data_offsets=[16, 32]), bytes(16)),
        signed(image_header(data_offsets=[1, 17]), bytes(32)),
        signed(json.dumps({"__metadata__": {"a": "b"}}).encode(), b""),
    ],
    ids=[
        *("empty", "no json", "long", "type", "shape", "to be inferred", "huge", "nothing of much"),
        *("odd", "in the header", "beyond", "skew", "told"),
    ],
)
def test_what_another_program_wrote_is_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "entry.volume"
    path.write_bytes(content)

    assert EntryReader().read(path) is None


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_what_could_not_be_read_again_is_not_written(kind: torch.dtype) -> None:
    with pytest.raises(AssertionError):
        entry_bytes({"image": torch.zeros(2, dtype=kind)})


def test_an_entry_of_other_tensors_is_no_volume(tmp_path: Path) -> None:
    cache = VolumeCache(tmp_path, "preprocessing")
    cache.keep(CachedVolume(torch.ones(1, 2, 3, 4), (1.0, 1.0, 1.0), "content"))
    (path,) = tmp_path.rglob("*.volume")
    assert cache.load("content") is not None
    path.write_bytes(entry_bytes({"image": torch.ones(1, 2, 3, 4)}))

    assert cache.load("content") is None


def test_the_digest_is_taken_once_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, reader, taken = entry(tmp_path), EntryReader(), []

    def counted(content: bytes | memoryview) -> str:
        taken.append(len(content))
        return hashlib.sha256(content).hexdigest()

    monkeypatch.setattr(cache_entry, "sha256", counted)

    assert all(reader.read(path) is not None for _ in range(3))
    assert len(taken) == 1
    path.write_bytes(path.read_bytes())
    _a_second_later(path)
    assert all(reader.read(path) is not None for _ in range(3))
    assert len(taken) == 2


def test_what_was_read_outlives_the_file(tmp_path: Path) -> None:
    path = entry(tmp_path)
    found = EntryReader().read(path)
    assert found is not None
    before = found["image"].clone()

    os.truncate(path, 0)

    assert torch.equal(found["image"], before)


@MAPPED
def test_what_was_read_is_the_readers_own(mapped: bool, tmp_path: Path) -> None:
    path, reader = entry(tmp_path), EntryReader(mapped=mapped)
    first = reader.read(path)
    assert first is not None
    before = first["image"].clone()

    first["image"].zero_()
    second = reader.read(path)
    path.unlink()

    assert second is not None
    assert torch.equal(second["image"], before)
    entry(tmp_path)
    assert torch.equal(second["image"], before)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process cannot look at itself")
def test_mapped_files_hold_no_descriptors_and_no_copy(tmp_path: Path) -> None:
    path = entry(tmp_path, {"image": torch.randn(1, 128, 128, 128)})
    reader, opened = EntryReader(mapped=True), _open_files()
    assert reader.read(path) is not None

    found = [reader.read(path) for _ in range(3)]

    assert _open_files() == opened
    assert all(tensors is not None for tensors in found)
    maps = Path("/proc/self/smaps").read_text().split(str(path))
    assert len(maps) == 1 + 3
    copied = [re.search(r"Anonymous: +(\d+)", part) for part in maps[1:]]
    assert [match and match[1] for match in copied] == ["0"] * 3


def test_a_folder_whose_name_is_no_utf8_serves_mapped_files_too(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()

    assert EntryReader(mapped=True).read(entry(folder)) is not None


def _open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def _a_second_later(path: Path) -> None:
    """Sets a file's time, for the clock of a file system may be too coarse for a test."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
