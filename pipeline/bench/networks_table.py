"""Tables of the speed of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
        found: A row each, and a table more for those with peers.
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
        "s12's first stage has eight times the positions of its own stem there, and networks of",
        "other libraries, which are as they come, are quicker.",
        "",
        "| network and input | forward | training step | memory | over the limit | over copies |",
        "|---|---|---|---|---|---|",
        *(_row(item) for item in found),
        *(line for item in found if item.setting.peers for line in _peers(item)),
        *(_variants(variants, about) if variants else ()),
        *(
            line
            for kind, operators in (profiles or {}).items()
            for line in _operators(operators, f"{kind} of {about}")
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


def _peers(item: Found) -> list[str]:
    return [
        "",
        f"Other networks beside {item.setting.name}, their time in multiples of ours:",
        "",
        "| network | forward | training step |",
        "|---|---|---|",
        *(
            f"| {forward.name} | {_spread(forward)} | {_spread(training)} |"
            for forward, training in zip(item.forward[1:], item.training[1:], strict=True)
        ),
    ]


def _spread(item: Ratio) -> str:
    return f"{item.median:.2f} ({item.low:.2f} to {item.high:.2f})"
