"""The volumes of a plan: what each is like, read once and then known by its file's stamp.

Nothing of a volume is kept but sizes and a few grey values, under a hash of its path.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import CropForeground
from pydantic import JsonValue, TypeAdapter
from torch.utils.data import DataLoader, Dataset

from .data.augment import single_threaded
from .data.cache import stamp_of
from .data.cases import Case
from .data.formats.rules import Rules, reading_by
from .data.intensity import foreground
from .data.masks import MaskReader, on_the_same_grid
from .data.reader import VolumeReader
from .data.signals import handed_over, leave_signals_to_the_main_process
from .data.surroundings import orientation_of
from .data.volume import Volume, VolumeError
from .data.volumes import Refusal
from .errors import VolclassError
from .planning.fingerprint import GREY_PERCENTILES, TISSUE, Look, Voxels, is_ct
from .storage import make_folder, sha256, write_json
from .typed_files import read_typed

_VERSION = 2  # raised when the same volume begins to look different
_WRITE_EVERY = 50

#: A look, or why there is none.
_Found = Look | Refusal | VolclassError


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a file looked like as long as it has this stamp."""

    stamp: list[JsonValue]
    look: Look


_SEEN: TypeAdapter[dict[str, _Seen]] = TypeAdapter(dict[str, _Seen])


class Looks:
    """What volumes are like, from a file that remembers them, or read and remembered.

    Args:
        cache: The cache folder.
        rules: By which volumes are read.

    Raises:
        StorageError: The file is damaged.
    """

    def __init__(self, cache: Path, rules: Rules) -> None:
        self._file = cache / "plan" / f"looks-{_VERSION}.json"
        self._rules = rules
        self._seen: dict[str, _Seen] = {}
        if self._file.is_file():
            self._seen = read_typed(self._file, _SEEN, "remove it: it is made again")

    def read(
        self, cases: Sequence[Case], workers: int, advance: Callable[[], None]
    ) -> tuple[dict[str, Look], list[Refusal]]:
        """Looks at every volume once.

        Args:
            cases: Whose volumes are looked at; of a mask only whether it is refused.
            workers: Processes that read; 0 reads in this one.
            advance: Called after each case.

        Returns:
            The looks by case id, and the refused volumes, both in the order of the cases.

        Raises:
            StorageError: A volume vanished, or what is remembered cannot be written.
        """
        stamps = {case.case_id: _stamp(case) for case in cases}
        known = {case.case_id: self._known(case, stamps[case.case_id]) for case in cases}
        fresh = _looked_at(
            [case for case in cases if not known[case.case_id]], self._rules, workers
        )
        looks: dict[str, Look] = {}
        refused: list[Refusal] = []
        unwritten = 0
        for case in cases:
            found = known[case.case_id] or next(fresh)
            if isinstance(found, VolclassError):
                raise found
            if isinstance(found, Refusal):
                refused.append(found)
            else:
                looks[case.case_id] = found
                unwritten += known[case.case_id] is None
                self._seen[self._key(case)] = _Seen(stamps[case.case_id], found)
            if unwritten >= _WRITE_EVERY:
                self._write()
                unwritten = 0
            advance()
        if unwritten:
            self._write()
        return looks, refused

    def _known(self, case: Case, stamp: list[JsonValue]) -> Look | None:
        seen = self._seen.get(self._key(case))
        return seen.look if seen is not None and seen.stamp == stamp else None

    def _key(self, case: Case) -> str:
        paths = b"\n".join(os.fsencode(file.absolute()) for file in _files(case))
        return sha256(paths + b"\n" + repr(sorted(self._rules.key().items())).encode())

    def _write(self) -> None:
        make_folder(self._file.parent, mode=0o700)
        write_json(self._file, _SEEN.dump_python(self._seen, mode="json"))


def _files(case: Case) -> list[Path]:
    return [case.image] if case.mask is None else [case.image, case.mask]


def _stamp(case: Case) -> list[JsonValue]:
    return [part for file in _files(case) for part in stamp_of(file)]


def look_of(volume: Volume) -> Look:
    """What a plan knows of a volume; the crop is the one that `preprocess.crop=foreground` makes.

    It is taken on the volume's own grid. After resampling it is the same box to about a voxel.
    """
    voxels = volume.voxels
    image = torch.from_numpy(voxels)[None]
    crop = CropForeground(select_fn=foreground, allow_smaller=True)
    start, end = single_threaded(lambda: crop.compute_bounding_box(image))
    box = tuple(slice(int(low), int(high)) for low, high in zip(start, end, strict=True))
    inside = image[(slice(None), *box)]
    lowest, whole = float(voxels.min()), bool((voxels == np.rint(voxels)).all())
    if is_ct(lowest, whole=whole):
        mask = inside > TISSUE
    else:
        mask = single_threaded(lambda: foreground(inside))
    # A box of one value has no voxel above its mean.
    values = inside[mask] if bool(mask.any()) else inside.flatten()
    greys = np.percentile(values.numpy().astype(np.float64), GREY_PERCENTILES)
    return Look(
        spacing=volume.spacing,
        shape=cast("Voxels", voxels.shape),
        crop=cast("Voxels", tuple(inside.shape[1:])),
        orientation=orientation_of(volume.original_affine),
        lowest=lowest,
        whole=whole,
        greys=cast("tuple[float, float, float, float, float, float]", tuple(greys.tolist())),
    )


def _look(case: Case) -> Look | Refusal:
    try:
        volume = VolumeReader().read_checked(case.image)
        if case.mask is not None:
            mask = MaskReader().read_checked(case.mask)
            on_the_same_grid(
                {"image": _loaded(volume, case.image), "mask": _loaded(mask, case.mask)}
            )
        return look_of(volume)
    except VolumeError as error:
        return Refusal(case.case_id, error.file.name, error.code, error.reason, error.remedy or "")


def _loaded(volume: Volume, file: Path) -> MetaTensor:
    """The volume as preprocessing loads it."""
    affine = torch.from_numpy(volume.affine)
    meta = {"filename_or_obj": str(file)}
    return MetaTensor(torch.from_numpy(volume.voxels), affine=affine, meta=meta)


class _Volumes(Dataset[_Found]):
    def __init__(self, cases: Sequence[Case], rules: Rules) -> None:
        self._cases = cases
        self._rules = rules

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, index: int) -> _Found:
        try:
            with reading_by(self._rules):
                return _look(self._cases[index])
        except VolclassError as error:
            # As an exception it would lose its parts between processes.
            return error


def _looked_at(cases: Sequence[Case], rules: Rules, workers: int) -> Iterator[_Found]:
    volumes = _Volumes(cases, rules)
    workers = min(workers, len(cases))
    if workers == 0:
        yield from (volumes[index] for index in range(len(volumes)))
        return
    loaded = DataLoader(
        volumes,
        batch_size=None,
        num_workers=workers,
        worker_init_fn=leave_signals_to_the_main_process,
    )
    yield from handed_over(loaded)
