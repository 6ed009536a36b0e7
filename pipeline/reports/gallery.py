"""The hardest cases: confidently wrong first, then the least confident."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

from .pictures import picture_name
from .run_files import RunFiles
from .slice_section import CaseStrip, case_strip

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_BYTES = 300_000


@dataclass(frozen=True)
class HardCase:
    """A case to look at.

    Attributes:
        case_id: Its id in the manifest.
        patient: Its patient's.
        fold: The test fold that it belongs to.
        label: What the manifest says.
        prediction: What the model says.
        confidence: Probability of the prediction, in 0..1.
        of_label: Probability of the label, in 0..1.
        wrong: Whether the two differ.
        picture: The three-plane picture as a data address, empty where there is none.
        strip: What its slices say; None for a 3D network.
    """

    case_id: str
    patient: str
    fold: int
    label: str
    prediction: str
    confidence: float
    of_label: float
    wrong: bool
    picture: str
    strip: CaseStrip | None


def hardest_cases(run: RunFiles, count: int) -> list[HardCase]:
    """Wrong cases by falling confidence, then right ones by rising confidence.

    Args:
        run: The run.
        count: Most cases that are returned.
    """
    scored, names = run.scored, run.plan.classes
    wrong, confidence = scored.predicted != scored.labels, scored.confidence
    order = np.lexsort((np.where(wrong, -confidence, confidence), ~wrong))
    return [
        HardCase(
            case_id=run.case_ids[index],
            patient=str(scored.patients[index]),
            fold=int(scored.folds[index]),
            label=names[scored.labels[index]],
            prediction=names[scored.predicted[index]],
            confidence=float(confidence[index]),
            of_label=float(scored.probabilities[index, scored.labels[index]]),
            wrong=bool(wrong[index]),
            picture=_picture(run, run.case_ids[index]),
            strip=case_strip(run, index, f"strip{place}"),
        )
        for place, index in enumerate(order[:count].tolist())
    ]


def _picture(run: RunFiles, case_id: str) -> str:
    path = run.folder / "cases" / picture_name(case_id)
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return ""
    content = path.read_bytes()
    if not content.startswith(_PNG):
        return ""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
