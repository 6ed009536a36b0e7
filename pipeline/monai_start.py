"""MONAI's import without torchvision, which nothing that we take from MONAI needs.

`import monai` imports all of its modules, and by some of its networks torchvision, whose operators
import torch's compiler: a third of the time in which `volclass predict` starts. MONAI is ready for
a torchvision that is missing. Afterwards anyone imports it as ever.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoTorchvisionForMonai(MetaPathFinder):
    """Finds nothing, and says that there is no torchvision while MONAI is being imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torchvision" and _is_being_imported("monai"):
            raise ModuleNotFoundError("kept from MONAI, which starts sooner so", name=fullname)
        return None


def _is_being_imported(name: str) -> bool:
    # Python's own mark. Where a version has no such mark, MONAI finds torchvision, and starts late.
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def keep_torchvision_from_monai() -> None:
    """Makes MONAI's import of this process, if it is yet to come, do without torchvision.

    For processes that are ours alone: MONAI's few networks that need torchvision cannot be made in
    them.
    """
    if not any(isinstance(finder, _NoTorchvisionForMonai) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NoTorchvisionForMonai())
