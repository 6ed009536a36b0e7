"""Volumes on disk for tests: one in every format, and small ones where only headers matter."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from pipeline.data.formats.dispatch import read_volume
from pipeline.data.volume import VolumeError

nib: Any = nibabel  # has no types for what is used here
sitk: Any = SimpleITK  # has no types
Values = NDArray[np.generic]
Affine = NDArray[np.float64]
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
AFFINE = np.array([[0, -2.0, 0, 30], [1.5, 0, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1]])
MGH_TYPES = ("u1", "i2", "u2", "i4", "f4")


def values_of(dtype: str = "i2", shape: tuple[int, ...] = (6, 5, 4), seed: int = 0) -> Values:
    values = np.random.default_rng(seed).integers(0, 120, shape).astype(dtype)
    values.flat[:2] = (121, 122)  # never constant
    return values


def itk_image(values: Values, affine: Affine) -> Any:  # noqa: ANN401  # SimpleITK has no types
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def nrrd_in(space: str, values: Values, affine: Affine) -> bytes:
    """An attached file in one of the three spaces of a patient, written by hand."""
    letters = dict(zip("RLAPIS", (1, -1, 1, -1, -1, 1), strict=True))
    signs = [letters[word[0].upper()] for word in space.split("-")]
    own = np.diag([*signs, 1]) @ affine
    vectors = [f"({','.join(repr(float(x)) for x in column)})" for column in own[:3].T]
    type_name = {"u": "uint", "i": "int"}.get(values.dtype.kind, "") + str(8 * values.itemsize)
    header = [
        "NRRD0005",
        "# by hand",
        f"type: {({'f4': 'float', 'f8': 'double'}).get(values.dtype.str[1:], type_name)}",
        "dimension: 3",
        f"space: {space}",
        f"sizes: {' '.join(str(size) for size in values.shape)}",
        f"space directions: {' '.join(vectors[:3])}",
        "endian: big",
        "encoding: raw",
        "owner:=nobody: at all",
        f"space origin: {vectors[3]}",
    ]
    data = values.astype(values.dtype.newbyteorder(">")).tobytes(order="F")
    return "\n".join([*header, "", ""]).encode() + data


def write_all(folder: Path, values: Values, affine: Affine) -> dict[str, Path]:
    """The volume in every format: what a user names, by the name of the format."""
    files = {}

    def add(name: str, file: str, save: Callable[[str], object]) -> None:
        (folder / name).mkdir()
        files[name] = folder / name / file
        save(str(files[name]))

    nifti = nib.Nifti1Image(values, affine, dtype=values.dtype)
    pair = nib.Nifti1Pair(values, affine, dtype=values.dtype)
    image = itk_image(values, affine)
    add("nii", "a.nii", lambda file: nib.save(nifti, file))
    add("nii.gz", "a.nii.gz", lambda file: nib.save(nifti, file))
    add("pair", "a.hdr", lambda file: nib.save(pair, file))
    add("pair.gz", "a.hdr.gz", lambda file: nib.save(pair, file))
    for name in ("nrrd", "nhdr", "mha", "mhd"):
        add(name, f"a.{name}", lambda file: sitk.WriteImage(image, file))
        add(f"{name} packed", f"a.{name}", lambda file: sitk.WriteImage(image, file, True))
    for space in ("left-posterior-superior", "right-anterior-superior", "left-anterior-superior"):
        content = nrrd_in(space, values, affine)
        add(space, "a.nrrd", lambda file, content=content: Path(file).write_bytes(content))  # type: ignore[misc]
    if values.dtype.str[1:] in MGH_TYPES:
        mgh = nib.MGHImage(values, affine)
        add("mgh", "a.mgh", lambda file: nib.save(mgh, file))
        add("mgz", "a.mgz", lambda file: nib.save(mgh, file))
    return files


def refusal(path: Path, **options: int) -> VolumeError:
    with pytest.raises(VolumeError) as caught:
        read_volume(path, **options)
    assert caught.value.file == path
    assert caught.value.remedy
    return caught.value


def outcome(path: Path) -> str:
    """Content of a volume, or the code for which it is refused; never another exception."""
    try:
        return read_volume(path).content
    except VolumeError as error:
        return error.code


DETACHABLE = ("nrrd", "nhdr", "mha", "mhd")
ITK_NAMES = (*DETACHABLE, *(f"{name} packed" for name in DETACHABLE), "left-anterior-superior")
NAMES = ("nii", "nii.gz", "pair", "pair.gz", "mgh", "mgz", *ITK_NAMES)


def copy_of(written: dict[str, Path], name: str, folder: Path) -> Path:
    shutil.copytree(written[name].parent, folder, dirs_exist_ok=True)
    return folder / written[name].name


def put(
    path: Path,
    shape: tuple[int, int, int] = (6, 5, 4),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    low: float = 0.0,
) -> None:
    """Writes a volume whose lowest value is `low`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + low
    nib.save(nib.Nifti1Image(voxels, np.diag([*spacing, 1.0])), path)
