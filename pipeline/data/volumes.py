"""Volumes of cases: read, checked, preprocessed and cached; every refusal names case and file."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from pydantic import JsonValue
from torch.utils.data import DataLoader, Dataset

from ..config import PreprocessConfig
from ..errors import DataError, VolclassError
from .augment import single_threaded
from .cache import CachedVolume, VolumeCache, stamp_of
from .cases import Case
from .memory import MemoryCache
from .reader import volume_error_in
from .signals import leave_signals_to_the_main_process
from .transforms import Chain, preprocessing, spacing_of
from .volume import Finding, voxels_of


@dataclass(frozen=True, slots=True)
class Refusal:
    """A volume that cannot be used.

    Attributes:
        case_id: The case.
        file: Name of its file, without folders.
        code: Reason code, e.g. `E_TRUNCATED`.
        reason: What is wrong, in words.
        remedy: What to do about it.
    """

    case_id: str
    file: str
    code: str
    reason: str
    remedy: str


class VolumeStore:
    """Gives the preprocessed volume of a case, from the cache or from its file.

    Args:
        config: The preprocessing.
        cache: Where results are kept.
    """

    def __init__(self, config: PreprocessConfig, cache: VolumeCache | MemoryCache) -> None:
        self._config = config
        self._cache = cache
        self._chain: Chain | None = None

    def fetch_known(self, case: Case, content: str) -> CachedVolume:
        """The volume of a case whose content hash was taken when the run started.

        Raises:
            DataError: The file is another one now; a run never mixes two versions.
        """
        cached = self._cache.load(content)
        if cached is not None:
            return cached
        volume = self._build(case)
        if volume.content != content:
            raise DataError(
                f"the volume of case {case.case_id} changed during the run",
                where=case.image.name,
                why="its voxels are not those that the run started with",
                remedy="restore the file, or start a new run",
            )
        return volume

    def has(self, case: Case) -> bool:
        """Whether the volume is cached and its file unchanged since."""
        content = self._cache.content_of(case.image)
        return content is not None and self._cache.has(content)

    def inspect(self, case: Case) -> str | Refusal:
        """Makes sure that a case is cached; its content hash, or why it is refused."""
        content = self._cache.content_of(case.image)
        if content is not None and self._cache.has(content):
            return content
        try:
            return self._build(case).content
        except DataError as error:
            return Refusal(
                case.case_id,
                case.image.name,
                getattr(error, "code", "E_DATA"),
                error.why or error.what,
                error.remedy or "",
            )

    def findings_of(self, case: Case) -> tuple[Finding, ...]:
        """What was doubtful in the volume of a case that was inspected."""
        return self._cache.findings_of(case.image)

    def to_hand_over(self, case: Case, content: str) -> CachedVolume | None:
        """What a loading process must give to the main one: nothing where both see the disk."""
        volume = self._cache.load(content) if isinstance(self._cache, MemoryCache) else None
        return volume and replace(volume, findings=self.findings_of(case))

    def take_over(self, case: Case, stamp: list[JsonValue], volume: CachedVolume) -> None:
        """Keeps what a loading process gave, with the file's stamp from before it was read."""
        self._cache.store(case.image, stamp, volume)

    def _build(self, case: Case) -> CachedVolume:
        chain = self._chain = self._chain or preprocessing(self._config)
        stamp = stamp_of(case.image)
        try:
            # With any number of threads but one, sums over voxels would have other last bits.
            result = single_threaded(partial(chain, {"image": str(case.image)}))["image"]
        except RuntimeError as error:
            # MONAI wraps what a transform raises and drops the file's name.
            cause = volume_error_in(error)
            if cause is None:
                raise
            raise cause from None
        image = result.as_tensor().to(torch.float32).contiguous()
        findings = tuple(Finding(*pair) for pair in json.loads(result.meta["findings"]))
        content = str(result.meta["content"])
        volume = CachedVolume(image, spacing_of(result), content, findings)
        self._cache.store(case.image, stamp, volume)
        return volume


@dataclass(frozen=True, slots=True)
class _Found:
    """What became of a case.

    Attributes:
        result: Its content hash, or why it is refused.
        stamp: Of its file, from before it was read.
        volume: Where the main process must be given it.
    """

    result: str | Refusal | VolclassError
    stamp: list[JsonValue]
    volume: CachedVolume | None = None


