"""Volumes that a run cannot use: refused ones, and those that stand in its manifest twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import DataError
from .cases import Case
from .volume import voxels_of


@dataclass(frozen=True, slots=True)
class Refusal:
    """A volume that cannot be used.

    Attributes:
        case_id: The case.
        file: Name of its file, without folders.
        code: Reason code, e.g. `E_TRUNCATED`.
        reason: What is wrong, in words.
        remedy: What to do about it.
    """

    case_id: str
    file: str
    code: str
    reason: str
    remedy: str


def check_refusals(refused: Sequence[Refusal], allowed: int) -> None:
    """Stops the run when more volumes are refused than the user allows.

    Raises:
        DataError: Lists every refused volume with its reason and remedy.
    """
    if len(refused) <= allowed:
        return
    lines = [
        f"\n    - {item.case_id} ({item.file}): {item.code}, {item.reason}; {item.remedy}"
        for item in refused
    ]
    raise DataError(
        f"{len(refused)} volume{'s' if len(refused) > 1 else ''} cannot be used",
        why="".join(lines),
        remedy="mend or remove them; data.max_quarantine="
        f"{len(refused)} leaves them out and says so in the report",
    )


def check_contents(cases: Sequence[Case], contents: dict[str, str]) -> None:
    """Refuses the same voxels under two patients or with two labels.

    Raises:
        DataError: E_DUP_CONTENT or E_LABEL_CONFLICT; lists every pair.
    """
    problems = content_problems(cases, contents)
    if problems:
        raise DataError(
            "the same volume stands in the manifest twice",
            why="".join(f"\n    - {problem}" for problem in problems),
            remedy="remove one of each pair, or give both the same patient and label; "
            "`volclass audit` shows them, and near copies",
        )


def content_problems(cases: Sequence[Case], contents: dict[str, str]) -> list[str]:
    """Pairs of cases with the same voxels and another patient or label, a line each."""
    first: dict[str, Case] = {}
    problems: list[str] = []
    for case in cases:
        if case.case_id not in contents:
            continue
        other = first.setdefault(voxels_of(contents[case.case_id]), case)
        if other is case:
            continue
        pair = f"{other.case_id} ({other.image.name}) and {case.case_id} ({case.image.name})"
        if other.label != case.label:
            problems.append(f"E_LABEL_CONFLICT: {pair} have the same voxels and other labels")
        elif other.patient_id != case.patient_id:
            problems.append(f"E_DUP_CONTENT: {pair} have the same voxels and other patients")
    return problems
