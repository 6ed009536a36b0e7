"""What the words in the names of files and folders mean: a person, a scan, a sequence, a mask."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

#: Parts of a relative path: its folders, and the file's name without its ending.
Parts = tuple[str, ...]

_TOKEN = re.compile(r"[^\W_]+")
_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{4,6})?")
_DASHED_DATE = re.compile(
    r"(?<!\d)(?:19|20)\d\d[-_.](?:0[1-9]|1[0-2])[-_.](?:0[1-9]|[12]\d|3[01])(?!\d)"
)
#: The scan, visit or repetition: a number after such a word counts within a patient.
_COUNTERS = frozenset(
    "scan scans img image images im vol volume volumes ses session sess visit run acq rec echo "
    "frame time timepoint tp series slice year month week day study exam followup fu baseline bl "
    "site center centre scanner hospital batch part fold set dataset data".split()
)
#: What was measured or done to it, the same words for every patient.
_KINDS = frozenset(
    "ct cta cbct pt pet mr mri mra fmri spect us t1 t2 t1w t2w t1c t1ce t1n t2f t1gd t1post t2star "
    "flair t2flair dwi adc swi pd pdw stir dce asl bold dti tof hbv gre mprage spgr bravo space "
    "fat water inphase outphase pre post gd contrast native arterial venous portal delayed "
    "ax axial sag sagittal cor coronal left right anat func perf meg eeg brain head chest lung "
    "abdomen pelvis leg knee suv hu resampled registered reg norm normalized crop cropped "
    "nii nifti nrrd mha raw orig original final bet n4 std mni iso default".split()
)
#: Folders of kinds of data, which all patients have.
_STORES = frozenset(
    "anat func perf meg eeg dwi nii nifti nrrd mha raw orig original final processed preprocessed "
    "rawdata sourcedata niftis files".split()
)
_MASKS = frozenset(
    "mask masks seg segs dseg probseg segm segmentation segmentations label labels labelstr "
    "labelsts roi rois gt annotation annotations groundtruth".split()
)
_CLASS_WORDS = re.compile(
    r"(?:grade|class|stage|type|label|score|group|category|level|bi-?rads|pi-?rads|isup|gleason|"
    r"who|kl|cdr|hgg|lgg)(?![a-z])",
    re.IGNORECASE,
)
#: Names of folders that are surely no person's.
_CLASSES = frozenset(
    "ad cn mci hc nc td asd adhd scz hgg lgg control controls healthy normal abnormal patients "
    "case cases positive negative pos neg yes no true false benign malignant tumor tumour tumors "
    "notumor cancer lesion lesions disease diseased sick pathological covid covid19 noncovid "
    "responder nonresponder male female low high mild moderate severe".split()
)
_DISEASE = re.compile(r"[^\W\d_]{3,}(?:oma|itis|osis|emia|onia|pathy|cancer|tumou?r|plasia)s?")
_PERSON = re.compile(
    r"(?<![^\W\d_])(?:patient|participant|subject|subj|sub|pat|pid|mrn)"
    r"[-_ .#]*((?:[^\W\d_]{1,3}(?=\d))?\d+)",
    re.IGNORECASE,
)
#: `Pt01` is a patient at the start of a name; elsewhere, or with one digit, it may be a PET scan.
_PT = re.compile(r"pt(?!(?:19|20)\d{6})\d{2,}", re.IGNORECASE)
_CASE = re.compile(r"(?<![^\W\d_])case[-_ .#]*\d+", re.IGNORECASE)
_TIME = re.compile(r"t[1-9]\d", re.IGNORECASE)
#: A scan's number that is glued to the patient's: P01V2, 0012a.
_GLUED = re.compile(r"([^\W\d_]*\d+)(?:(?:visit|scan|tp|ses|run|v|t)\d+|[a-d])", re.IGNORECASE)


def words(text: str) -> list[tuple[str, int, int]]:
    """The runs of letters and digits of a name, each with its place; dates are left out."""
    bare = _DASHED_DATE.sub(lambda date: " " * len(date.group()), text)
    found = [(match.group(), match.start(), match.end()) for match in _TOKEN.finditer(bare)]
    return [item for item in found if not _DATE.fullmatch(item[0])]


def _plain(word: str, table: frozenset[str]) -> bool:
    low = word.casefold()
    if table is not _KINDS:
        return low in table or low.rstrip("0123456789") in table
    # One digit numbers a repetition (ct2); two or more are rather a patient's (CT01, Pt012).
    return (
        low in table
        or re.sub(r"(?<!\d)\d$", "", low) in table
        or re.fullmatch(r"[tv]\d|dwi\d{2,4}", low) is not None
    )


def core(name: str, counters: bool = True) -> list[tuple[str, int, int]]:
    """The words that may name a patient: after leading words of scan or kind, up to the next one.

    Args:
        name: Of a file without its ending, or of a folder.
        counters: Whether to leave out the words that count scans, too.
    """
    kept: list[tuple[str, int, int]] = []
    counted = False
    for word, start, end in words(name):
        counter = counters and _plain(word, _COUNTERS)
        number = counted and word.isdecimal()
        counted = counter and word.casefold() in _COUNTERS
        # Behind an id T10 is a time as T1 is; in front of all, the tenth of T01 to T12.
        time = bool(kept) and _TIME.fullmatch(word)
        if not (counter or number or time or _plain(word, _KINDS)):
            glued = _GLUED.fullmatch(word)
            kept.append((word, start, start + len(glued.group(1)) if glued else end))
            if glued:
                break
        elif kept:
            break
    return [(name[start:end], start, end) for _, start, end in kept]


def id_key(text: str) -> str:
    """An id without case, separators and leading zeros, by which spellings of it are one."""
    runs = re.findall(r"\d+|[^\W\d_]+", text.casefold())
    return "_".join(run.lstrip("0") or "0" if run.isdecimal() else run for run in runs)


def person(name: str) -> str | None:
    """`patient01`, `PAT-0012`, `subj_3`: a word for a person with a number."""
    match = _PERSON.search(name) or _PT.match(name)
    return match.group() if match else None


def numbered_case(name: str) -> str | None:
    """`CASE12`, `case_00003`."""
    match = _CASE.search(name)
    return match.group() if match else None


def looks_like_id(name: str) -> bool:
    """Whether a folder of this name rather holds one patient than one class."""
    if person(name) or numbered_case(name) or re.match(r"sub-[A-Za-z0-9]", name):
        return True
    if _CLASS_WORDS.match(name):
        return False
    return any(re.search(r"\d{2}", word) for word, *_ in core(name))


def is_class(name: str) -> bool:
    """Whether a folder's name is a usual word for a class: `tumor`, `CN`, `grade2`, `0`."""
    low = name.casefold().strip()
    if low == "0" or low in _CLASSES or _CLASS_WORDS.match(low):
        return True
    return any(
        word in _CLASSES or _DISEASE.fullmatch(word) for word in re.findall(r"[^\W\d_]+", low)
    )


