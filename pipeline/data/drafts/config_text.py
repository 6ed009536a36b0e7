"""The config that is proposed for a draft of a manifest."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from ...config import CvConfig, TrainConfig
from ...errors import ConfigError
from .draft import Draft
from .geometry import Survey, propose_grid

_FEW_CASES = 96
_STEM = {False: (7, 4), True: (3, 1)}  # kernel and stride along an axis; along a coarse one


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
    text = "\n".join(lines) + "\n"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            "the path of the data cannot be written in a config",
            why="the name of a folder is not UTF-8 text",
            remedy="rename the folder",
        ) from error
    return text


def _quoted(text: str) -> str:
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=1 << 16)
    return quoted.strip()


def _preprocess_lines(draft: Draft, found: Survey) -> list[str]:
    grid = propose_grid(found)
    if grid is None:
        draft.warnings.append("no volume could be read, so spacing and size are the defaults")
        return []
    reason = "the median voxel size"
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
    if found.looks_like_ct:
        draft.notes.append("  grey values start at -900 or below, as of CT: window -160 to 240 HU")
        lines += [
            "  # All volumes reach down to -900 or below, as CT in HU does: a soft-tissue window.",
            "  intensity: {name: window, low: -160, high: 240}",
        ]
    if any(grid.coarse):
        kernel = [_STEM[coarse][0] for coarse in grid.coarse]
        stride = [_STEM[coarse][1] for coarse in grid.coarse]
        draft.notes.append(f"  voxels are long along one axis: the stem strides by {stride}")
        lines += [
            "model:",
            "  # Voxels are over twice as long along one axis: the stem does not stride there.",
            f"  stem: {{kernel: {kernel}, stride: {stride}}}",
        ]
    return lines


def _training_lines(draft: Draft) -> list[str]:
    lines: list[str] = []
    if len(draft.files) < _FEW_CASES:
        batch = max(2, len(draft.files) // 6)
        lines += ["train:", f"  batch_size: {min(batch, TrainConfig().batch_size)}  # few volumes"]
    holders = draft.holders()
    rarest = min(holders, key=lambda label: holders[label], default=None)
    folds = min(CvConfig().folds, holders[rarest]) if rarest is not None else CvConfig().folds
    lines.append("cv:")
    if draft.splits is not None and _official_works(draft):
        lines.append("  scheme: official  # the column split, from the folders train, val, test")
    if folds < 2:
        draft.warnings.append(
            f"the class {rarest} has one patient only: it cannot be learned and tested"
        )
        folds = CvConfig().folds
    elif folds < CvConfig().folds:
        draft.warnings.append(
            f"the class {rarest} has {folds} patients only: {folds} folds are proposed"
        )
    lines.append(f"  folds: {folds}  # every class needs as many patients")
    return lines


def _official_works(draft: Draft) -> bool:
    """No patient is in two parts, and every class is in train and test."""
    assert draft.splits is not None
    parts = {*zip(draft.patients, draft.splits, strict=True)}
    if len(parts) > len(set(draft.patients)):
        draft.warnings.append(
            "patients have volumes in more than one of train, val, test, which leaks; "
            "cross-validation by patient is proposed in place of these folders"
        )
        return False
    if draft.labels is None:
        return True
    return all(
        {label for label, part in zip(draft.labels, draft.splits, strict=True) if part == name}
        == set(draft.labels)
        for name in ("train", "test")
    )


def _relative(path: Path, out: Path) -> str:
    return Path(os.path.relpath(path.resolve(), out.resolve())).as_posix()
