"""MONAI's import, without libraries that volclass does not need from it.

`import monai` imports all of its modules, and with them libraries for drawings, tables, filters
and other networks: most of the time in which it is imported. MONAI is ready for each of them to be
missing. Afterwards anyone imports them as ever.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType

#: What MONAI goes without. torchvision would bring torch's compiler, too.
KEPT_FROM_MONAI = frozenset(
    ("huggingface_hub", "matplotlib", "pandas", "scipy.signal", "skimage", "sklearn", "torchvision")
)
#: Where MONAI asks whether a library is there, and goes on without it. A MONAI that asks elsewhere
#: finds all, and starts late.
_ASKERS = ("monai.utils.module", "monai.utils.jupyter_utils")


class _LeanMonai(MetaPathFinder):
    """Finds nothing; says that some libraries are missing to MONAI while it is being imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in KEPT_FROM_MONAI and _is_being_imported("monai") and _importer() in _ASKERS:
            raise ModuleNotFoundError(f"volclass keeps {fullname} from MONAI", name=fullname)
        return None


def _is_being_imported(name: str) -> bool:
    # Python's own mark. Where a version has no such mark, MONAI finds all, and starts late.
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def _importer() -> str:
    # Others that MONAI imports, or a MONAI that cannot go on without one of these, shall find it.
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name != __name__ and name.partition(".")[0] != "importlib":
            return name
        frame = frame.f_back
    return ""


def lean_monai() -> None:
    """Makes MONAI's import in this process, if it is yet to come, do without KEPT_FROM_MONAI.

    For processes that are ours alone, and those forked from them: what MONAI makes of these
    libraries (CSVDataset, connected components) raises an error in them, or goes another way.
    """
    if not any(isinstance(finder, _LeanMonai) for finder in sys.meta_path):
        sys.meta_path.insert(0, _LeanMonai())
