"""Deep supervision adds heads and leaves the network as it is."""

import pytest
import torch
from torch import Tensor

from models3d import DeepSupervision, FusedClassifier, PoolFormer3d


def network() -> PoolFormer3d:
    torch.manual_seed(0)
    return PoolFormer3d((1, 1, 1, 1), (4, 6, 8, 10), num_classes=3, stem_kernel=3, stem_stride=2)


def test_heads_answer_beside_an_unchanged_network() -> None:
    model = network()
    supervised = DeepSupervision(model, [3, 2], num_classes=3)
    x = torch.randn(2, 1, 32, 32, 32)
    stages, auxiliary, logits = supervised(x)
    assert list(auxiliary) == [2, 3]
    assert all(out.shape == (2, 3) for out in auxiliary.values())
    torch.testing.assert_close((*stages, logits), model(x), rtol=0, atol=0)


def test_a_head_reads_its_own_stage_only() -> None:
    supervised = DeepSupervision(network(), [2], num_classes=3)
    _, auxiliary, _ = supervised(torch.randn(2, 1, 32, 32, 32))
    torch.autograd.backward(auxiliary[2].square().sum())
    touched = {name for name, p in supervised.model.named_parameters() if p.grad is not None}
    assert any(name.startswith("stages.1.") for name in touched)
    assert not any(name.startswith(("stages.2.", "stages.3.", "head.")) for name in touched)


def test_every_parameter_takes_part_in_the_loss() -> None:
    supervised = DeepSupervision(network(), [1, 4], num_classes=3)
    _, auxiliary, logits = supervised(torch.randn(2, 1, 32, 32, 32))
    torch.autograd.backward(torch.stack([logits, *auxiliary.values()]).square().sum())
    assert [name for name, p in supervised.named_parameters() if p.grad is None] == []


def test_without_stages_there_are_no_heads() -> None:
    model = network()
    supervised = DeepSupervision(model, [], num_classes=3)
    assert len(list(supervised.parameters())) == len(list(model.parameters()))
    _, auxiliary, _ = supervised(torch.randn(1, 1, 16, 16, 16))
    assert auxiliary == {}


def test_the_plain_network_is_saved_without_heads() -> None:
    supervised = DeepSupervision(network(), [2, 3], num_classes=3)
    plain = network()
    plain.load_state_dict(supervised.model.state_dict())
    x = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(plain(x)[-1], supervised(x)[2], rtol=0, atol=0)


def test_head_starts_from_the_published_init() -> None:
    supervised = DeepSupervision(network(), [4], num_classes=500)
    state = supervised.state_dict()
    assert state["heads.4.fc.weight"].std().item() == pytest.approx(0.02, rel=0.1)
    assert not state["heads.4.fc.bias"].any()


def test_exports_and_builds_on_meta() -> None:
    supervised = DeepSupervision(network(), [2], num_classes=3).eval()
    x = torch.randn(1, 1, 16, 16, 16)
    program = torch.export.export(supervised, (x,))
    exported: Tensor = program.module()(x)[1][2]
    torch.testing.assert_close(exported, supervised(x)[1][2], rtol=0, atol=1e-6)
    with torch.device("meta"):
        on_meta = DeepSupervision(network(), [2], num_classes=3)
        assert on_meta(torch.empty(1, 1, 16, 16, 16))[1][2].shape == (1, 3)


@pytest.mark.parametrize(
    ("stages", "classes", "message"),
    [
        ([0], 3, "no stage 0 to supervise: stages run from 1 to 4"),
        ([2, 5], 3, "no stage 5"),
        ([2, 2], 3, r"named twice: \[2, 2\]"),
        ([2], 0, "at least 1 class"),
    ],
)
def test_refuses_impossible_heads(stages: list[int], classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeepSupervision(network(), stages, classes)


def test_covariates_reach_a_fused_classifier_and_no_other_network() -> None:
    torch.manual_seed(0)
    inner = PoolFormer3d((1, 1), (4, 6), num_classes=0, stem_kernel=3, stem_stride=2)
    fused = FusedClassifier(inner, 3, covariates=2)
    supervised = DeepSupervision(fused, [1], num_classes=3)
    x, covariates = torch.randn(2, 1, 8, 8, 8), torch.randn(2, 2)
    stages, auxiliary, logits = supervised(x, covariates)
    torch.testing.assert_close((*stages, logits), fused(x, covariates), rtol=0, atol=0)
    assert auxiliary[1].shape == (2, 3)
    with pytest.raises(ValueError, match="the network reads none: build a FusedClassifier"):
        DeepSupervision(network(), [1], num_classes=3)(torch.randn(2, 1, 16, 16, 16), covariates)
