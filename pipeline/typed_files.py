"""JSON files with a schema: read whole and valid, or refused in one message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from .errors import StorageError
from .storage import read_json

Content = TypeVar("Content")


def read_typed(path: Path, schema: TypeAdapter[Content], remedy: str) -> Content:
    """Reads a file that this program wrote.

    Args:
        path: The file.
        schema: What it must hold.
        remedy: What to do where it does not.

    Raises:
        StorageError: It is missing, no JSON, or holds something else; names the first place.
    """
    try:
        # By way of JSON: strict types, yet a list may stand for a tuple.
        return schema.validate_json(json.dumps(read_json(path)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        why = f"{place}: {first['msg']}" if place else str(first["msg"])
        raise damaged(path, why, remedy) from None


def damaged(path: Path, why: str, remedy: str) -> StorageError:
    """The refusal of a file that does not hold what was written."""
    return StorageError(f"{path.name} is damaged", where=str(path), why=why, remedy=remedy)
