"""What a page may show of settings and messages: no absolute path, no folder of a user's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath

from ..config import is_path

_ABSOLUTE = re.compile(r"^(?:[\\/~]|[A-Za-z]:[\\/]|file:)")
_PATH_IN_TEXT = re.compile(r"(?<![\w/.])(?:file:|[A-Za-z]:)?(?:[\\/]+[^\s\\/'\"<>:,;()]+){2,}")


def file_name(path: str) -> str:
    """The last part of a path of any system."""
    return PureWindowsPath(path).name or path.strip("\\/")


def hide_paths(text: str) -> str:
    """Text in which each absolute path is cut down to its last part."""
    if _ABSOLUTE.match(text) and not re.search(r"\s", text):
        return f"…/{file_name(text)}"
    return _PATH_IN_TEXT.sub(lambda found: f"…/{file_name(found.group())}", text)


def relative_only(path: str) -> str:
    """A path relative to the data root as it is; of any other only the file's name."""
    outside = _ABSOLUTE.match(path) or ".." in re.split(r"[\\/]", path)
    return f"…/{file_name(path)}" if outside else path


def shown_settings(settings: Mapping[str, object]) -> dict[str, str]:
    """Nested settings as one row a key, e.g. `train.lr: 0.001`, with folders hidden."""
    rows = _flat(settings, ())

    def is_hidden(key: str, value: str) -> bool:
        section, _, name = key.partition(".")
        return value != "null" and is_path(section, name, value)

    return {
        key: f"…/{file_name(value)}" if is_hidden(key, value) else hide_paths(value)
        for key, value in rows.items()
    }


def _flat(value: object, path: tuple[str, ...]) -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        rows: dict[str, str] = {}
        for key, item in value.items():
            rows |= _flat(item, (*path, str(key)))
        return rows
    return {".".join(path): _written(value)}


def _written(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return f"[{', '.join(_written(item) for item in value)}]"
    return "{}" if isinstance(value, Mapping) else str(value)
