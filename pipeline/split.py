"""Writes the folds of a run before it starts, so that they can be looked at, shared and kept."""

from __future__ import annotations

from pathlib import Path

from .build import build_manifest
from .config import Config
from .data.folds_file import write_folds
from .data.splits import Folds, make_folds
from .errors import ConfigError
from .progress import Display, making_bar
from .run import RunFolder
from .storage import locked


def split(config: Config, out: Path, display: Display) -> Folds:
    """Makes the folds of a configuration and writes them into the run folder.

    Raises:
        ConfigError: The folder has folds already; they are never replaced.
        DataError: The manifest is refused, or cannot be split.
    """
    folder = RunFolder(out)
    with locked(out):
        if folder.folds.exists():
            raise ConfigError(
                "this folder already has folds",
                where=str(folder.folds),
                remedy="remove the file if nothing was trained on it, or choose another --out",
            )
        manifest = build_manifest(config, folder.cache(config), making_bar(display))
        for line in manifest.notes():
            display.line(line)
        folds = make_folds(manifest.cases, config.cv, config.seed)
        write_folds(folder.folds, folds, None)
    return folds
