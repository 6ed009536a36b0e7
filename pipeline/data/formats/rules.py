"""What a user decided about doubtful volumes; where nothing is decided they are refused.

The rules in force belong to the work that is being done, as numpy's `errstate` does: every reader
of a format asks for them, and nothing between the configuration and the readers hands them on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import JsonValue

from ...config import DataConfig

#: Most bytes of a decoded volume where nobody says otherwise.
BUDGET = 4 << 30


@dataclass(frozen=True, slots=True)
class Rules:
    """Decisions of `data.*`; each changes what some files are read as, and nothing of the others.

    Attributes:
        nan: `fill` replaces values that are not finite by the least finite one of the volume.
        frame: Which frame of a series is the volume, from 0; None refuses a series.
        orientation: For files that state none: where the indices of the three axes grow to, e.g.
            `LPS`, or `nifti`, what NIfTI-1 suggests; None refuses them.
        prefer: Which of two orientations that contradict each other is the true one.
        shear: `resample` accepts axes that are not at right angles: resampling straightens them.
        budget: Most bytes that a decoded volume may take.
    """

    nan: Literal["refuse", "fill"] = "refuse"
    frame: int | None = None
    orientation: str | None = None
    prefer: Literal["none", "qform", "sform"] = "none"
    shear: Literal["refuse", "resample"] = "refuse"
    budget: int = BUDGET

    def key(self) -> dict[str, JsonValue]:
        """What differs from the defaults and changes voxels; the budget only admits files."""
        plain = asdict(Rules(budget=self.budget))
        return {name: value for name, value in asdict(self).items() if value != plain[name]}


def rules_of(data: DataConfig) -> Rules:
    """The rules of a configuration."""
    return Rules(
        data.nan, data.frame, data.assume_orientation, data.prefer, data.shear, data.max_bytes
    )


_IN_FORCE: ContextVar[Rules] = ContextVar("rules", default=Rules())  # noqa: B039  # it is frozen


def rules_in_force() -> Rules:
    """The rules by which volumes are read now."""
    return _IN_FORCE.get()


@contextmanager
def reading_by(rules: Rules) -> Iterator[None]:
    """Volumes are read by these rules inside the block."""
    token = _IN_FORCE.set(rules)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)
