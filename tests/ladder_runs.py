"""Small ladders for tests: written, climbed, and climbed once more."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conftest import SMALL, Lines

from pipeline.ladder import ladder


@dataclass(frozen=True)
class Climbed:
    """A ladder that was climbed, and how."""

    plan: str
    overrides: tuple[str, ...]
    out: Path

    def again(self) -> list[str]:
        """Climbs it once more; gives the lines that this shows."""
        lines = Lines()
        ladder(self.plan, self.out, lines, self.overrides)
        return lines.shown


def climbed_in(
    folder: Path, plan: Mapping[str, object], manifest: Path, small: Sequence[str] = SMALL
) -> Climbed:
    """Climbs a ladder whose networks learn for one epoch; its file is JSON, which is YAML."""
    path = folder / "ladder.yaml"
    path.write_text(json.dumps(plan))
    overrides = (*small, f"data.manifest={manifest}", "train.epochs=1")
    made = Climbed(str(path), overrides, folder / "ladder")
    made.again()
    return made
