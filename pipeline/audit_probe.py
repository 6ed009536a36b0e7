"""The shortcut probe of an audit: can the cases be split, and do metadata tell the label?"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .audit_reading import Reading
from .baselines import answer_by, disguised_covariates, metadata_chance, metadata_digest
from .data.fingerprint import FileFacts
from .data.formats.rules import reading_by, rules_of
from .data.metadata_table import metadata_table, without_greys
from .data.splits import Folds, make_folds
from .errors import DataError, StorageError
from .evaluation.audit_record import Decision, Shortcut, read_audit
from .evaluation.audit_shortcut import Judged, judged_shortcut
from .evaluation.baselines import CaseTable
from .evaluation.competitors import is_competitor, read_competitor
from .run import Run, RunFolder
from .storage import sha256

#: Folder of the answers within that of the audit; `volclass report` takes it.
_FOLDER = "metadata"
_TITLE = "what metadata tell"
#: The same without grey values, within that folder.
_HEADER = "header"
_HEADER_TITLE = "what headers tell"
#: Of the findings of a reader, this one is about voxels.
_OF_VOXELS = ("W_SPARSE",)


def unsplit(reading: Reading) -> Decision | None:
    """Why the configuration's folds cannot be made; None where they can.

    Patients in several parts of the split are told case by case elsewhere.
    """
    try:
        make_folds(reading.usable, reading.run.config.cv, reading.run.config.seed)
    except DataError as error:
        code, _, what = error.what.partition(": ")
        if code == "E_STRADDLE":
            return None
        where = "" if error.where is None else f" ({error.where})"
        why = "" if error.why is None else f": {error.why}"
        return Decision(code=code, what=f"{what}{where}{why}", remedy=error.remedy or "")
    return None


def probe_shortcut(reading: Reading, record: Path) -> Shortcut:
    """How well the label is told by metadata: by patient, whatever split the manifest has.

    Args:
        reading: The volumes.
        record: `audit.json` of an earlier audit, if there is one: where nothing that decides the
            figures has changed since, they are taken from it.

    Raises:
        StorageError: A file cannot be written.
    """
    folds = _folds(reading)
    if isinstance(folds, str):
        return Shortcut(reason=folds)
    run, folder = reading.run, reading.run.folder.path / _FOLDER
    probed = replace(run, folder=RunFolder(folder), folds=folds)
    samples, seed = run.config.report.bootstrap, run.config.seed
    doubts = _doubts(reading)
    parts = [
        *(folds.sha256, sorted(run.contents.items()), metadata_digest(probed, _files(reading))),
        *(sorted(doubts.items()), samples, seed),
    ]
    key = sha256(json.dumps(parts).encode())
    known = _known(record)
    whole = all(is_competitor(place) for place in (folder, folder / _HEADER))
    if known is not None and known.key == key and whole:
        return known
    table = _table(reading, probed, doubts)
    headers = without_greys(table)
    answer_by("metadata", probed, _TITLE, table)
    answer_by("header", replace(probed, folder=RunFolder(folder / _HEADER)), _HEADER_TITLE, headers)
    return judged_shortcut(
        Judged(read_competitor(folder), metadata_chance("metadata", probed, table)),
        Judged(read_competitor(folder / _HEADER), metadata_chance("header", probed, headers)),
        key,
        resamples=samples,
        seed=seed,
    )


def probe_covariates(reading: Reading) -> tuple[str, ...]:
    """What the configuration's covariates tell of the label, a sentence for each that tells it.

    Raises:
        DataError: A covariate has no known cell.
    """
    folds = _folds(reading)
    if isinstance(folds, str):
        return ()
    return disguised_covariates(replace(reading.run, folds=folds))


def _doubts(reading: Reading) -> dict[str, str]:
    """Codes of what was doubtful in the header of each case's file, as one word."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for item in reading.doubts():
        if item.code not in _OF_VOXELS:
            found[item.case_id].add(item.code)
    return {case_id: " ".join(sorted(codes)) for case_id, codes in found.items()}


def _folds(reading: Reading) -> Folds | str:
    """Folds by patient, as many of the configured ones as can be; or why there are none."""
    cv, why = reading.run.config.cv, ""
    for count in range(max(cv.folds, 2), 1, -1):
        options = cv.model_copy(update={"scheme": "kfold", "folds": count})
        try:
            return make_folds(reading.usable, options, reading.run.config.seed)
        except DataError as error:
            why = error.what.partition(": ")[2] + (f": {error.why}" if error.why else "")
    return why


def _known(path: Path) -> Shortcut | None:
    if not path.is_file():
        return None
    try:
        return read_audit(path).shortcut
    except StorageError:  # damaged, or of another version: this audit replaces it
        return None


def _table(reading: Reading, run: Run, doubts: Mapping[str, str]) -> CaseTable:
    """The metadata of all cases of a run's folds; no volume is read for it again."""
    facts = dict(zip((case.case_id for case in reading.usable), reading.facts, strict=True))
    case_ids = sorted(run.folds.cases)
    with reading_by(rules_of(run.config.data)):
        found = [facts[case_id].surroundings for case_id in case_ids]
        return metadata_table(run.select(tuple(case_ids)), found, doubts, _files(reading))


def _files(reading: Reading) -> dict[str, FileFacts]:
    return dict(zip((case.case_id for case in reading.usable), reading.files, strict=True))
