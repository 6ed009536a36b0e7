"""Which keys hold paths."""

from __future__ import annotations

#: Values of `model.init` that are no path.
NAMED_STARTS = ("random", "timm", "inflate")

#: Keys that hold paths: relative to the config file, or to the working folder in an override.
PATH_KEYS = (
    ("data", "manifest"),
    ("data", "root"),
    ("model", "weights"),
    ("model", "init"),
    ("system", "cache_dir"),
)


def is_path(section: str, key: str, value: object) -> bool:
    """Whether the value of a key is a path; `model.init` may hold a word instead."""
    if (section, key) not in PATH_KEYS or not isinstance(value, str):
        return False
    return (section, key) != ("model", "init") or value not in NAMED_STARTS
