"""A volume of any format, told by its content and never by its name alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..volume import Reason, Volume, VolumeError
from .dicom_folder import split_series
from .dicom_series import read_series
from .itk_header import metaimage_for_itk, nrrd_for_itk
from .magic import HEAD_BYTES, Kind, kind_of, looks_like
from .metaimage import metaimage_data_file, read_metaimage
from .mgh import read_mgh
from .nifti import read_nifti
from .nrrd import nrrd_data_file, read_nrrd
from .pair import expected_half, half_of, other_half
from .rules import rules_in_force
from .second_opinion import ItkReader, check_with_itk
from .stored import check_packed, decoded_head, missing, regular_size, system_errors

_READERS: dict[Kind, Callable[..., Volume]] = {
    "nifti": read_nifti,
    "nrrd": read_nrrd,
    "metaimage": read_metaimage,
    "mgh": read_mgh,
}
_DATA_FILES: dict[Kind, Callable[[Path], Path | None]] = {
    "nrrd": nrrd_data_file,
    "metaimage": metaimage_data_file,
}
_ITK: dict[Kind, tuple[ItkReader, Callable[[Path], bytes]]] = {
    "nrrd": ("NrrdImageIO", nrrd_for_itk),
    "metaimage": ("MetaImageIO", metaimage_for_itk),
}
_NIFTI_NAMES = (".nii", ".nii.gz", ".hdr", ".hdr.gz")
_VOXELS_ALONE = (".raw", ".zraw", ".raw.gz")


def read_volume(path: Path, *, budget: int | None = None) -> Volume:
    """Reads and checks a volume: NIfTI (one file or a pair), NRRD, MetaImage, MGH or DICOM.

    Args:
        path: The file; of a header and its voxels in two files the header, of a NIfTI pair either.
            Of DICOM the folder, or `FOLDER#series=HASH` where it holds several series.
        budget: Most bytes that the decoded file, and its voxels, may take; by default as many as
            the rules in force allow.

    Raises:
        VolumeError: The volume is refused.
    """
    budget = rules_in_force().budget if budget is None else budget
    folder, series = split_series(path)
    with system_errors(path, path):
        if series is not None or folder.is_dir():
            return read_series(path, budget=budget)
        regular_size(path, path)
        if half_of(path) == ".img" and other_half(path) is not None:
            return read_nifti(path, budget=budget)  # voxels alone may begin like any format
        with path.open("rb") as handle:
            head, packed = decoded_head(path, handle, HEAD_BYTES)
    try:
        return _read(path, head, packed, budget)
    except VolumeError:
        if packed:
            check_packed(path)  # of damaged data, a header says nothing that is true
        raise


def _read(path: Path, head: bytes, packed: bool, budget: int) -> Volume:
    """The volume in a file with these first (decoded) bytes."""
    kind = kind_of(head)
    if kind is None:
        raise _unknown(path, head)
    if packed and kind in ("nrrd", "metaimage"):
        name = {"nrrd": "NRRD", "metaimage": "MetaImage"}[kind]
        reason = f"it is a {name} file inside a gzip file; unpack it with gunzip"
        raise VolumeError(Reason.E_FORMAT, path, reason)
    volume = _READERS[kind](path, budget=budget)
    if kind in _ITK:
        reader, header_of = _ITK[kind]
        check_with_itk(path, reader, header_of(path), volume)
    return volume


def companions(path: Path) -> tuple[Path, ...]:
    """The other files that hold a part of a volume; reads headers only.

    Args:
        path: The volume, as `read_volume` takes it.

    Returns:
        The other half of a NIfTI pair, or the data file that a header names, there or not; of a
        folder all its files; nothing for one file that is all, and for anything that cannot be
        understood.
    """
    try:
        folder, _ = split_series(path)
        if folder.is_dir():
            return tuple(sorted(file for file in folder.iterdir() if file.is_file()))
        if half_of(path) is not None:
            other = other_half(path)
            if other is not None:
                return (other,)
        with system_errors(path, path):
            regular_size(path, path)
            with path.open("rb") as handle:
                kind = kind_of(handle.read(HEAD_BYTES))
        find = None if kind is None else _DATA_FILES.get(kind)
        file = None if find is None else find(path)
    except (VolumeError, OSError):
        return ()
    return () if file is None else (file,)


def _unknown(path: Path, head: bytes) -> VolumeError:
    """The refusal of a file that is in no known format."""
    name = path.name.lower()
    if half_of(path) == ".img":
        return missing(path, expected_half(path))
    if name.endswith(_NIFTI_NAMES):
        text = looks_like(head, "it does not start with a NIfTI header")
        return VolumeError(Reason.E_NOT_NIFTI, path, text)
    if head[128:132] == b"DICM":
        reason = "it is one DICOM file; name the folder that holds the whole series"
        return VolumeError(Reason.E_FORMAT, path, reason)
    otherwise = "it starts like no NIfTI, NRRD, MetaImage or MGH file"
    if name.endswith(_VOXELS_ALONE):
        otherwise += "; if it holds voxels only, name its header (.mhd, .nhdr)"
    return VolumeError(Reason.E_FORMAT, path, looks_like(head, otherwise))
