"""Headers wider than ITK's own readers can hold: they would end the process, so each has its own.

A crash is no exception, hence the processes; what they print besides the outcome is a fault too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.formats.itk_header import metaimage_for_itk, nrrd_for_itk

DATA = np.arange(60, dtype="<i2").tobytes()
READ = """
import sys
from pathlib import Path
from pipeline.data.formats.dispatch import companions, read_volume
from pipeline.data.volume import VolumeError
path = Path(sys.argv[1])
companions(path)
try:
    print(read_volume(path).voxels.shape)
except VolumeError as error:
    print(error.code)
"""
GOOD = "(5, 4, 3)"


def outcome(path: Path) -> tuple[int, str, str]:
    """How a process of its own ends that reads a volume, and all that it says."""
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", READ, path],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout.decode().strip(), done.stderr.decode().strip()


def meta(axes: int = 3, /, **more: str) -> bytes:
    ones = " 1" * (axes - 3)
    fields = {
        "ObjectType": "Image",
        "NDims": str(axes),
        "TransformMatrix": " ".join(str(number) for number in np.eye(axes, dtype=int).flat),
        "Offset": " ".join(["0"] * axes),
        "ElementSpacing": "1 1 2" + ones,
        **more,
        "DimSize": "5 4 3" + ones,
        "ElementType": "MET_SHORT",
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{name} = {text}\n" for name, text in fields.items()).encode() + DATA


def nrrd(axes: int = 3, /, **more: str) -> bytes:
    fields = {
        "type": "short",
        "dimension": str(axes),
        "space": "left-posterior-superior",
        "sizes": "5 4 3" + " 1" * (axes - 3),
        "space directions": "(1,0,0) (0,1,0) (0,0,2)" + " none" * (axes - 3),
        "endian": "little",
        "encoding": "raw",
        **{name.replace("_", " "): text for name, text in more.items()},
    }
    lines = "".join(f"{name}: {text}\n" for name, text in fields.items())
    return f"NRRD0004\n{lines}\n".encode() + DATA


LONG = "m" * 5000
CASES: list[tuple[str, str, bytes]] = [
    (GOOD, "10 axes.mha", meta(10)),
    *(("E_NDIM", f"{axes} axes.mha", meta(axes)) for axes in (11, 20, 100)),
    (GOOD, "texts.mha", meta(Comment=LONG, Name=LONG, Modality=LONG, Unknown=LONG, **{LONG: "1"})),
    (GOOD, "numbers.mha", meta(Color="1 " * 5000, SequenceID="1 " * 5000, ElementMin="1" * 5000)),
    ("E_HEADER", "spacing.mha", meta(ElementSpacing="1 " * 5000)),
    (GOOD, "units.nrrd", nrrd(units=f'"{LONG}" "mm" "mm"', labels=f'"{LONG}" "" ""', content=LONG)),
    ("E_HEADER", "kinds.nrrd", nrrd(kinds=f"domain domain {LONG}")),
    ("E_HEADER", "mins.nrrd", nrrd(axis_mins="1 " * 5000)),
    ("E_HEADER", "16 axes.nrrd", nrrd(16)),
    *(("E_NDIM", f"{axes} axes.nrrd", nrrd(axes)) for axes in (17, 100)),
    (GOOD, os.fsdecode(b"M\xfcller.nrrd"), nrrd()),
    (GOOD, os.fsdecode(b"M\xfcller.mha"), meta()),
]


@pytest.mark.parametrize(
    ("expected", "name", "content"), CASES, ids=[ascii(name) for _, name, _ in CASES]
)
def test_no_header_ends_the_process(
    expected: str, name: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert outcome(path) == (0, expected, "")


def test_itk_is_shown_the_geometry_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(meta(Comment="Jane Doe", Modality="MET_MOD_CT"))
    lines = metaimage_for_itk(path).decode().splitlines()
    assert lines[0] == "ObjectType = Image"
    assert "ElementSpacing = 1.0 1.0 2.0" in lines
    assert [line.split()[0] for line in lines[1:]] == [
        *("NDims", "TransformMatrix", "Offset", "ElementSpacing", "DimSize", "ElementType"),
        "ElementDataFile",
    ]
    path.write_bytes(nrrd(content="Jane Doe", units=LONG, kinds="domain domain domain"))
    assert nrrd_for_itk(path).decode().splitlines() == [
        "NRRD0005",
        "type: uchar",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: 5 4 3",
        "space directions: (1.0,0.0,0.0) (0.0,1.0,0.0) (0.0,0.0,2.0)",
        "kinds: domain domain domain",
        "encoding: raw",
        "",
    ]
