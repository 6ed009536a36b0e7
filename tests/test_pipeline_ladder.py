"""The ladder: same folds for all, resumed rung by rung, and no rung that silently does nothing.

The rungs are baselines, 3D networks and probes of 3D features; rungs over slices are trained by the
same function and differ in their settings only.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import nibabel
import numpy as np
import pytest
from conftest import SMALL
from typer.testing import CliRunner

from pipeline import ladder as module
from pipeline.cli import app
from pipeline.config import Config
from pipeline.crossval import cross_validate
from pipeline.errors import ConfigError, DataError, DivergedError, StorageError
from pipeline.evaluation import baselines as tables
from pipeline.ladder import ladder
from pipeline.progress import Display, Silent
from pipeline.storage import locked, read_table

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

nib: Any = nibabel  # has no types for what is used here
Files = dict[str, bytes]


class ShownLines(Display, Protocol):
    """A display that keeps its lines."""

    shown: list[str]


RUNGS: dict[str, dict[str, object]] = {
    "majority": {"kind": "majority"},
    "metadata": {"kind": "metadata", "title": "metadata only"},
    "histogram": {"kind": "histogram", "set": {"preprocess.intensity.name": "unit"}},
    "net": {"kind": "train", "set": {"train.lr": 2.0e-3}},
    "frozen": {"kind": "probe"},
}


def quick(*names: str, **settings: dict[str, object]) -> dict[str, object]:
    """A ladder of these rungs, or of all; what a rung sets may be given in place of its own."""
    rungs = [{"name": name, **RUNGS[name]} for name in names or RUNGS]
    for rung in rungs:
        if str(rung["name"]) in settings:
            rung["set"] = settings[str(rung["name"])]
    return {"config": "base", "set": {"train.epochs": 2}, "rungs": rungs}


@pytest.fixture(scope="module", autouse=True)
def few_trees() -> Iterator[None]:
    """Enough for what is tested, and quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_TREES", 20)
        patch.setattr(tables, "_RANDOM_TREES", 20)
        yield


def written(folder: Path, content: object = None) -> str:
    """A ladder file, by default of all rungs; JSON is YAML."""
    path = folder / "ladder.yaml"
    path.write_text(json.dumps(quick() if content is None else content))
    return str(path)


def results(out: Path) -> Files:
    """What a ladder found; times and checkpoints are not among it."""
    names = ("predictions.csv", "competitor.json", "comparison.json", "ladder.json", "folds.json")
    return {
        str(path.relative_to(out)): path.read_bytes()
        for name in names
        for path in sorted(out.rglob(name))
        if path.parent.name[:5] != "fold_"
    }


