"""Preprocessing is measured against the same work of MONAI's own steps."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from pipeline.bench import preparing
from pipeline.bench.reading import write_image
from pipeline.bench.tables import preparing_lines
from pipeline.config import PreprocessConfig
from pipeline.data.transforms import preprocessing

SMALL = {"small": ("int16.nii.gz", (24, 20, 12), (1.5, 1.5, 1.5))}


def test_each_kind_of_file_has_a_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "FILES", SMALL)
    seen: list[None] = []
    ((cached, kept),) = preparing.preparing_costs(tmp_path, lambda: seen.append(None))
    for found in (cached, kept):
        assert found.name == "small"
        assert 0 < found.low <= found.median <= found.high
    assert len(seen) == 1
    (row,) = [line for line in preparing_lines([(cached, kept)]) if line.startswith("| small")]
    assert f"| {cached.median:.2f} |" in row
    assert f"| {kept.median:.2f} |" in row


def test_each_way_is_held_against_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"ours": 2.0, "kept": 1.0, "theirs": 6.0}
    monkeypatch.setattr(preparing, "seconds_of", lambda work: seconds[work()])
    ways = [partial(str, name) for name in seconds]
    assert preparing._multiples(ways) == (3.0, 6.0)


def test_both_ways_come_to_the_same_voxels_but_for_their_scale(tmp_path: Path) -> None:
    path = write_image(tmp_path / "int16.nii.gz", (24, 20, 12))
    config = PreprocessConfig(spacing=(1.5, 1.5, 1.5), size=(16, 16, 16), crop="foreground")
    ours = preprocessing(config)({"image": str(path)})["image"].as_tensor()
    result = preparing.plain_chain(config)({"image": str(path)})
    assert isinstance(result, dict)
    theirs = torch.as_tensor(result["image"]).float()
    assert ours.shape == theirs.shape
    # Ours is scaled by its foreground and padded with its lowest value, theirs by all and with 0.
    inside = theirs != 0
    both = torch.stack([ours[inside], theirs[inside]])
    assert torch.corrcoef(both)[0, 1] > 0.9999
