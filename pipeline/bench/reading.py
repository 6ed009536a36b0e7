"""Reading of a good volume, checked, against nibabel, which checks little."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ..data.formats.dispatch import read_volume
from ..storage import make_folder, write_bytes
from .ratio import ROUNDS, Ratio, ratio, seconds_of

PAIRS = 7
_FILES = {
    ".nii.gz, int16, 256x256x64": ("int16.nii.gz", (256, 256, 64)),
    ".nii, int16, 256x256x64": ("int16.nii", (256, 256, 64)),
    ".nii.gz, float32, 128x128x128": ("float32.nii.gz", (128, 128, 128)),
}


def reading_costs(folder: Path, advance: Callable[[], None]) -> list[tuple[Ratio, Ratio]]:
    """Time to read a volume of each kind of file, as a multiple of nibabel's.

    In turns, so that what else the machine does falls on all alike.

    Args:
        folder: For the files.
        advance: Called after each round.

    Returns:
        For each kind, against `get_fdata` alone; and against nibabel with the same order of axes,
        the same checks of the values and the same hash. Of neither is the checksum of the file
        asked for, which nibabel does not check.
    """
    paths = {name: write_image(folder / file, shape) for name, (file, shape) in _FILES.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in paths}
    for path in paths.values():  # once, for what is imported or opened at first
        _round(path, 1)
    for _ in range(ROUNDS):
        for name, path in paths.items():
            found[name].append(_round(path, PAIRS))
        advance()
    return [
        (ratio(name, [one for one, _ in rounds]), ratio(name, [other for _, other in rounds]))
        for name, rounds in found.items()
    ]


def _round(path: Path, pairs: int) -> tuple[float, float]:
    """Our time as a multiple of that of either way with nibabel."""
    ways = (partial(read_volume, path), partial(_plain, path), partial(_same, path))
    taken = [0.0, 0.0, 0.0]
    for pair in range(pairs):
        for place in (range(3), reversed(range(3)))[pair % 2]:
            taken[place] += seconds_of(ways[place])
    ours, plain, same = taken
    return ours / plain, ours / same


def _plain(path: Path) -> NDArray[np.float32]:
    return Nifti1Image.from_filename(path).get_fdata(dtype=np.float32)


def _same(path: Path) -> str:
    image = nib.as_closest_canonical(Nifti1Image.from_filename(path))
    voxels = np.ascontiguousarray(image.get_fdata(dtype=np.float32))
    if not np.isfinite(voxels).all() or voxels.min() == voxels.max():
        raise ValueError("the volume is not a good one")
    return hashlib.sha256(voxels.data).hexdigest()


def write_image(path: Path, shape: tuple[int, int, int]) -> Path:
    """Writes something like an image: shapes of several sizes and noise, in air of one value.

    Args:
        path: Its name up to the first dot is the type of the voxels; of .gz it is compressed.
        shape: Voxels along x, y, z, of 1 x 1 x 2 mm.
    """
    generator = np.random.default_rng(0)
    voxels = generator.normal(0.0, 15.0, shape)
    for size in (2.0, 6.0, 14.0):
        shapes = gaussian_filter(generator.normal(size=shape), size)
        voxels += 300.0 * shapes / shapes.std()
    voxels[voxels < -300.0] = -1000.0
    # As most converters write it: x grows to the left.
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    content = Nifti1Image(voxels.astype(path.name.partition(".")[0]), affine).to_bytes()
    make_folder(path.parent)
    write_bytes(path, gzip.compress(content, 6) if path.suffix == ".gz" else content)
    return path
