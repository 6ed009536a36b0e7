"""Checkpoints: exact, checked, two generations, and none of another run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.errors import StorageError
from pipeline.training.checkpoint import Checkpoint, CheckpointFolder, read_weights
from pipeline.training.state import TrainState


def checkpoint(value: float) -> Checkpoint:
    state = TrainState(step=3, best=value, sums={"loss": 0.1 + value}, history=[{"epoch": 1}])
    tensors = {
        "weight": torch.full((2, 3), value),
        "count": torch.tensor(7),
        "half": torch.tensor([1e-3], dtype=torch.bfloat16),
    }
    return Checkpoint(tensors, {"training": state.to_json()})


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, "run")
    saved = checkpoint(1 / 3)
    folder.save("step-1", saved)
    loaded = folder.latest(print)
    assert loaded is not None
    assert loaded.state == saved.state
    assert loaded.tensors.keys() == saved.tensors.keys()
    for name, tensor in saved.tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)
    tree = loaded.state["training"]
    assert isinstance(tree, dict)
    assert TrainState.from_json(tree).best == 1 / 3


def test_a_flipped_bit_falls_back_to_the_generation_before(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, "run")
    for number in (1, 2, 3):
        folder.save(f"step-{number}", checkpoint(float(number)))
    names = {path.name for path in tmp_path.glob("*.safetensors")}
    assert names == {"step-2.safetensors", "step-3.safetensors"}
    damage(tmp_path / "step-3.safetensors")
    said: list[str] = []
    loaded = folder.latest(said.append)
    assert said == ["checkpoint step-3.safetensors is damaged; going back to the one before"]
    assert loaded is not None
    assert loaded.tensors["weight"][0, 0] == 2.0
    damage(tmp_path / "step-2.safetensors")
    with pytest.raises(StorageError, match="no checkpoint of this fold is sound"):
        folder.latest(print)


def test_the_best_is_kept_beside_the_generations(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, "run")
    with pytest.raises(StorageError, match="missing or damaged"):
        folder.best()
    folder.save_best("best-1", checkpoint(1.0))
    for number in (2, 3, 4):
        folder.save(f"step-{number}", checkpoint(float(number)))
    folder.save_best("best-2", checkpoint(5.0))
    assert folder.best().tensors["weight"][0, 0] == 5.0
    assert not (tmp_path / "best-1.safetensors").exists()
    damage(tmp_path / "best-2.safetensors")
    with pytest.raises(StorageError, match="missing or damaged"):
        folder.best()


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    CheckpointFolder(tmp_path, "this run").save("step-1", checkpoint(1.0))
    with pytest.raises(StorageError, match="belongs to another run"):
        CheckpointFolder(tmp_path, "that run").latest(print)


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "none", "run").latest(print) is None


def test_a_file_that_is_no_checkpoint_is_refused_as_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"PK\x03\x04 not safetensors")
    with pytest.raises(StorageError, match=r"weights\.safetensors"):
        read_weights(path)
