"""What an audit found, in plain English: the verdict, what to do, and what it cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from ..evaluation.audit_near import GAP, SHARE
from ..evaluation.audit_record import Area, AuditRecord, Decision, Pair, Telling
from .wording import MISSING, counted, number

#: Names in a list before it is cut short.
_SHOWN = 5

_OUTLIER_NAMES = {
    "W_SPACING_OUTLIER": "spacing",
    "W_SHAPE_OUTLIER": "size",
    "W_FIELD_OF_VIEW": "field of view",
    "W_MODALITY": "modality",
    "W_INTENSITY_OUTLIER": "grey values",
    "W_ORIENTATION_OTHER": "orientation",
}
_CONTRADICTIONS = {"label": "other labels", "patient": "other patients", "split": "other parts"}
_ALONG = {"x": "left and right", "y": "front and back", "z": "top and bottom"}


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def begun(text: str) -> str:
    """Text that begins like a sentence."""
    return text[:1].upper() + text[1:]


def span(area: Area) -> str:
    """An AUROC with its interval, in a few words."""
    if area.low is None or area.high is None:
        return f"{number(area.estimate, 2)}, no interval"
    return f"{number(area.estimate, 2)}, 95 % interval {area.low:.2f} to {area.high:.2f}"


def chip(record: AuditRecord) -> tuple[str, str]:
    """The verdict as a kind (good, open, bad) and a few words."""
    if record.decisions:
        return "bad", "Do not train yet: something must be decided."
    odd = record.doubts or record.outliers or record.telling or record.crowded
    if odd or record.patients_assumed:
        return "open", "Nothing must be decided; some things are worth a look."
    return "good", "Nothing wrong was found."


def sentence(record: AuditRecord) -> str:
    """What was examined, and what became of it."""
    usable = len(record.volumes)
    if usable == record.cases:
        read = f"All {counted(record.cases, 'volume')} can be read."
    else:
        read = f"{usable} of {counted(record.cases, 'volume')} can be read."
    unlike = len({item.case_id for item in record.outliers})
    doubtful = len({item.case_id for item in record.doubts})
    seen = [
        f"{counted(unlike, 'volume')} unlike the others" if unlike else "",
        f"{counted(doubtful, 'file')} read with a doubt" if doubtful else "",
    ]
    told = " and ".join(text for text in seen if text)
    return f"{read} {begun(told)}." if told else read


def console_lines(record: AuditRecord) -> list[str]:
    """The result in lines to print: each thing to decide with what to do, then what was seen."""
    lines = [f"{chip(record)[1]} {sentence(record)}"]
    for place, item in enumerate(record.decisions, 1):
        lines.append(f"{place}. {item.code}: {decision_text(item)}")
        lines.append(f"   what to do: {item.remedy}")
    copies = sum(not pair.differs for pair in record.pairs)
    if copies:
        lines.append(f"{counted(copies, 'pair')} of one patient and label show the same")
    lines += [telling_text(item) for item in record.telling]
    if record.crowded:
        lines.append(crowded_text(record))
    if record.mixed_patients:
        lines.append(
            f"{counted(len(record.mixed_patients), 'patient')} with several labels: all in one fold"
        )
    if not record.shortcut.tells:
        lines.append(shortcut_text(record))
    return lines


def decision_text(item: Decision) -> str:
    """What must be decided, with the first cases that it concerns."""
    return f"{item.what}: {listed(item.cases)}" if item.cases else item.what


def shortcut_text(record: AuditRecord) -> str:
    """What metadata tell of the label, in a sentence."""
    found = record.shortcut
    if found.auroc is None:
        return f"Whether metadata tell the label was not measured: {found.reason}"
    if found.auroc.estimate is None:
        return f"Whether metadata tell the label cannot be said: {found.auroc.reason}"
    told = "tell the label" if found.tells else "are not shown to tell the label"
    return f"Metadata {told}: AUROC {span(found.auroc)}"


def header_text(record: AuditRecord) -> str:
    """What metadata tell without the lowest and the highest grey value."""
    header = record.shortcut.header
    return "" if header is None else f"AUROC {span(header)}"


def chance_text(p: float | None) -> str:
    """A permutation test's p-value in words."""
    return "no permutation test" if p is None else f"shuffled labels: p = {p:.3f}"


def telling_text(item: Telling) -> str:
    """Groups of one class alone, with the number of patients in each."""
    groups = listed([f"{group}: {label} ({who} patients)" for group, label, who in item.groups])
    return f"By {item.name}, groups hold one class alone: {groups}"


