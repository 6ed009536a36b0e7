"""`volclass audit`: everything that is wrong or doubtful in a data set, before any training."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from .audit_probe import probe_covariates, probe_shortcut, unsplit
from .audit_reading import Reading, pictures, read_data
from .config import Config
from .data.formats.rules import reading_by, rules_of
from .data.series_checks import shared_series
from .data.splits import class_order
from .data.thumbnail import FREQUENCIES, signature_from
from .data.volume import voxels_of
from .data.volumes import Refusal
from .errors import ConfigError
from .evaluation.audit_decisions import decisions_of
from .evaluation.audit_likeness import find_pairs
from .evaluation.audit_outliers import find_outliers
from .evaluation.audit_record import AuditRecord, RefusedVolume, SharedScan, write_audit
from .evaluation.audit_tables import (
    find_straddlers,
    group_tables,
    mixed_patients,
    scans_a_patient,
    telling_groups,
)
from .progress import Display
from .reports.audit_page import render_audit_page
from .reports.audit_pictures import pictured
from .reports.audit_words import console_lines
from .reports.redaction import hide_paths
from .storage import locked, make_folder, write_table, write_text

PAGE, RECORD, QUARANTINE = "index.html", "audit.json", "quarantine.csv"

#: A folder with one of these holds results that an audit would be mistaken for, or overwrite.
_RESULTS = ("config.yaml", "folds.json", "ladder.json", "competitor.json")


@dataclass(frozen=True)
class Audit:
    """What was found and written.

    Attributes:
        record: All of it.
        folder: Where page, record and quarantine lie.
    """

    record: AuditRecord
    folder: Path

    @property
    def passed(self) -> bool:
        """Whether nothing must be decided."""
        return not self.record.decisions

    def lines(self) -> list[str]:
        """The result in lines to print."""
        return [*console_lines(self.record), f"page: {self.folder / PAGE}"]


def audit(config: Config, out: Path, display: Display) -> Audit:
    """Examines every volume of a configuration's data, and writes page, record and quarantine.

    Volumes are preprocessed and cached on the way, so that training need not read them again.

    Args:
        config: Whose data are examined.
        out: Folder of the audit; an earlier audit in it is replaced.
        display: Where progress is shown.

    Raises:
        ConfigError: The folder holds something else, or several processes were started.
        DataError: The manifest is refused as a whole, or a volume changed meanwhile.
        StorageError: A file cannot be written.
    """
    held = [name for name in _RESULTS if (out / name).is_file()]
    if held:
        raise ConfigError(
            "an audit cannot be written among other results",
            where=str(out),
            why=f"the folder holds {held[0]}",
            remedy="choose another folder with --out",
        )
    make_folder(out)
    with locked(out, what="audit folder"), reading_by(rules_of(config.data)):
        reading = read_data(config, out, display)
        record = _record(reading, out / RECORD)
        page = render_audit_page(record, pictures(reading, pictured(record)))
        columns = [field.name for field in fields(Refusal)]
        rows = [item.model_dump(exclude={"label"}) for item in record.refused]
        write_table(out / QUARANTINE, columns, rows)
        write_text(out / PAGE, page)
        # The record comes last: where it lies, the audit is whole.
        write_audit(out / RECORD, record)
    return Audit(record, out)


def _record(reading: Reading, earlier: Path) -> AuditRecord:
    cases, run, volumes = reading.manifest.cases, reading.run, reading.volumes()
    labels = {case.case_id: case.label or "" for case in cases}
    classes = class_order(labels.values())
    refused = _refused(reading, labels)
    voxels = [voxels_of(run.contents[item.case_id]) for item in volumes]
    signatures = np.zeros((len(volumes), FREQUENCIES**3), dtype=np.int8)
    for row, facts in enumerate(reading.facts):
        signatures[row] = signature_from(facts.signature)
    alike = find_pairs(volumes, voxels, signatures)
    straddlers = find_straddlers([(case.case_id, case.patient_id, case.split) for case in cases])
    shortcut, allowed = probe_shortcut(reading, earlier), run.config.data.max_quarantine
    disguised, shared = probe_covariates(reading), _shared(reading)
    found = decisions_of(
        refused,
        allowed,
        alike.pairs,
        straddlers,
        unsplit(reading),
        shortcut,
        reading.problems,
        disguised,
        shared,
    )
    return AuditRecord(
        cases=len(cases),
        patients=len({case.patient_id for case in cases}),
        patients_assumed=reading.manifest.patients_assumed,
        classes=classes,
        decisions=found,
        refused=refused,
        allowed=allowed,
        doubts=reading.doubts(),
        pairs=alike.pairs,
        shared=shared,
        nearest=alike.nearest,
        crowded=alike.crowded,
        manifest=reading.problems,
        straddlers=straddlers,
        mixed_patients=mixed_patients([(case.patient_id, labels[case.case_id]) for case in cases]),
        outliers=find_outliers(volumes, reading.odd()),
        tables=group_tables(volumes, classes),
        telling=telling_groups(volumes, classes),
        disguised=disguised,
        scans=scans_a_patient([case.patient_id for case in cases]),
        shortcut=shortcut,
        volumes=tuple(volumes),
    )


def _shared(reading: Reading) -> tuple[SharedScan, ...]:
    found = shared_series(reading.manifest.cases, reading.run.contents, reading.run.store)
    return tuple(
        SharedScan(first=item.first.case_id, second=item.second.case_id, how=item.how)
        for item in found
    )


def _refused(reading: Reading, labels: dict[str, str]) -> tuple[RefusedVolume, ...]:
    return tuple(
        RefusedVolume(
            case_id=item.case_id,
            label=labels[item.case_id],
            file=item.file,
            code=item.code,
            reason=hide_paths(item.reason),
            remedy=hide_paths(item.remedy),
        )
        for item in reading.refused
    )
