"""The whole maps of every stage on disk: a folder a network, a file a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError, StorageError
from .feature_table import Origin
from .storage import check_writable, make_folder, read_json, safe_name, write_arrays, write_json


@dataclass(frozen=True, slots=True)
class MapsFolder:
    """Maps of one origin; those of another are never mixed in.

    Attributes:
        path: Holds `origin.json` and a folder for each network: `fold_0/<case>.npz`.
        origin: Where the maps come from.
    """

    path: Path
    origin: Origin

    def open(self) -> None:
        """Makes the folder, or makes sure that it is of this origin.

        Raises:
            ConfigError: It holds something else.
            StorageError: It cannot be written.
        """
        check_writable(self.path)
        described = self.path / "origin.json"
        if not any(self.path.iterdir()):
            write_json(described, self.origin.to_json())
        try:
            known = read_json(described) == self.origin.to_json()
        except StorageError:
            known = False
        if not known:
            raise ConfigError(
                "this folder holds something else than maps of these features",
                where=str(self.path),
                remedy="choose another folder with --maps",
            )

    def has(self, model: str, case_ids: Sequence[str]) -> bool:
        """Whether the maps of all these cases are there; a file appears when it is whole."""
        return all(self._file(model, case_id).is_file() for case_id in case_ids)

    def write(self, model: str, case_id: str, stages: Sequence[NDArray[np.float32]]) -> None:
        """Keeps the raw maps (C, X', Y', Z') of a case, `stage1` and so on.

        Raises:
            StorageError: They cannot be written.
        """
        file = self._file(model, case_id)
        make_folder(file.parent)
        write_arrays(file, {f"stage{number}": stage for number, stage in enumerate(stages, 1)})

    def _file(self, model: str, case_id: str) -> Path:
        return self.path / safe_name(model) / f"{safe_name(case_id)}.npz"
