"""Each bad file beside good cases through the checks that `train` makes before it trains."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import Config, CvConfig, DataConfig, PreprocessConfig
from ..data.cases import Case
from ..data.doubts import REMEDIES, doubts
from ..data.formats.rules import Rules, rules_of
from ..data.manifest import read_manifest
from ..data.memory import MemoryCache
from ..data.splits import make_folds
from ..data.volume import content_sha256, voxels_of
from ..data.volumes import VolumeStore, check_contents, check_refusals, prepare
from ..errors import VolclassError
from ..storage import make_folder, write_bytes
from .bad_file import BadFile, Outcome, Table, remove_planted
from .child import Death, in_child
from .privileges import become_plain
from .volumes import AFFINE, nifti, packed, voxels

_GOOD_CASES = 8
_LINE = re.compile(r"\bline \d+: ")
_PREPROCESS = PreprocessConfig(spacing=(3.0, 3.0, 3.0), size=(16, 16, 16), crop="none")


@dataclass(frozen=True, slots=True)
class Examined:
    """What became of a bad file.

    Attributes:
        row: Of table A.
        name: Of the bad file.
        expected: What should become of it.
        happened: What did; `traceback` is an error that no user should see, `hang` the time limit,
            `died` a process that ended at once.
        codes: Of its refusal or findings.
        seconds: From reading the manifest on.
        told: Whether the message names file or line, reason and remedy, of a finding file and
            reason; true where none is due.
        silent: Whether it was taken without a word though something is wrong with it, or read as
            another volume than it holds.
        good: Whether all good cases were processed; None where the manifest is refused.
        message: What a user sees.
        passed: Whether all is as it should be.
    """

    row: int
    name: str
    expected: Outcome
    happened: Outcome | Death
    codes: tuple[str, ...]
    seconds: float
    told: bool
    silent: bool
    good: bool | None
    message: str
    passed: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the process that read the manifest says."""

    happened: Outcome
    codes: list[str]
    message: str
    told: bool
    good: bool | None
    twin: bool


def write_good(root: Path) -> Table:
    """Writes the good cases below `root`, and gives their rows of a manifest."""
    make_folder(root / "good")
    rows: Table = []
    for number in range(_GOOD_CASES):
        name = f"good/case_{number}.nii.gz"
        write_bytes(root / name, packed(nifti(voxels(number + 1))))
        rows.append([name, "AD" if number % 2 else "CN", f"p{number}", f"good_{number}"])
    return rows


def examine(
    files: Sequence[BadFile],
    folder: Path,
    advance: Callable[[], None],
    seconds: float = 5.0,
) -> list[Examined]:
    """What becomes of each bad file; those that this process cannot be shown are left out.

    Args:
        files: The bad files.
        folder: An empty folder for them; what is written there is removed file by file.
        advance: Called after each.
        seconds: Most time for one.
    """
    root = folder / "root"
    good = write_good(root)
    # Read before anything else is, so that each child finds the good cases in its memory.
    cache = MemoryCache()
    store = VolumeStore(_PREPROCESS, cache)
    _read_all(root, good, store)
    found = []
    for number, file in enumerate(files):
        if file.possible:
            rules = rules_of(_data(root / "manifest.csv", file))
            # The chain of transforms that is set up already serves all files without rules.
            by_rules = VolumeStore(_PREPROCESS, cache, rules) if rules != Rules() else store
            found.append(_examined(file, root, root / f"bad_{number}", good, by_rules, seconds))
        advance()
    return found


def _read_all(root: Path, good: Table, store: VolumeStore) -> None:
    path = root / "good.csv"
    write_bytes(path, BadFile(0, "none", "ok").manifest(good, None))
    cases = read_manifest(_data(path, BadFile(0, "none", "ok"))).cases
    _, refused = prepare(store, cases, 0, lambda: None)
    check_refusals(refused, 0)
    _folds(cases)  # whose libraries look up their plug-ins once


def _data(path: Path, file: BadFile) -> DataConfig:
    keys = {"source": "manifest", "manifest": str(path), "max_quarantine": 1, **file.data}
    return DataConfig.model_validate(keys)


def _examined(
    file: BadFile, root: Path, place: Path, good: Table, store: VolumeStore, seconds: float
) -> Examined:
    cell = None if file.plant is None else file.plant(place)
    if cell is not None and not Path(cell).is_absolute():
        cell = f"{place.name}/{cell}"
    path = root / "manifest.csv"
    write_bytes(path, file.manifest(good, cell))
    ran = in_child(lambda: _checked(file, path, cell, store), _Seen, seconds)
    remove_planted(place)
    if not isinstance(ran.result, _Seen):
        told = (file.row, file.name, file.expected, ran.result, (), ran.seconds)
        return Examined(*told, False, False, False, ran.message, False)
    seen = ran.result
    codes = tuple(seen.codes)
    right = seen.happened == file.expected and (not file.codes or bool({*codes} & {*file.codes}))
    other = file.twin and not seen.twin
    passed = right and seen.told and seen.good is not False and not other
    silent = seen.happened == "ok" and (file.expected != "ok" or other)
    head = (file.row, file.name, file.expected, seen.happened, codes, ran.seconds)
    return Examined(*head, seen.told, silent, seen.good, seen.message, passed)


def _checked(file: BadFile, path: Path, cell: str | None, store: VolumeStore) -> _Seen:
    """The checks of `train`: manifest, folds, volumes, contents; run in a child process."""
    if file.privileged:
        become_plain()
    name = "" if cell is None else Path(cell).name
    data = _data(path, file)
    try:
        cases = read_manifest(data).cases
        _folds(cases)
        contents, refused = prepare(store, cases, 0, lambda: None)
        check_refusals(refused, data.max_quarantine)
        check_contents(cases, contents)
    except VolclassError as error:
        return _refused(error, name, file)
    ours = [case for case in cases if not case.case_id.startswith("good_")]
    others = [case for case in cases if case.case_id.startswith("good_")]
    good = len(others) == _GOOD_CASES and all(case.case_id in contents for case in others)
    for item in refused:
        told = item.file == name and bool(item.reason and item.remedy)
        line = f"{item.file}: {item.code}, {item.reason}; {item.remedy}"
        return _Seen("quarantine", [item.code], line, told, good, twin=False)
    said = doubts(store, [case for case in cases if case.case_id in contents])
    expected = voxels_of(content_sha256(voxels().astype("<f4"), AFFINE))
    twin = [voxels_of(contents[case.case_id]) for case in ours] == [expected]
    text = "; ".join(f"{code} in {words}" for code, words in said.items())
    told = all(name in words and REMEDIES[code] in words for code, words in said.items())
    return _Seen("warn" if said else "ok", list(said), text, told, good, twin)


def _folds(cases: Sequence[Case]) -> None:
    make_folds(cases, CvConfig(folds=2, validation=0.25), Config().seed)


def _refused(error: VolclassError, name: str, file: BadFile) -> _Seen:
    text = str(error)
    codes = [word.strip(":,;") for word in text.split() if word.startswith("E_")]
    # Of a table that is bad as a whole, no line can be named: its path is, or the class.
    whole = file.table is not None and error.where is not None
    named = (bool(name) and name in text) or bool(_LINE.search(text)) or whole
    told = named and bool((error.why or error.what) and error.remedy)
    return _Seen("refuse", codes, text, told, None, twin=False)
