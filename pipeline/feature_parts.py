"""What a stopped extraction leaves behind, so that the next one goes on where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import StorageError
from .feature_table import Block, block_names
from .storage import (
    make_folder,
    read_arrays,
    read_json,
    remove,
    remove_folder,
    write_arrays,
    write_json,
)

_IDENTITY = "identity.json"


@dataclass(frozen=True, slots=True)
class PartsFolder:
    """Features of some cases by one network, a file for each group of cases.

    Attributes:
        path: Beside the file that will hold all of them.
        identity: Hash of all that decides the features; parts of another one are not used.
        stages: Number of stages.
    """

    path: Path
    identity: str
    stages: int

    def open(self) -> bool:
        """Makes the folder, empty unless it is of this identity; whether it was."""
        make_folder(self.path, mode=0o700)
        try:
            known = read_json(self.path / _IDENTITY) == self.identity
        except StorageError:
            known = False
        if not known:
            for stale in self.path.glob("*.npz"):
                remove(stale)
            write_json(self.path / _IDENTITY, self.identity)
        return known

    def read(self, name: str, case_ids: Sequence[str]) -> dict[str, Block] | None:
        """The blocks of a part; None where it is missing, damaged or of other cases."""
        try:
            arrays = read_arrays(self._file(name))
        except StorageError:
            return None
        names = block_names(self.stages)
        if set(arrays) != {"case_id", *names} or arrays["case_id"].tolist() != list(case_ids):
            return None
        return {key: np.asarray(arrays[key], dtype=np.float32) for key in names}

    def write(self, name: str, case_ids: Sequence[str], blocks: dict[str, Block]) -> None:
        """Keeps a part, complete or not at all.

        Raises:
            StorageError: It cannot be written.
        """
        ids: NDArray[np.generic] = np.array(case_ids, dtype=np.str_)
        write_arrays(self._file(name), {"case_id": ids, **blocks})

    def close(self) -> None:
        """Removes all parts: the file that they were made for holds them now."""
        remove_folder(self.path)

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.npz"
