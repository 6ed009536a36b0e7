"""Published weights come from timm, once a process, or are refused soon and in few words."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from published_weights import assert_close, fresh, rgb
from torch import nn

from models2d import WeightsError, load_published, published_tensors
from models2d.downloads import fetch


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    fetch.cache_clear()
    yield
    fetch.cache_clear()


def test_published_weights_are_those_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def download(name: str, pretrained: bool) -> nn.Module:
        asked.append((name, pretrained))
        torch.rand(3)
        return published

    model, published = fresh("resnet18", normalised=True), rgb("resnet18")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(timm, "create_model", download)
    random = torch.random.get_rng_state()
    table = load_published(model)
    assert_close(torch.random.get_rng_state(), random, atol=0)
    assert asked == [("resnet18", True)]
    assert table.source == "timm (resnet18)"
    assert table.converted == ("conv1.weight",)
    published_tensors("resnet18")["fc.bias"].zero_()
    load_published(model)
    assert published_tensors("resnet18")["fc.bias"].any()
    assert asked == [("resnet18", True)]


def test_a_network_without_published_weights_is_named() -> None:
    with pytest.raises(WeightsError, match="weights for seresnet18: timm has published none"):
        published_tensors("seresnet18")


ASK = """
import time, timm, models2d
from huggingface_hub import constants
start = time.monotonic()
try: models2d.published_tensors("resnet18")
except models2d.WeightsError as error: print(error)
print("seconds", time.monotonic() - start)
print("offline", constants.HF_HUB_OFFLINE)
"""


def asked_alone(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    homes = {"HF_HOME": str(tmp_path / "a"), "TORCH_HOME": str(tmp_path / "b")}
    return subprocess.run(
        [sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
        env={**os.environ, **homes, **environment},
    )


def test_without_a_connection_the_file_is_asked_for(tmp_path: Path) -> None:
    done = asked_alone(tmp_path, HF_HUB_OFFLINE="1")
    assert "cannot get timm's weights for resnet18: they are not on this machine" in done.stdout
    assert "(HF_HUB_OFFLINE is set)" in done.stdout
    assert "model.init=random model.weights=PATH" in done.stdout
    assert done.stdout.endswith("offline True\n")


def test_a_host_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    # Nothing listens at the port, whether or not this machine has a connection.
    done = asked_alone(tmp_path, HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9")
    assert "the download failed (no answer of http://127.0.0.1:9)" in done.stdout
    assert done.stderr == ""
    assert float(done.stdout.split("seconds ")[1].split()[0]) < 30
    assert done.stdout.endswith("offline False\n")
