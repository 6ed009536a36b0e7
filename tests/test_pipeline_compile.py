"""Training through `torch.compile` gives the network that training without it gives."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.build import build_accelerator, check_compile, machine
from pipeline.build.machine import has_compiler
from pipeline.config import Config, SystemConfig
from pipeline.crossval import cross_validate
from pipeline.errors import ConfigError
from pipeline.progress import Silent
from pipeline.storage import read_table

Build = Callable[..., Config]


def test_without_a_compiler_training_is_refused_and_nothing_else(
    small_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    config = small_config("system.compile=true", "system.device=cpu")
    with pytest.raises(ConfigError) as caught:
        cross_validate(config, tmp_path / "out", Silent())
    assert caught.value.where == "system.compile"
    assert "no-such-compiler is not on the path" in str(caught.value)
    assert not any((tmp_path / "out").iterdir())
    # A run that was compiled elsewhere predicts here.
    build_accelerator(config.system, "fp32")
    monkeypatch.setenv("CXX", f"{sys.executable} -O2")
    assert has_compiler()


def test_a_gpu_without_triton_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "has_triton", lambda: False)
    with pytest.raises(ConfigError, match="no Triton"):
        check_compile(SystemConfig(compile=True), torch.device("cuda"))
    check_compile(SystemConfig(), torch.device("cuda"))


def answers(config: Config, out: Path) -> list[list[float]]:
    """Probabilities of the test cases of one fold."""
    cross_validate(config, out, Silent(), fold=0)
    rows = read_table(out / "fold_0" / "predictions.csv")
    return [[float(row["p_left"]), float(row["p_right"])] for row in rows]


#: Nothing is drawn while training, for a compiled network draws otherwise.
UNDRAWN = (
    "train.epochs=1",
    "model.drop_path=0.0",
    "model.options={depths: [1, 1, 1, 1], dims: [4, 8, 8, 8]}",
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stages", ["[2]", "[]"], ids=["supervised", "plain"])
def test_a_traced_training_answers_as_the_plain_one(
    stages: str, small_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*UNDRAWN, f"model.supervision={{stages: {stages}, weight: 0.3}}"]
    expected = answers(small_config(*settings), tmp_path / "plain")
    traced = partialmethod(nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(nn.Module, "compile", traced)
    monkeypatch.setenv("CXX", sys.executable)  # for nothing is compiled
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    found = answers(small_config(*settings, "system.compile=true"), tmp_path / "traced")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not has_compiler(), reason="torch.compile needs a C++ compiler")
def test_a_compiled_training_answers_as_the_plain_one(small_config: Build, tmp_path: Path) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    expected = answers(small_config(*UNDRAWN), tmp_path / "plain")
    found = answers(small_config(*UNDRAWN, "system.compile=true"), tmp_path / "compiled")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
