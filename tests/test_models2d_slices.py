"""Slices of volumes, and the classifier over them."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models2d import ZooNetwork, create_model
from models2d.pooling import PoolName
from models2d.slices import SliceClassifier
from models2d.slicing import Axis, Plane, Slicing

AXES: tuple[Axis, ...] = get_args(Axis)
PLANES: tuple[Plane, ...] = get_args(Plane)
POOLS: tuple[PoolName, ...] = get_args(PoolName)
NETWORKS = ("resnet18", "poolformer_s12")
SIZE = (20, 18, 5)
CLASSES = 3


@cache
def built_once(name: str, drop_path_rate: float) -> ZooNetwork:
    built = create_model(name, 1, 0, drop_path_rate=drop_path_rate)
    with torch.no_grad():
        for key, parameter in built.named_parameters():
            # Residual branches that start near zero would hide what the blocks do.
            if "layer_scale" in key or key.endswith("bn2.weight"):
                parameter.fill_(0.5)
    return built


def network(name: str = "resnet18", drop_path_rate: float = 0.0) -> ZooNetwork:
    """Give a network of its own to a test; a copy is cheaper than to draw millions of weights."""
    torch.manual_seed(0)
    return copy.deepcopy(built_once(name, drop_path_rate))


def volume(*size: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 1, *size, generator=generator)


def volume_for(axis: Axis) -> Tensor:
    sizes = {"axial": SIZE, "coronal": (20, 5, 18), "sagittal": (5, 20, 18), "all": (10, 8, 9)}
    return volume(*sizes[axis])


def size_of(x: Tensor) -> tuple[int, int, int]:
    return x.shape[2], x.shape[3], x.shape[4]


def assert_same(actual: object, expected: object, atol: float = 0.0) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def backward(outputs: tuple[Tensor, ...]) -> None:
    torch.autograd.backward(torch.stack([out.square().mean() for out in outputs]).sum())


@given(size=st.integers(1, 200), data=st.data())
def test_chosen_slices_are_the_centres_of_equal_parts(size: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, size))
    indices = [index for _, index in Slicing("axial", count).names((1, 1, size))]
    assert len(set(indices)) == count
    for part, index in enumerate(indices):
        centre = (part + 0.5) * size / count
        assert index <= centre < index + 1


def test_chosen_slices_by_example() -> None:
    def chosen(size: int, count: int | None) -> list[int]:
        return [index for _, index in Slicing("axial", count).names((1, 1, size))]

    assert chosen(10, 4) == [1, 3, 6, 8]
    assert chosen(10, 1) == [5]
    assert chosen(4, 4) == chosen(4, None) == [0, 1, 2, 3]


def test_planes_show_the_axes_that_they_should() -> None:
    x, y, z = torch.meshgrid(torch.arange(2), torch.arange(3), torch.arange(4), indexing="ij")
    v = (100 * x + 10 * y + z).float()[None, None]
    assert_same(Slicing("sagittal").cut(v)[0][1, 0], v[0, 0, 1])
    assert_same(Slicing("coronal").cut(v)[0][2, 0], v[0, 0, :, 2])
    assert_same(Slicing("axial").cut(v)[0][3, 0], v[0, 0, :, :, 3])
    slices = Slicing("all").cut(v)
    assert [tuple(part.shape) for part in slices] == [(2, 1, 3, 4), (3, 1, 2, 4), (4, 1, 2, 3)]
    assert Slicing("all", 1).names((2, 3, 4)) == [("sagittal", 1), ("coronal", 1), ("axial", 2)]


def test_neighbours_are_those_of_the_volume_and_the_border_repeats() -> None:
    v = torch.arange(6.0).expand(1, 1, 2, 2, 6)
    every = Slicing("axial", neighbours=2).cut(v)[0][:, :, 0, 0]
    assert every[0].tolist() == [0, 0, 0, 1, 2]
    assert every[3].tolist() == [1, 2, 3, 4, 5]
    assert every[5].tolist() == [3, 4, 5, 5, 5]
    chosen = Slicing("axial", 2, neighbours=1).cut(v)[0][:, :, 0, 0]
    assert chosen.tolist() == [[0, 1, 2], [3, 4, 5]]


@settings(deadline=None)
@given(
    plane=st.sampled_from(PLANES),
    size=st.tuples(*[st.integers(1, 4)] * 3),
    batch=st.integers(1, 3),
)
def test_slices_put_back_are_the_volume(
    plane: Plane, size: tuple[int, int, int], batch: int
) -> None:
    v = volume(*size, batch=batch)
    slicing = Slicing(plane)
    assert_same(slicing.assemble(slicing.cut(v), batch), v)
    assert slicing.reduction((1, 1)) == slicing.min_size((1, 1)) == (1, 1, 1)


def test_maps_of_all_planes_stand_side_by_side() -> None:
    v = volume(2, 3, 4)
    slicing = Slicing("all")
    together = slicing.assemble(slicing.cut(v), 2)
    assert_same(together, v.flatten(2).repeat(1, 1, 3)[..., None, None])


def test_smallest_volume_holds_the_slices_asked_for() -> None:
    assert Slicing("axial", 7).min_size((3, 4)) == (3, 4, 7)
    assert Slicing("coronal", 7).min_size((3, 4)) == (3, 7, 4)
    assert Slicing("sagittal").min_size((3, 4)) == (1, 3, 4)
    assert Slicing("all", 2).min_size((3, 4)) == (3, 4, 4)
    assert Slicing("all", 9).min_size((3, 4)) == (9, 9, 9)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("axis", AXES)
def test_stages_are_as_declared(axis: Axis, name: str) -> None:
    model = SliceClassifier(network(name), CLASSES, axis=axis).eval()
    shortest = [32, 64, 32]
    if axis != "all":
        shortest[PLANES.index(axis)] = 2
    x = torch.zeros(1, 1, *(shortest if axis != "all" else (9, 8, 7)))
    *stages, logits = model(x)
    info = model.feature_info
    assert logits.shape == (1, CLASSES)
    assert [stage.shape[1] for stage in stages] == info.channels()
    assert len(info) == len(stages) == 4
    assert {name for name, _ in model.named_modules()} >= {stage.module for stage in info}
    for stage, reduction in zip(stages, info.reduction(), strict=True):
        if axis == "all":
            assert tuple(stage.shape[3:]) == (1, 1)
            continue
        grid = [n // r for n, r in zip(size_of(x), reduction, strict=True)]
        assert list(stage.shape[2:]) == grid


def test_reductions_are_one_along_the_slices() -> None:
    declared = {axis: SliceClassifier(network(), 2, axis=axis).feature_info[0] for axis in AXES}
    assert declared["axial"].reduction == (4, 4, 1)
    assert declared["coronal"].reduction == (4, 1, 4)
    assert declared["sagittal"].reduction == (1, 4, 4)
    assert declared["all"].reduction == (4, 4, 4)
    assert declared["all"].module == "network.network.layer1"


@pytest.mark.parametrize("pyramid", [False, True])
@pytest.mark.parametrize("axis", AXES)
def test_maps_hold_each_slice_at_its_place(axis: Axis, pyramid: bool) -> None:
    model = SliceClassifier(network(), 2, axis=axis, pyramid=pyramid).eval()
    x = volume_for(axis)
    stages = model.forward_stages(x)
    (first, *_), names = model.slicing.cut(x), model.slice_names(size_of(x))
    alone = model.image_stages(first[2:3])
    for stage, image in zip(stages, alone, strict=True):
        if axis == "all":
            positions = image[0].flatten(1).shape[1]
            part = stage[0, :, 2 * positions : 3 * positions, 0, 0]
        else:
            part = stage[0].select(1 + PLANES.index(axis), 2).flatten(1)
        assert_same(part, image[0].flatten(1), atol=1e-5)
    assert len(names) == model.embed(x).shape[1]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("axis", ["axial", "all"])
def test_parts_of_the_forward_pass_agree(axis: Axis, pool: PoolName) -> None:
    model = SliceClassifier(network(), CLASSES, axis=axis, count=3, pool=pool).eval()
    x = volume_for(axis)
    *stages, logits = model(x)
    answer, vectors = model.answer(x), model.embed(x)
    assert_same(answer.stages, tuple(stages))
    assert_same(answer.logits, logits)
    assert_same(model.forward_stages(x), tuple(stages), atol=1e-5)
    assert_same(model.forward_features(x), stages[-1], atol=1e-5)
    slices = len(model.slice_names(size_of(x)))
    assert vectors.shape == (2, slices, model.vector_features)
    (from_vectors,) = model(vectors)
    assert_same(from_vectors, logits, atol=1e-5)
    assert_same(model.forward_head(vectors), logits, atol=1e-5)
    assert model.forward_head(vectors, pre_logits=True).shape == (2, model.num_features)
    assert model.answer(vectors).stages == ()
    assert answer.slice_logits.shape == (2, slices, CLASSES)
    assert answer.weights.shape == (2, slices)
    if pool != "max":
        mixed = (answer.weights[..., None] * answer.slice_logits).sum(1)
        assert_same(mixed, logits, atol=1e-5)


@pytest.mark.parametrize("pyramid", [False, True])
def test_chosen_stages_are_those_of_forward(pyramid: bool) -> None:
    model = SliceClassifier(network("poolformer_s12"), 2, pyramid=pyramid).eval()
    x = volume(*SIZE)
    stages = model.forward_stages(x)
    final, chosen = model.forward_intermediates(x, indices=[-1, 0])
    assert_same((final, *chosen), (stages[-1], stages[0], stages[-1]), atol=1e-5)
    _, last_two = model.forward_intermediates(x, indices=2, norm=True)
    assert [part.shape for part in last_two] == [part.shape for part in stages[-2:]]
    with pytest.raises(ValueError, match=f"no stage {len(stages)}"):
        model.forward_intermediates(x, indices=[len(stages)])


@pytest.mark.parametrize(
    ("name", "channels"), [("swin_tiny_patch4_window7_224", 768), ("efficientnet_b0", 1280)]
)
def test_final_maps_of_other_networks_have_their_channels_first(name: str, channels: int) -> None:
    with torch.device("meta"):
        model = SliceClassifier(create_model(name, 1, 0), 2, freeze_stages=1).eval()
        final, stages = model.forward_intermediates(torch.empty(1, 1, 224, 224, 3))
    assert tuple(final.shape) == (1, channels, 7, 7, 3)
    assert [stage.shape[1] for stage in stages] == model.feature_info.channels()


@pytest.mark.parametrize("pyramid", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_means_of_maps_are_means_over_pixels_and_slices(name: str, pyramid: bool) -> None:
    model = SliceClassifier(network(name), 2, pyramid=pyramid).eval()
    x = volume(*SIZE)
    slices = model.slicing.cut(x)[0]
    for stage, images in zip(model.forward_stages(x), model.image_stages(slices), strict=True):
        expected = images.mean((2, 3)).reshape(2, SIZE[2], -1).mean(1)
        assert_same(stage.flatten(2).mean(2), expected, atol=1e-5)


def test_pyramid_gives_five_levels_and_their_means_as_vectors() -> None:
    model = SliceClassifier(network(), 2, pyramid=True).eval()
    x = volume(*SIZE)
    levels = model.forward_stages(x)
    assert model.feature_info.channels() == [256] * 5
    assert model.feature_info.reduction()[-1] == (64, 64, 1)
    assert model.vector_features == 5 * 256
    means = torch.cat([level.mean((2, 3)) for level in levels], dim=1).transpose(1, 2)
    assert_same(model.embed(x), means, atol=1e-5)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("other", ["sagittal", "coronal"])
def test_planes_agree_when_the_volume_is_turned(other: Plane, pool: PoolName) -> None:
    axial = SliceClassifier(network(), 2, axis="axial", neighbours=0, pool=pool).eval()
    turned = SliceClassifier(network(), 2, axis=other, pool=pool).eval()
    turned.load_state_dict(axial.state_dict())
    x = volume(*SIZE)
    moved = x.movedim(-1, 2 + PLANES.index(other))
    assert_same(turned(moved)[-1], axial(x)[-1], atol=1e-5)


@pytest.mark.parametrize("pool", POOLS)
def test_order_of_slices_counts_for_ordered_pools_alone(pool: PoolName) -> None:
    model = SliceClassifier(network(), 2, pool=pool).eval().double()
    x = volume(*SIZE).double()
    shuffled = x[..., [3, 0, 4, 1, 2]]
    change = (model(x)[-1] - model(shuffled)[-1]).abs().max()
    assert (change > 1e-7) == model.pool.ordered
    assert model.pool.ordered or change < 1e-10


@pytest.mark.parametrize("options", [{"pool": "gru", "axis": "all"}, {"pyramid": True}, {}])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_that_wants_a_gradient_gets_one(
    name: str, options: dict[str, object]
) -> None:
    model = build(network(name), **options)
    size = (10, 8, 9) if options.get("axis") == "all" else SIZE
    backward(model(volume(*size)))
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
        assert parameter.requires_grad or ("pyramid" in options and "head" in key), key


def build(backbone: ZooNetwork, **options: object) -> SliceClassifier:
    """Build from options as a config holds them, whose types only a run can check."""
    make: Callable[..., SliceClassifier] = SliceClassifier
    return make(backbone, 2, **options)


@pytest.mark.parametrize("pyramid", [False, True])
def test_a_frozen_network_stays_as_it_is(pyramid: bool) -> None:
    model = SliceClassifier(network(), 2, frozen=True, pyramid=pyramid).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    wanted = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(wanted, lr=0.5, weight_decay=0.1)
    *stages, logits = model(volume(*SIZE))
    assert not any(stage.requires_grad for stage in stages)
    assert not model.embed(volume(*SIZE)).requires_grad
    torch.autograd.backward(logits.square().sum())
    optimiser.step()
    after = model.state_dict()
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"pool", "fc"}
    assert not model.network.training
    assert not any(module.training for module in model.network.modules())
    assert model.pool.training
    assert not model.has_batch_norm


def test_frozen_features_train_as_volumes_do() -> None:
    model = SliceClassifier(network(), 2, frozen=True).train()
    x = volume(*SIZE)
    vectors = model.embed(x)
    gradients = []
    for given_ in (x, vectors):
        model.zero_grad()
        torch.autograd.backward(model(given_)[-1].square().sum())
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert_same(gradients[1], gradients[0], atol=1e-6)


def test_first_stages_can_be_frozen_alone() -> None:
    model = SliceClassifier(network(), 2, freeze_stages=2).train()
    frozen = {"conv1", "bn1", "layer1", "layer2"}
    for key, parameter in model.network.network.named_parameters():
        assert parameter.requires_grad == (key.split(".")[0] not in frozen), key
    assert not model.network.get_submodule("network.bn1").training
    assert model.network.get_submodule("network.layer3.0.bn1").training
    assert model.has_batch_norm
    before = model.network.get_buffer("network.layer2.0.bn1.running_mean").clone()
    backward(model(volume(*SIZE)))
    assert_same(model.network.get_buffer("network.layer2.0.bn1.running_mean"), before)


def passes(model: SliceClassifier) -> list[int]:
    """Note how many slices each pass of the network has."""
    counts: list[int] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        counts.append(len(inputs[0]))

    model.network.get_submodule("network.conv1").register_forward_pre_hook(note)
    return counts


@pytest.mark.parametrize("frozen", [False, True])
def test_slices_pass_in_pieces_where_no_gradient_is_wanted(frozen: bool) -> None:
    model = SliceClassifier(network(), 2, frozen=frozen).eval()
    x = volume(*SIZE)
    with torch.no_grad():
        whole, vectors = model(x), model.embed(x)
        model.chunk = 4
        counts = passes(model)
        assert_same(model(x), whole, atol=1e-5)
        assert_same(model.embed(x), vectors, atol=1e-5)
    assert counts == [4, 4, 2] * 2
    assert SliceClassifier.chunk == 64


def test_slices_of_a_batch_pass_at_once_in_training() -> None:
    model = SliceClassifier(network(), 2).train()
    model.chunk = 4
    counts = passes(model)
    model(volume(*SIZE))
    with torch.no_grad():
        model(volume(*SIZE))  # batch norms in training see all slices
    assert counts == [10, 10]


def test_embedding_puts_no_maps_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> Tensor:
        raise AssertionError("maps are not wanted")

    monkeypatch.setattr(Slicing, "assemble", refuse)
    model = SliceClassifier(network(), 2).eval()
    assert model.embed(volume(*SIZE)).shape == (2, SIZE[2], 512)


def test_randomness_is_that_of_the_global_state() -> None:
    model = SliceClassifier(network("poolformer_s12", 0.5), 2).train()
    x = volume(*SIZE)

    def logits(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return model(x)[-1]

    assert torch.equal(logits(1), logits(1))
    assert not torch.equal(logits(1), logits(2))


def test_checkpointing_gives_the_same_gradients_and_statistics() -> None:
    results = []
    for enable in (False, True):
        model = SliceClassifier(network(), 2, freeze_stages=1).train()
        model.set_grad_checkpointing(enable)
        outputs = model(volume(*SIZE))
        backward(outputs)
        gradients = [p.grad for p in model.parameters() if p.requires_grad]
        results.append((*outputs, *gradients, *model.buffers()))
    assert_same(results[1], results[0], atol=1e-6)


def test_reset_classifier_changes_the_logits_only() -> None:
    model = SliceClassifier(network(), CLASSES).eval()
    x = volume(*SIZE)
    before = model(x)
    keys = {key for key in model.state_dict() if key.startswith(model.classifier_prefix)}
    assert keys == {"fc.weight", "fc.bias"}
    model.reset_classifier(7)
    *stages, logits = model(x)
    assert model.num_classes == 7
    assert logits.shape == (2, 7)
    assert_same(tuple(stages), before[:-1])
    model.reset_classifier(0)
    assert_same(model(x)[-1], model.forward_head(model.embed(x), pre_logits=True), atol=1e-5)
    with pytest.raises(ValueError, match="-1"):
        model.reset_classifier(-1)


def test_builds_and_runs_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = SliceClassifier(create_model("resnet50", 3, 0), 2, neighbours=1, pool="transformer")
        *stages, logits = model(torch.empty(2, 1, 64, 64, 9))
    assert [stage.shape[2:] for stage in stages] == [(n, n, 9) for n in (16, 8, 4, 2)]
    assert logits.shape == (2, 2)


@pytest.mark.parametrize("pyramid", [False, True])
def test_saved_weights_give_the_same_bits(pyramid: bool, tmp_path: Path) -> None:
    model = SliceClassifier(network(), 2, pool="gru", pyramid=pyramid).eval()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(5)
    fresh = SliceClassifier(create_model("resnet18", 1, 0), 2, pool="gru", pyramid=pyramid).eval()
    fresh.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    x = volume(*SIZE)
    assert_same(fresh(x), model(x))
    assert_same(copy.deepcopy(model).train().eval()(x), model(x))


@pytest.mark.parametrize("pool", POOLS)
def test_runs_under_autocast(pool: PoolName) -> None:
    model = SliceClassifier(network(), 2, pool=pool).eval()
    x = volume(*SIZE, batch=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(x)[-1]
    torch.testing.assert_close(logits.float(), model(x)[-1], rtol=0.1, atol=0.05)


def test_means_of_maps_are_single_precision_under_autocast() -> None:
    model = SliceClassifier(network(), 2).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        stages, means = model(volume(*SIZE))[:-1], model.stage_vectors(volume(*SIZE))
    assert stages[0].dtype == torch.bfloat16
    for stage, mean in zip(stages, means, strict=True):
        assert_same(mean, stage.float().mean((2, 3)).movedim(1, 2), atol=1e-5)


def test_ordered_pools_over_all_axes_need_to_know_the_planes() -> None:
    model = SliceClassifier(network(), 2, axis="all", pool="gru").eval()
    x = volume_for("all")
    vectors = model.embed(x)
    assert_same(model(vectors, size_of(x))[-1], model(x)[-1], atol=1e-5)
    with pytest.raises(ValueError, match="set a count, or pass the size"):
        model(vectors)
    with pytest.raises(ValueError, match=r"vectors of 28 slices, got 27.*embed the volumes again"):
        model(vectors, (10, 9, 9))
    unordered = SliceClassifier(network(), 2, axis="all", pool="attention").eval()
    assert unordered(unordered.embed(x))[-1].shape == (2, 2)


def test_refuses_volumes_that_it_cannot_take() -> None:
    model = SliceClassifier(network(), 2, count=6)
    with pytest.raises(ValueError, match=r"6 axial slices.*has 5 along Z.*at most 5.*empty"):
        model(volume(*SIZE))
    with pytest.raises(ValueError, match="five dimensions"):
        model(torch.zeros(2, 1, 32, 32))
    with pytest.raises(ValueError, match=r"expected 1 input channel\(s\), got 2"):
        model(torch.zeros(2, 2, 32, 32, 6))
    all_axes = SliceClassifier(network(), 2, axis="all", count=33)
    with pytest.raises(ValueError, match=r"33 coronal slices.*has 32 along Y"):
        all_axes(volume(34, 32, 33))


def test_refuses_slices_that_are_too_small() -> None:
    backbone = network()
    backbone.min_size = (20, 10)
    x, y, z = SliceClassifier(backbone, 2, axis="coronal").min_size
    assert (x, y, z) == (20, 1, 10)
    model = SliceClassifier(backbone, 2, axis="coronal")
    with pytest.raises(ValueError, match=r"\(19, 1, 10\) voxels is smaller than.*\(20, 1, 10\)"):
        model(volume(19, 1, 10))
    with pytest.raises(ValueError, match="smaller than the minimum"):
        model.embed(volume(20, 1, 9))


def test_refuses_vectors_that_are_not_its_own() -> None:
    model = SliceClassifier(network(), 2, count=4).eval()
    with pytest.raises(ValueError, match=r"\(B, S, 512\).*\(2, 4, 64\).*another network"):
        model(torch.zeros(2, 4, 64))
    with pytest.raises(ValueError, match="at least one slice"):
        model(torch.zeros(2, 0, 512))
    with pytest.raises(ValueError, match="vectors of 4 slices, got 5"):
        model(torch.zeros(2, 5, 512))
    with pytest.raises(ValueError, match=r"expected vectors of slices"):
        model.forward_head(torch.zeros(2, 512, 2, 2, 4))
    with pytest.raises(ValueError, match="build the classifier with frozen=True"):
        model.train()(torch.zeros(2, 4, 512))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axis": "oblique"}, "unknown axis 'oblique'; choose from axial, coronal, sagittal, all"),
        ({"pool": "median"}, "unknown pool 'median'; choose from mean"),
        ({"count": 0}, "count must be a whole number of at least 1, or empty.*got 0"),
        ({"count": True}, "count must be a whole number"),
        ({"count": 2.5}, "count must be a whole number"),
        ({"neighbours": -1}, "neighbours must be a whole number of at least 0, got -1"),
        ({"neighbours": 1}, "has 3 channels, but resnet18 takes 1; build it with in_chans=3"),
        ({"freeze_stages": 5}, "can freeze 0 to 4 stages of resnet18, not 5"),
    ],
)
def test_refuses_choices_that_do_not_exist(options: dict[str, object], message: str) -> None:
    with torch.device("meta"):
        backbone = create_model("resnet18", 1, 0)
        with pytest.raises(ValueError, match=message):
            build(backbone, **options)


def test_refuses_a_network_with_a_classifier_and_negative_classes() -> None:
    with torch.device("meta"):
        with pytest.raises(ValueError, match="2 classes of its own; build resnet18 with num_cl"):
            SliceClassifier(create_model("resnet18", 1, 2), 2)
        with pytest.raises(ValueError, match="at least 0, got -1"):
            SliceClassifier(create_model("resnet18", 1, 0), -1)