def crowded_text(record: AuditRecord) -> str:
    """That copies cannot be told from lookalikes."""
    return (
        f"{counted(len(record.crowded), 'volume')} have so many lookalikes that copies among them "
        f"cannot be told: {listed(record.crowded)}"
    )


def notices(record: AuditRecord) -> list[tuple[bool, str, str]]:
    """What the reader must know first: whether it is grave, a headline and a sentence."""
    found = []
    if record.shortcut.tells and record.shortcut.auroc is not None:
        text = (
            "A model that knows spacing, size, orientation, tilt, voxel type, file format and "
            "site, and of the voxels the lowest and the highest value alone, ranks the classes "
            f"better than chance: AUROC {span(record.shortcut.auroc)}; without the two values: "
            f"{header_text(record)}. A network can read most of these from the voxels too, and "
            "may look good without having learnt what you want to know."
        )
        found.append((True, "Shortcut: the label can be told from metadata alone.", text))
    found += [(True, "Label in disguise.", text) for text in record.disguised]
    for item in record.telling:
        text = f"{telling_text(item)}. A network that reads the group has the label."
        found.append((False, f"Classes are split by {item.name}.", text))
    if record.crowded:
        text = f"{crowded_text(record)}. Look at them yourself."
        found.append((False, "Some volumes look too much alike.", text))
    if record.patients_assumed:
        text = (
            "Every case counts as a patient of its own. If a patient has several scans, all "
            "results will be too good: add a column patient_id."
        )
        found.append((False, "The manifest has no patient column.", text))
    return found


def pair_text(pair: Pair) -> str:
    """What two volumes have in common, and what contradicts it."""
    same = "The same voxels" if pair.kind == "same" else "Nearly the same picture"
    if pair.mirrored:
        same += ", mirrored: " + " and ".join(_ALONG[axis] for axis in pair.mirrored) + " exchanged"
    same += ", with its axes exchanged (rotated or mirrored)" if pair.turned else ""
    same += ", with bright and dark exchanged" if pair.inverted else ""
    told = [_CONTRADICTIONS[name] for name in pair.differs]
    return f"{same}; {' and '.join(told)}" if told else f"{same}; one patient and label"


def likeness(record: AuditRecord) -> str:
    """How sure it is that copies were told from lookalikes."""
    if record.nearest is None:
        return "There is no other pair to compare with."
    return (
        "What all volumes have in common is taken out first. Pictures are taken for copies that "
        f"are nearer to each other than {SHARE:g} of the distance to their usual neighbours (where "
        f"a gap tells them apart: {GAP[0]:g}); the "
        f"nearest pair of others lies at {record.nearest:.2f} (0: the same picture, 1: nothing in "
        "common)."
    )


def outlier_name(code: str) -> str:
    """In which way a volume is unlike the others."""
    return _OUTLIER_NAMES.get(code, code)


def outlier_rules() -> str:
    """When a volume is unlike the others."""
    return (
        "Unlike the others is what lies farther from the median than five standard deviations "
        "(estimated by the median absolute deviation) and than a factor of 2 (grey values: 4); "
        "what training warns of too: spacings and sizes at many times the median, less than 20 mm "
        "in view, CT among others; and an orientation that most do not have. None is refused."
    )


def limits(record: AuditRecord) -> list[str]:
    """The limits of this evidence, the gravest first."""
    found = [
        "Whether labels and patients are right: it compares volumes with each other, and the "
        "manifest with itself, never with the truth.",
        "Whether left and right are right: a header that is wrong and consistent looks like a "
        "right one. Look at the letters in the pictures.",
        "Copies that were cropped, warped, or rotated by other than right angles, copies in a set "
        "of two volumes, and several copies of more than half of a set: only the same voxels are "
        "sure to be found, and mirrored, rotated by right angles, inverted, noisy, rescaled and "
        "resampled copies as far as they are nearer than other volumes are.",
        "That two pictures are one scan: lookalikes are candidates, for you to judge.",
    ]
    if not record.shortcut.tells:
        found.append(
            "That there is no shortcut: covariates that the configuration does not name are not "
            "judged, a mark burnt into the voxels, a scanner's noise or a table's edge is no "
            "metadata, and few patients show strong shortcuts only."
        )
    return found


def area_text(area: Area | None) -> tuple[str, str]:
    """An AUROC and its interval, each as a cell."""
    if area is None:
        return MISSING, ""
    if area.low is None or area.high is None:
        return number(area.estimate, 2), "no interval"
    return number(area.estimate, 2), f"{area.low:.2f} to {area.high:.2f}"