class _Inspection(Dataset[_Found]):
    def __init__(self, store: VolumeStore, cases: Sequence[Case]) -> None:
        self._store = store
        self._cases = cases

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, index: int) -> _Found:
        stamp: list[JsonValue] = []
        try:
            stamp = stamp_of(self._cases[index].image)
            found = self._store.inspect(self._cases[index])
        except VolclassError as error:
            # As an exception it would lose its parts between processes.
            return _Found(error, stamp)
        case = self._cases[index]
        kept = self._store.to_hand_over(case, found) if isinstance(found, str) else None
        return _Found(found, stamp, kept)


def prepare(
    store: VolumeStore,
    cases: Sequence[Case],
    workers: int,
    advance: Callable[[], None],
) -> tuple[dict[str, str], list[Refusal]]:
    """Reads, checks and caches all cases that are not cached yet.

    Args:
        store: Where the volumes come from.
        cases: All cases of the run.
        workers: Processes that read; 0 reads in this one.
        advance: Called after each case, for a progress bar.

    Returns:
        Content hash by case id, and the refused volumes, both in the order of `cases`.
    """
    contents: dict[str, str] = {}
    refused: list[Refusal] = []
    for case, item in zip(cases, _inspections(store, cases, workers), strict=True):
        found = item.result
        if isinstance(found, VolclassError):
            raise found
        if item.volume is not None:
            store.take_over(case, item.stamp, item.volume)
        if isinstance(found, Refusal):
            refused.append(found)
        else:
            contents[case.case_id] = found
        advance()
    return contents, refused


def _inspections(store: VolumeStore, cases: Sequence[Case], workers: int) -> Iterator[_Found]:
    dataset = _Inspection(store, cases)
    # What is cached is looked up sooner than a process starts.
    workers = min(workers, sum(not store.has(case) for case in cases))
    if workers == 0:
        yield from (dataset[index] for index in range(len(dataset)))
    else:
        loaded = DataLoader(
            dataset,
            batch_size=None,
            num_workers=workers,
            worker_init_fn=leave_signals_to_the_main_process,
        )
        yield from loaded


def check_refusals(refused: Sequence[Refusal], allowed: int) -> None:
    """Stops the run when more volumes are refused than the user allows.

    Raises:
        DataError: Lists every refused volume with its reason and remedy.
    """
    if len(refused) <= allowed:
        return
    lines = [
        f"\n    - {item.case_id} ({item.file}): {item.code}, {item.reason}; {item.remedy}"
        for item in refused
    ]
    raise DataError(
        f"{len(refused)} volume{'s' if len(refused) > 1 else ''} cannot be used",
        why="".join(lines),
        remedy="mend or remove them; data.max_quarantine="
        f"{len(refused)} leaves them out and says so in the report",
    )


def doubts(store: VolumeStore, cases: Sequence[Case]) -> dict[str, str]:
    """What was doubtful in accepted volumes, in words by code, with the first files of each."""
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for case in cases:
        for finding in store.findings_of(case):
            found[finding.code].append((case.image.name, finding.text))
    return {
        code: f"{len(items)} volume{'s' if len(items) > 1 else ''}, e.g. {items[0][0]}: "
        f"{items[0][1]}"
        for code, items in sorted(found.items())
    }


def check_contents(cases: Sequence[Case], contents: dict[str, str]) -> None:
    """Refuses the same voxels under two patients or with two labels.

    Raises:
        DataError: E_DUP_CONTENT or E_LABEL_CONFLICT; lists every pair.
    """
    first: dict[str, Case] = {}
    problems: list[str] = []
    for case in cases:
        if case.case_id not in contents:
            continue
        other = first.setdefault(voxels_of(contents[case.case_id]), case)
        if other is case:
            continue
        pair = f"{other.case_id} ({other.image.name}) and {case.case_id} ({case.image.name})"
        if other.label != case.label:
            problems.append(f"E_LABEL_CONFLICT: {pair} have the same voxels and other labels")
        elif other.patient_id != case.patient_id:
            problems.append(f"E_DUP_CONTENT: {pair} have the same voxels and other patients")
    if problems:
        raise DataError(
            "the same volume stands in the manifest twice",
            why="".join(f"\n    - {problem}" for problem in problems),
            remedy="remove one of each pair, or give both the same patient and label",
        )
