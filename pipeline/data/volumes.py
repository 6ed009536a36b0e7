"""Volumes and masks of cases: read, checked, preprocessed, cached; refusals name case and file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from monai.data import MetaTensor
from pydantic import JsonValue, TypeAdapter
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..config import PreprocessConfig
from ..errors import ConfigError, DataError, VolclassError
from .augment import single_threaded
from .cache import CachedVolume, Prepared, VolumeCache, stamp_of
from .cases import Case
from .fingerprint import Extent
from .formats.dicom_series import slices_in
from .formats.rules import Rules, reading_by
from .memory import MemoryCache
from .reader import volume_error_in
from .series_part import SeriesPart
from .signals import handed_over, leave_signals_to_the_main_process
from .spacing import spacing_of
from .transforms import Chain, preprocessing
from .volume import Finding, VolumeError, has_mask, volume_of, with_mask
from .volume_checks import Refusal, check_contents, check_refusals

__all__ = [
    "Refusal",
    "VolumeStore",
    "check_contents",
    "check_refusals",
    "prepare",
]

_EXTENT = TypeAdapter(Extent)
_SERIES = TypeAdapter[SeriesPart | None](SeriesPart | None)
_LOST = Finding("W_MASK_LOST", "preprocessing leaves none of it, so its case teaches no structure")


class VolumeStore:
    """Gives the preprocessed volume of a case, from the cache or from its file.

    Args:
        config: The preprocessing.
        cache: Where results are kept.
        rules: What is done about doubtful volumes; a cache on disk must be keyed by them.

    Raises:
        ConfigError: Axes that are not at right angles are accepted, but never straightened.
    """

    def __init__(
        self,
        config: PreprocessConfig,
        cache: VolumeCache | MemoryCache,
        rules: Rules | None = None,
    ) -> None:
        self._config = config
        self._cache = cache
        self._rules = Rules() if rules is None else rules
        if self._rules.shear == "resample" and config.spacing is None:
            raise ConfigError(
                "sheared volumes would stay sheared",
                where="data.shear, preprocess.spacing",
                why="only resampling straightens them, and preprocess.spacing is null",
                remedy="set preprocess.spacing, or data.shear=refuse",
            )
        self._chains: dict[bool, Chain] = {}

    def fetch_known(self, case: Case, content: str) -> CachedVolume:
        """The volume of a case whose content hash was taken when the run started.

        Raises:
            DataError: The file is another one now; a run never mixes two versions.
        """
        expected = volume_of(content)
        cached = self._cache.load(expected)
        if cached is not None:
            return cached
        volume = self._build(replace(case, mask=None)).image
        if volume.content != expected:
            raise _changed(case, case.image)
        return volume

    def fetch_mask(self, case: Case, content: str) -> Tensor | None:
        """The mask of a case, (1, X, Y, Z) float32 of 0 and 1, or None where it had none.

        None as well where preprocessing leaves nothing of it: where the structure was cropped away,
        or fell between voxels, an empty mask would teach that the volume shows none.

        Raises:
            DataError: Volume or mask is another one now.
        """
        if case.mask is None or not has_mask(content):
            return None
        cached = self._cache.load(content)
        if cached is None:
            built = self._build(case)
            if built.content != content or built.mask is None:
                raise _changed(case, case.mask)
            cached = built.mask
        return cached.image.to(torch.float32) if bool(cached.image.any()) else None

    def has(self, case: Case) -> bool:
        """Whether volume and mask are cached and their files unchanged since."""
        return self._known(case) is not None

    def inspect(self, case: Case) -> str | Refusal:
        """Makes sure that a case is cached; its content hash, or why it is refused."""
        known = self._known(case)
        if known is not None:
            return known
        try:
            return self._build(case).content
        except DataError as error:
            file = error.file if isinstance(error, VolumeError) else case.image
            return Refusal(
                case.case_id,
                file.name,
                getattr(error, "code", "E_DATA"),
                error.why or error.what,
                error.remedy or "",
            )

    def findings_of(self, case: Case) -> list[tuple[str, Finding]]:
        """What was doubtful in the files of a case that was inspected, each by its name."""
        found = [
            (file.name, finding)
            for file in _files(case)
            for finding in self._cache.findings_of(file)
            # Of a mask little is expected to be marked.
            if file == case.image or finding.code != "W_SPARSE"
        ]
        # It lies in the preprocessing, not in the file, so it is not kept with the file.
        content = self._known(case)
        if case.mask and content is not None and self.fetch_mask(case, content) is None:
            found.append((case.mask.name, _LOST))
        return found

    def extent_of(self, case: Case) -> Extent | None:
        """What the volume of a case that was inspected was before preprocessing."""
        return self._cache.extent_of(case.image)

    def series_of(self, case: Case) -> SeriesPart | None:
        """Of a DICOM series with a UID, which part of it a case is that was inspected."""
        return self._cache.series_of(case.image)

    def slices_in(self, case: Case) -> tuple[SeriesPart, ...]:
        """What `slices_in` gives for the folder of a DICOM series that was refused."""
        return slices_in(case.image, budget=self._rules.budget)

    def to_hand_over(self, case: Case, content: str) -> Prepared | None:
        """What a loading process must give to the main one: nothing where both see the disk."""
        if not isinstance(self._cache, MemoryCache):
            return None
        volumes = [self._cache.load(volume_of(content))]
        if case.mask is not None:
            mask = self._cache.load(content)
            volumes.append(mask and replace(mask, content=self._cache.content_of(case.mask) or ""))
        whole = [
            replace(
                volume,
                findings=self._cache.findings_of(file),
                extent=self._cache.extent_of(file),
                series=self._cache.series_of(file),
            )
            for volume, file in zip(volumes, _files(case), strict=True)
            if volume is not None
        ]
        return Prepared(*whole) if len(whole) == len(volumes) else None

    def take_over(self, case: Case, stamps: list[list[JsonValue]], made: Prepared) -> None:
        """Keeps what a loading process gave, with the files' stamps from before they were read."""
        self._cache.store(case.image, stamps[0], made.image)
        if case.mask is not None and made.mask is not None:
            self._cache.store(case.mask, stamps[1], made.mask, made.content)

    def _known(self, case: Case) -> str | None:
        """The content hash of a case that is cached whole, its files unchanged since, or None."""
        content = self._cache.content_of(case.image)
        if content is None or not self._cache.has(content):
            return None
        if case.mask is None:
            return content
        mask = self._cache.content_of(case.mask)
        both = with_mask(content, mask or "")
        return both if mask is not None and self._cache.has(both) else None

    def _build(self, case: Case) -> Prepared:
        stamps = [stamp_of(file) for file in _files(case)]
        results = self._preprocessed(case)
        mask = _volume(results["mask"], torch.uint8) if "mask" in results else None
        made = Prepared(_volume(results["image"], torch.float32), mask)
        self.take_over(case, stamps, made)
        return made

    def _preprocessed(self, case: Case) -> dict[str, MetaTensor]:
        masked = case.mask is not None
        if masked not in self._chains:
            self._chains[masked] = preprocessing(self._config, masks=masked)
        files = {"image": str(case.image)}
        if masked:
            files["mask"] = str(case.mask)
        try:
            # With any number of threads but one, sums over voxels would have other last bits.
            with reading_by(self._rules):
                return single_threaded(partial(self._chains[masked], files))
        except RuntimeError as error:
            # MONAI wraps what a transform raises and drops the file's name.
            cause = volume_error_in(error)
            if cause is None:
                raise
            raise cause from None