@pytest.fixture(scope="module")
def overrides(small_manifest: Path) -> list[str]:
    return [*SMALL, f"data.manifest={small_manifest}", "train.epochs=1"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, overrides: list[str]) -> Path:
    """A ladder that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    ladder(written(folder), folder / "ladder", Silent(), overrides)
    return folder / "ladder"


def test_every_rung_leaves_a_competitor_on_the_same_folds(whole: Path) -> None:
    tested: list[dict[str, str]] = []
    for rung in ("majority", "metadata", "histogram", "net", "frozen"):
        rows = read_table(whole / rung / "predictions.csv")
        tested.append({row["case_id"]: row["fold"] for row in rows})
    assert len(tested[0]) == 20
    assert all(item == tested[0] for item in tested)
    folds = json.loads((whole / "folds.json").read_text())
    assert json.loads((whole / "net/folds.json").read_text())["sha256"] == folds["sha256"]
    states = {item["name"]: item["state"] for item in _record(whole)}
    assert states == dict.fromkeys(("majority", "metadata", "histogram", "net", "frozen"), "done")


def _record(out: Path) -> list[dict[str, str]]:
    rungs: list[dict[str, str]] = json.loads((out / "ladder.json").read_text())["rungs"]
    return rungs


def test_the_page_names_every_rung(whole: Path) -> None:
    page = (whole / "index.html").read_text()
    titles = ("majority", "metadata only", "histogram", "net", "frozen")
    assert [title for title in titles if title not in page] == []
    assert (whole / "comparison.json").is_file()


def test_no_path_is_in_any_output(whole: Path, small_manifest: Path) -> None:
    secrets = [str(whole.parent), str(small_manifest.parent)]
    for name, content in results(whole).items():
        assert [secret for secret in secrets if secret.encode() in content] == [], name
    assert str(whole.parent) not in (whole / "index.html").read_text()


def test_a_finished_ladder_is_not_climbed_again(
    whole: Path, overrides: list[str], lines: ShownLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = results(whole)
    for name in ("cross_validate", "extract", "probe", "run_baseline"):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("a rung is climbed again"))
    ladder(written(whole.parent), whole, lines, overrides)
    assert sum("finished before" in line for line in lines.shown) == 5
    assert results(whole) == before


def test_killed_in_every_rung_and_resumed_it_is_the_same(
    whole: Path, overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = written(tmp_path), tmp_path / "ladder"
    for killed_at in ("run_baseline", "cross_validate", "extract", "probe"):
        with monkeypatch.context() as patch:
            patch.setattr(module, killed_at, _killed)
            with pytest.raises(KeyboardInterrupt):
                ladder(source, out, Silent(), overrides)
        assert "started" in {item["state"] for item in _record(out)}
        assert not (out / "comparison.json").exists()
    ladder(source, out, Silent(), overrides)
    assert results(out) == results(whole)


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_training_rung_goes_on_where_it_was(
    whole: Path, overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = written(tmp_path, quick("majority", "net")), tmp_path / "ladder"

    def stopped(config: Config, folder: Path, display: Display, *, resume: bool) -> None:
        cross_validate(config, folder, display, fold=0, resume=resume)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "cross_validate", stopped)
        with pytest.raises(KeyboardInterrupt):
            ladder(source, out, Silent(), overrides)
    kept = (out / "net/fold_0/log.csv").stat().st_mtime_ns
    ladder(source, out, Silent(), overrides)
    assert (out / "net/fold_0/log.csv").stat().st_mtime_ns == kept
    found, expected = results(out), results(whole)
    assert found["net/predictions.csv"] == expected["net/predictions.csv"]


def test_a_rung_whose_answers_were_removed_is_climbed_again(
    whole: Path, overrides: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "ladder"
    shutil.copytree(whole, out)
    (out / "metadata/predictions.csv").unlink()
    (out / "net/predictions.csv").unlink()
    ladder(written(tmp_path), out, Silent(), overrides)
    assert results(out) == results(whole)


def test_rungs_may_be_added(whole: Path, overrides: list[str], tmp_path: Path) -> None:
    out = tmp_path / "ladder"
    ladder(written(tmp_path, quick("majority", "histogram")), out, Silent(), overrides)
    first = (out / "histogram/predictions.csv").stat().st_mtime_ns
    more = quick("majority", "histogram", "metadata")
    ladder(written(tmp_path, more), out, Silent(), overrides)
    assert (out / "histogram/predictions.csv").stat().st_mtime_ns == first
    found, expected = results(out), results(whole)
    for rung in ("majority", "histogram", "metadata"):
        name = f"{rung}/predictions.csv"
        assert found[name] == expected[name]


def test_some_rungs_are_climbed_first_and_the_others_later(
    whole: Path, overrides: list[str], tmp_path: Path
) -> None:
    out, plan = tmp_path / "ladder", written(tmp_path)
    found = ladder(plan, out, Silent(), overrides, only=["histogram", "majority"])
    assert {item.title for item in found.evaluation.standings} == {"histogram", "majority"}
    assert [item["state"] for item in _record(out)] == ["done", "waiting", "done"] + ["waiting"] * 2
    # What is finished is compared, chosen or not.
    page = tmp_path / "docs/page.md"
    found = ladder(plan, out, Silent(), overrides, only=["metadata", "majority"], page=page)
    assert len(found.evaluation.standings) == 3
    assert "Not trained yet: net; frozen." in page.read_text()
    ladder(plan, out, Silent(), overrides, page=page)
    assert results(out) == results(whole)
    assert "Not trained yet" not in page.read_text()
    _check_table(page.read_text(), found=json.loads((out / "comparison.json").read_text()))


def _check_table(text: str, found: dict[str, Any]) -> None:
    """The rungs in their order, all held against the first network, as the comparison has it."""
    assert text.startswith("# Benchmarks\n\n## The ladder ladder\n")
    assert "20 cases of 10 patients, 2 folds by patient, 1 seed a network" in " ".join(text.split())
    assert "--config ladder.yaml " in text
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines()
            if line.startswith("| ")]  # fmt: skip
    assert [row[0] for row in rows[1:]] == [
        "majority",
        "metadata only",
        "histogram",
        "net",
        "frozen",
    ]
    assert rows[0][5] == "AUROC above net"
    areas = {item["title"]: item["metrics"]["auroc"]["estimate"] for item in found["competitors"]}
    for row in rows[1:]:
        assert row[1] == row[3].split(" ")[0] == f"{areas[row[0]]:.3f}"
        if row[0] != "net":
            assert float(row[5].split(" ")[0]) == pytest.approx(
                areas[row[0]] - areas["net"], abs=1e-3
            )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["seed=5"], ["rung majority, seed: 0 in the folder, 5 now"]),
        (["train.lr=0.5"], ["rung net, train.lr: 0.002 in the folder, 0.5 now"]),
        (["preprocess.intensity.name=zscore"], ["rung histogram, preprocess.intensity.name"]),
    ],
)
def test_another_ladder_in_the_same_folder_is_refused(
    change: list[str], words: Sequence[str], whole: Path, overrides: list[str]
) -> None:
    before = results(whole)
    with pytest.raises(ConfigError, match="this folder holds another ladder") as caught:
        ladder(written(whole.parent), whole, Silent(), [*overrides, *change])
    assert [word for word in words if word not in str(caught.value)] == []
    source = written(whole.parent, quick("majority", "metadata", "histogram", "frozen"))
    with pytest.raises(ConfigError, match="rung net: it is not in this ladder"):
        ladder(source, whole, Silent(), overrides)
    assert results(whole) == before


def test_a_ladder_of_a_version_that_lacked_a_key_goes_on_at_its_default_alone(
    whole: Path, overrides: list[str]
) -> None:
    record = whole / "ladder.json"
    before = record.read_text()
    document = json.loads(before)
    for rung in document["rungs"]:
        rung["settings"].pop("train.keep", None)
    record.write_text(json.dumps(document))
    try:
        with pytest.raises(ConfigError, match=r'train\.keep: "best" in the folder, "last" now'):
            ladder(written(whole.parent), whole, Silent(), [*overrides, "train.keep=last"])
        ladder(written(whole.parent), whole, Silent(), overrides)
        assert record.read_text() == before
    finally:
        record.write_text(before)


def test_other_weights_under_the_same_name_are_another_ladder(
    whole: Path, overrides: list[str], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    index = json.loads((whole / "net/fold_0/checkpoints/checkpoints.json").read_text())
    weights = load_file(whole / "net/fold_0/checkpoints" / index["best"]["file"])
    save_file(weights, tmp_path / "start.safetensors")
    content = quick("majority", "frozen", frozen={"model.weights": "start.safetensors"})
    source, out = written(tmp_path, content), tmp_path / "ladder"
    ladder(source, out, Silent(), overrides)
    assert json.loads((out / "frozen/competitor.json").read_text())["start"] == "file"
    save_file(
        {name: tensor + 1 for name, tensor in weights.items()}, tmp_path / "start.safetensors"
    )
    with pytest.raises(ConfigError, match=r"rung frozen, model\.weights"):
        ladder(source, out, Silent(), overrides)


def test_a_failing_rung_is_named_and_the_earlier_ones_are_kept(
    overrides: list[str], tmp_path: Path
) -> None:
    wild: dict[str, object] = {"train.lr": 1e30, "train.warmup": 0.0, "train.clip": 0.0}
    content = quick("majority", "net", net=wild)
    with pytest.raises(DivergedError, match="rung net") as caught:
        ladder(written(tmp_path, content), tmp_path / "ladder", Silent(), overrides[:-1])
    assert caught.value.exit_code == 5
    assert (tmp_path / "ladder/majority/competitor.json").is_file()


def test_a_network_that_cannot_be_built_is_refused_before_any_rung(
    overrides: list[str], tmp_path: Path
) -> None:
    options = {"depths": [1, 1, 1, 1], "no_such_option": 3}
    content = quick("majority", "net", net={"model.options": options})
    chosen = [text for text in overrides if not text.startswith("model.options")]
    with pytest.raises(ConfigError, match="rung net"):
        ladder(written(tmp_path, content), tmp_path / "ladder", Silent(), chosen)
    assert not (tmp_path / "ladder").exists()


def test_other_cases_are_refused(
    overrides: list[str], small_manifest: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_manifest.parent, tmp_path / "data")
    manifest = tmp_path / "data/manifest.csv"
    chosen = [*overrides, f"data.manifest={manifest}"]
    content, out = quick("majority", "metadata"), tmp_path / "ladder"
    ladder(written(tmp_path, content), out, Silent(), chosen)
    rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(DataError, match="in the folds and not in the manifest"):
        ladder(written(tmp_path, content), out, Silent(), chosen)
    manifest.write_text("\n".join(rows) + "\n")
    image = nib.load(tmp_path / "data/images/p03_1.nii.gz")
    nib.save(
        nib.Nifti1Image(image.get_fdata() + 1, image.affine), tmp_path / "data/images/p03_1.nii.gz"
    )
    with pytest.raises(DataError, match="not those that this run began with"):
        ladder(written(tmp_path, content), out, Silent(), chosen)


def test_unreadable_volumes_are_left_out_of_every_rung(
    overrides: list[str], small_manifest: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_manifest.parent, tmp_path / "data")
    bad = tmp_path / "data/images/p03_1.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-40])
    chosen = [*overrides, f"data.manifest={tmp_path / 'data/manifest.csv'}"]
    content, out = quick("majority", "net", "frozen"), tmp_path / "ladder"
    with pytest.raises(DataError, match="E_TRUNCATED"):
        ladder(written(tmp_path, content), out, Silent(), chosen)
    more = [*chosen, "data.max_quarantine=1"]
    ladder(written(tmp_path, content), out, Silent(), more)
    for rung in ("majority", "net", "frozen"):
        assert len(read_table(out / rung / "predictions.csv")) == 19
    ladder(written(tmp_path, content), out, Silent(), more)


def test_two_ladders_in_one_folder_at_once_are_refused(
    overrides: list[str], tmp_path: Path
) -> None:
    (tmp_path / "ladder").mkdir()
    with locked(tmp_path / "ladder"), pytest.raises(StorageError, match="ladder folder"):
        ladder(written(tmp_path), tmp_path / "ladder", Silent(), overrides)


def test_the_folder_of_a_run_is_no_ladder(
    overrides: list[str], whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="holds a run, not a ladder"):
        ladder(written(tmp_path), whole / "net", Silent(), overrides)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"rungs": [{"name": "majority"}]}'])
def test_a_damaged_record_is_refused(text: str, overrides: list[str], tmp_path: Path) -> None:
    (tmp_path / "ladder").mkdir()
    (tmp_path / "ladder/ladder.json").write_text(text)
    with pytest.raises(StorageError, match=r"ladder\.json"):
        ladder(written(tmp_path), tmp_path / "ladder", Silent(), overrides)


def planted(folder: Path, overrides: list[str], spacing: Callable[[str], float]) -> list[str]:
    """A copy of the small volumes whose slice distance is a function of their label."""
    source = next(text for text in overrides if text.startswith("data.manifest=")).split("=", 1)[1]
    shutil.copytree(Path(source).parent, folder)
    for row in read_table(folder / "manifest.csv"):
        image = nib.load(folder / row["image"])
        affine = np.diag([1.0, 1.0, spacing(row["label"]), 1.0])
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), folder / row["image"])
    return [*overrides, f"data.manifest={folder / 'manifest.csv'}"]


def test_a_planted_shortcut_raises_the_banner(overrides: list[str], tmp_path: Path) -> None:
    chosen = planted(tmp_path / "data", overrides, lambda label: 1.0 if label == "left" else 2.0)
    source = written(tmp_path, quick("majority", "metadata"))
    result = CliRunner().invoke(
        app, ["ladder", "-c", source, "--out", str(tmp_path / "ladder"), *chosen]
    )
    assert result.exit_code == 0, result.output
    assert "warning: " in result.output
    assert "metadata" in result.output
    found = json.loads((tmp_path / "ladder/comparison.json").read_text())
    assert len(found["warnings"]) == 1
    assert found["warnings"][0] in result.output


def test_no_banner_without_a_shortcut(whole: Path) -> None:
    assert json.loads((whole / "comparison.json").read_text())["warnings"] == []


@pytest.mark.slow
def test_the_shipped_quick_ladder_is_climbed(small_manifest: Path, tmp_path: Path) -> None:
    small = ["preprocess.size=[32, 32, 8]", "train.epochs=1", *SMALL[-6:]]
    words = [f"data.manifest={small_manifest}", *small, "--out", str(tmp_path / "ladder")]
    result = CliRunner().invoke(app, ["ladder", "-c", "ladders/quick", *words])
    assert result.exit_code == 0, result.output
    names = [item["name"] for item in _record(tmp_path / "ladder")]
    assert {"slices_mean", "slices_attention_25d", "frozen_2d_probe", "poolformer3d"} <= set(names)
    assert [name for name in names if name not in result.output] == []
    for name in names:
        assert len(read_table(tmp_path / "ladder" / name / "predictions.csv")) == 20
    card = json.loads((tmp_path / "ladder/frozen_2d_probe/competitor.json").read_text())
    assert card["start"] == "random"


def test_the_verb_refuses_before_it_works(tmp_path: Path) -> None:
    out = str(tmp_path / "ladder")
    result = CliRunner().invoke(app, ["ladder", "-c", "no_such_ladder", "--out", out])
    assert result.exit_code == 2
    assert "there is no config no_such_ladder" in result.output
    assert "ladders/quick" in result.output
    result = CliRunner().invoke(app, ["ladder", "-h"])
    assert "Example: volclass ladder" in " ".join(result.output.split())
