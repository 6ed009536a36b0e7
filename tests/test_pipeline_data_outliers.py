"""Volumes that differ from the rest of their set are named, and a set of one kind is not noisy."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import nibabel
import numpy as np
import pytest

from pipeline.config import IntensityConfig, PreprocessConfig
from pipeline.data.cache import VolumeCache
from pipeline.data.cases import Case
from pipeline.data.doubts import REMEDIES, doubts
from pipeline.data.fingerprint import Extent, extent_of
from pipeline.data.formats.dispatch import read_volume
from pipeline.data.formats.rules import Rules
from pipeline.data.memory import MemoryCache
from pipeline.data.outliers import outliers
from pipeline.data.transforms import preprocessing_key
from pipeline.data.volume import WarningCode
from pipeline.data.volumes import VolumeStore, prepare
from pipeline.errors import ConfigError

nib: Any = nibabel  # has no types for what is used here
DATA = Path(
    os.environ.get("VOLCLASS_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data")
)
USUAL = Extent((1.0, 1.0, 3.0), (64, 64, 32), 0.0, 900.0)
SET = [replace(USUAL, shape=(60 + number, 64, 32)) for number in range(8)]
KEEP = PreprocessConfig(spacing=None, size=(8, 8, 8), crop="none")


def codes(odd: Extent, usual: list[Extent] = SET) -> list[str]:
    *others, last = outliers([*usual, odd])
    assert not any(others)
    return [finding.code for finding in last]


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"spacing": (1.0, 1.0, 31.0)}, "W_SPACING_OUTLIER", "31 mm along z; the median is 3"),
        ({"spacing": (0.09, 1.0, 3.0), "shape": (250, 64, 32)}, "W_SPACING_OUTLIER", "0.09 mm"),
        ({"shape": (64, 64, 129)}, "W_SHAPE_OUTLIER", "129 voxels along z; the median is 32"),
        ({"shape": (64, 64, 7), "spacing": (1.0, 1.0, 13.0)}, "W_SHAPE_OUTLIER", "7 voxels"),
        ({"shape": (19, 64, 32)}, "W_FIELD_OF_VIEW", "it shows 19 mm only; the median is 63 mm"),
        ({"lowest": -1024.0}, "W_MODALITY", "it has values of CT, from -1024; 8 others have not"),
    ],
)
def test_an_outlier_is_named_alone(change: dict[str, Any], code: str, text: str) -> None:
    odd = replace(USUAL, **change)
    *_, (finding,) = outliers([*SET, odd])
    assert (finding.code, codes(odd)) == (code, [code])
    assert text in finding.text


@pytest.mark.parametrize(
    "change",
    [
        {"spacing": (1.0, 1.0, 29.0)},
        {"shape": (64, 64, 127)},
        {"shape": (21, 64, 32)},
        {"lowest": -400.0},
    ],
)
def test_what_is_within_the_limits_is_not(change: dict[str, Any]) -> None:
    assert codes(replace(USUAL, **change)) == []


def test_a_set_of_small_patches_or_of_ct_and_a_handful_are_not_noisy() -> None:
    for change in ({"spacing": (0.2, 0.2, 0.2)}, {"lowest": -1000.0}):
        assert not any(outliers([replace(extent, **change) for extent in SET]))
    assert not any(outliers([replace(USUAL, lowest=-1000.0), *SET[:3]]))


def test_ct_without_air_is_of_no_other_modality() -> None:
    lowest = (-1000.0, -950.0, -990.0, -1010.0, -870.0, -1000.0, -120.0, -180.0, -90.0, -940.0)
    assert not any(outliers([replace(USUAL, lowest=value) for value in lowest]))
    mixed = [replace(USUAL, lowest=value) for value in (*lowest, 0.0)]
    *others, (finding,) = outliers(mixed)
    assert not any(others)
    assert "or it is CT of other units, or without air" in finding.text


def test_the_rarer_kind_of_values_is_named() -> None:
    ct = [replace(extent, lowest=-1000.0) for extent in SET]
    assert codes(USUAL, ct) == ["W_MODALITY"]


@pytest.mark.skipif(not (DATA / "sts").is_dir(), reason=f"no real volumes in {DATA}")
@pytest.mark.parametrize(
    ("name", "expected"), [("mr_patches", set()), ("modality", {"W_MODALITY"})]
)
def test_real_sets_are_read_without_doubts_but_that_of_modality(
    name: str, expected: set[str]
) -> None:
    volumes = [read_volume(path) for path in sorted((DATA / "sts" / name).rglob("*.nii.gz"))]
    assert len(volumes) > 30
    assert {finding.code for volume in volumes for finding in volume.findings} == set()
    found = outliers([extent_of(volume) for volume in volumes])
    assert {finding.code for findings in found for finding in findings} == expected


def cases(folder: Path) -> list[Case]:
    """Six volumes; the slices of the last are 40 times as thick, and it holds a NaN."""
    made = []
    for number in range(6):
        voxels = np.random.default_rng(number).random((24, 25, 26)).astype(np.float32)
        odd = number == 5
        voxels[3, 4, 5] = np.nan if odd else 0.5
        path = folder / f"v{number}.nii.gz"
        nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 40.0 if odd else 1.0, 1.0])), path)
        made.append(Case(f"c{number}", f"p{number}", path))
    return made


Store = Callable[[Rules], VolumeStore]


@pytest.fixture(params=["disk", "ram"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    def build(rules: Rules) -> VolumeStore:
        if request.param == "ram":
            return VolumeStore(KEEP, MemoryCache(), rules)
        key = preprocessing_key(KEEP, rules)
        return VolumeStore(KEEP, VolumeCache(tmp_path / "cache", key), rules)

    return build


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_outliers_are_told_of_the_files_and_from_the_cache(
    store: Store, tmp_path: Path, workers: int
) -> None:
    made = cases(tmp_path)
    kept = store(Rules(nan="fill"))
    for _ in range(2):
        contents, refused = prepare(kept, made, workers, lambda: None)
        assert (len(contents), refused) == (6, [])
        told = doubts(kept, made)
        assert set(told) == {"W_FILLED", "W_SPACING_OUTLIER"}
        assert told["W_SPACING_OUTLIER"].startswith("1 volume, e.g. v5.nii.gz: it has a voxel size")


def test_what_one_rule_accepted_another_does_not_find_in_the_cache(
    store: Store, tmp_path: Path
) -> None:
    made = cases(tmp_path)
    prepare(store(Rules(nan="fill")), made, 0, lambda: None)
    contents, (refused,) = prepare(store(Rules()), made, 0, lambda: None)
    assert (len(contents), refused.code, refused.file) == (5, "E_NONFINITE", "v5.nii.gz")
    assert "data.nan=fill" in refused.remedy


def test_the_key_of_the_cache_has_every_rule_that_changes_voxels() -> None:
    changed = [
        Rules(nan="fill"),
        Rules(frame=0),
        Rules(orientation="LPS"),
        Rules(orientation="RAS"),
        Rules(prefer="qform"),
        Rules(prefer="sform"),
        Rules(shear="resample"),
    ]
    keys = {preprocessing_key(KEEP, rules) for rules in changed}
    assert len(keys | {preprocessing_key(KEEP)}) == len(changed) + 1
    assert preprocessing_key(KEEP, Rules(budget=1)) == preprocessing_key(KEEP)


def test_the_ceiling_of_a_store_is_that_of_its_rules(store: Store, tmp_path: Path) -> None:
    made = cases(tmp_path)[:1]
    _, (refused,) = prepare(store(Rules(budget=10_000)), made, 0, lambda: None)
    assert (refused.code, "raise data.max_bytes" in refused.remedy) == ("E_BUDGET", True)
    assert prepare(store(Rules()), made, 0, lambda: None)[1] == []


def test_shear_that_nothing_straightens_is_refused_and_resampling_straightens_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="would stay sheared"):
        VolumeStore(KEEP, MemoryCache(), Rules(shear="resample"))
    size, slope = (40, 40, 20), 0.3
    _, y, z = np.indices(size).astype(np.float64)
    # Bright at one height of y in the patient, whatever the index says.
    voxels = np.exp(-(((y + slope * z - 22) / 4) ** 2)).astype(np.float32)
    affine = np.eye(4)
    affine[1, 2] = slope
    path = tmp_path / "tilted.nii.gz"
    nib.save(nib.Nifti1Image(voxels, affine), path)
    config = PreprocessConfig(
        spacing=(1.0, 1.0, 1.0),
        size=(32, 32, 16),
        crop="none",
        intensity=IntensityConfig(name="none"),
    )
    kept = VolumeStore(config, MemoryCache(), Rules(shear="resample"))
    case = Case("c", "p", path)
    contents, refused = prepare(kept, [case], 0, lambda: None)
    assert refused == []
    image = kept.fetch_known(case, contents["c"]).image[0].numpy()
    peaks = image[16].argmax(axis=0)[2:-2]
    assert np.ptp(peaks) <= 1, peaks  # upright: as stored it leans by 0.3 a slice
    assert set(doubts(kept, [case])) == {"W_SHEAR"}


def test_every_doubt_has_a_remedy() -> None:
    assert set(REMEDIES) == set(get_args(WarningCode))
