"""The process that reads DICOM files has limits; its end, and what is no file, is a refusal."""

from __future__ import annotations

import os
import re
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_makers import reread, save, series, slices, write
from pipeline.data.formats import dicom_process
from pipeline.data.formats.dicom_series import read_series
from pipeline.data.formats.dispatch import read_volume
from pipeline.data.volume import VolumeError
from volume_makers import refusal


def test_names_that_are_no_utf_8_are_read_and_told(tmp_path: Path) -> None:
    """As a Windows disc leaves them, M<fc>ller0000.dcm; not every file system takes them."""
    made = slices()
    folder, other = save(tmp_path / "scan", made), save(tmp_path / "other", made)
    for number, path in enumerate(sorted(folder.iterdir())):
        name = os.fsencode(folder) + b"/M\xfcller%04d.dcm" % number
        try:
            path.rename(os.fsdecode(name))
        except OSError:
            pytest.skip("no such names here")
    volume = read_volume(folder)
    assert volume.content == read_volume(other).content
    assert not volume.findings
    write(Path(os.fsdecode(os.fsencode(folder) + b"/M\xfcller9999.dcm")), made[4])
    error = refusal(folder)
    assert error.code == "E_SLICE_GAP"
    assert "M\\udcfcller9999.dcm" in error.reason
    assert str(error).encode()


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "IM9999")


def link(target: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "IM9999").symlink_to(target)


@pytest.mark.parametrize(
    "put",
    [pipe, link("/dev/zero"), link("../outside"), link("nowhere"), link("IM9999")],
    ids=["pipe", "device", "leaves", "dangling", "loop"],
)
def test_what_is_no_regular_file_is_refused_unopened(
    put: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = series(tmp_path / "scan")
    (tmp_path / "outside").write_bytes(b"secret")
    put(folder)
    start = time.perf_counter()
    error = refusal(folder)
    assert error.code == "E_IRREGULAR"
    assert "IM9999" in error.reason
    assert time.perf_counter() - start < 1.0


def test_a_link_within_the_folder_is_a_slice_there_twice(tmp_path: Path) -> None:
    folder = series(tmp_path / "scan")
    link("IM0003")(folder)
    assert refusal(folder).code == "E_SLICE_GAP"


def test_a_bomb_is_refused_within_its_memory(tmp_path: Path) -> None:
    folder = save(tmp_path / "scan", slices(3))
    packer = zlib.compressobj(1, wbits=-15)
    block = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    path, item = reread(folder, 1)
    item.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    item.PixelData = b""
    write(path, item)
    path.write_bytes(path.read_bytes() + block * 8)
    whole = path.read_bytes()
    start = whole.index(DeflatedExplicitVRLittleEndian.encode())
    path.write_bytes(_with_body(whole, start, block * 250))  # 4 GB in 18 MB
    error = refusal(folder, budget=1 << 20)
    assert error.code == "E_BUDGET"
    assert path.name in error.reason


def _with_body(whole: bytes, start: int, body: bytes) -> bytes:
    """The preamble and file meta of a file, up to the group length that it states, and a body."""
    length = int.from_bytes(whole[140:144], "little")
    assert 144 < start < 144 + length
    return whole[: 144 + length] + body


def test_slow_reading_is_stopped(tmp_path: Path) -> None:
    folder = series(tmp_path / "scan")
    with pytest.raises(VolumeError, match=r"E_DICOM_SLICE.*\n.*scan\n.*took more than") as caught:
        read_series(folder, seconds=0.01)
    assert caught.value.file == folder


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import os; os.kill(os.getpid(), 11)", r"died at .*SIGSEGV"),
        ("raise SystemExit(3)", r"failed at .*status 3"),
        ("print('no answer'); input(); input()", r"died at .*SIGKILL"),
    ],
    ids=["crash", "exit", "nonsense"],
)
def test_the_death_of_the_process_is_a_refusal(
    program: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child.py"
    child.write_text(program)
    monkeypatch.setattr(dicom_process, "CHILD", child)
    error = refusal(series(tmp_path / "scan"))
    assert error.code == "E_DICOM_SLICE"
    assert re.search(says, error.reason)
