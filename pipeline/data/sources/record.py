"""Whether a folder of volumes that volclass wrote is whole and unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from ...errors import StorageError
from ...storage import read_json, sha256, write_json


def write_record(path: Path, origin: Mapping[str, JsonValue], digests: Mapping[str, str]) -> None:
    """Says what a folder was made from, and what its files hold.

    Args:
        path: In the folder, which is whole but for this file.
        origin: All that decides the content.
        digests: SHA-256 by path relative to the folder.

    Raises:
        StorageError: It cannot be written.
    """
    write_json(path, {**origin, "sha256": dict(digests)})


def is_whole(path: Path, origin: Mapping[str, JsonValue], required: str) -> bool:
    """Whether the folder was made from `origin`, and every file is as it was written.

    Args:
        path: The record; may be missing.
        origin: As given to `write_record`.
        required: A file that the record must name.
    """
    try:
        record = read_json(path)
        if not isinstance(record, dict) or not isinstance(digests := record.get("sha256"), dict):
            return False
        if required not in digests or record != {**origin, "sha256": digests}:
            return False
        # All files of a set of MedMNIST: 0.1 s at 28^3, 0.5 s at 64^3.
        folder = path.parent
        return all(sha256((folder / name).read_bytes()) == value for name, value in digests.items())
    except (OSError, StorageError):
        return False
