"""What was doubtful in the accepted volumes of a set: in words, with a remedy for each code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from .cases import Case
from .outliers import outliers
from .volume import WarningCode
from .volumes import VolumeStore

_GEOMETRY = "look whether the pictures of the report show it undistorted; if not, convert it again"
_MEANT = "leave it out if it was not meant to be here"

#: What to do about each doubt, if the volume is not what it should be.
REMEDIES: dict[WarningCode, str] = {
    "W_TRAILING": "copy or export it again if more than one image was expected in it",
    "W_SKIPPED": "move what belongs elsewhere out of the folder",
    "W_SERIES": "look whether all slices are of one scan; if not, split the folder",
    "W_SLICES": "compare the number of slices with the archive, and export it again if some lack",
    "W_NAME": "give the file the ending of its format",
    "W_SLOPE": "convert it again if its grey values must be those of a scanner's scale",
    "W_ORIENTATION": f"{_GEOMETRY}, or set data.prefer",
    "W_SPACING": f"{_GEOMETRY}, with sizes in mm",
    "W_SHEAR": f"{_GEOMETRY} (dcm2niix straightens)",
    "W_FRAME": "set data.frame to the frame that is meant",
    "W_FILLED": "mask or mend those voxels if they lie in what matters, or are brighter",
    "W_SPARSE": "look whether it shows anything; leave it out if not",
    "W_WRAPPED": "convert it again with signed voxels",
    "W_SPACING_OUTLIER": f"look whether its size is in mm; {_MEANT}",
    "W_SHAPE_OUTLIER": f"look whether it is the whole volume, or one image; {_MEANT}",
    "W_FIELD_OF_VIEW": f"look whether what matters is in view; {_MEANT}",
    "W_MODALITY": f"look whether it is of the same modality; {_MEANT}",
    "W_MASK_LOST": "raise preprocess.size, or change preprocess.crop or preprocess.fit",
}


def doubts(store: VolumeStore, cases: Sequence[Case]) -> dict[WarningCode, str]:
    """What was doubtful in accepted volumes, in words by code: the first file, and what to do."""
    found: defaultdict[WarningCode, list[tuple[str, str]]] = defaultdict(list)
    extents = {case: extent for case in cases if (extent := store.extent_of(case)) is not None}
    odd = outliers(list(extents.values()))
    of_set = dict(zip(extents, odd, strict=True))
    for case in cases:
        findings = store.findings_of(case)
        findings += [(case.image.name, finding) for finding in of_set.get(case, ())]
        for name, finding in findings:
            found[finding.code].append((name, finding.text))
    return {code: _in_words(code, found[code]) for code in sorted(found)}


def _in_words(code: WarningCode, items: Sequence[tuple[str, str]]) -> str:
    kind = "mask" if code == "W_MASK_LOST" else "volume"
    (name, text), several = items[0], "s" if len(items) > 1 else ""
    return f"{len(items)} {kind}{several}, e.g. {name}: {text}; {REMEDIES[code]}"
