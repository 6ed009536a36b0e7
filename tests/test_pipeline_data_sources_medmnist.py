"""MedMNIST: the official files alone, every voxel kept, and help where a file is not there."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import types
from collections import Counter
from pathlib import Path
from typing import NoReturn, get_args

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.config import DataConfig, MedmnistName
from pipeline.config_file import load_config
from pipeline.data.formats.nifti import read_nifti
from pipeline.data.manifest import read_manifest
from pipeline.data.sources.medmnist import COLUMNS, SPLITS, write_medmnist
from pipeline.data.sources.medmnist_sets import SETS, MedmnistSet, file_name, medmnist_note
from pipeline.errors import ConfigError, DataError
from pipeline.storage import read_table

ROOT = Path(__file__).parent.parent
REAL = Path(os.environ.get("VOLCLASS_DATA", ROOT.parent / "shared" / "data")) / "medmnist"
NAME, SIDE = "adrenalmnist3d", 5
COUNTS = (6, 3, 4)
MD5 = SETS[NAME].md5[28]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a small .npz in the official layout, which counts as the official one."""
    folder = tmp_path / "source"
    folder.mkdir()
    generator = np.random.default_rng(0)
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    for split, count in zip(SPLITS, COUNTS, strict=True):
        shape = (count, SIDE, SIDE, SIDE)
        arrays[f"{split}_images"] = generator.integers(0, 256, shape, dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count, dtype=np.uint8) % 2)[:, None]
    path = folder / f"{NAME}.npz"
    np.savez_compressed(path, allow_pickle=False, **arrays)
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(SETS, NAME, MedmnistSet(SETS[NAME].classes, COUNTS, {28: md5, 64: md5}))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def check_voxels(manifest: Path, archive: Path, cases: list[str]) -> None:
    """The named cases have the voxels and labels of the official file, axis by axis."""
    rows = {row["case_id"]: row for row in read_table(manifest)}
    with np.load(archive, allow_pickle=False) as arrays:
        for case_id in cases:
            split, number = case_id.split("_")
            volume = read_nifti(manifest.parent / rows[case_id]["image"])
            np.testing.assert_array_equal(volume.voxels, arrays[f"{split}_images"][int(number)])
            label = int(arrays[f"{split}_labels"][int(number), 0])
            assert rows[case_id]["label"] == SETS[NAME].classes[label]
            assert volume.spacing == (1.0, 1.0, 1.0)
            assert not volume.findings


def test_table_is_that_of_the_medmnist_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where the import makes a folder
    info = pytest.importorskip("medmnist.info")
    published = {name: entry for name, entry in info.INFO.items() if name.endswith("3d")}
    assert published.keys() == SETS.keys() == set(get_args(MedmnistName))
    for name, entry in published.items():
        ours = SETS[name]
        assert dict(ours.md5) == {28: entry["MD5"], 64: entry["MD5_64"]}
        assert ours.classes == tuple(entry["label"][str(k)] for k in range(len(entry["label"])))
        assert dict(zip(SPLITS, ours.counts, strict=True)) == entry["n_samples"]
        assert entry["license"] == "CC BY 4.0"
        for size, key in ((28, "url"), (64, "url_64")):
            assert file_name(name, size) in entry[key]


def test_note_says_what_is_not_known() -> None:
    assert medmnist_note("adrenalmnist3d", 64) == (
        "adrenalmnist3d, 64^3: 1584 cases, official split 1188/98/298; "
        "MedMNIST publishes no patients"
    )


def test_every_case_becomes_a_row_and_a_volume(source: Path, tmp_path: Path) -> None:
    steps = list[tuple[int, int]]()
    manifest = write_medmnist(NAME, 28, source, tmp_path / "set", lambda *step: steps.append(step))
    rows = read_table(manifest)
    assert tuple(rows[0]) == COLUMNS
    assert Counter(row["split"] for row in rows) == dict(zip(SPLITS, COUNTS, strict=True))
    check_voxels(manifest, source / f"{NAME}.npz", [row["case_id"] for row in rows])
    assert steps == [(done, sum(COUNTS)) for done in range(1, sum(COUNTS) + 1)]
    understood = read_manifest(DataConfig(source="manifest", manifest=str(manifest)))
    assert understood.patients_assumed
    assert {case.split for case in understood.cases} == set(SPLITS)