def named_as_classes(names: Collection[str]) -> bool:
    """Whether most names are usual words for classes; one may be a person's initials (AD)."""
    return sum(map(is_class, names)) >= len(names) / 2


def is_technical(name: str) -> bool:
    """A folder that names neither patient nor class: `imagesTr`, `anat`, `ses-01`, `site2`."""
    found = words(re.sub(r"(?:Tr|Ts|Va|Val)$", "", name))
    if not found:  # a date, or signs alone, such as + and -
        return any(map(str.isalnum, name))
    return _plain(found[0][0], _COUNTERS) or name.casefold() in _STORES


def is_mask(parts: Parts) -> bool:
    """Whether a path looks like a segmentation or another thing derived from a scan."""
    *folders, stem = parts
    if any(folder.casefold() in (*_MASKS, "derivatives") for folder in folders):
        return True
    found = [word.casefold().rstrip("0123456789") for word, *_ in words(stem)]
    while found and not found[-1]:
        found.pop()
    if not found:
        return False
    return found[-1] in _MASKS or found[-1].endswith(("mask", "seg")) or found[0] in _MASKS


def bids_subject(parts: Sequence[str]) -> str | None:
    """`sub-XXX` of the first folder that has it, else of the file's name."""
    for part in parts:
        match = re.search(r"(?:^|_)(sub-[A-Za-z0-9]+)", part)
        if match:
            return match.group(1)
    return None


def archive_id(parts: Sequence[str]) -> str | None:
    """The patient's part of an id of TCGA, CPTAC or ADNI, wherever it stands."""
    for part in parts:
        match = re.search(
            r"(?<![A-Za-z0-9])(?:TCGA-\w{2}-\w{4}|C3[LN]-\d{5}|\d{3}_S_\d{4,5})(?![A-Za-z0-9])",
            part,
            re.IGNORECASE,
        )
        if match:
            return match.group()
    return None
