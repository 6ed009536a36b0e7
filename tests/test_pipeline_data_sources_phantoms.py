"""The phantoms: reproducible, readable, and separable by shape alone."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.config import PhantomConfig
from pipeline.data.sources.phantom_shapes import (
    Doubles,
    Margin,
    draw_anatomy,
    draw_outline,
    sphere_points,
)
from pipeline.data.sources.phantoms import (
    COLUMNS,
    ORIENTATIONS,
    group_of,
    make_phantom,
    nifti_bytes,
    scans_of,
    stored,
    write_phantoms,
)
from pipeline.storage import read_table

SMALL = PhantomConfig(patients=6, scans=2, seed=3)
MARGINS: tuple[Margin, Margin] = ("smooth", "spiculated")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small set."""
    return write_phantoms(SMALL, tmp_path_factory.mktemp("small")).parent


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the set that users get without any option."""
    return write_phantoms(PhantomConfig(), tmp_path_factory.mktemp("default")).parent


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def canonical(path: Path) -> tuple[npt.NDArray[np.float32], Doubles, Doubles]:
    """Grey values in RAS+ order, their affine and their spacing."""
    image = nib.as_closest_canonical(nib.load(path))
    voxels: npt.NDArray[np.float32] = image.get_fdata(dtype=np.float32)
    return voxels, np.asarray(image.affine), np.linalg.norm(image.affine[:3, :3], axis=0)


def test_same_config_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    write_phantoms(SMALL, tmp_path)
    assert contents(tmp_path) == contents(small)


def test_volumes_do_not_depend_on_order_or_company(small: Path) -> None:
    for row in reversed(read_table(small / "manifest.csv")):
        _, patient, scan = row["case_id"].split("_")
        made = nifti_bytes(make_phantom(SMALL.seed, int(patient), int(scan)))
        assert made == (small / row["image"]).read_bytes()


def test_seeds_patients_and_scans_differ() -> None:
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert len({nifti_bytes(make_phantom(*key)) for key in keys}) == len(keys)


def test_complete_folder_is_reused(small: Path) -> None:
    before, calls = times(small), list[int]()
    manifest = write_phantoms(SMALL, small, lambda done, _: calls.append(done))
    assert manifest == small / "manifest.csv"
    assert times(small) == before
    assert not calls


@pytest.mark.parametrize("name", ["manifest.csv", "phantoms.json", "images/phantom_0004_1.nii.gz"])
@pytest.mark.parametrize("damage", ["missing", "shorter", "changed"])
def test_damaged_folder_is_repaired(tmp_path: Path, small: Path, name: str, damage: str) -> None:
    good = contents(small)
    for path, content in good.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    target = tmp_path / name
    if damage == "missing":
        target.unlink()
    elif damage == "shorter":
        target.write_bytes(good[name][:-40])
    else:
        target.write_bytes(good[name][:-40] + bytes(40))
    write_phantoms(SMALL, tmp_path)
    assert contents(tmp_path) == good


def test_another_config_is_made_anew(tmp_path: Path) -> None:
    write_phantoms(PhantomConfig(patients=6, scans=1, seed=0), tmp_path)
    before = contents(tmp_path)
    steps = list[tuple[int, int]]()
    write_phantoms(
        PhantomConfig(patients=6, scans=1, seed=1), tmp_path, lambda *step: steps.append(step)
    )
    after = contents(tmp_path)
    assert steps == [(done, 6) for done in range(1, 7)]
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before)


def test_manifest_names_every_image_relative_to_itself(small: Path) -> None:
    rows = read_table(small / "manifest.csv")
    assert tuple(rows[0]) == COLUMNS
    assert len({row["case_id"] for row in rows}) == len(rows)
    images = {str(path.relative_to(small)) for path in (small / "images").iterdir()}
    assert {row["image"] for row in rows} == images


def test_patients_keep_class_and_site(default: Path) -> None:
    groups: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in read_table(default / "manifest.csv"):
        groups[row["patient_id"]].add((row["label"], row["site"]))
    assert len(groups) == PhantomConfig().patients
    assert all(len(group) == 1 for group in groups.values())


def test_classes_sites_and_scans_are_balanced(default: Path) -> None:
    rows = read_table(default / "manifest.csv")
    cases = Counter((row["label"], row["site"]) for row in rows)
    assert len(cases) == 4
    assert len(set(cases.values())) == 1
    assert {Counter(row["patient_id"] for row in rows)[row["patient_id"]] for row in rows} == {1, 2}


@given(seed=st.integers(0, 2**63), half=st.integers(3, 30))
def test_any_even_number_of_patients_is_balanced(seed: int, half: int) -> None:
    labels = Counter(group_of(seed, patient)[0] for patient in range(2 * half))
    assert labels == dict.fromkeys(MARGINS, half)


@given(patient=st.integers(0, 1000), most=st.integers(1, 5))
def test_every_patient_has_between_one_and_most_scans(patient: int, most: int) -> None:
    assert 1 <= scans_of(patient, most) <= most


def test_headers_are_plain_and_agree(small: Path) -> None:
    orientations, spacings = set(), set()
    for row in read_table(small / "manifest.csv"):
        content = gzip.decompress((small / row["image"]).read_bytes())
        image = nib.Nifti1Image.from_bytes(content)
        (sform, sform_code), (qform, qform_code) = (
            image.get_sform(coded=True),
            image.get_qform(coded=True),
        )
        assert sform_code == qform_code == 1
        np.testing.assert_allclose(sform, qform, atol=1e-4)
        assert image.header.get_xyzt_units()[0] == "mm"
        assert image.get_data_dtype() == np.int16
        assert all(24 <= length <= 72 for length in image.shape)
        assert np.asarray(image.dataobj).min() >= -1024
        orientations.add("".join(nib.aff2axcodes(image.affine)))
        spacings.add(image.header.get_zooms())
    assert orientations <= set(ORIENTATIONS)
    assert len(orientations) > 2
    assert len(spacings) > 2


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_storing_in_another_order_moves_no_voxel(axes: str) -> None:
    spacing, origin = np.array([1.0, 2.0, 3.0]), np.array([-7.0, 5.0, 11.0])
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    turned, affine = stored(voxels, spacing, origin, axes)
    assert "".join(nib.aff2axcodes(affine)) == axes
    back = nib.as_closest_canonical(nib.Nifti1Image(turned, affine))
    np.testing.assert_array_equal(np.asarray(back.dataobj), voxels)
    np.testing.assert_allclose(back.affine[:3, 3], origin)
    np.testing.assert_allclose(np.diag(back.affine)[:3], spacing)


def test_recorded_position_is_the_lesion(small: Path) -> None:
    for row in read_table(small / "manifest.csv"):
        voxels, affine, _ = canonical(small / row["image"])
        centre = np.array([float(row[f"lesion_{axis}"]) for axis in "xyz"])
        world = np.moveaxis(np.indices(voxels.shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
        distance = np.linalg.norm(world - centre, axis=-1)
        core = voxels[distance < 4.0]
        # Beyond the longest spicule and still in the body, soft tissue is what there is most of.
        around = np.median(voxels[(distance > 24.0) & (distance < 28.0)])
        assert core.min() > around
        assert core.mean() > around + 80.0
        np.testing.assert_array_less(0.0, centre - affine[:3, 3])


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    margin=st.sampled_from(MARGINS),
    diameter=st.floats(10.0, 40.0),
)
def test_outline_holds_the_volume_asked_for(seed: int, margin: Margin, diameter: float) -> None:
    outline = draw_outline(np.random.default_rng(seed), margin, diameter)
    assert outline.stretch.prod() == pytest.approx(1.0)
    # Counts the part of a cube's grid that lies inside, other than the source's surface integral.
    axis = np.linspace(-1.5, 1.5, 65) * diameter
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).astype(np.float32)
    inside = outline.cover(grid) > 0.5
    volume = inside.sum() * (axis[1] - axis[0]) ** 3
    assert volume == pytest.approx(np.pi / 6 * diameter**3, rel=0.05)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), margin=st.sampled_from(MARGINS))
def test_lesion_lies_inside_the_organ(seed: int, margin: Margin) -> None:
    anatomy = draw_anatomy(np.random.default_rng(seed), margin)
    axis = np.arange(-32.0, 33.0, 2.0, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    offsets = grid - anatomy.lesion_centre.astype(np.float32)[:, None, None, None]
    lesion = anatomy.outline.cover(offsets)
    assert (lesion * anatomy.organ.cover(grid)).sum() > 0.97 * lesion.sum()


def test_only_the_outline_depends_on_the_class() -> None:
    smooth, spiculated = (draw_anatomy(np.random.default_rng(5), margin) for margin in MARGINS)
    assert smooth.lesion_mm == spiculated.lesion_mm
    assert smooth.lesion_hu == spiculated.lesion_hu
    np.testing.assert_array_equal(smooth.texture, spiculated.texture)
    np.testing.assert_array_equal(smooth.outline.stretch, spiculated.outline.stretch)
    assert spiculated.outline.reach > 1.3 * smooth.outline.reach
    assert sphere_points(50).shape == (3, 50)


def grey_values(voxels: npt.NDArray[np.float32]) -> list[float]:
    percentiles = np.percentile(voxels, [1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9])
    counts, _ = np.histogram(voxels, bins=16, range=(-160.0, 400.0))
    return [voxels.mean(), voxels.std(), *percentiles, *(counts / voxels.size)]


def out_of_fold_auroc(features: list[list[float]], labels: list[bool], groups: list[str]) -> float:
    """AUROC of a logistic regression, by patients and averaged over five ways to fold them."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    scores = []
    for seed in range(5):
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        chances = cross_val_predict(
            model, features, labels, groups=groups, cv=folds, method="predict_proba"
        )
        scores.append(float(roc_auc_score(labels, chances[:, 1])))
    return float(np.mean(scores))


