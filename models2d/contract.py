"""What a 2D network declares about its stages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class StageInfo:
    """What one stage declares about its output.

    Attributes:
        channels: number of channels.
        reduction: pixels of the input per pixel of the stage, along rows and columns.
        module: name of the module that computes the stage.
    """

    channels: int
    reduction: Pair
    module: str


class FeatureInfo:
    """Declared channels and reductions of the stages, the first stage first.

    Args:
        stages: one entry for each stage.
    """

    def __init__(self, stages: Sequence[StageInfo]) -> None:
        self._stages = tuple(stages)

    def __len__(self) -> int:
        return len(self._stages)

    def __iter__(self) -> Iterator[StageInfo]:
        return iter(self._stages)

    def __getitem__(self, index: int) -> StageInfo:
        return self._stages[index]

    def channels(self) -> list[int]:
        """Give the number of channels of each stage."""
        return [stage.channels for stage in self._stages]

    def reduction(self) -> list[Pair]:
        """Give the reduction of each stage, along rows and columns."""
        return [stage.reduction for stage in self._stages]


def take_indices(count: int, indices: int | Sequence[int] | None) -> list[int]:
    """Resolve a choice of stages to sorted, distinct 0-based indices.

    Args:
        count: number of stages that exist.
        indices: 0-based stages, negative ones from the end; a whole number n takes the last n
            stages, ``None`` all of them.

    Raises:
        ValueError: a stage that does not exist.
    """
    if indices is None:
        return list(range(count))
    if isinstance(indices, int):
        if not 1 <= indices <= count:
            msg = f"cannot take the last {indices} stages: the network has {count}"
            raise ValueError(msg)
        return list(range(count - indices, count))
    unknown = [index for index in indices if not -count <= index < count]
    if unknown:
        msg = f"no stage {unknown[0]}: indices run from 0 to {count - 1}, or -{count} to -1"
        raise ValueError(msg)
    return sorted({index % count for index in indices})
