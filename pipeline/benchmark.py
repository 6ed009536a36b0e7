"""`make benchmark-medmnist`: one recipe on every set of MedMNIST 3D that can be had.

For each set, the training and validation parts of the official split decide what the recipe leaves
open; then the rungs of a ladder are climbed on that split, with several seeds each, and the figures
go into a table beside the published ones. All volumes are checked once at the start; after that, no
test case is given to a decision, and to a network only when it has been trained.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from .benchmark_table import SetFigures, table_lines
from .build import build_manifest
from .config_file import find_config, load_config
from .data.formats.dispatch import read_volume
from .data.formats.rules import reading_by, rules_of
from .data.sources.medmnist_files import found_file
from .data.sources.medmnist_sets import SETS, file_name
from .errors import ConfigError, DataError
from .ladder import ladder
from .ladder_config import Ladder, Rung, read_ladder
from .ladder_table import climbed, reference_of, rung_figures, waiting
from .markdown import put_part
from .progress import Display, making_bar
from .run import RunFolder
from .storage import check_writable, make_folder, read_json, read_table, sha256, write_json
from .tune import tune
from .typed_files import read_typed

RECIPE, LADDER = "benchmarks/medmnist3d", "ladders/medmnist3d"
SYMMETRY = "tuning/medmnist3d_symmetry"
#: Steps of the augmentation that change grey values, of which a binary shape has none.
_GREY = ("intensity", "gamma", "noise", "blur")
#: What networks read of a binary shape.
_DISTANCE = "preprocess.intensity={name: distance, low: null, high: null}"
_RULES = "rules.json"
#: A published set cannot be mended: what cannot be read is left out, and the page says which.
_MOST_LEFT_OUT = 20
#: The rung that all others are held against.
REFERENCE = "nano"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the training and validation parts decided for a set.

    Attributes:
        binary: Whether every training volume has two values at most.
        flip: Probability of a mirror along each axis.
        rotate90: Probability of a quarter turn in each plane.
    """

    binary: bool
    flip: float
    rotate90: float

    def overrides(self) -> list[str]:
        """The settings that follow, whatever a rung says."""
        views = [] if self.flip > 0 else ["augment.test_time=none"]
        turns = [f"augment.flip={self.flip}", f"augment.rotate90={self.rotate90}"]
        return [*_without_grey(self.binary), *turns, *views]

    def defaults(self) -> list[str]:
        """The settings that follow unless a rung says otherwise."""
        return [_DISTANCE] if self.binary else []

    def lines(self) -> list[str]:
        """What was decided, in words."""
        shapes = (
            "binary shapes, so networks read distances to the outside, without grey augmentation"
        )
        kind = shapes if self.binary else "grey volumes"
        chosen = {
            (True, True): "mirrors and quarter turns",
            (True, False): "mirrors",
            (False, True): "quarter turns",
            (False, False): "neither mirrors nor turns",
        }[self.flip > 0, self.rotate90 > 0]
        return [f"Training part: {kind}. Validation part: {chosen}."]


def _without_grey(binary: bool) -> list[str]:
    return [f"augment.{name}=0.0" for name in _GREY] if binary else []


@dataclass(frozen=True, slots=True)
class _Noted:
    """Rules, and a hash of what they rest on."""

    rules: Rules
    decided_by: str


def benchmark(
    root: Path,
    out: Path,
    page: Path,
    display: Display,
    *,
    size: int = 28,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
) -> list[str]:
    """Runs every set whose official file is there, and writes their part of the page.

    Stopped, it goes on where it stopped.

    Args:
        root: Folder of the official `.npz` files.
        out: A folder for each set: what was decided, the ladder, its comparison.
        page: The Markdown file whose part on MedMNIST is replaced.
        display: Where progress is shown.
        size: Voxels along each axis, 28 or 64.
        overrides: `section.key=value`, for all rungs of all sets.
        only: Names of the rungs to climb beside the reference; all by default. What is finished
            of the others stands in the tables too.

    Returns:
        The tables, as they stand on the page.

    Raises:
        DataError: No set is there, or a file is not the official one.
        VolclassError: Whatever a rung refuses; finished rungs stay.
    """
    names = [name for name in SETS if (root / file_name(name, size)).is_file()]
    if not names:
        raise DataError(
            f"there is no set of MedMNIST 3D at {size}^3",
            where=str(root),
            why=f"looked for {', '.join(file_name(name, size) for name in SETS)}",
            remedy="name the folder that holds one of them",
        )
    _check_overrides(overrides)
    if only:
        only = [REFERENCE, *only]
        read_ladder(_ladder_of(size), [f"data.name={names[0]}"], lambda _: None).cut(only)
    check_writable(page.parent)
    for name in names:
        found_file(name, size, root)
    bar = display.bar("sets", len(names))
    tables: list[SetFigures] = []
    lines: list[str] = []
    for name in names:
        place = out / f"{name}_{size}"
        tables.append(_one_set(name, size, root, place, display, overrides, only))
        missing = [other for other in SETS if other not in [item.name for item in tables]]
        lines = table_lines(tables, missing, size)
        # After each set: what is finished shall not wait for what may take hours.
        put_part(page, f"MedMNIST 3D at {size}^3", lines)
        bar.advance(note=name)
    return lines


