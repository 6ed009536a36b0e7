"""Training through `torch.compile` gives the network that training without it gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.build import build_accelerator
from pipeline.build.machine import has_compiler
from pipeline.config import Config, SystemConfig
from pipeline.crossval import cross_validate
from pipeline.errors import ConfigError
from pipeline.progress import Silent
from pipeline.storage import read_table

Build = Callable[..., Config]


def test_without_a_compiler_it_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError) as caught:
        build_accelerator(SystemConfig(device="cpu", compile=True), "fp32")
    assert caught.value.where == "system.compile"
    assert "no-such-compiler is not on the path" in str(caught.value)
    build_accelerator(SystemConfig(device="cpu"), "fp32")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not has_compiler(), reason="torch.compile needs a C++ compiler")
def test_a_compiled_training_answers_as_the_plain_one(small_config: Build, tmp_path: Path) -> None:
    settings = [
        "train.epochs=1",
        "model.drop_path=0.0",
        "model.options={depths: [1, 1, 1, 1], dims: [4, 8, 8, 8]}",
    ]
    answers = []
    for compiled in (False, True):
        out = tmp_path / str(compiled)
        config = small_config(*settings, f"system.compile={str(compiled).lower()}")
        cross_validate(config, out, Silent(), fold=0)
        rows = read_table(out / "fold_0" / "predictions.csv")
        answers.append([[float(row["p_left"]), float(row["p_right"])] for row in rows])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    torch._dynamo.reset()
    np.testing.assert_allclose(answers[1], answers[0], rtol=0, atol=1e-3)