def test_complete_folder_needs_no_npz(source: Path, tmp_path: Path) -> None:
    write_medmnist(NAME, 28, source, tmp_path / "set")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")}
    (source / f"{NAME}.npz").unlink()
    calls = list[int]()
    write_medmnist(NAME, 28, source, tmp_path / "set", lambda done, _: calls.append(done))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")} == before
    assert not calls


@pytest.mark.parametrize("file", ["manifest.csv", "medmnist.json", "images/train_0004.nii"])
@pytest.mark.parametrize("damage", ["missing", "shorter", "changed"])
def test_damaged_folder_is_repaired(source: Path, tmp_path: Path, file: str, damage: str) -> None:
    write_medmnist(NAME, 28, source, tmp_path / "set")
    good = contents(tmp_path / "set")
    target = tmp_path / "set" / file
    if damage == "missing":
        target.unlink()
    else:
        target.write_bytes(good[file][:-9] + (bytes(9) if damage == "changed" else b""))
    write_medmnist(NAME, 28, source, tmp_path / "set")
    assert contents(tmp_path / "set") == good


def test_a_stopped_conversion_is_done_again(source: Path, tmp_path: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_medmnist(NAME, 28, source, tmp_path / "set", stop)
    assert not (tmp_path / "set" / "medmnist.json").exists()
    write_medmnist(NAME, 28, source, tmp_path / "set")
    write_medmnist(NAME, 28, source, tmp_path / "other")
    assert contents(tmp_path / "set") == contents(tmp_path / "other")


def test_another_file_is_refused_by_its_md5(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.npz").write_bytes(b"another version")
    found = hashlib.md5(b"another version", usedforsecurity=False).hexdigest()
    with pytest.raises(DataError, match="E_MD5") as caught:
        write_medmnist(NAME, 28, tmp_path, tmp_path / "set")
    message = str(caught.value)
    assert all(part in message for part in (str(tmp_path / f"{NAME}.npz"), found, MD5, "Zenodo"))
    assert not (tmp_path / "set").exists()


def test_a_missing_file_is_named_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "adrenalmnist3d_64.npz").write_bytes(b"")
    with pytest.raises(DataError, match="E_MISSING") as caught:
        write_medmnist(NAME, 28, tmp_path, tmp_path / "set")
    message = str(caught.value)
    assert "nearest name there is adrenalmnist3d_64.npz" in message
    assert all(part in message for part in (f"{NAME}.npz", MD5, "Zenodo", "data.root=FOLDER"))


@pytest.mark.parametrize("root", ["nowhere", "file"])
def test_a_root_that_is_no_folder_is_refused(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"E_MISSING(.|\n)*data\.root is not a folder"):
        write_medmnist(NAME, 28, tmp_path / root, tmp_path / "set")


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.npz").mkdir()
    with pytest.raises(DataError, match="E_IO: adrenalmnist3d"):
        write_medmnist(NAME, 28, tmp_path, tmp_path / "set")


class Package(types.ModuleType):
    """Stands for the medmnist package; downloads copy `npz`, or raise it."""

    def __init__(self, npz: bytes | BaseException) -> None:
        super().__init__("medmnist")
        self.npz = npz
        self.INFO = {NAME: {"python_class": "AdrenalMNIST3D"}}
        self.calls = 0

    def AdrenalMNIST3D(self, split: str, root: str, size: int, download: bool) -> None:
        """Does what the real class does, with its way to raise errors."""
        assert (split, size, download) == ("val", 28, True)
        self.calls += 1
        print("Downloading", file=sys.stdout)
        print("99 %", file=sys.stderr)
        if isinstance(self.npz, bytes):
            (Path(root) / f"{NAME}.npz").write_bytes(self.npz)
            return
        failure = RuntimeError("Automatic download failed!")
        # As the package does: whatever happened stands behind its own error.
        failure.__context__ = self.npz
        raise failure


def installed(monkeypatch: pytest.MonkeyPatch, npz: bytes | BaseException) -> Package:
    package = Package(npz)
    monkeypatch.setitem(sys.modules, "medmnist", package)
    return package


def test_a_download_is_kept_and_silent(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    package = installed(monkeypatch, (source / f"{NAME}.npz").read_bytes())
    downloads = tmp_path / "cache" / "downloads"
    downloads.mkdir(parents=True)
    (downloads / f"{NAME}.npz").write_bytes(b"what a killed download left")
    manifest = write_medmnist(NAME, 28, None, tmp_path / "cache" / "set")
    write_medmnist(NAME, 28, None, tmp_path / "cache" / "again")
    assert package.calls == 1
    assert capfd.readouterr() == ("", "")
    assert len(read_table(manifest)) == sum(COUNTS)
    assert (downloads / f"{NAME}.npz").read_bytes() == package.npz
    assert socket.getdefaulttimeout() is None


def test_a_wrong_download_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, b"a login page")
    with pytest.raises(DataError, match="E_MD5"):
        write_medmnist(NAME, 28, None, tmp_path / "set")


def test_ctrl_c_ends_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        write_medmnist(NAME, 28, None, tmp_path / "set")


def test_a_failed_download_says_what_to_do_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, OSError("Name or service not known"))
    with pytest.raises(DataError, match="E_DOWNLOAD") as caught:
        write_medmnist(NAME, 28, None, tmp_path / "set")
    message = str(caught.value)
    assert "why: Name or service not known" in message
    wanted = (f"get {NAME}.npz (MD5 {MD5}) from the MedMNIST records on Zenodo", "data.root=FOLDER")
    assert all(part in message for part in wanted)