def _check_overrides(overrides: Sequence[str]) -> None:
    decided = [f"augment.{name}" for name in ("flip", "rotate90", *_GREY)]
    whole = ("augment", "preprocess", "preprocess.intensity", "train", "train.keep")
    for text in overrides:
        key = text.partition("=")[0]
        if key in (*whole, *decided) or key.startswith("preprocess.intensity."):
            raise ConfigError(
                f"{key} cannot be set for the benchmark",
                why="the sets decide it without their test parts, or it is part of the recipe",
                remedy="leave it out, or train that set by its own config",
            )


def _one_set(
    name: str,
    size: int,
    root: Path,
    out: Path,
    display: Display,
    overrides: Sequence[str],
    only: Sequence[str],
) -> SetFigures:
    display.line(f"{name}, {size}^3")
    data = [
        *(f"data.name={name}", f"data.root={root.resolve()}", f"data.size={size}"),
        f"system.cache_dir={out.resolve().parent / '.volclass-cache'}",
        f"data.max_quarantine={_MOST_LEFT_OUT}",
        *overrides,
    ]
    decided_by = _basis(name, size, overrides)
    rules = _rules(data, size, out, display, decided_by)
    for line in rules.lines():
        display.line(line)
    source = _ladder_of(size)
    settings, defaults = [*data, *rules.overrides()], rules.defaults()
    plan = _without_repeats(read_ladder(source, settings, lambda _: None, defaults), display)
    chosen = [rung.plan.name for rung in plan.rungs if not only or rung.plan.name in only]
    if len(chosen) == 1:  # what was asked for repeats the reference: two must answer
        chosen.append(plan.rungs[0].plan.name)
    compared = ladder(source, out / "ladder", display, settings, only=chosen, defaults=defaults)
    told = [
        *rules.lines(),
        *_left_out(RunFolder(out / "ladder")),
        *([text] if (text := waiting(plan, compared)) else []),
    ]
    reference = reference_of(plan)
    figures = rung_figures(compared, climbed(plan, out / "ladder", compared), reference)
    return SetFigures(name, SETS[name].counts, told, figures, reference)


def _basis(name: str, size: int, overrides: Sequence[str]) -> str:
    """Hash of what rules rest on: recipe, search and settings."""
    recipe = load_config(RECIPE, [f"data.name={name}", *overrides])
    parts = [recipe.model_dump(mode="json", exclude={"system", "report"}), _DISTANCE, size]
    search = find_config(SYMMETRY).read_text(encoding="utf-8")
    return sha256(json.dumps([*parts, search], sort_keys=True).encode())


def _without_repeats(plan: Ladder, display: Display) -> Ladder:
    """The ladder without trainings that an earlier rung does too.

    Of grey volumes all networks read the voxels, so the rung that asks what that does is none.
    """
    kept: list[Rung] = []
    for rung in plan.rungs:
        same = next((other for other in kept if _trains_alike(rung, other)), None)
        if same is None:
            kept.append(rung)
        else:
            display.line(f"{rung.plan.name}: left out, for it would be {same.plan.name} again")
    return plan.cut([rung.plan.name for rung in kept])


def _trains_alike(rung: Rung, other: Rung) -> bool:
    both = rung.plan.kind == other.plan.kind == "train"
    return both and rung.plan.start == other.plan.start and rung.config == other.config


def _ladder_of(size: int) -> str:
    return LADDER if size == 28 else f"{LADDER}_{size}"


def _left_out(folder: RunFolder) -> list[str]:
    """Which volumes of the set cannot be used, and what is doubtful in the others, in words."""
    refused = read_table(folder.quarantine)
    named = [f"{row['case_id']} ({row['code']})" for row in refused]
    environment = read_json(folder.environment)
    doubtful = environment.get("doubtful") if isinstance(environment, dict) else None
    return [
        *([f"Left out: {', '.join(named)}."] if named else []),
        *([f"Doubtful: {doubtful}."] if doubtful else []),
    ]


def _rules(data: Sequence[str], size: int, out: Path, display: Display, decided_by: str) -> Rules:
    """What the set itself decides; noted, with a hash of what it rests on, and decided once."""
    path = out / _RULES
    if path.is_file():
        remedy = "remove it: it is decided again"
        known = read_typed(path, TypeAdapter(_Noted), remedy)
        if known.decided_by == decided_by:
            return known.rules
    make_folder(out)
    binary = _is_binary(data, out, display)
    shapes = [*_without_grey(binary), _DISTANCE] if binary else []
    larger = [f"preprocess.size=[{size},{size},{size}]", "model.stem={kernel: 7, stride: 4}"]
    settings = [*data, *shapes, *(larger if size != 28 else ())]
    found = tune(SYMMETRY, out / "symmetry", display, settings).record.best
    assert found is not None, "a search without a complete trial raises"
    flip, turn = (float(str(found.parameters[f"augment.{key}"])) for key in ("flip", "rotate90"))
    noted = _Noted(Rules(binary, flip, turn), decided_by)
    write_json(path, TypeAdapter(_Noted).dump_python(noted, mode="json"))
    return noted.rules


def _is_binary(data: Sequence[str], out: Path, display: Display) -> bool:
    """Whether every volume of the training part has two values at most; no other is read."""
    config = load_config(RECIPE, data)
    manifest = build_manifest(config, RunFolder(out).cache(config), making_bar(display))
    taught = [case for case in manifest.cases if case.split == "train"]
    with reading_by(rules_of(config.data)):
        return all(len(np.unique(read_volume(case.image).voxels)) <= 2 for case in taught)
