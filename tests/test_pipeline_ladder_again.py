"""What a ladder that goes on, or that begins in a folder with files, may trust, and what not."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

import nibabel
import numpy as np
import pytest
import torch

from pipeline import ladder as module
from pipeline.config_file import load_config
from pipeline.errors import ConfigError
from pipeline.evaluation import baselines as tables
from pipeline.ladder import ladder
from pipeline.progress import Display, Silent
from pipeline.split import split
from pipeline.storage import read_table, write_table

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

nib: Any = nibabel  # has no types for what is used here


class ShownLines(Display, Protocol):
    """A display that keeps its lines."""

    shown: list[str]


def _tests(name: str) -> ModuleType:
    return importlib.import_module(name)


LADDERS = _tests("test_pipeline_ladder")


def quick(*names: str, **settings: dict[str, object]) -> dict[str, object]:
    """A ladder of these rungs, or of all."""
    return cast("dict[str, object]", LADDERS.quick(*names, **settings))


def written(folder: Path, content: object = None) -> str:
    """A ladder file, by default of all rungs."""
    return cast("str", LADDERS.written(folder, content))


def results(out: Path) -> dict[str, bytes]:
    """What a ladder found."""
    return cast("dict[str, bytes]", LADDERS.results(out))


@pytest.fixture(scope="module", autouse=True)
def few_trees() -> Iterator[None]:
    """Enough for what is tested, and quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_TREES", 20)
        patch.setattr(tables, "_RANDOM_TREES", 20)
        yield


@pytest.fixture(scope="module")
def overrides(small_manifest: Path) -> list[str]:
    return [*LADDERS.SMALL, f"data.manifest={small_manifest}", "train.epochs=1"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, overrides: list[str]) -> Path:
    """A ladder that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    ladder(written(folder), folder / "ladder", Silent(), overrides)
    return folder / "ladder"


def _copied(folder: Path, overrides: list[str]) -> list[str]:
    """A copy of the small volumes, which a test may change."""
    return cast("list[str]", LADDERS.planted(folder, overrides, lambda _: 1.5))


def test_a_site_that_comes_later_is_told_to_the_finished_rung(
    overrides: list[str], tmp_path: Path, lines: ShownLines
) -> None:
    chosen, manifest = _copied(tmp_path / "data", overrides), tmp_path / "data/manifest.csv"
    source, out = written(tmp_path, quick("majority", "metadata")), tmp_path / "ladder"
    assert ladder(source, out, Silent(), chosen).warnings == ()
    rows = [{**row, "site": f"of {row['label']}"} for row in read_table(manifest)]
    write_table(manifest, list(rows[0]), rows)
    resumed = ladder(source, out, lines, chosen)
    assert len(resumed.warnings) == 1
    told = " ".join(lines.shown)
    assert "majority: finished before" in told
    assert "metadata: climbed again, for the metadata of the cases are not those" in told
    ladder(source, tmp_path / "fresh", Silent(), chosen)
    name = "metadata/predictions.csv"
    assert (out / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
    lines.shown.clear()
    ladder(source, out, lines, chosen)
    assert sum("finished before" in line for line in lines.shown) == 2


def test_another_voxel_type_is_told_to_the_finished_rung(
    overrides: list[str], tmp_path: Path, lines: ShownLines
) -> None:
    chosen = _copied(tmp_path / "data", overrides)
    source, out = written(tmp_path, quick("majority", "metadata")), tmp_path / "ladder"
    ladder(source, out, Silent(), chosen)
    path = tmp_path / "data/images/p03_1.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj, np.float64), image.affine), path)
    ladder(source, out, lines, chosen)
    assert "metadata: climbed again" in " ".join(lines.shown)


def test_folds_that_lie_in_the_folder_are_obeyed_by_every_rung(
    overrides: list[str], small_manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ladder"
    other = load_config("base", [*LADDERS.SMALL, f"data.manifest={small_manifest}", "seed=1"])
    out.mkdir()
    folds = split(other, out, Silent())
    ladder(written(tmp_path, quick("majority", "frozen")), out, Silent(), overrides)
    tested = {name: str(n) for n, fold in enumerate(folds.folds) for name in fold.test}
    for rung in ("majority", "frozen"):
        rows = read_table(out / rung / "predictions.csv")
        assert {row["case_id"]: row["fold"] for row in rows} == tested


def test_weights_that_do_not_fit_are_refused_before_any_rung(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    save_file({"stem.conv.weight": torch.zeros(3)}, tmp_path / "start.safetensors")
    content = quick("majority", "net", net={"model.weights": "start.safetensors"})
    monkeypatch.setattr(module, "run_baseline", lambda *_: pytest.fail("a rung is climbed"))
    with pytest.raises(ConfigError, match="the weights do not fit") as caught:
        ladder(written(tmp_path, content), tmp_path / "ladder", Silent(), overrides)
    assert "rung net" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("majority/predictions.csv", "case,fold\n1,2\n"),
        ("majority/predictions.csv", ""),
        ("majority/competitor.json", "no json"),
        ("majority/competitor.json", None),
        ("frozen/competitor.json", None),
        ("net/predictions.csv", "case,fold\n1,2\n"),
        ("net/predictions.csv", ""),
    ],
)
def test_a_rung_whose_answers_are_damaged_is_climbed_again(
    name: str, text: str | None, whole: Path, overrides: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "ladder"
    shutil.copytree(whole, out)
    if text is None:
        (out / name).unlink()
    else:
        (out / name).write_text(text)
    ladder(written(tmp_path), out, Silent(), overrides)
    assert results(out) == results(whole)


@pytest.mark.parametrize(
    ("rung", "other"), [("majority", "config.yaml"), ("net", "competitor.json")]
)
def test_a_rung_replaces_no_answers_but_its_own(
    rung: str, other: str, overrides: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "ladder"
    (out / rung).mkdir(parents=True)
    (out / rung / other).write_text("{}")
    (out / rung / "predictions.csv").write_text("of somebody else")
    source = written(tmp_path, quick(rung, "histogram"))
    with pytest.raises(ConfigError, match=f"rung {rung}"):
        ladder(source, out, Silent(), overrides)
    assert (out / rung / "predictions.csv").read_text() == "of somebody else"


def test_the_comparison_resamples_as_the_configuration_says(
    overrides: list[str], tmp_path: Path
) -> None:
    source = written(tmp_path, quick("majority", "histogram"))
    found = ladder(source, tmp_path / "ladder", Silent(), [*overrides, "seed=3"]).evaluation
    # The differences get 500 a pair at least; the figures are drawn as often as the reports say.
    assert (found.seed, found.resamples) == (3, 500)
    assert "100 resamplings" in found.standings[0].figures["accuracy"].method
