"""The voxel grid that is proposed comes from the volumes themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.build import check_network
from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.data.drafts.geometry import sample
from pipeline.init import propose
from pipeline.progress import Silent
from volume_makers import put


def test_no_readable_volume_leaves_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.nii").write_bytes(b"no")
    proposal = propose(tmp_path / "data", tmp_path / "out", Silent())
    assert load_config(str(proposal.config)).preprocess == Config().preprocess
    assert "spacing and size are the defaults" in "\n".join(proposal.lines())


@pytest.mark.parametrize(
    ("shape", "spacing", "expected", "size", "stem"),
    [
        ((40, 42, 10), (0.98, 0.98, 4.04), (0.98, 0.98, 4.0), (40, 48, 16), ((7, 7, 3), (4, 4, 1))),
        ((10, 40, 42), (4.04, 0.98, 0.98), (4.0, 0.98, 0.98), (16, 40, 48), ((3, 7, 7), (1, 4, 4))),
        ((33, 30, 20), (1.0, 1.0, 1.9), (1.0, 1.0, 1.9), (40, 32, 24), ((3, 3, 3), (2, 2, 1))),
        ((2, 2, 2), (3.0, 3.0, 3.0), (3.0, 3.0, 3.0), (8, 8, 8), (None, None)),
    ],
)
def test_the_grid_comes_from_the_medians(
    tmp_path: Path,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    expected: tuple[float, float, float],
    size: tuple[int, int, int],
    stem: tuple[object, object],
) -> None:
    for p in range(1, 7):
        put(tmp_path / f"data/P{p:02d}_1.nii.gz", shape, spacing)
    config = load_config(str(propose(tmp_path / "data", tmp_path / "out", Silent()).config))
    assert config.preprocess.spacing == expected
    assert config.preprocess.size == size
    assert (config.model.stem.kernel, config.model.stem.stride) == stem
    check_network(config)


def test_large_volumes_get_longer_voxels(tmp_path: Path) -> None:
    for p in range(1, 5):
        put(tmp_path / f"data/P{p:02d}_1.nii.gz", (200, 200, 100), (0.5, 0.5, 1.0), low=-1024)
    proposal = propose(tmp_path / "data", tmp_path / "out", Silent())
    config = load_config(str(proposal.config))
    assert config.preprocess.spacing is not None
    x, y, z = config.preprocess.spacing
    assert x == y
    assert z == pytest.approx(2 * x, rel=0.1)
    assert 0.7 * 96**3 <= np.prod(config.preprocess.size) <= 96**3
    assert (np.array(config.preprocess.size) * [x, y, z] >= 95).all()
    assert config.preprocess.intensity.name == "window"
    assert "as of CT" in "\n".join(proposal.lines())


def test_the_sample_is_spread_evenly_and_smaller_for_large_files(tmp_path: Path) -> None:
    files = [tmp_path / f"{number:03d}.nii" for number in range(200)]
    chosen = sample(files)
    assert len(chosen) == 50
    assert {int(path.stem) // 4 for path in chosen} == set(range(50))
    for path in files:
        with path.open("wb") as handle:
            handle.truncate(1 << 30)  # sparse: it takes no disk
    assert len(sample(files)) == 5
