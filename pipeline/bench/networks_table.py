"""Tables of the speed of networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .as_run import AS_RUN_ROUNDS, OTHERS, AsRun
from .networks import Found
from .operators import Operator
from .ratio import ROUNDS, Ratio


def networks_lines(
    found: Sequence[Found],
    profiles: Mapping[str, Sequence[Operator]] | None = None,
    about: str = "",
    variants: Sequence[Ratio] = (),
) -> list[str]:
    """The part of the page, as Markdown.

    Args:
        found: A row each; networks of other libraries have tables of their own.
        profiles: Operators that take most of a pass, by the kind of pass.
        about: Which network and input the last two are of.
        variants: Forward passes of fused and compiled networks, in multiples of the same.
    """
    return [
        "Written by `make bench`. The plain network has the same weights in torch's own layers:",
        "`AvgPool3d`, 1x1x1 convolutions, `GroupNorm`, one after the other; its answers are equal",
        "to rounding. How many times faster ours is: the other's time in multiples of ours, median",
        f"and range of {ROUNDS} rounds in turns on a CPU. Memory: most bytes of tensors that a",
        "training step holds at once beyond the weights, as a part of the plain network's. Over",
        "the limit: our forward pass in multiples of the time that its operations would take in a",
        "product of two matrices of 1024 x 1024, the fastest of the same minutes. Over copies: the",
        "same in multiples of the time of a copy as large as what its branches and steps between",
        "stages read and write at least. On 32^3 both have a stem of stride 2 and a last step of",
        "stride 1, and s12 on 64^3 too, for the plain network fails on grids below its window. So",
        "s12's first stage has eight times the positions of its own stem there, and most networks",
        "of other libraries, which are as they come, are quicker. Beside one volume of 32^3 they",
        "are not measured, for their batch norms fail in training where one voxel is left; R3D-18",
        "is not beside eight of 96x128x96, where a training step of it takes 18 GiB.",
        "",
        "| network and input | forward | training step | memory | over the limit | over copies |",
        "|---|---|---|---|---|---|",
        *(_row(item) for item in found),
        *_volumes(found),
        *_peers(found, "forward pass", lambda item: item.forward),
        *_peers(found, "training step", lambda item: item.training),
        *(_variants(variants, about) if variants else ()),
        *(
            line
            for kind, operators in (profiles or {}).items()
            for line in _operators(operators, f"{kind} of {about}")
        ),
    ]


def as_run_lines(found: Sequence[AsRun]) -> list[str]:
    """The part of the page about processes of their own, as Markdown."""
    return [
        "Written by `make bench`. Ours in a process that starts as `volclass` does, which keeps",
        "freed memory and lets waiting threads spin shortly, beside others in processes of torch",
        "alone, with the threads and the allocation that it comes with: what a script of one's own",
        "has. The other's time in multiples of ours, in turns, median and range of",
        f"{AS_RUN_ROUNDS} rounds on a CPU. [Networks](#networks) tells what networks alone do.",
        "",
        "| ours and input | pass | " + " | ".join(OTHERS) + " |",
        "|---" * (2 + len(OTHERS)) + "|",
        *(
            f"| {item.setting.name} | {kind} | {' | '.join(map(_spread, ratios))} |"
            for item in found
            for kind, ratios in (("forward", item.forward), ("training step", item.training))
        ),
    ]


def _variants(variants: Sequence[Ratio], about: str) -> list[str]:
    return [
        "",
        f"Forward passes of {about}, their time in multiples of ours as it is: by `fuse()`, which",
        "folds factors into the weights, and by `torch.compile`:",
        "",
        "| network | forward |",
        "|---|---|",
        *(f"| {item.name} | {_spread(item)} |" for item in variants),
    ]


def _operators(operators: Sequence[Operator], about: str) -> list[str]:
    return [
        "",
        f"Where the time of a {about}, goes, by torch's operators, without those that they call:",
        "",
        "| operator | part of the time | calls |",
        "|---|---|---|",
        *(f"| {item.name} | {item.share:.0%} | {item.calls:.0f} |" for item in operators),
    ]


def _row(item: Found) -> str:
    forward, training = item.forward[0], item.training[0]
    return (
        f"| {item.setting.name} | {_spread(forward)} | {_spread(training)} "
        f"| {item.memory:.2f} | {item.over_limit:.2f} | {item.over_copies:.2f} |"
    )


def _volumes(found: Sequence[Found]) -> list[str]:
    return [
        "",
        "What falls to one volume of a batch: operations of a forward pass, memory of a training",
        "step as above, with its share of the weights' gradients, and the time of a forward pass",
        "as a part of the time of one volume alone, in turns.",
        "",
        "| network and input | billions of operations | MiB | of the time alone |",
        "|---|---|---|---|",
        *map(_volume, found),
    ]


def _volume(item: Found) -> str:
    volumes = item.setting.batch
    part = "" if item.alone is None else _spread(item.alone)
    return (
        f"| {item.setting.name} | {item.work / volumes / 1e9:.2f} "
        f"| {item.held / volumes / (1 << 20):.1f} | {part} |"
    )


def _peers(
    found: Sequence[Found], kind: str, ratios: Callable[[Found], Sequence[Ratio]]
) -> list[str]:
    rows = {
        item.setting.name: {other.name: _spread(other) for other in ratios(item)[1:]}
        for item in found
        if item.setting.peers
    }
    if not rows:
        return []
    names = [*dict.fromkeys(name for others in rows.values() for name in others)]
    return [
        "",
        f"The {kind} of other networks, its time in multiples of ours:",
        "",
        f"| ours and input | {' | '.join(names)} |",
        "|---" * (1 + len(names)) + "|",
        *(
            f"| {setting} | {' | '.join(others.get(name, 'not measured') for name in names)} |"
            for setting, others in rows.items()
        ),
    ]


def _spread(item: Ratio) -> str:
    return f"{item.median:.2f} ({item.low:.2f} to {item.high:.2f})"
