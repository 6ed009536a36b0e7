"""The config that is proposed for a draft of a manifest."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from ...config import CvConfig, ModelConfig, TrainConfig
from ...planning.choices import plain
from ...planning.intensity import soft_tissue
from ...planning.text import encodable
from ...planning.training import batch_for, folds_for, is_complete, shares, straddle
from .draft import Draft
from .geometry import Grid, Survey, propose_grid


def config_text(draft: Draft, found: Survey, manifest: Path, out: Path) -> str:
    """The config as YAML, with comments that say where its numbers come from.

    What is doubtful about it is added to the draft's notes and warnings.

    Args:
        draft: The cases.
        found: What some of them look like.
        manifest: The manifest that the config names.
        out: The folder where the config will lie; its paths are relative to it.

    Raises:
        ConfigError: The path of the data is no text.
    """
    lines = [
        f"# Proposed by `volclass init` for {len(draft.files)} volumes of "
        f"{len(set(draft.patients))} patients.",
        "# Whatever is not named here has the value that configs/base.yaml shows.",
        "base: base.yaml",
        "data:",
        "  source: manifest",
        f"  manifest: {_quoted(_relative(manifest, out))}",
    ]
    if draft.manifest is None and draft.root != out.resolve():
        lines.append(
            f"  root: {_quoted(_relative(draft.root, out))}  # the manifest's paths start here"
        )
    if draft.leaves_root:
        lines.append(
            "  allow_outside_root: true  # some volumes, or what links lead to, lie elsewhere"
        )
        draft.warnings.append(
            "some volumes, or the files that links lead to, lie outside the data's folder; "
            "data.allow_outside_root is set to true"
        )
    lines += [*_preprocess_lines(draft, found), *_training_lines(draft)]
    return encodable("\n".join(lines) + "\n")


def _quoted(text: str) -> str:
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=1 << 16)
    return quoted.strip()


def _preprocess_lines(draft: Draft, found: Survey) -> list[str]:
    grid = propose_grid(found, ModelConfig().name)
    if grid is None:
        draft.warnings.append("no volume could be read, so spacing and size are the defaults")
        return []
    reason = "the voxel size of most volumes"
    if grid.enlarged:
        reason += ", enlarged so that the size is manageable"
        draft.notes.append("  the voxels are enlarged: 96 x 96 x 96 of them at most are proposed")
    spacing, size = list(grid.spacing), list(grid.size)
    draft.notes.append(f"  proposed: spacing {spacing} mm, size {size}")
    lines = [
        "preprocess:",
        f"  # From {len(found.spacings)} of the volumes; x, y, z.",
        f"  spacing: {spacing}  # mm: {reason}",
        f"  size: {size}  # the median field of view has its place in it",
    ]
    scale = soft_tissue(found.kinds)
    if scale is not None:
        draft.notes.append(f"  grey values: {scale.reason}")
        lines += [f"  # {scale.reason}", f"  intensity: {plain(scale.setting)}"]
    return [*lines, *_model_lines(draft, grid)]


def _model_lines(draft: Draft, grid: Grid) -> list[str]:
    stem = grid.strides.stem_setting(grid.network)
    steps = grid.strides.steps_setting()
    lines: list[str] = []
    if stem["stride"] is not None:
        stride = plain(stem["stride"])
        draft.notes.append(f"  for cells near to cubes, the stem strides by {stride}")
        lines += [
            "  # So the cells of the first stage are near to cubes.",
            f"  stem: {plain(stem)}",
        ]
    if steps is not None:
        draft.notes.append(f"  later strides: {plain(steps)}, so that no stage is one voxel wide")
        lines += [
            "  # No axis is halved while its cells are the longest, or once it is two voxels wide.",
            f"  strides: {plain(steps)}",
        ]
    return ["model:", *lines] if lines else []


def _training_lines(draft: Draft) -> list[str]:
    lines: list[str] = []
    holders, cv = draft.holders(), CvConfig()
    folds = folds_for(holders, cv.folds)
    cases = shares(len(set(draft.patients)), len(draft.files), max(folds, 2), cv.validation).cases
    batch = batch_for(cases, TrainConfig().batch_size)
    if batch < TrainConfig().batch_size:
        lines += ["train:", f"  batch_size: {batch}  # few volumes"]
    rarest = min(holders, key=lambda label: holders[label], default=None)
    lines.append("cv:")
    if draft.splits is not None and _official_works(draft, draft.splits):
        lines.append("  scheme: official  # the column split, from the folders train, val, test")
    if folds < 2:
        draft.warnings.append(
            f"the class {rarest} has one patient only: it cannot be learned and tested"
        )
        folds = cv.folds
    elif folds < cv.folds:
        draft.warnings.append(
            f"the class {rarest} has {folds} patients only: {folds} folds are proposed"
        )
    lines.append(f"  folds: {folds}  # every class needs as many patients")
    return lines


def _official_works(draft: Draft, splits: tuple[str, ...]) -> bool:
    """No patient is in two parts, and every class is in train and test."""
    if straddle(draft.patients, splits):
        draft.warnings.append(
            "patients have volumes in more than one of train, val, test, which leaks; "
            "cross-validation by patient is proposed in place of these folders"
        )
        return False
    return draft.labels is None or is_complete(splits, draft.labels)


def _relative(path: Path, out: Path) -> str:
    return Path(os.path.relpath(path.resolve(), out.resolve())).as_posix()