def test_the_real_package_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    pytest.importorskip("medmnist")
    tried = list[object]()

    def blocked(*address: object, **_: object) -> NoReturn:
        tried.append(address)
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", blocked)
    monkeypatch.setattr(socket, "getaddrinfo", blocked)
    with pytest.raises(DataError, match=r"E_DOWNLOAD(.|\n)*Network is unreachable(.|\n)*Zenodo"):
        write_medmnist(NAME, 28, None, tmp_path / "set")
    assert tried
    assert capfd.readouterr() == ("", "")


def test_without_the_package_both_ways_out_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "medmnist", None)
    with pytest.raises(ConfigError) as caught:
        write_medmnist(NAME, 64, None, tmp_path / "set")
    message = str(caught.value)
    md5 = SETS[NAME].md5[64]
    wanted = ('pip install "volclass[medmnist]"', f"{NAME}_64.npz", md5, "data.root=FOLDER")
    assert all(part in message for part in wanted)


@pytest.mark.parametrize("name", SETS)
def test_every_set_has_a_config(name: str) -> None:
    config = load_config(f"benchmarks/{name}")
    assert (config.data.source, config.data.name, config.data.size) == ("medmnist", name, 28)
    assert config.cv.scheme == "official"
    assert config.preprocess.size == (28, 28, 28)
    assert config.preprocess.spacing is None
    grey = (config.augment.intensity, config.augment.gamma, config.augment.noise)
    assert any(grey) == (name not in ("adrenalmnist3d", "vesselmnist3d"))
    # Organs are told apart by their side, too.
    assert (config.augment.flip == 0.0) == (name == "organmnist3d")


@pytest.mark.skipif(
    not (REAL / f"{NAME}.npz").is_file(), reason="no official file; VOLCLASS_DATA names its folder"
)
def test_official_adrenal_file_keeps_every_voxel(tmp_path: Path) -> None:
    manifest = write_medmnist(NAME, 28, REAL, tmp_path / "set")
    rows = read_table(manifest)
    splits = Counter(row["split"] for row in rows)
    assert splits == {"train": 1188, "val": 98, "test": 298}
    assert Counter(row["label"] for row in rows) == {"normal": 1234, "hyperplasia": 350}
    cases = ["train_0000", "train_0611", "train_1187", "val_0097", "test_0297"]
    check_voxels(manifest, REAL / f"{NAME}.npz", cases)
