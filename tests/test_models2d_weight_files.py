"""Files of weights give their tensors however they are wrapped, and nothing else."""

import argparse
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from models2d import WeightsError, read_tensors
from models2d.weight_files import read_file

TENSORS = {"conv1.weight": torch.arange(6.0).view(2, 3), "bn1.num_batches_tracked": torch.tensor(3)}
NESTS = ("state_dict", "model", "model_state_dict")
PREFIXES = ("module.", "network.", "_orig_mod.")


def saved(content: object, folder: Path, name: str = "weights.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


@given(
    nests=st.lists(st.sampled_from(NESTS), max_size=3),
    prefixes=st.lists(st.sampled_from(PREFIXES), max_size=4),
    beside=st.booleans(),
    suffix=st.sampled_from([".pth", ".pt", ".pth.tar", ".safetensors"]),
)
@settings(max_examples=60, deadline=None)
def test_any_wrapping_gives_the_same_tensors(
    nests: list[str], prefixes: list[str], beside: bool, suffix: str
) -> None:
    content: dict[str, object] = {"".join(prefixes) + key: t for key, t in TENSORS.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"weights{suffix}"
        if suffix == ".safetensors":
            save_file({key: t for key, t in content.items() if isinstance(t, torch.Tensor)}, path)
        else:
            for nest in nests:
                extra = {"epoch": 3, "optimizer": {"state": {}}, "arch": "resnet18"}
                content = {nest: content, **(extra if beside else {})}
            torch.save(content, path)
        tensors = read_tensors(path)
    torch.testing.assert_close(tensors, TENSORS, rtol=0, atol=0)


@pytest.mark.parametrize(("prefix", "own"), [("module.network.", True), ("module.", False)])
def test_a_file_of_this_project_is_known_by_its_prefix(
    prefix: str, own: bool, tmp_path: Path
) -> None:
    content = read_file(saved({prefix + key: t for key, t in TENSORS.items()}, tmp_path))
    assert (set(content.tensors), content.own) == (set(TENSORS), own)


def test_the_names_of_a_published_poolformer_keep_their_network(tmp_path: Path) -> None:
    state = {"patch_embed.proj.weight": torch.ones(1), "network.0.0.norm1.weight": torch.ones(1)}
    assert set(read_tensors(saved(state, tmp_path))) == set(state)
    assert not read_file(saved(state, tmp_path)).own


def test_a_file_of_data_parallel_is_unwrapped(tmp_path: Path) -> None:
    path = saved(nn.DataParallel(nn.Linear(2, 1)).state_dict(), tmp_path)
    assert set(read_tensors(path)) == {"weight", "bias"}


def test_arguments_of_a_training_script_may_lie_beside(tmp_path: Path) -> None:
    path = saved({"state_dict": TENSORS, "args": argparse.Namespace(lr=0.1)}, tmp_path)
    assert set(read_tensors(path)) == set(TENSORS)


def test_the_old_format_of_torch_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    torch.testing.assert_close(read_tensors(path), TENSORS, rtol=0, atol=0)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_model_is_refused_with_the_way_to_convert_it(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "model.pth"
    torch.save(nn.Linear(2, 1), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError) as caught:
        read_tensors(path)
    assert caught.value.what == "cannot read the weights in model.pth"
    assert (
        "whole model or other Python objects (torch.nn.modules.linear.Linear)" in caught.value.why
    )
    assert "torch.save(model.state_dict(), 'weights.pth')" in caught.value.remedy
    assert str(caught.value) == "{}: {}; {}".format(*caught.value.args)


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return Path.touch, (str(tmp_path / "harm"),)

    with pytest.raises(WeightsError, match="other Python objects"):
        read_tensors(saved({"state_dict": TENSORS, "more": Harm()}, tmp_path))
    assert not (tmp_path / "harm").exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit")  # the archive is made here to be refused
def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(nn.Linear(2, 1)), path)
    with pytest.raises(WeightsError, match="TorchScript archive, which is a program; "):
        read_tensors(path)


@given(kept=st.floats(0, 0.99), suffix=st.sampled_from([".pth", ".old.pth", ".safetensors"]))
@settings(max_examples=40, deadline=None)
def test_a_truncated_file_is_refused(kept: float, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"weights{suffix}"
        if suffix == ".safetensors":
            save_file(TENSORS, path)
        else:
            torch.save(TENSORS, path, _use_new_zipfile_serialization=suffix == ".pth")
        whole = path.read_bytes()
        path.write_bytes(whole[: int(kept * len(whole))])
        # The old format may break off in the name of a class.
        kinds = (
            "is (truncated|damaged)|.* Python objects"
            if "old" in suffix
            else "is (truncated|damaged)"
        )
        with pytest.raises(WeightsError, match=f"weights{suffix}: it ({kinds})"):
            read_tensors(path)


@pytest.mark.parametrize("name", ["weights.pth", "weights.pth.tar", "weights.safetensors"])
def test_a_file_that_is_not_what_it_says_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("<html>404: not found</html>\n" * 20)
    with pytest.raises(WeightsError, match=f"{name}: it is .*; fetch or copy the file again"):
        read_tensors(tmp_path / name)


def test_a_file_of_torch_named_safetensors_is_refused(tmp_path: Path) -> None:
    path = saved(TENSORS, tmp_path, "weights.safetensors")
    with pytest.raises(WeightsError, match="damaged or no safetensors file"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (torch.ones(3), "it holds Tensor, not tensors by name"),
        ([1, 2], "it holds list, not tensors by name"),
        ({}, "it holds nothing, not tensors by name"),
        ({"state_dict": {}}, "it holds nothing"),
        ({"conv1.weight": torch.ones(1), "epoch": 3}, "its entry 'epoch' is int"),
        ({3: torch.ones(1)}, "its entry 3 is Tensor, not a dense tensor with a name"),
        ({"a": torch.eye(2).to_sparse()}, "its entry 'a' is Tensor, not a dense tensor"),
        ({"model": {"a": torch.ones(1)}, "state_dict": {}}, "under state_dict and under model"),
    ],
)
def test_other_content_is_refused(content: object, why: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"weights.pth: .*{why}"):
        read_tensors(saved(content, tmp_path))


@pytest.mark.parametrize(
    ("name", "why"),
    [("missing.pth", "there is no such file"), (".", "it is a folder"), ("a.zip", "ends in none")],
)
def test_a_path_to_no_such_file_is_refused(name: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    with pytest.raises(WeightsError, match=why):
        read_tensors(tmp_path / name)
