"""Checkpoints of a fold: weights, averages, optimizer and state in one checked file.

Each is a safetensors file that replaces nothing that the index names, unless it is the same step
made again; `checkpoints.json` then names it with its SHA-256.
A process killed at any instant leaves an index that points to complete files. Two generations are
kept, so that a damaged disk block costs one interval and not the run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import safetensors.torch
from pydantic import JsonValue
from safetensors import safe_open
from torch import Tensor, nn

from ..errors import StorageError
from ..storage import make_folder, read_json, remove, sha256, write_bytes, write_json

Json = dict[str, JsonValue]
FORMAT = 1
_GENERATIONS = 2
#: What reading a file raises that has the right hash, and is no checkpoint.
_NO_CHECKPOINT = (
    *(safetensors.SafetensorError, ValueError, KeyError, TypeError),
    *(AttributeError, RecursionError),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What one file holds.

    Attributes:
        tensors: By name, e.g. `network.stem.conv.weight`.
        state: Everything else, as JSON.
    """

    tensors: dict[str, Tensor]
    state: Json


class CheckpointFolder:
    """The checkpoints of one fold.

    Args:
        folder: Made when the first checkpoint is written.
        identity: Hash of all that decides the training (configuration, cases, classes);
            a checkpoint of another identity is refused.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        self._identity = identity

    def save(self, name: str, checkpoint: Checkpoint) -> None:
        """Writes the newest generation; older ones than the last two are removed.

        Raises:
            StorageError: It cannot be written; the earlier ones are untouched.
        """
        index = self._index()
        kept = cast("list[Json]", index["generations"])
        entry = self._write(f"{name}.safetensors", checkpoint)
        generations = [entry, *(old for old in kept if old["file"] != entry["file"])]
        self._replace_index({**index, "generations": [*generations[:_GENERATIONS]]})

    def save_best(self, name: str, checkpoint: Checkpoint) -> None:
        """Writes the weights that validation chose.

        Raises:
            StorageError: It cannot be written; the earlier best is untouched.
        """
        entry = self._write(f"{name}.safetensors", checkpoint)
        self._replace_index({**self._index(), "best": entry})

    def latest(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """The newest sound generation, or None where training has not saved yet.

        Args:
            warn: Told when a damaged generation is passed over.

        Raises:
            StorageError: There are checkpoints, but none is sound or none is of this run.
        """
        generations = cast("list[Json]", self._index()["generations"])
        for entry in generations:
            content = self._sound(entry)
            if content is not None:
                return self._read(content)
            warn(f"checkpoint {entry['file']} is damaged; going back to the one before")
        if generations:
            raise StorageError(
                "no checkpoint of this fold is sound",
                where=str(self.folder),
                why="the files do not have the SHA-256 that they were written with",
                remedy="check the disk; remove the fold's folder to train it again",
            )
        return None

    def best(self) -> Checkpoint:
        """The weights that validation chose.

        Raises:
            StorageError: There are none, or the file is damaged.
        """
        entry = cast("Json | None", self._index().get("best"))
        content = None if entry is None else self._sound(entry)
        if content is None:
            raise self._no_best()
        return self._read(content)

    def has_best(self) -> bool:
        """Whether weights were chosen yet; `best` says whether they are sound."""
        return self._index().get("best") is not None

    def best_sha256(self) -> str:
        """SHA-256 of the file of the chosen weights.

        Raises:
            StorageError: There are none.
        """
        if not self.has_best():
            raise self._no_best()
        return str(cast("Json", self._index()["best"])["sha256"])

    def _no_best(self) -> StorageError:
        return StorageError(
            "the best checkpoint of this fold is missing or damaged",
            where=str(self.folder),
            remedy="remove the fold's folder and train it again with --resume",
        )

    def _write(self, file: str, checkpoint: Checkpoint) -> Json:
        make_folder(self.folder)
        tensors = {
            name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()
        }
        meta = {"format": FORMAT, "identity": self._identity, "state": checkpoint.state}
        content = safetensors.torch.save(tensors, {"volclass": json.dumps(meta, allow_nan=False)})
        write_bytes(self.folder / file, content)
        return {"file": file, "sha256": sha256(content), "bytes": len(content)}

    def _replace_index(self, index: Json) -> None:
        write_json(self._index_path, index)
        entries = [*cast("list[Json]", index["generations"]), index.get("best")]
        named = {entry["file"] for entry in cast("list[Json | None]", entries) if entry}
        for path in self.folder.glob("*.safetensors"):
            if path.name not in named:
                remove(path)

    @property
    def _index_path(self) -> Path:
        return self.folder / "checkpoints.json"

    def _index(self) -> Json:
        if not self._index_path.exists():
            return {"format": FORMAT, "generations": []}
        index = read_json(self._index_path)
        if not _is_index(index):
            raise self._damaged(self._index_path.name, "it is no index of checkpoints")
        return cast("Json", index)

    def _damaged(self, name: str, why: str) -> StorageError:
        return StorageError(
            f"{name} is damaged",
            where=str(self.folder),
            why=why,
            remedy="remove the fold's folder and train it again with --resume",
        )

    def _sound(self, entry: Mapping[str, JsonValue]) -> bytes | None:
        path = self.folder / Path(str(entry["file"])).name
        if not path.is_file():
            return None
        try:
            content = path.read_bytes()
        except OSError:
            return None
        return content if sha256(content) == entry["sha256"] else None

    def _read(self, content: bytes) -> Checkpoint:
        try:
            meta = cast("Json", json.loads(_metadata(content)["volclass"]))
            tensors = safetensors.torch.load(content)
            state = cast("Json", meta["state"])
        except _NO_CHECKPOINT as error:
            why = f"its content is none of this program: {error}"
            raise self._damaged("a checkpoint", why) from None
        if meta.get("format") != FORMAT or meta.get("identity") != self._identity:
            raise StorageError(
                "the checkpoint belongs to another run",
                where=str(self.folder),
                why="its configuration, cases or classes differ from this run's",
                remedy="choose another folder with --out",
            )
        return Checkpoint(tensors, state)


def _is_index(index: JsonValue) -> bool:
    if not isinstance(index, dict) or not isinstance(index.get("generations"), list):
        return False
    entries = [*cast("list[JsonValue]", index["generations"]), index.get("best")]
    return all(
        isinstance(entry, dict)
        and isinstance(entry.get("file"), str)
        and isinstance(entry.get("sha256"), str)
        for entry in entries
        if entry is not None
    )


def _metadata(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return cast("dict[str, str]", header["__metadata__"])


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 of a network's weights and buffers, with their names and shapes; copies none."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a `.safetensors` file that a user names.

    Raises:
        StorageError: It cannot be read as such a file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, safetensors.SafetensorError) as error:
        raise StorageError(
            "cannot read the weights", where=path.name, why=str(error), remedy="is it safetensors?"
        ) from None
