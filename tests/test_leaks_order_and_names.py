"""What must not matter does not: order of rows, names of classes, neighbours in a batch."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL
from leak_makers import changed, write_rows
from torch import Tensor

from pipeline.build import build_accelerator, build_dataset, build_network, build_store, build_views
from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.data.dataset import evaluation_batches
from pipeline.data.manifest import read_manifest
from pipeline.data.volumes import prepare
from pipeline.progress import Silent
from pipeline.storage import read_table
from pipeline.training.inference import predict_logits

Build = Callable[..., Config]
SameRun = Callable[[Path, Path], None]
FoldTensors = Callable[[Path, int, str], dict[str, Tensor]]


def copy_of(manifest: Path, folder: Path) -> Path:
    """A folder for another manifest of the same volumes."""
    folder.mkdir()
    (folder / "images").mkdir()
    for path in (manifest.parent / "images").iterdir():
        (folder / "images" / path.name).hardlink_to(path)
    return folder / "manifest.csv"


def test_the_order_of_rows_and_columns_changes_no_fold_and_no_bit(
    small_config: Build,
    small_manifest: Path,
    reference: Path,
    tmp_path: Path,
    assert_same_run: SameRun,
) -> None:
    rows = read_table(small_manifest)
    random.Random(3).shuffle(rows)
    rows = [dict(reversed(row.items())) for row in rows]
    assert rows != read_table(small_manifest)
    manifest = write_rows(copy_of(small_manifest, tmp_path / "data"), rows)
    cross_validate(small_config(f"data.manifest={manifest}"), tmp_path / "run", Silent())
    assert_same_run(reference, tmp_path / "run")


@pytest.mark.parametrize("names", [("benign", "malignant"), ("9", "10")])
def test_classes_renamed_in_the_same_order_change_nothing_but_the_names(
    names: tuple[str, str],
    small_config: Build,
    small_manifest: Path,
    reference: Path,
    tmp_path: Path,
    fold_tensors: FoldTensors,
) -> None:
    new = dict(zip(("left", "right"), names, strict=True))
    rows = changed(read_table(small_manifest), lambda row: {"label": new[row["label"]]})
    manifest = write_rows(copy_of(small_manifest, tmp_path / "data"), rows)
    out = tmp_path / "run"
    cross_validate(small_config(f"data.manifest={manifest}"), out, Silent())
    before, after = (json.loads((run / "folds.json").read_text()) for run in (reference, out))
    assert after["folds"] == before["folds"]
    for fold in range(2):
        for kind in ("best", "last"):
            one, other = fold_tensors(reference, fold, kind), fold_tensors(out, fold, kind)
            assert [n for n in one if not torch.equal(one[n], other[n])] == []
    text = (reference / "predictions.csv").read_text()
    for old, name in new.items():
        text = text.replace(f"p_{old}", f"p_{name}").replace(f",{old}", f",{name}")
    assert (out / "predictions.csv").read_text() == text
    figures = (reference / "report/metrics.json").read_text().replace("'right'", f"'{names[1]}'")
    metrics = [json.loads(figures), json.loads((out / "report/metrics.json").read_text())]
    assert metrics[0]["metrics"] == metrics[1]["metrics"]


NETWORKS = {
    "pooling": [],
    "batch norm": ["model.name=monai_resnet10", "model.options={block_inplanes: [4, 6, 8, 10]}"],
    "flips": ["augment.test_time=flips"],
    "slices": [
        "model.name=resnet18",
        "model.options={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8], small_stem: true}",
        "model.slices={axis: all, count: 3, pool: gru}",
    ],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_an_answer_depends_neither_on_the_batch_nor_on_its_neighbours(
    name: str, small_manifest: Path, tmp_path: Path
) -> None:
    overrides = NETWORKS[name]
    named = any(text.startswith("model.name") for text in overrides)
    kept = [text for text in SMALL if not (named and text.startswith("model."))]
    config = load_config("base", [*kept, f"data.manifest={small_manifest}", *overrides])
    torch.manual_seed(0)
    network = build_network(config.model, 2)
    stirred(network)
    cases = list(read_manifest(config.data).cases)
    store = build_store(config, tmp_path / "cache")
    contents, refused = prepare(store, cases, 0, lambda: None)
    assert refused == []
    accelerator = build_accelerator(config.system, config.train.precision)
    views = build_views(config)

    def answers(chosen: list[int], batch_size: int) -> dict[int, list[float]]:
        some = [cases[place] for place in chosen]
        dataset = build_dataset(config, some, contents, ("left", "right"), store)
        batches = evaluation_batches(dataset, batch_size, 0)
        logits = predict_logits(network, batches, accelerator, len(some), views)
        return dict(zip(chosen, logits.tolist(), strict=True))

    everyone = list(range(len(cases)))
    alone = answers(everyone, 1)
    assert np.ptp([row[0] for row in alone.values()]) > 1e-3
    backwards = everyone[::-1]
    for found in (answers(everyone, 20), answers(backwards, 7), answers(backwards[::3], 4)):
        for place, row in found.items():
            assert row == pytest.approx(alone[place], abs=1e-5)


def stirred(network: torch.nn.Module) -> None:
    """Weights and running statistics as a training leaves them: no layer passes all through."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                tensor += 0.2 * noise if "running_var" in name else 0.2 * (noise - 0.5)
