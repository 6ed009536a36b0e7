"""The multi-stage head pools every stage by its definition, over the foreground where asked."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from models3d import PoolFormer3d, StageHead
from models3d.heads import MeanHead
from models3d.layers import NormName
from models3d.stage_head import PoolingName, StagesName, foreground_of, pool_voxels, shrink

extents = st.integers(1, 9)


def seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def network(
    stages: StagesName = "last",
    pool: PoolingName = "mean",
    foreground: bool = False,
    norm: NormName = "group",
) -> PoolFormer3d:
    torch.manual_seed(0)
    return PoolFormer3d(
        (1, 1, 1),
        (4, 6, 8),
        num_classes=3,
        stem_kernel=3,
        stem_stride=2,
        head_stages=stages,
        head_pool=pool,
        head_foreground=foreground,
        norm=norm,
    )


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 30), seed=st.integers(0, 99))
def test_statistics_are_those_of_the_definition(count: int, seed: int) -> None:
    x = torch.randn(2, 3, count, generator=torch.Generator().manual_seed(seed)).double()
    expected = torch.cat((x.mean(-1), x.max(-1).values, x.std(-1, correction=0)), dim=1)
    torch.testing.assert_close(pool_voxels(x, "stats"), expected)
    torch.testing.assert_close(pool_voxels(x, "mean"), x.mean(-1))


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 30), seed=st.integers(0, 99))
def test_a_mask_counts_its_voxels_only(count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 3, count, generator=generator).double()
    mask = torch.rand(1, 1, count, generator=generator) > 0.5
    mask[..., 0] = True
    pooled = pool_voxels(x, "stats", mask.double())
    torch.testing.assert_close(pooled, pool_voxels(x[:, :, mask[0, 0]], "stats"))


def test_weights_count_by_their_size_but_for_the_maximum() -> None:
    x = torch.tensor([[[0.0, 4.0, 9.0]]])
    pooled = pool_voxels(x, "stats", torch.tensor([[[0.3, 0.1, 0.0]]]))
    torch.testing.assert_close(pooled, torch.tensor([[1.0, 4.0, 3.0**0.5]]))


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_deviation_of_zero_has_a_finite_gradient(count: int, weighted: bool) -> None:
    x = torch.full((2, 3, count), 0.5, requires_grad=True)
    weights = torch.full((2, 1, count), 0.25) if weighted else None
    pooled = pool_voxels(x, "stats", weights)
    assert not pooled[:, 6:].any()
    (gradient,) = torch.autograd.grad(pooled.square().sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("norm", ["group", "channel", "batch"])
def test_the_head_trains_on_one_voxel_and_on_constant_maps(norm: NormName) -> None:
    head = StageHead((4, 6), 3, norm)
    stages = [torch.ones(2, 4, 3, 3, 3), torch.randn(2, 6, 1, 1, 1)]
    for stage in stages:
        stage.requires_grad_()
    torch.autograd.backward(head(stages).square().sum())
    for tensor in (*stages, *head.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


@settings(max_examples=40, deadline=None)
@given(size=st.tuples(extents, extents, extents), grid=st.tuples(extents, extents, extents))
def test_weights_shrink_as_adaptive_pooling_does(
    size: tuple[int, int, int], grid: tuple[int, int, int]
) -> None:
    weights = (seeded(2, 1, *size) > 0.5).float()
    shrunk = shrink(weights, grid)
    torch.testing.assert_close(shrunk, functional.adaptive_avg_pool3d(weights, grid))
    covered = functional.adaptive_max_pool3d(weights, grid) > 0
    assert torch.equal(shrunk > 0, covered)
    flat = shrink(weights[:, :, 0], grid[1:])
    torch.testing.assert_close(flat, functional.adaptive_avg_pool2d(weights[:, :, 0], grid[1:]))


def test_foreground_is_what_lies_above_the_mean_of_its_own_volume() -> None:
    x = seeded(3, 1, 4, 5, 6).requires_grad_()
    found = foreground_of(x)
    assert found.dtype == torch.bool
    for volume, mask in zip(x.detach(), found, strict=True):
        assert torch.equal(mask, volume > volume.mean())
    assert torch.equal(foreground_of(3 * x - 7), found)
    both = foreground_of(seeded(2, 2, 4, 4))
    assert both.shape == (2, 1, 4, 4)


def test_foreground_of_a_large_volume_in_half_precision_does_not_overflow() -> None:
    x = torch.full((1, 1, 64, 64, 64), 4.0, dtype=torch.float16)
    x[..., :32] = 2.0
    assert foreground_of(x).float().mean() == 0.5


def test_a_foreground_hides_the_rest_of_every_stage() -> None:
    head = StageHead((4, 6), 3, "channel").eval()
    mask = torch.zeros(1, 1, 8, 8, 8, dtype=torch.bool)
    mask[..., :4] = True
    stages = [torch.randn(1, 4, 4, 4, 4), torch.randn(1, 6, 2, 2, 2)]
    inside = head(stages, mask)
    changed = [stage.clone() for stage in stages]
    for stage in changed:
        stage[..., stage.shape[-1] // 2 :] += 5 * torch.randn(stage.shape)[..., :1]
    assert not torch.allclose(head(stages), head(changed))
    torch.testing.assert_close(head(changed, mask), inside)


def test_an_empty_foreground_counts_all_voxels_of_its_case_only() -> None:
    head = StageHead((4,), 3, pool="stats").eval()
    x = torch.randn(2, 4, 4, 4, 4)
    mask = torch.zeros(2, 1, 8, 8, 8)
    mask[1, :, :4] = 1
    logits = head([x], mask)
    torch.testing.assert_close(logits[:1], head([x])[:1])
    torch.testing.assert_close(logits[1:], head([x[1:]], mask[1:]))
    assert not torch.allclose(logits[1], head([x])[1])


@pytest.mark.parametrize("norm", ["group", "channel", "batch"])
def test_maps_of_images_are_read_as_flat_volumes(norm: NormName) -> None:
    head = StageHead((4, 6), 3, norm)
    maps = [torch.randn(3, 4, 6, 5), torch.randn(3, 6, 3, 3)]
    mask = torch.rand(3, 1, 12, 10) > 0.5
    deep = head([m[..., None] for m in maps], mask[..., None])
    torch.testing.assert_close(head(maps, mask), deep)
    assert head.normalise(0, maps[0]).shape == maps[0].shape


def test_the_pooled_vector_holds_means_maxima_and_deviations_stage_by_stage() -> None:
    head = StageHead((4, 6), 0, "group").eval()
    assert head.num_features == 30
    stages = [torch.randn(2, 4, 4, 4, 4), 9 * torch.randn(2, 6, 2, 2, 2)]
    normed = [functional.group_norm(stage, 1).flatten(2) for stage in stages]
    expected = torch.cat([pool_voxels(x, "stats") for x in normed], dim=1) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(head(stages), expected)


def test_one_case_trains_on_the_running_averages_and_leaves_them() -> None:
    head = StageHead((4, 6), 3).train()
    head([torch.randn(5, 4, 4, 4, 4), torch.randn(5, 6, 2, 2, 2)])
    before = {name: value.clone() for name, value in head.state_dict().items()}
    one = [torch.randn(1, 4, 4, 4, 4), torch.randn(1, 6, 2, 2, 2)]
    logits = head(one)
    torch.testing.assert_close(head.state_dict(), before, rtol=0, atol=0)
    torch.testing.assert_close(logits, head.eval()(one))
    torch.autograd.backward(logits.sum())


def test_a_batch_norm_stands_where_features_differ_in_size_only() -> None:
    plain = StageHead((4,), 3, pool="mean", foreground=True)
    assert isinstance(plain.vector_norm, nn.Identity)
    assert {"norms.0.weight", "norms.0.bias"} <= set(plain.state_dict())
    for head in (StageHead((4,), 3), StageHead((4, 6), 3, pool="mean")):
        assert isinstance(head.vector_norm, nn.BatchNorm1d)
        assert not any(name.startswith("norms.") for name, _ in head.named_parameters())


def test_dropout_rests_in_evaluation() -> None:
    head = StageHead((4,), 0, dropout=0.5)
    x = [torch.randn(8, 4, 2, 2, 2)]
    assert (head(x) == 0).any()
    assert not (head.eval()(x) == 0).any()


def test_pooling_stays_in_single_precision_under_autocast() -> None:
    head = StageHead((4,), 0, "batch", foreground=True).eval()
    x = (100 + torch.randn(2, 4, 8, 8, 8)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = head.classify([x], torch.randn(2, 1, 8, 8, 8))
    assert pooled.dtype == torch.float32
    half = StageHead((4,), 2).bfloat16().eval()
    assert half([x]).dtype == torch.bfloat16


def test_the_default_is_the_published_head() -> None:
    model = network()
    assert isinstance(model.head, MeanHead)
    names = {name for name in model.state_dict() if name.startswith("head.")}
    assert names == {"head.norm.weight", "head.norm.bias", "head.fc.weight", "head.fc.bias"}


@pytest.mark.parametrize(
    ("stages", "pool", "foreground", "features"),
    [
        ("all", "mean", False, 18),
        ("all", "stats", True, 54),
        ("last", "stats", False, 24),
        ("last", "mean", True, 8),
    ],
)
def test_poolformer_hands_its_stages_and_input_to_the_head(
    stages: StagesName, pool: PoolingName, foreground: bool, features: int
) -> None:
    model = network(stages, pool, foreground).eval()
    assert model.num_features == features
    x = torch.randn(2, 1, 16, 16, 16)
    *maps, logits = model(x)
    assert isinstance(model.head, StageHead)
    read = maps if stages == "all" else maps[-1:]
    expected = model.head(read, foreground_of(x) if foreground else None)
    torch.testing.assert_close(logits, expected, rtol=0, atol=0)
    if stages == "last" and not foreground:
        torch.testing.assert_close(model.forward_head(maps[-1]), logits, rtol=0, atol=0)
        return
    with pytest.raises(ValueError, match="last stage alone cannot be classified: call the model"):
        model.forward_head(maps[-1])
    model.reset_classifier(0)
    assert model(x)[-1].shape == (2, features)


def test_each_stage_that_the_head_reads_has_its_norm() -> None:
    x = torch.randn(2, 1, 16, 16, 16)
    model = network("all").eval()
    *raw, _ = model(x)
    _, normed = model.forward_intermediates(x, norm=True)
    for stage, expected in zip(normed, raw, strict=True):
        torch.testing.assert_close(stage, functional.group_norm(expected, 1))
    _, normed = network(pool="stats").forward_intermediates(x, norm=True)
    torch.testing.assert_close(normed[:2], raw[:2])
    torch.testing.assert_close(normed[2], functional.group_norm(raw[2], 1))


def test_the_head_declares_its_batch_norm() -> None:
    assert not network().has_batch_norm
    assert network("all").has_batch_norm


def test_options_out_of_range_are_refused() -> None:
    cases: list[tuple[dict[str, str], str]] = [
        ({"head_stages": "first"}, "are last or all, got 'first'"),
        ({"head_pool": "max"}, "unknown pool 'max'; choose from mean, stats"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            PoolFormer3d((1,), (4,), **options)  # type: ignore[arg-type]  # what a file may say
    with pytest.raises(ValueError, match="at least one stage"):
        StageHead((), 2)
    with pytest.raises(ValueError, match="num_classes"):
        StageHead((4,), -1)


def test_stages_and_masks_that_do_not_fit_are_refused() -> None:
    head = StageHead((4, 6), 2)
    stages = [torch.randn(2, 4, 4, 4, 4), torch.randn(2, 6, 2, 2, 2)]
    with pytest.raises(ValueError, match=r"reads 2 stage\(s\), got 1"):
        head(stages[:1])
    for shape in ((2, 8, 8, 8), (2, 2, 8, 8, 8), (1, 1, 8, 8, 8)):
        with pytest.raises(ValueError, match="foreground of one channel"):
            head(stages, torch.ones(shape))
