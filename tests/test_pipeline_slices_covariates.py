"""Networks over slices that read clinical variables beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL
from covariate_runs import config_of, noise_rows, written

from pipeline.crossval import cross_validate
from pipeline.evaluation import baselines as tables
from pipeline.predict import predict
from pipeline.progress import Silent
from pipeline.storage import read_table

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

#: The same without the 3D network.
FLAT = tuple(text for text in SMALL if not text.startswith("model."))
SLICES = (
    "preprocess.intensity={name: percentiles}",
    "model.name=resnet18",
    "model.options={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8], small_stem: true}",
    "data.covariates=[marker, sex]",
    "train.epochs=2",
)


@pytest.fixture(scope="module", autouse=True)
def few_trees() -> Iterator[None]:
    """Enough for what is tested, and quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_TREES", 20)
        yield


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    return written(folder / "manifest.csv", noise_rows(folder))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_network_over_slices_reads_covariates_too(
    frozen: bool, manifest: Path, tmp_path: Path
) -> None:
    slices = f"model.slices={{axis: sagittal, count: 4, frozen: {str(frozen).lower()}}}"
    config = config_of(manifest, *SLICES, slices, "model.head.hidden=[6]", small=FLAT)
    cross_validate(config, tmp_path / "run", Silent())
    said = read_table(tmp_path / "run/fold_0/slices.csv")
    assert len(said) == 4 * len(read_table(tmp_path / "run/fold_0/predictions.csv"))
    assert "slices.csv" not in (tmp_path / "run/report/index.html").read_text()
    predict(tmp_path / "run", [str(manifest)], tmp_path / "p.csv", Silent(), out_of_fold=True)
    again = {row["case_id"]: row for row in read_table(tmp_path / "p.csv")}
    for row in read_table(tmp_path / "run/predictions.csv"):
        assert float(again[row["case_id"]]["p_a"]) == pytest.approx(float(row["p_a"]), abs=1e-6)


def test_the_answers_of_slices_are_those_of_their_case_where_the_head_is_linear(
    manifest: Path, tmp_path: Path
) -> None:
    """Weighted by their share, the logits of the slices make those of the volume."""
    slices = "model.slices={axis: sagittal, count: 4}"
    config = config_of(manifest, *SLICES, slices, small=FLAT)
    cross_validate(config, tmp_path / "run", Silent(), fold=0)
    said = read_table(tmp_path / "run/fold_0/slices.csv")
    for row in read_table(tmp_path / "run/fold_0/predictions.csv"):
        own = [item for item in said if item["case_id"] == row["case_id"]]
        logit = sum(
            float(item["weight"]) * np.log(float(item["p_b"]) / float(item["p_a"])) for item in own
        )
        assert logit == pytest.approx(np.log(float(row["p_b"]) / float(row["p_a"])), abs=1e-4)
