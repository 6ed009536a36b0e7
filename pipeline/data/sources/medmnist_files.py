"""The official .npz of a MedMNIST set: in the user's folder or downloaded, its MD5 checked."""

from __future__ import annotations

import hashlib
import io
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from ...errors import ConfigError, DataError
from ...storage import make_folder
from ..manifest_columns import nearest_name
from .medmnist_sets import SETS, file_name

DOWNLOADS = "downloads"
_SECONDS = 30.0
"""Longest silence of the server; without a limit, a firewall that drops packets stops us."""


def found_file(name: str, size: int, root: Path) -> Path:
    """The official file in the user's folder.

    Raises:
        DataError: It is missing, or has another MD5.
    """
    path = root / file_name(name, size)
    remedy = f"{_by_hand(name, size)}; or set data.root=null to download it"
    try:
        _check_md5(path, name, size, remedy)
    except (FileNotFoundError, NotADirectoryError):
        near = nearest_name(path)
        if not root.is_dir():
            why = "data.root is not a folder"
        else:
            why = f"the nearest name there is {near}" if near else "no name there is like it"
        raise DataError(
            f"E_MISSING: there is no {path.name} in data.root",
            where=str(path),
            why=why,
            remedy=remedy,
        ) from None
    except OSError as error:
        why = error.strerror or str(error)
        raise DataError(f"E_IO: {path.name} cannot be read", where=str(path), why=why) from None
    return path


def _check_md5(path: Path, name: str, size: int, remedy: str) -> None:
    with path.open("rb") as handle:
        # MD5 is what MedMNIST publishes: it tells damage and other versions, not forgery.
        digest = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False))
    expected = SETS[name].md5[size]
    if digest.hexdigest() != expected:
        raise DataError(
            f"E_MD5: {path.name} is not the official file",
            where=str(path),
            why=f"its MD5 is {digest.hexdigest()}, that of the official file is {expected}",
            remedy=remedy,
        )


def _by_hand(name: str, size: int) -> str:
    return (
        f"get {file_name(name, size)} (MD5 {SETS[name].md5[size]}) from the MedMNIST records on "
        "Zenodo, put it into a folder and set data.root=FOLDER"
    )


def downloaded_file(name: str, size: int, folder: Path) -> Path:
    """The official file, fetched by the `medmnist` package; one that is there already is kept.

    Args:
        name: Of the set.
        size: Voxels along each axis.
        folder: Where the set will be unpacked; the file lies beside it.

    Raises:
        ConfigError: The package is not installed.
        DataError: There is no network, or what came is not the official file.
    """
    path = make_folder(folder.parent / DOWNLOADS) / file_name(name, size)
    if not path.is_file() or not _is_official(path, name, size):
        _fetch(name, size, path)
    return path


def _is_official(path: Path, name: str, size: int) -> bool:
    """False too for what a killed download left, which the package then fetches again."""
    try:
        _check_md5(path, name, size, remedy="")
    except (OSError, DataError):
        return False
    return True


def _fetch(name: str, size: int, path: Path) -> None:
    with _quiet():
        fetch = _downloader(name, size)
        try:
            fetch(split="val", root=str(path.parent), size=size, download=True)
            _check_md5(path, name, size, remedy=_by_hand(name, size))
        except (RuntimeError, OSError, ValueError) as error:
            # The package catches everything, Ctrl-C too, and raises a RuntimeError instead.
            cause = error.__context__ or error
            if not isinstance(cause, Exception):
                raise cause from None
            raise DataError(
                f"E_DOWNLOAD: {path.name} cannot be downloaded",
                where=f"data.name={name}, data.size={size}",
                why=str(cause) or type(cause).__name__,
                remedy=_by_hand(name, size),
            ) from error


def _downloader(name: str, size: int) -> Callable[..., object]:
    """The class of the set in the `medmnist` package."""
    try:
        # Here alone, since importing it makes a folder in the user's home.
        import medmnist

        package: Any = medmnist
        found: Callable[..., object] = getattr(package, package.INFO[name]["python_class"])
    except (ImportError, AttributeError, KeyError) as error:
        raise ConfigError(
            f"downloading {name} needs the medmnist package",
            where="data.root is not set",
            why=f"it cannot be used: {error}",
            remedy=f'pip install "volclass[medmnist]"; or {_by_hand(name, size)}',
        ) from error
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of the package reaches the user's terminal, and a silent server is given up."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)