def test_neither_grey_values_nor_geometry_betray_the_class(default: Path) -> None:
    rows = read_table(default / "manifest.csv")
    labels = [row["label"] == "spiculated" for row in rows]
    groups = [row["patient_id"] for row in rows]
    grey, geometry = [], []
    for row in rows:
        voxels, _, spacing = canonical(default / row["image"])
        grey.append(grey_values(voxels))
        shape = [float(length) for length in voxels.shape]
        geometry.append([*shape, *spacing, float(row["site"] == "B"), float(row["lesion_mm"])])
    first, rest = [value[:13] for value in grey], [value[13:] for value in grey]
    for features in (first, rest, grey, geometry):
        assert out_of_fold_auroc(features, labels, groups) < 0.65


@pytest.mark.slow
def test_grey_values_of_many_patients_are_at_chance() -> None:
    # In 400 patients the AUROC of a guess has a standard deviation of about 0.03.
    phantoms = [make_phantom(7, patient, 0) for patient in range(400)]
    grey = [grey_values(phantom.voxels.astype(np.float32)) for phantom in phantoms]
    labels = [phantom.margin == "spiculated" for phantom in phantoms]
    groups = [str(patient) for patient in range(400)]
    assert out_of_fold_auroc(grey, labels, groups) < 0.56


def test_shape_does_separate_the_classes(small: Path) -> None:
    far = defaultdict(list)
    for row in read_table(small / "manifest.csv"):
        voxels, affine, _ = canonical(small / row["image"])
        centre = np.array([float(row[f"lesion_{axis}"]) for axis in "xyz"])
        world = np.moveaxis(np.indices(voxels.shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
        distance = np.linalg.norm(world - centre, axis=-1)
        shell = voxels[(distance > 15.0) & (distance < 18.0)]
        far[row["label"]].append(float((shell > 140.0).mean()))
    assert max(far["smooth"]) < min(far["spiculated"])


def test_default_set_is_small(default: Path) -> None:
    assert sum(len(content) for content in contents(default).values()) < 25_000_000
