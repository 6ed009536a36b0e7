"""Where the weights started is said in words, and what nobody trained is labelled."""

from __future__ import annotations

import pytest

from pipeline.reports.start import start_words, started_from_a_file, untrained_parts


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, ""),
        ({"model.weights": "null"}, ""),
        ({"model.init": "random"}, "random"),
        ({"model.init": "random", "model.weights": "null"}, "random"),
        ({"model.weights": "…/net.safetensors"}, "a file, …/net.safetensors"),
        ({"model.init": "random", "model.weights": "…/net.pth"}, "a file, …/net.pth"),
        ({"model.init": "timm", "model.name": "resnet18"}, "published 2D weights (timm)"),
        (
            {"model.init": "timm", "model.name": "monai_resnet18"},
            "published 2D weights (timm), inflated to 3D",
        ),
        (
            {"model.init": "inflate", "model.weights": "…/a.pth"},
            "inflated 2D weights of a file, …/a.pth",
        ),
        (
            {"model.init": "…/pre", "model.weights": "null"},
            "a pretraining run without labels, …/pre",
        ),
    ],
)
def test_the_start_of_the_weights_is_said_where_it_is_known(
    config: dict[str, str], words: str
) -> None:
    assert start_words(config) == words
    assert started_from_a_file(config) == ("a file" in words)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, None),
        ({"model.slices.frozen": "true"}, None),
        ({"model.init": "random", "model.slices.frozen": "false"}, None),
        ({"model.init": "random", "model.slices.frozen": "true"}, "of an untrained network"),
        ({"model.init": "timm", "model.slices.frozen": "true"}, None),
        (
            {"model.init": "timm", "model.slices.frozen": "true", "model.slices.pyramid": "true"},
            "pyramid was never trained",
        ),
        ({"model.init": "random", "model.slices.freeze_stages": "2"}, "first 2 stages"),
        ({"model.init": "timm", "model.slices.freeze_stages": "2"}, None),
        ({"model.init": "random", "model.slices.freeze_stages": "0"}, None),
    ],
)
def test_parts_that_nobody_trained_are_labelled(config: dict[str, str], words: str | None) -> None:
    found = untrained_parts(config)
    assert len(found) == (words is not None)
    assert all(str(words) in sentence for sentence in found)
