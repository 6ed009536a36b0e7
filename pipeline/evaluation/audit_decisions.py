"""What an audit leaves to be decided before training: each with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .audit_record import (
    Area,
    Decision,
    ManifestProblem,
    Pair,
    RefusedVolume,
    SharedScan,
    Sharing,
    Shortcut,
    Straddler,
)

_REMOVE = "remove one of the two from the manifest"
#: By the gravest contradiction: the code, what is wrong, and what to do.
_SAME: dict[str, tuple[str, str, str]] = {
    "label": (
        "E_LABEL_CONFLICT",
        "the same voxels and other labels",
        f"find out which label is right; {_REMOVE}",
    ),
    "patient": (
        "E_DUP_CONTENT",
        "the same voxels and other patients",
        f"{_REMOVE}, or give both the same patient_id",
    ),
    "split": ("E_DUP_SPLIT", "the same voxels in other parts of the split", _REMOVE),
}
_NEAR: dict[str, tuple[str, str, str]] = {
    "label": (
        "W_NEAR_LABEL",
        "nearly the same picture and other labels",
        f"look at both pictures; if they are one scan, {_REMOVE}",
    ),
    "patient": (
        "W_NEAR_PATIENT",
        "nearly the same picture and other patients",
        f"look at both pictures; if they are one scan, {_REMOVE}, or give both one patient_id",
    ),
    "split": (
        "W_NEAR_SPLIT",
        "nearly the same picture in other parts of the split",
        f"look at both pictures; if they are one scan, {_REMOVE}",
    ),
}
#: What to do about cases that share a DICOM series.
SHARING_REMEDY = (
    "put all files of a series into one folder, name that once, and move copies elsewhere; give "
    "stacks of one series, such as echoes, one patient_id; scans that only pass for one series "
    "must be exported again, with their own series UIDs"
)
#: What two cases with images of one DICOM series are.
_SHARED: dict[Sharing, str] = {
    "parts": "parts of one scan",
    "renamed": "parts of one scan, though their headers name other patients or studies",
    "copies": "copies of one scan",
    "stacks": "stacks of one scan, under other patients",
}


def decisions_of(
    refused: Sequence[RefusedVolume],
    allowed: int,
    pairs: Sequence[Pair],
    straddlers: Sequence[Straddler],
    folds: Decision | None,
    shortcut: Shortcut,
    manifest: Sequence[ManifestProblem] = (),
    disguised: Sequence[str] = (),
    shared: Sequence[SharedScan] = (),
) -> tuple[Decision, ...]:
    """Everything that must be decided, the gravest first; nothing where all is well.

    Args:
        refused: Volumes that cannot be used.
        allowed: How many of them the configuration leaves out: that is decided already.
        pairs: Cases that show the same.
        straddlers: Patients in several parts of the split.
        folds: Why the cases cannot be split into folds; None where they can.
        shortcut: What metadata tell.
        manifest: Lines of the manifest that are refused.
        disguised: What covariates tell, a sentence for each that tells the label.
        shared: Cases that hold images of one DICOM series.
    """
    found = [*_lines(manifest), *_refused(refused, allowed), *_shared(shared), *_pairs(pairs)]
    found += _straddling(straddlers)
    found += [folds] if folds is not None else []
    return tuple([*found, *_shortcut(shortcut), *_disguised(disguised)])


def _lines(manifest: Sequence[ManifestProblem]) -> Iterator[Decision]:
    if manifest:
        count = len({item.line for item in manifest})
        first = manifest[0]
        yield Decision(
            code="E_MANIFEST",
            what=f"{count} line{'s' if count > 1 else ''} of the manifest cannot be used, and "
            f"{'are' if count > 1 else 'is'} left out here; line {first.line}: {first.text}",
            remedy="correct the lines, which the page lists: training stops at them",
        )


def _disguised(disguised: Sequence[str]) -> Iterator[Decision]:
    for text in disguised:
        yield Decision(
            code="W_DISGUISED",
            what=text.rstrip("."),
            remedy="leave out of data.covariates what was measured after the diagnosis, or made "
            "of it",
        )


def _refused(refused: Sequence[RefusedVolume], allowed: int) -> Iterator[Decision]:
    if len(refused) > allowed:
        count = len(refused)
        yield Decision(
            code="E_REFUSED",
            what=f"{count} volume{'s' if count > 1 else ''} cannot be used",
            remedy="mend or remove them, each as quarantine.csv says; or set "
            f"data.max_quarantine={count} to leave them out",
            cases=tuple(item.case_id for item in refused),
        )


def _shared(shared: Sequence[SharedScan]) -> Iterator[Decision]:
    if shared:
        count, item = len(shared), shared[0]
        yield Decision(
            code="E_DICOM_PARTS",
            what=f"{count} pair{'s hold' if count > 1 else ' holds'} images of one DICOM series "
            f"({item.first} and {item.second} are {_SHARED[item.how]})",
            remedy=SHARING_REMEDY,
            cases=tuple(dict.fromkeys(name for p in shared for name in (p.first, p.second))),
        )


def _pairs(pairs: Sequence[Pair]) -> Iterator[Decision]:
    for kind, words in (("same", _SAME), ("near", _NEAR)):
        for differs, (code, what, remedy) in words.items():
            own = [pair for pair in pairs if pair.kind == kind and pair.differs[:1] == (differs,)]
            if own:
                count = len(own)
                yield Decision(
                    code=code,
                    what=f"{count} pair{'s have' if count > 1 else ' has'} {what}",
                    remedy=remedy,
                    cases=tuple(dict.fromkeys(name for p in own for name in (p.first, p.second))),
                )


def _straddling(straddlers: Sequence[Straddler]) -> Iterator[Decision]:
    if straddlers:
        count = len(straddlers)
        yield Decision(
            code="E_STRADDLE",
            what=f"{count} patient{'s are' if count > 1 else ' is'} in several parts of the split",
            remedy="put all cases of a patient into one part, or use cv.scheme=kfold and drop the "
            "split column",
            cases=tuple(
                name for item in straddlers for part in item.parts.values() for name in part
            ),
        )


def _shortcut(shortcut: Shortcut) -> Iterator[Decision]:
    if shortcut.tells and shortcut.auroc is not None and shortcut.header is not None:
        yield Decision(
            code="W_SHORTCUT",
            what=f"the label can be told from metadata: AUROC {_span(shortcut.auroc)} from "
            "spacing, size, orientation, tilt, voxel type, format, site, and the lowest and "
            f"highest grey value; {_span(shortcut.header)} without these two values",
            remedy="see in the tables which of them goes with the label; collect both classes "
            "alike, leave out what only one class has, or compare every result with this one",
        )


def _span(area: Area) -> str:
    if area.estimate is None:
        return "not defined"
    told = "" if area.low is None else f" (95 % interval {area.low:.2f} to {area.high:.2f})"
    return f"{area.estimate:.2f}{told}"
