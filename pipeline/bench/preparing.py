"""Cold preprocessing beside MONAI's own chain of the same steps on the same files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from monai.data.image_reader import NibabelReader
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    NormalizeIntensityd,
    Orientationd,
    ResizeWithPadOrCropd,
    Spacingd,
)

from ..config import PreprocessConfig
from ..data.augment import single_threaded
from ..data.cache import VolumeCache
from ..data.cases import Case
from ..data.intensity import foreground
from ..data.transforms import loader, preprocessing, preprocessing_key
from ..data.volumes import VolumeStore
from .ratio import ROUNDS, Ratio, ratio, seconds_of
from .reading import write_image

_PAIRS = 3
FILES = {
    ".nii.gz, int16, 256x256x64, to 1 mm and 96^3": ("int16.nii.gz", (256, 256, 64), (1.0,) * 3),
    ".nii.gz, int16, 256x256x64, to 2 mm and 96^3": ("int16.nii.gz", (256, 256, 64), (2.0,) * 3),
    ".nii, int16, 128x128x128, to 1.5 mm and 96^3": ("int16.nii", (128, 128, 128), (1.5,) * 3),
}
_SIZE = (96, 96, 96)


def preparing_costs(folder: Path, advance: Callable[[], None]) -> list[tuple[Ratio, Ratio]]:
    """MONAI's time to prepare a volume in memory, in multiples of ours.

    MONAI's chain reads by nibabel. Ours checks the file and its voxels and hashes them, once with
    the result written to the cache and once with it left in memory.

    Args:
        folder: For files and caches.
        advance: Called after each kind of file.
    """
    found = []
    for number, (name, (file, shape, spacing)) in enumerate(FILES.items()):
        path = write_image(folder / str(number) / file, shape)
        config = PreprocessConfig(spacing=spacing, size=_SIZE, crop="foreground")
        # A command works out the key of its cache once, not for each volume.
        prepare = partial(_ours, config, preprocessing_key(config), path)
        given = {"image": str(path)}
        chain = preprocessing(config)
        in_memory = partial(single_threaded, partial(chain, given))
        ways = (prepare, in_memory, partial(plain_chain(config), given))
        for way in ways:
            way()
        cached, kept = zip(*(_multiples(ways) for _ in range(ROUNDS)), strict=True)
        found.append((ratio(name, cached), ratio(name, kept)))
        advance()
    return found


def _multiples(ways: Sequence[Callable[[], object]]) -> tuple[float, float]:
    """The last one's time in multiples of the first's and the second's, all in turns."""
    taken = [0.0 for _ in ways]
    for _ in range(_PAIRS):
        for place, way in enumerate(ways):
            taken[place] += seconds_of(way)
    return taken[2] / taken[0], taken[2] / taken[1]


def _ours(config: PreprocessConfig, key: str, path: Path) -> None:
    """Into a fresh cache each time: nothing is known of the file."""
    place = path.parent / "cache" / str(len([*path.parent.glob("cache/*")]))
    store = VolumeStore(config, VolumeCache(place, key))
    content = store.inspect(Case("case", "patient", path))
    if not isinstance(content, str):
        raise TypeError(f"a good file was refused: {content.reason}")


def plain_chain(config: PreprocessConfig) -> Callable[[dict[str, str]], object]:
    """MONAI's own steps of the same names, from a path to a volume in memory."""
    key = "image"
    steps: list[Any] = [
        loader(key, NibabelReader()),
        EnsureChannelFirstd(key),
        Orientationd(key, axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
        Spacingd(key, pixdim=config.spacing, mode="bilinear"),
        CropForegroundd(key, key, select_fn=foreground, allow_smaller=True),
        NormalizeIntensityd(key),
        ResizeWithPadOrCropd(key, spatial_size=config.size),
    ]
    return cast("Callable[[dict[str, str]], object]", Compose(steps))