def _files(case: Case) -> list[Path]:
    return [case.image] if case.mask is None else [case.image, case.mask]


def _volume(result: MetaTensor, kind: torch.dtype) -> CachedVolume:
    image = result.as_tensor().to(kind).contiguous()
    findings = tuple(Finding(*pair) for pair in json.loads(result.meta["findings"]))
    read = _EXTENT.validate_json(result.meta["extent"])
    series = _SERIES.validate_json(result.meta["series"])
    content = str(result.meta["content"])
    return CachedVolume(image, spacing_of(result), content, findings, read, series)


def _changed(case: Case, file: Path) -> DataError:
    what = "volume" if file == case.image else "mask"
    return DataError(
        f"the {what} of case {case.case_id} changed during the run",
        where=file.name,
        why="its voxels are not those that the run started with",
        remedy="restore the file, or start a new run",
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What became of a case.

    Attributes:
        result: Its content hash, or why it is refused.
        stamps: Of its files, from before they were read.
        made: Where the main process must be given it.
    """

    result: str | Refusal | VolclassError
    stamps: list[list[JsonValue]]
    made: Prepared | None = None


class _Inspection(Dataset[_Found]):
    def __init__(self, store: VolumeStore, cases: Sequence[Case]) -> None:
        self._store = store
        self._cases = cases

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, index: int) -> _Found:
        case = self._cases[index]
        stamps: list[list[JsonValue]] = []
        try:
            stamps = [stamp_of(file) for file in _files(case)]
            found = self._store.inspect(case)
        except VolclassError as error:
            # As an exception it would lose its parts between processes.
            return _Found(error, stamps)
        kept = self._store.to_hand_over(case, found) if isinstance(found, str) else None
        return _Found(found, stamps, kept)


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
        if item.made is not None:
            store.take_over(case, item.stamps, item.made)
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
        yield from handed_over(loaded)
