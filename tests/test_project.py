"""The project itself: what is installed, what is shipped, and that its documents are true."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.evaluation import baselines as tables
from pipeline.storage import read_table

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipeline", "models3d", "models2d")
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_resolve_to_this_checkout(package: str, tmp_path: Path) -> None:
    code = f"import importlib.util; print(importlib.util.find_spec({package!r}).origin)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert Path(done.stdout.strip()) == ROOT / package / "__init__.py"


@pytest.mark.parametrize("name", ["scripts", "configs", "tests"])
def test_other_folders_are_not_importable_from_elsewhere(name: str, tmp_path: Path) -> None:
    code = f"import importlib.util; print(importlib.util.find_spec({name!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "None"


def test_a_wheel_holds_code_configs_templates_and_types(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns(".venv", ".git", "runs", "*.egg-info", ".*", "tests")
    shutil.copytree(ROOT, source, ignore=ignore)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run(
        [*command, "--wheel-dir", str(tmp_path), str(source)],
        check=True,
        capture_output=True,
        env=environment,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"{package}/py.typed" for package in PACKAGES}
    wanted |= {f"pipeline/configs/{name}.yaml" for name in ("base", "quickstart")}
    wanted |= {f"pipeline/configs/{n}.yaml" for n in ("ladders/quick", "slices/resnet18_frozen")}
    wanted |= {"pipeline/configs/volumes/modality.yaml", "pipeline/reports/templates/page.html"}
    assert wanted <= names
    modules = {
        str(path.relative_to(ROOT)) for name in PACKAGES for path in ROOT.glob(f"{name}/**/*.py")
    }
    assert modules <= names
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == set(PACKAGES)


def test_lower_bounds_and_exact_versions_agree() -> None:
    lines = (ROOT / "constraints.txt").read_text().split()
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]+==[A-Za-z0-9_.+\-]+", line) for line in lines)
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    needed = importlib.metadata.requires("volclass") or []
    names = {re.split(r"[<>=;\[ ]", need)[0].lower().replace("_", "-") for need in needed}
    assert names <= pinned


DOCUMENTS = ("architecture", "guide", "benchmarks")
WRITERS = {"write_text", "write_bytes", "to_csv", "to_parquet", "unlink", "rename", "savez"}


def test_storage_alone_writes_files() -> None:
    guilty = []
    for package in PACKAGES:
        for path in ROOT.glob(f"{package}/**/*.py"):
            if path == ROOT / "pipeline" / "storage.py":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _writes(node):
                    guilty.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert guilty == []


def _writes(call: ast.Call) -> bool:
    function = call.func
    # `write_text(path, ...)` is storage's own; `path.write_text(...)` is not.
    if isinstance(function, ast.Attribute) and function.attr in WRITERS:
        return True
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    words = [
        a.value
        for a in [*call.args, *(k.value for k in call.keywords)]
        if isinstance(a, ast.Constant)
    ]
    modes = [word for word in words if isinstance(word, str) and re.fullmatch(r"[rwax]b?\+?", word)]
    return name == "open" and any(set(mode) & set("wax+") for mode in modes)


SMALL_VOLUMES = "model.options={depths: [1,1,1,1], dims: [4,8,8,8]}"
SMALL_SLICES = "model.options={layers: [1,1,1,1], channels: [8,8,8,8]}"


def commands_of(text: str) -> set[str]:
    blocks = re.findall(r"```\n(.*?)```", text, flags=re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(volclass [^`]+)`", text)
    return {line.strip() for line in lines if line.startswith("volclass ") and "..." not in line}


def test_every_command_of_the_readme_works(
    small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = [
        "volclass audit --config base data.manifest=cases.csv --out runs/audit",
        "volclass plan cases.csv --out plan.yaml",
        "volclass split --config base data.manifest=cases.csv --out runs/mine",
        "volclass train --config base data.manifest=cases.csv --out runs/mine",
        "volclass predict runs/mine new_scans/ --out predictions.csv",
        "volclass features runs/mine --out features.parquet",
        "volclass probe features.parquet --out runs/mine_probe",
        "volclass init scans/ --out work/",
        "volclass train --config slices/resnet18_attention data.manifest=cases.csv"
        " --out runs/slices",
        "volclass pretrain --config base data.manifest=unlabelled.csv pretrain.scope=all"
        " --out runs/pre",
        "volclass report runs/mine",
        "volclass report runs/mine runs/slices --out runs/compare",
    ]
    # What takes long here is run by the test of the guide.
    ladder = "volclass ladder --config ladders/quick data.manifest=cases.csv --out runs/ladder"
    tune = "volclass tune --config tuning/mr_patches data.manifest=cases.csv --out runs/tuned"
    others = {"volclass VERB -h", "volclass train", "volclass models", ladder, tune}
    for trees in ("_TREES", "_RANDOM_TREES"):
        monkeypatch.setattr(tables, trees, 20)
    assert commands_of(README) == {*commands, *others}
    shutil.copytree(small_manifest.parent / "images", tmp_path / "scans")
    shutil.copytree(small_manifest.parent / "images", tmp_path / "images")
    shutil.copytree(small_manifest.parent / "images", tmp_path / "new_scans")
    shutil.copy(small_manifest, tmp_path / "cases.csv")
    images = [row["image"] for row in read_table(tmp_path / "cases.csv")]
    (tmp_path / "unlabelled.csv").write_text("\n".join(["image", *images]))
    monkeypatch.chdir(tmp_path)
    small = [
        "preprocess.size=[8,8,8]",
        "train.epochs=1",
        "cv.folds=2",
        "system.workers=0",
    ]
    for command in commands:
        _, verb, *arguments = shlex.split(command)
        more = small if verb in ("train", "split", "pretrain", "audit") else []
        more = [*more, "pretrain.block=2"] if verb == "pretrain" else more
        if more:
            flat = "slices/resnet18_attention" in arguments
            more = [*more, SMALL_SLICES if flat else SMALL_VOLUMES]
        dry = [[*arguments, *more, "--dry-run"]] if verb == "train" else []
        again = [[*arguments, *more, "--resume"]] if verb == "train" else []
        for words in [*dry, [*arguments, *more], *again]:
            result = CliRunner().invoke(app, [verb, *words])
            assert result.exit_code == 0, f"{command}: {result.output}"
    assert (tmp_path / "predictions.csv").is_file()


def test_the_python_of_the_readme_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    done = subprocess.run(
        [sys.executable, "-c", block + "print(len(stages), tuple(logits.shape))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "4 (1, 2)\n"


def test_the_files_that_documents_link_to_exist() -> None:
    documents = ("README.md", "CONTRIBUTING.md", *(f"docs/{n}.md" for n in DOCUMENTS))
    for document in documents:
        path = ROOT / document
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{document} links to {target}"


def test_scripts_are_the_verbs() -> None:
    verbs = {"train_volumes": "train", "predict_volumes": "predict"}
    verbs |= {"make_splits": "split", "make_report": "report"}
    verbs |= {"extract_features": "features", "probe_features": "probe", "init_project": "init"}
    verbs |= {"train_slices": "train", "run_ladder": "ladder", "tune_volumes": "tune"}
    verbs |= {"pretrain_volumes": "pretrain", "benchmark_medmnist": "benchmark"}
    verbs |= {"audit_volumes": "audit", "plan_volumes": "plan"}
    for script, verb in verbs.items():
        path = ROOT / "scripts" / f"{script}.py"
        assert os.access(path, os.X_OK)
        done = subprocess.run(
            [sys.executable, str(path), "-h"], capture_output=True, text=True, check=True
        )
        assert f"Example: volclass {verb}" in " ".join(done.stdout.split())
