"""Labels by chance cannot be told: over many seeds the AUROC of a run lies around one half."""

from __future__ import annotations

from pathlib import Path

import pytest
from chance_labels import chance_aurocs, interval, write_noise

from pipeline import crossval


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Volumes of noise; each patient's own level would give a leak between scans away."""
    folder = tmp_path_factory.mktemp("noise")
    write_noise(folder)
    return folder


@pytest.fixture(autouse=True)
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is not what is asked for here."""
    monkeypatch.setattr(crossval, "write_report", lambda *_: None)


@pytest.mark.parametrize("seeds", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_the_interval_over_seeds_contains_one_half(seeds: int, noise: Path, tmp_path: Path) -> None:
    low, high = interval(chance_aurocs(noise, tmp_path, seeds))
    assert low < 0.5 < high


@pytest.mark.parametrize("seeds", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_where_the_label_leaks_the_interval_does_not(
    seeds: int, noise: Path, tmp_path: Path
) -> None:
    low, _ = interval(chance_aurocs(noise, tmp_path, seeds, "mark"))
    assert low > 0.5
