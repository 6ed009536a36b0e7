"""A process of ours imports MONAI without libraries that it does not need; nothing else changes."""

import os
import subprocess
import sys
from pathlib import Path

from pipeline.monai_start import KEPT_FROM_MONAI

IMPORTS = """
import importlib
import sys
from pipeline.monai_start import KEPT_FROM_MONAI
from pipeline.process_start import prepare_process

def imported():
    return [name for name in sorted(KEPT_FROM_MONAI) if name in sys.modules]

{prepare}
import monai.transforms
print(*imported(), "torch._dynamo" in sys.modules)
for name in KEPT_FROM_MONAI:
    importlib.import_module(name)
print(*imported())
"""


def printed_by(program: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_monai_is_imported_without_them_and_others_find_them_after_that() -> None:
    prepared = IMPORTS.format(prepare="prepare_process(); prepare_process()")
    assert printed_by(prepared) == ["False", " ".join(sorted(KEPT_FROM_MONAI))]


def test_a_process_that_is_not_ours_imports_all_of_monai() -> None:
    first, _ = printed_by(IMPORTS.format(prepare=""))
    assert first == f"{' '.join(sorted(KEPT_FROM_MONAI))} True"


def test_torchvision_that_was_imported_before_stays() -> None:
    first, _ = printed_by(IMPORTS.format(prepare="import torchvision; prepare_process()"))
    assert "torchvision" in first.split()


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
    found = printed_by(program, PYTHONPATH=str(tmp_path))
    assert found == ["False True True True", "True"]


def test_networks_of_monai_and_torchvision_are_made_as_ever() -> None:
    made = """
from pipeline.process_start import prepare_process

prepare_process()
import monai.transforms
from models3d import create_model

for name in ("monai_densenet121", "torchvision_r3d18", "monai_seresnet50"):
    print(type(create_model(name, in_chans=1, num_classes=2)).__name__)
"""
    assert len(printed_by(made)) == 3
