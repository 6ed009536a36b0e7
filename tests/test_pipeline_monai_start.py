"""A process of ours imports MONAI without libraries that it does not need; nothing else changes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

import pytest

IMPORTS = """
import importlib
import json
import sys
from pipeline.monai_start import KEPT_FROM_MONAI
from pipeline.process_start import prepare_process

{prepare}
import monai.transforms

found = {{
    "kept": sorted(KEPT_FROM_MONAI & set(sys.modules)),
    "monai": sorted(name for name in sys.modules if name.partition(".")[0] == "monai"),
}}
from models3d import create_model

found["networks"] = {{
    name: [list(part.shape) for part in create_model(name, in_chans=1, num_classes=2).parameters()]
    for name in ("monai_densenet121", "torchvision_r3d18", "monai_seresnet50")
}}
for name in KEPT_FROM_MONAI:
    importlib.import_module(name)
print(json.dumps(found))
"""


class Imported(TypedDict):
    """What a process has after importing MONAI.

    Attributes:
        kept: Those of KEPT_FROM_MONAI that it has imported.
        monai: MONAI's modules.
        networks: Shapes of the parameters of networks made of MONAI's and torchvision's.
    """

    kept: list[str]
    monai: list[str]
    networks: dict[str, list[list[int]]]


def printed_by(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def ours() -> Imported:
    prepared = "prepare_process(); prepare_process()"
    found: Imported = json.loads(printed_by(IMPORTS.format(prepare=prepared)))
    return found


@pytest.fixture(scope="module")
def of_others() -> Imported:
    found: Imported = json.loads(printed_by(IMPORTS.format(prepare="")))
    return found


def test_monai_is_imported_without_them_in_a_process_of_ours_alone(
    ours: Imported, of_others: Imported
) -> None:
    assert not {"matplotlib", "skimage", "torchvision"} & set(ours["kept"])
    assert "torchvision" in of_others["kept"]


def test_monai_has_all_its_modules_without_them(ours: Imported, of_others: Imported) -> None:
    assert ours["monai"] == of_others["monai"]


def test_networks_of_monai_and_torchvision_are_made_as_ever(
    ours: Imported, of_others: Imported
) -> None:
    assert ours["networks"] == of_others["networks"]
    assert all(ours["networks"].values())


def test_whoever_cannot_do_without_them_finds_them_while_monai_is_being_imported(
    tmp_path: Path,
) -> None:
    asked = (
        "def found(name):\n"
        "    try:\n"
        "        return bool(__import__(name))\n"
        "    except ModuleNotFoundError:\n"
        "        return False\n"
    )
    files = {
        "another/__init__.py": "import skimage\n",
        "monai/__init__.py": "import another\nimport huggingface_hub\nimport monai.utils\n",
        "monai/utils/__init__.py": (
            "from .module import found\n"
            "print(*map(found, ('matplotlib', 'skimage', 'huggingface_hub', 'scipy')))\n"
        ),
        "monai/utils/module.py": asked,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    program = """
from pipeline.process_start import prepare_process

prepare_process()
import monai
print(monai.utils.found("matplotlib"))
"""
    found = printed_by(program, PYTHONPATH=str(tmp_path)).splitlines()
    assert found == ["False True True True", "True"]
