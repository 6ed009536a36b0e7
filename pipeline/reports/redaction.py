"""What a page may show of settings and messages: no absolute path, no folder of a user's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath

from ..config import is_path

_ABSOLUTE = re.compile(r"^(?:[\\/~]|[A-Za-z]:[\\/]|file:)")
#: Between quotation marks a path ends where they end.
_QUOTED = re.compile(
    r"(?P<mark>['\"])(?P<path>(?:(?:file:|[A-Za-z]:)?[\\/]|~|\.\.[\\/])"
    r"(?:\\.|(?!(?P=mark))[^\\\n])+)(?P=mark)"
)
#: A folder's name may hold blanks within, and colons before anything but a blank.
_FOLDER = r"[^\s\\/'\"<>:;](?:(?:[^\\/'\"<>:;\n]|[:;](?!\s))*[^\s\\/'\"<>:;])?"
_PATH_IN_TEXT = re.compile(
    rf"(?<![\w/.…])(?:file:|[A-Za-z]:)?(?:[\\/]+{_FOLDER})+[\\/]+[^\s\\/'\"<>:,;()]+"
)

#: What was cut already, with folders below it.
_BELOW_KNOWN = re.compile(rf"…/(?:{_FOLDER}/+)+(?=[^\s/])")


def file_name(path: str) -> str:
    """The last part of a path of any system."""
    return PureWindowsPath(path).name or path.strip("\\/")


def hide_paths(text: str, folders: Iterable[Path] = ()) -> str:
    """Text in which each absolute path is cut down to its last part.

    Where a path ends that stands in words without quotation marks cannot be told for sure, as
    blanks belong to names: rather a word too many is cut out than a folder is left.

    Args:
        text: What is to be shown.
        folders: Absolute ones that are known; they are found whatever their names hold.
    """
    if not any(mark in text for mark in "/\\~"):
        return text
    known = [folder for folder in map(str, folders) if len(folder) > 1 and folder in text]
    for folder in sorted(known, key=len, reverse=True):
        text = re.sub(rf"{re.escape(folder)}(?![\w.-])", "…", text)
    text = _BELOW_KNOWN.sub("…/", text)
    if _ABSOLUTE.match(text) and not re.search(r"\s", text):
        return f"…/{file_name(text)}"
    text = _QUOTED.sub(_quoted_name, text)
    return _PATH_IN_TEXT.sub(lambda found: f"…/{file_name(found.group())}", text)


def _quoted_name(found: re.Match[str]) -> str:
    return f"{found['mark']}…/{file_name(found['path'])}{found['mark']}"


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
