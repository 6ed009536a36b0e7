"""A process of ours imports MONAI without torchvision, and nothing else is changed by that."""

import subprocess
import sys

IMPORTS = """
import sys
from pipeline.process_start import prepare_process

{prepare}
import monai.transforms
print("torchvision" in sys.modules, "torch._dynamo" in sys.modules)
import torchvision
print(torchvision.ops.nms.__name__)
"""


def printed_by(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_monai_is_imported_without_torchvision_and_others_find_it_after_that() -> None:
    prepared = IMPORTS.format(prepare="prepare_process(); prepare_process()")
    assert printed_by(prepared) == ["False False", "nms"]


def test_a_process_that_is_not_ours_imports_all_of_monai() -> None:
    first, _ = printed_by(IMPORTS.format(prepare=""))
    assert first == "True True"


def test_torchvision_that_was_imported_before_stays() -> None:
    program = IMPORTS.format(prepare="import torchvision; prepare_process()")
    assert printed_by(program) == ["True True", "nms"]


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
