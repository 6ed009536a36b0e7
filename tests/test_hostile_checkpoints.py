"""Files of weights that were made to do harm: nothing in them runs, and each is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SMALL
from typer.testing import CliRunner, Result

from pipeline.cli import app

SLICES = (
    "model.name=resnet18",
    "model.options={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8], small_stem: true}",
    "model.slices={axis: sagittal, count: 4}",
    "preprocess.intensity={name: percentiles}",
)
COMMAND = "touch harm"
SECONDS = 5.0


class Calls:
    """Pickled, it calls a function when it is read."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._call


def saved(content: object, *, zipped: bool = True) -> bytes:
    """What `torch.save` writes."""
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def slipping_zip() -> bytes:
    """An archive of torch with entries that would leave the folder they are unpacked into."""
    with zipfile.ZipFile(io.BytesIO(saved({"a": Calls(os.system, COMMAND)}))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return zip_of({**files, "../../harm": b"x", "archive/../../harm": b"x", "/tmp/../harm": b"x"})


def slipping_tar() -> bytes:
    """The oldest format of torch is an archive, too."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("../harm", "storages", "tensors", "pickle"):
            content = pickle.dumps(Calls(os.system, COMMAND))
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def header(text: str, length: int | None = None, data: bytes = b"") -> bytes:
    """A safetensors file with a header of any text, and any length said of it."""
    said = len(text.encode()) if length is None else length
    return struct.pack("<Q", said) + text.encode() + data


def tensor(dtype: str = "F32", shape: tuple[int, ...] = (1,), end: int = 4) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}


def tensors(**entries: object) -> bytes:
    return header(json.dumps(entries), data=bytes(4))


HARM = Calls(os.system, COMMAND)
#: Files that a user may name as weights to start from.
NAMED: dict[str, tuple[str, bytes]] = {
    "system": ("w.pth", saved({"state_dict": {"a": torch.zeros(1)}, "more": HARM})),
    "system, old format": ("w.pth", saved({"a": HARM}, zipped=False)),
    "as a name": ("w.pth", saved({HARM: torch.zeros(1)})),
    "eval": ("w.pt", pickle.dumps(Calls(eval, f"__import__('os').system({COMMAND!r})"))),
    "exec": ("w.bin", pickle.dumps(Calls(exec, f"import os; os.system({COMMAND!r})"))),
    "by hand": ("w.ckpt", f"cos\nsystem\n(S'{COMMAND}'\ntR.".encode()),
    "getattr": ("w.pth", saved([Calls(getattr, "", "join")])),
    "another file": ("w.pth", saved(Calls(torch.load, "harmful.pth"))),
    "its folder": ("w.pth", saved({"a": Calls(os.mkdir, "harm")})),
    "zip slip": ("w.pth", slipping_zip()),
    "tar slip": ("w.tar", slipping_tar()),
    "zip bomb": ("w.pth", zip_of({"archive/data.pkl": bytes(1 << 26), "archive/version": b"3"})),
    "endless text": ("w.pth", b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x."),
    "deep lists": ("w.pth", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
    "pickle, renamed": ("w.safetensors", pickle.dumps(HARM)),
    "archive, renamed": ("w.safetensors", saved({"a": HARM})),
    "nothing": ("w.safetensors", b""),
    "half a length": ("w.safetensors", b"\x08\0\0"),
    "length beyond all": ("w.safetensors", header("{}", length=(1 << 64) - 1)),
    "length beyond the file": ("w.safetensors", header("{}", length=1 << 20)),
    "cut header": ("w.safetensors", header(json.dumps({"a": tensor()}))[:20]),
    "deep header": ("w.safetensors", header('{"a":' * 200_000)),
    "deep and whole": ("w.safetensors", header('{"a":' * 5000 + "1" + "}" * 5000)),
    "beyond its data": ("w.safetensors", tensors(a=tensor(shape=(1 << 20,), end=1 << 22))),
    "overlapping": ("w.safetensors", tensors(a=tensor(), b=tensor())),
    "more than memory": ("w.safetensors", tensors(a=tensor(shape=(1 << 40, 1 << 40)))),
    "below zero": ("w.safetensors", tensors(a={**tensor(), "data_offsets": [-4, 0]})),
    "unknown type": ("w.safetensors", tensors(a=tensor(dtype="O8"))),
    "remarks that are code": ("w.safetensors", tensors(__metadata__={"a": ["!!python"]})),
}


def called(arguments: list[str]) -> Result:
    """Runs a verb that must refuse, in words, in good time, and with a code that is documented."""
    started = time.monotonic()
    result = CliRunner().invoke(app, arguments)
    assert time.monotonic() - started < SECONDS
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.output
    assert result.exit_code in (2, 4), result.output
    assert "volclass: " in result.output
    return result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, where harm would leave a file of that name."""
    work = tmp_path / "above" / "work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    return work


def unharmed(folder: Path) -> bool:
    return not [path for path in folder.parents[1].rglob("*") if path.name.startswith("harm")]


def test_the_command_would_do_harm_if_it_ran(folder: Path) -> None:
    pickle.loads(NAMED["by hand"][1])  # it is our own, and shows what is at stake
    assert not unharmed(folder)


@pytest.mark.parametrize("kind", NAMED)
def test_a_hostile_file_of_weights_is_refused_and_runs_nothing(
    kind: str, folder: Path, small_manifest: Path
) -> None:
    name, content = NAMED[kind]
    (folder / name).write_bytes(content)
    # Files of torch are read for 2D networks alone.
    flat = not name.endswith(".safetensors")
    kept = [text for text in SMALL if not (flat and text.startswith("model."))]
    settings = [*kept, *(SLICES if flat else ()), f"model.weights={name}"]
    settings += [f"data.manifest={small_manifest}", "--dry-run", "--out", "run"]
    result = called(["train", "-c", "base", *settings])
    assert name in result.output
    assert unharmed(folder)


@pytest.fixture
def run(folder: Path, reference: Path) -> Path:
    """A run whose files may be spoiled."""
    return Path(shutil.copytree(reference, folder / "run"))


def index_of(run: Path) -> Path:
    return run / "fold_0" / "checkpoints" / "checkpoints.json"


def replace_best(run: Path, content: bytes) -> None:
    """Puts content in the place of the chosen weights, with the hash that belongs to it."""
    index = json.loads(index_of(run).read_text())
    index["best"]["sha256"] = hashlib.sha256(content).hexdigest()
    (run / "fold_0" / "checkpoints" / index["best"]["file"]).write_bytes(content)
    index_of(run).write_text(json.dumps(index))


def best_of(run: Path) -> tuple[dict[str, object], bytes]:
    """Header and data of the chosen weights."""
    (path,) = (run / "fold_0" / "checkpoints").glob("best-*.safetensors")
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def with_remarks(run: Path, remarks: object) -> bytes:
    """The chosen weights with other remarks in the header."""
    head, data = best_of(run)
    return header(json.dumps({**head, "__metadata__": remarks}), data=data)


def other_names(run: Path) -> bytes:
    """The chosen weights under names that the network does not have."""
    head, data = best_of(run)
    renamed = {k if k == "__metadata__" else f"__class__.{k}": v for k, v in head.items()}
    return header(json.dumps(renamed), data=data)


def leaving(run: Path) -> None:
    """An index that names a file outside."""
    content = with_remarks(run, {})
    (run.parent / "outside.safetensors").write_bytes(content)
    index = json.loads(index_of(run).read_text())
    sha256 = hashlib.sha256(content).hexdigest()
    index["best"] = {"file": "../../../outside.safetensors", "sha256": sha256, "bytes": 1}
    index_of(run).write_text(json.dumps(index))


SPOILED: dict[str, Callable[[Path], object]] = {
    "pickle": lambda run: replace_best(run, pickle.dumps(HARM)),
    "file of torch": lambda run: replace_best(run, saved({"a": HARM})),
    "nothing": lambda run: replace_best(run, b""),
    "length beyond all": lambda run: replace_best(run, header("{}", length=(1 << 64) - 1)),
    "deep header": lambda run: replace_best(run, header('{"a":' * 200_000)),
    "no remarks": lambda run: replace_best(run, tensors(a=tensor())),
    "remarks of another kind": lambda run: replace_best(run, with_remarks(run, ["a"])),
    "deep remarks": lambda run: replace_best(run, with_remarks(run, {"volclass": "[" * 200_000})),
    "no JSON": lambda run: replace_best(run, with_remarks(run, {"volclass": "__import__"})),
    "a list": lambda run: replace_best(run, with_remarks(run, {"volclass": "[]"})),
    "other names": lambda run: replace_best(run, other_names(run)),
    "leaving": leaving,
    "deep index": lambda run: index_of(run).write_text("[" * 200_000),
    "index of another kind": lambda run: index_of(run).write_text("[]"),
    "index of other entries": lambda run: index_of(run).write_text('{"generations": 3, "best": 7}'),
    "index without files": lambda run: index_of(run).write_text('{"best": {"bytes": 1}}'),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_a_hostile_checkpoint_of_a_run_is_refused_and_runs_nothing(
    kind: str, run: Path, folder: Path, small_manifest: Path
) -> None:
    SPOILED[kind](run)
    image = small_manifest.parent / "images" / "p00_0.nii.gz"
    result = called(["predict", str(run), str(image), "--out", "p.csv"])
    assert result.exit_code == 4
    assert not (folder / "p.csv").exists()
    assert unharmed(folder)
