"""The volumes of an audit: read as training reads them, and what else must be known of each.

What is read here is kept in the cache folder, by content or by the stamp of its files: a second
audit reads nothing again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from .build import build_accelerator, build_manifest, build_store
from .config import Config
from .data.cache import stamp_of
from .data.cases import Case
from .data.doubts import REMEDIES
from .data.fingerprint import FileFacts, file_facts, remembered
from .data.formats.dispatch import read_volume
from .data.manifest import Manifest
from .data.manifest_rows import ManifestError
from .data.outliers import outliers
from .data.splits import Folds
from .data.volume import volume_of
from .data.volume_facts import FACTS, FACTS_NAME, VolumeFacts, volume_facts
from .data.volumes import Refusal, prepare
from .errors import ConfigError, DataError
from .evaluation.audit_record import AuditedVolume, Doubt, ManifestProblem
from .progress import Display, making_bar
from .reports.pictures import three_planes
from .reports.redaction import hide_paths
from .run import Run, RunFolder
from .storage import make_folder, sha256, write_bytes

_FOLDER = "audit"
#: The number is raised when the same file begins to have other facts.
_FILES_NAME = "file-facts-1.json"
_FILES: TypeAdapter[dict[str, FileFacts]] = TypeAdapter(dict[str, FileFacts])


@dataclass(frozen=True)
class Reading:
    """All volumes of a manifest, read.

    Attributes:
        run: With the cases that can be used, and without folds.
        manifest: Where they stand.
        refused: What cannot be used; its words name no folder.
        facts: Of each usable case.
        files: How each usable case was written.
        problems: Lines of the manifest that were left out.
    """

    run: Run
    manifest: Manifest
    refused: tuple[Refusal, ...]
    facts: tuple[VolumeFacts, ...]
    files: tuple[FileFacts, ...]
    problems: tuple[ManifestProblem, ...] = ()

    @property
    def usable(self) -> tuple[Case, ...]:
        """Cases that can be used, in the order of the facts."""
        return tuple(self.run.cases.values())

    @property
    def kept(self) -> Path:
        """Folder of what is kept of each volume."""
        return self.run.cache / _FOLDER

    def volumes(self) -> list[AuditedVolume]:
        """Every usable volume, as the record lists it."""
        return [
            AuditedVolume(
                case_id=case.case_id,
                patient_id=case.patient_id,
                label=case.label or "",
                site=case.site,
                split=case.split,
                file=case.image.name,
                voxel_type=file.voxel_type,
                file_format=file.file_format,
                spacing=facts.surroundings.extent.spacing,
                shape=facts.surroundings.extent.shape,
                orientation=facts.surroundings.orientation,
                tilt=facts.surroundings.tilt,
                lowest=facts.surroundings.extent.lowest,
                highest=facts.surroundings.extent.highest,
            )
            for case, facts, file in zip(self.usable, self.facts, self.files, strict=True)
        ]

    def doubts(self) -> tuple[Doubt, ...]:
        """What is doubtful in the files of usable volumes."""
        folders = _folders(self.manifest)
        return tuple(
            Doubt(
                case_id=case.case_id,
                file=name,
                code=found.code,
                text=f"{hide_paths(found.text, folders)}; {REMEDIES[found.code]}",
            )
            for case in self.usable
            for name, found in self.run.store.findings_of(case)
        )

    def odd(self) -> list[list[tuple[str, str]]]:
        """What training finds odd about each usable volume beside the others: codes and texts."""
        found = outliers([facts.surroundings.extent for facts in self.facts])
        return [[(item.code, item.text) for item in own] for own in found]


def read_data(config: Config, out: Path, display: Display) -> Reading:
    """Reads, checks and caches every volume of the configuration's data.

    Args:
        config: Data and preprocessing.
        out: Folder of the audit.
        display: Where progress is shown.

    Raises:
        ConfigError: Several processes were started.
        DataError: The manifest is refused, or a volume changed meanwhile.
        StorageError: A file of the cache cannot be written.
    """
    folder = RunFolder(out)
    accelerator = build_accelerator(config.system, config.train.precision)
    if accelerator.num_processes > 1:
        raise ConfigError(
            "an audit is run by one process",
            why=f"{accelerator.num_processes} were started",
            remedy="start a single one",
        )
    cache = folder.cache(config)
    manifest, problems = _sound_lines(config, cache, display)
    for line in manifest.notes():
        display.line(line)
    store = build_store(config, cache)
    bar = display.bar("reading volumes", len(manifest.cases))
    contents, found = prepare(store, manifest.cases, config.system.workers, bar.advance)
    folders = _folders(manifest)
    refused = tuple(replace(item, reason=hide_paths(item.reason, folders)) for item in found)
    cases = {case.case_id: case for case in manifest.cases if case.case_id in contents}
    nobody = Folds(config.cv.scheme, config.seed, (), {}, ())
    run = Run(config, folder, accelerator, store, cases, contents, nobody, display)
    usable = list(cases.values())
    facts = _facts(run, usable)
    files = _files(run, usable)
    return Reading(run, manifest, refused, tuple(facts), files, problems)


def _folders(manifest: Manifest) -> set[Path]:
    """The folders that a message about a volume might name."""
    files = [file for case in manifest.cases for file in (case.image, case.mask) if file]
    return {manifest.path.absolute().parent, *(file.parent for file in files)}


def _sound_lines(
    config: Config, cache: Path, display: Display
) -> tuple[Manifest, tuple[ManifestProblem, ...]]:
    """The manifest without the lines that are refused, and why they are.

    Raises:
        ConfigError: As `build_manifest` does.
        DataError: It is refused as a whole, or what is left of it still is.
    """
    try:
        return build_manifest(config, cache, making_bar(display)), ()
    except ManifestError as error:
        problems = tuple(ManifestProblem(line=item.line, text=item.shared) for item in error.found)
        lines = {item.line for item in problems}
        try:
            return build_manifest(config, cache, making_bar(display), without=lines), problems
        except DataError:
            # The first message has all that is wrong, in the words of the user's own table.
            raise error from None


def _facts(run: Run, cases: Sequence[Case]) -> list[VolumeFacts]:
    bar = run.display.bar("looking at volumes", len(cases))
    # A mask changes nothing of what its volume looks like.
    contents = {name: volume_of(content) for name, content in run.contents.items()}
    path = run.cache / _FOLDER / FACTS_NAME
    return remembered(path, FACTS, cases, contents, volume_facts, bar.advance)


def _files(run: Run, cases: Sequence[Case]) -> tuple[FileFacts, ...]:
    """How each volume was written: of a file that has not changed since it is not read again."""
    bar = run.display.bar("reading headers", len(cases))
    path = run.cache / _FOLDER / _FILES_NAME
    stamps = {case.case_id: _stamp(case.image) for case in cases}

    def facts(case: Case, _: str) -> FileFacts:
        return file_facts(case.image)

    return tuple(remembered(path, _FILES, cases, stamps, facts, bar.advance))


def _stamp(file: Path) -> str:
    """Of a volume and all of its files, with where it lies; it tells nothing of either."""
    parts = [os.fsencode(file.absolute()), json.dumps(stamp_of(file)).encode()]
    return sha256(b"\n".join(parts))


def pictures(reading: Reading, case_ids: Sequence[str]) -> dict[str, bytes]:
    """Three-plane pictures of some volumes as their files hold them, as PNG by case id.

    Args:
        reading: The volumes.
        case_ids: Of usable ones.

    Raises:
        VolumeError: A file is refused now.
        StorageError: The cache cannot be written.
    """
    folder = make_folder(reading.kept / "pictures")
    bar = reading.run.display.bar("drawing volumes", len(case_ids))
    drawn = {}
    for name in case_ids:
        # Voxels and geometry decide the picture.
        content = volume_of(reading.run.contents[name])
        path = folder / f"{sha256(content.encode())}.png"
        if not path.is_file():
            volume = read_volume(reading.run.cases[name].image)
            write_bytes(path, three_planes(volume.voxels[None], volume.spacing))
        drawn[name] = path.read_bytes()
        bar.advance()
    return drawn
