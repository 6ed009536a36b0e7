"""A fused network answers as before, with fewer parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from models3d import PoolFormer3d, create_model
from models3d.layers import LayerScale


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("poolformer3d_t", {}),
        ("poolformer3d_t", {"norm": "channel", "head_stages": "all", "head_pool": "stats"}),
        ("poolformer3d_t", {"mixer": "conv", "feature_norm": True}),
        ("poolformer3d_n", {"stem_kind": "pyramid"}),
        ("poolformer3d_n", {"mixer": "identity", "layer_scale": 0.1}),
    ],
)
def test_a_fused_network_answers_as_before(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, **options)
    assert isinstance(model, PoolFormer3d)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "scale" in key:
                parameter.uniform_(0.5, 1.5)
            elif parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
        for part in model.modules():
            if isinstance(part, nn.BatchNorm3d):
                assert part.running_mean is not None
                assert part.running_var is not None
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2.0)
    x = torch.randn(2, 1, 20, 18, 22)
    model.eval()
    with torch.no_grad():
        before = model(x)
        model.fuse()
        for found, expected in zip(model(x), before, strict=True):
            # Stages reach 80, and each value is a sum over all channels: so the largest counts.
            largest = max(10.0, float(expected.abs().max()))
            torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-6 * largest)
    scales = sum(isinstance(part, LayerScale) for part in model.modules())
    # Of another mixer's branch the factor stays: it has weights of its own, or none to take it.
    others = sum(".token_mixer" in key for key, _ in model.named_modules() if key.endswith("mixer"))
    assert scales == (0 if options.get("mixer", "pool") == "pool" else others)
    assert not model.training
