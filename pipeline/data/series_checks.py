"""Cases that share a DICOM series, though one case has a whole series, and one series one patient.

What is compared is what was kept of them when they were read (`series_part`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from ..evaluation.audit_decisions import SHARING_REMEDY
from ..evaluation.audit_record import Sharing
from .cases import Case
from .formats.dicom_folder import split_series
from .series_part import SeriesPart
from .volume import Reason, voxels_of
from .volumes import VolumeStore

_WORDS: dict[Sharing, str] = {
    "parts": "are parts of one DICOM series",
    "renamed": "are parts of one DICOM series, though their headers name other patients or studies",
    "copies": "are copies of one DICOM series",
    "stacks": "are stacks of one DICOM series, under other patients",
}


@dataclass(frozen=True, slots=True)
class SharedSeries:
    """Two cases with images of one series, and how they share it."""

    first: Case
    second: Case
    how: Sharing

    @property
    def text(self) -> str:
        """Both cases with their files' names, and what they are."""
        named = [f"{case.case_id} ({case.image.name})" for case in (self.first, self.second)]
        return f"{' and '.join(named)} {_WORDS[self.how]}"


def shared_series(
    cases: Sequence[Case],
    contents: Mapping[str, str],
    store: VolumeStore,
    *,
    patients: bool = True,
) -> tuple[SharedSeries, ...]:
    """Each case that shares a series with another as it should not, with the first such one.

    Volumes that were read tell it themselves. Headers are read of those that were refused alone:
    what is left of a series without them is not whole.

    Args:
        cases: All that are held against each other, and those that were refused.
        contents: Content hash of each case that was read, by case id.
        store: It has read them.
        patients: Whether the cases' patients are known.
    """
    series = [case for case in cases if _folder(case).is_dir()]
    told = {case.case_id: store.series_of(case) for case in series if case.case_id in contents}
    parts = {name: part for name, part in told.items() if part is not None}
    read = [case for case in series if case.case_id in parts]
    refused = [case for case in series if case.case_id not in contents]
    among_read = _among_read(read, parts, contents, patients=patients)
    return (*among_read, *_with_refused(refused, read, parts, store))


def _among_read(
    cases: Sequence[Case],
    parts: Mapping[str, SeriesPart],
    contents: Mapping[str, str],
    *,
    patients: bool,
) -> Iterator[SharedSeries]:
    of_series: defaultdict[str, list[Case]] = defaultdict(list)
    with_picture: defaultdict[str, list[str]] = defaultdict(list)
    for case in cases:
        part, content = parts[case.case_id], contents[case.case_id]
        pictured = {name for picture in part.pictures for name in with_picture[picture]}
        for other in of_series[part.series]:
            how = _sharing(
                parts[other.case_id],
                part,
                same_voxels=voxels_of(contents[other.case_id]) == voxels_of(content),
                same_pictures=other.case_id in pictured,
            )
            if how and (how != "stacks" or (patients and other.patient_id != case.patient_id)):
                yield SharedSeries(other, case, how)
                break
        of_series[part.series].append(case)
        for picture in part.pictures:
            with_picture[picture].append(case.case_id)


def _sharing(
    one: SeriesPart, other: SeriesPart, *, same_voxels: bool = False, same_pictures: bool = False
) -> Sharing | None:
    """How two stacks of one series UID share a scan; None where they merely pass for it.

    Args:
        one: A stack.
        other: Another of the series.
        same_voxels: Whether both are one volume.
        same_pictures: Whether an image of one is an image of the other.
    """
    if not one.is_of_one_owner(other):
        # Tools give all scans one UID, but they give none the images of another.
        cut = one.is_of_one_stack(other) and one.goes_on_in(other) and one.lies(other) == "parts"
        return "renamed" if cut or (same_pictures and not same_voxels) else None
    lie = one.lies(other)
    if lie == "again" and same_pictures:
        return "copies" if same_voxels else "parts"
    return "parts" if lie == "parts" else "stacks"


def _with_refused(
    refused: Sequence[Case],
    read: Sequence[Case],
    parts: Mapping[str, SeriesPart],
    store: VolumeStore,
) -> Iterator[SharedSeries]:
    of_series: defaultdict[str, list[Case]] = defaultdict(list)
    for case in read:
        of_series[parts[case.case_id].series].append(case)
    for case in refused if read else ():
        stacks = _stacks_of(store.slices_in(case))
        near = ((other, found) for name, found in stacks.items() for other in of_series[name])
        for other, found in near:
            how = _left_of(parts[other.case_id], found)
            # Of a folder with several series, one may be read and another be refused.
            if how and _folder(other) != _folder(case):
                yield SharedSeries(other, case, how)
                break


def _stacks_of(slices: Sequence[SeriesPart]) -> dict[str, list[SeriesPart]]:
    """By series, what is surely of one stack together, so that each slice is not compared alone."""
    alike: defaultdict[tuple[object, ...], list[SeriesPart]] = defaultdict(list)
    for item in slices:
        told = (*item.owner.values(), *item.kind.values(), *item.settings.values())
        corner = tuple(round(place, 1) for place in item.corner)
        key = (item.series, told, item.size, item.directions, item.spacing, corner)
        alike[key].append(item)
    stacks: defaultdict[str, list[SeriesPart]] = defaultdict(list)
    for first, *others in alike.values():
        if first.heights:
            stacks[first.series].append(first.with_slices(others))
    return stacks


def _left_of(read: SeriesPart, stacks: Sequence[SeriesPart]) -> Sharing | None:
    """Whether stacks that were refused hold slices that one that was read lacks."""
    of_owner: defaultdict[tuple[str, ...], list[SeriesPart]] = defaultdict(list)
    for stack in stacks:
        if read.is_of_one_stack(stack):
            of_owner[tuple(stack.owner.values())].append(stack)
    for first, *others in of_owner.values():
        whole = first.with_slices(others)
        how = _sharing(read, whole) if whole.lacking(read) else None
        if how in ("parts", "renamed"):
            return how
    return None


def _folder(case: Case) -> Path:
    return split_series(case.image)[0]


def check_series(
    cases: Sequence[Case],
    contents: Mapping[str, str],
    store: VolumeStore,
    *,
    patients: bool = True,
) -> None:
    """Refuses cases that share a DICOM series; the arguments are those of `shared_series`.

    Raises:
        DataError: E_DICOM_PARTS; lists every pair.
    """
    found = shared_series(cases, contents, store, patients=patients)
    if found:
        code = Reason.E_DICOM_PARTS.name
        raise DataError(
            "one DICOM series stands in several cases",
            why="".join(f"\n    - {code}: {item.text}" for item in found),
            remedy=SHARING_REMEDY,
        )
