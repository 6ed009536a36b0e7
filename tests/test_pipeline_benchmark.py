"""The benchmark: what a set itself decides, what the table says, when the test part is read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Lines

from pipeline import benchmark as module
from pipeline.benchmark import Rules, benchmark
from pipeline.config_file import load_config
from pipeline.data.cases import Case
from pipeline.data.sources.medmnist_sets import SETS, MedmnistSet
from pipeline.data.volumes import VolumeStore
from pipeline.errors import ConfigError, DataError, StorageError
from pipeline.evaluation import baselines as tables
from pipeline.evaluation.published import PUBLISHED
from pipeline.ladder_config import read_ladder
from pipeline.train import train_member

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

NAME, SIDE, COUNTS = "adrenalmnist3d", 12, (24, 12, 12)
OFFICIAL = SETS[NAME]
PLAN = {
    "config": "benchmarks/medmnist3d",
    "set": {"train.seeds": 2},
    "rungs": [
        {"name": "shape", "kind": "shape"},
        {"name": "nano", "kind": "train", "title": "PoolFormer nano"},
        {"name": "nano_shape", "kind": "ensemble", "of": ["nano", "shape"]},
        {
            "name": "voxels",
            "kind": "train",
            "title": "voxels as they are",
            "set": {"preprocess.intensity": {"name": "window", "low": 0.0, "high": 255.0}},
        },
    ],
}
SEARCH = {
    "config": "benchmarks/medmnist3d",
    "set": {"augment.test_time": "none"},
    "trials": 2,
    "sampler": "grid",
    "pruner": "none",
    "space": {
        "augment.flip": {"choices": [0.5, 0.0]},
        "augment.rotate90": {"choices": [0.0, 0.5]},
    },
}
SMALL = [
    f"preprocess.size=[{SIDE},{SIDE},{SIDE}]",
    "model.options={depths: [1, 1], dims: [4, 8]}",
    "train.epochs=1",
    "train.batch_size=8",
    "system.workers=0",
    "system.threads=1",
    "report.bootstrap=100",
    "augment.test_time=none",
]


def made_volumes(
    count: int, generator: np.random.Generator, *, binary: bool
) -> npt.NDArray[np.uint8]:
    """Balls; those of class 1 are larger."""
    places = np.indices((SIDE, SIDE, SIDE)) - SIDE // 2
    volumes = []
    for number in range(count):
        radius = 2.0 + 2.0 * (number % 2) + generator.random()
        ball = (places**2).sum(axis=0) <= radius**2
        ball |= generator.random(ball.shape) < 0.01  # so that no two volumes are the same
        grey = np.ones_like(ball) if binary else generator.integers(100, 256, ball.shape)
        volumes.append((ball * grey * (255 if binary else 1)).astype(np.uint8))
    return np.stack(volumes)


def put_set(
    folder: Path,
    patch: pytest.MonkeyPatch,
    *,
    binary: bool,
    noise: bool = False,
    copied: bool = False,
    spoilt: bool = False,
) -> Path:
    """Writes a small set in the official layout, which counts as the official one."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    for split, count in zip(("train", "val", "test"), COUNTS, strict=True):
        images = made_volumes(count, generator, binary=binary)
        if noise and split == "test":
            images = np.random.default_rng(1).integers(0, 2, images.shape, dtype=np.uint8) * 255
        if spoilt and split == "test":
            images[0, 0, 0, 0] = 100
        if copied and split == "test":
            images[0] = arrays["train_images"][0]
        arrays[f"{split}_images"] = images
        arrays[f"{split}_labels"] = (np.arange(count, dtype=np.uint8) % 2)[:, None]
    np.savez_compressed(folder / f"{NAME}.npz", allow_pickle=False, **arrays)
    md5 = hashlib.md5((folder / f"{NAME}.npz").read_bytes(), usedforsecurity=False).hexdigest()
    patch.setitem(SETS, NAME, MedmnistSet(SETS[NAME].classes, COUNTS, {28: md5, 64: md5}))
    return folder


@dataclass(frozen=True)
class Done:
    """A benchmark that was run: some rungs first, then all."""

    root: Path
    out: Path
    page: Path
    first: list[str]
    lines: list[str]

    def again(self, shown: Lines) -> list[str]:
        """The same command once more."""
        return benchmark(self.root, self.out, self.page, shown, overrides=SMALL)


@pytest.fixture(scope="module", autouse=True)
def patch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """The ladder and the search of the benchmark, with few and small networks."""
    folder = tmp_path_factory.mktemp("plans")
    with pytest.MonkeyPatch.context() as patch:
        for name, content in (("LADDER", PLAN), ("SYMMETRY", SEARCH)):
            path = folder / f"{name.lower()}.yaml"
            path.write_text(json.dumps(content))
            patch.setattr(module, name, str(path))
        patch.setattr(tables, "_TREES", 20)
        patch.setattr(tables, "_RANDOM_TREES", 20)
        yield patch


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Done:
    """A set of binary shapes, from its file to the table."""
    folder = tmp_path_factory.mktemp("done")
    root = put_set(folder / "data", patch, binary=True)
    page = folder / "docs" / "benchmarks.md"
    first = benchmark(root, folder / "out", page, Lines(), overrides=SMALL, only=["shape"])
    lines = benchmark(root, folder / "out", page, Lines(), overrides=SMALL)
    return Done(root, folder / "out", page, first, lines)


def test_it_goes_from_the_file_to_the_table(done: Done) -> None:
    text, lines = done.page.read_text(), done.lines
    assert text.startswith("# Benchmarks\n\n## MedMNIST 3D at 28^3\n")
    assert all(line in text for line in lines)
    (row,) = (line for line in lines if line.startswith("| PoolFormer nano |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert "±" in cells[1]
    assert cells[5] == ""
    (other,) = (line for line in lines if line.startswith("| shape |"))
    assert other.strip("| ").split("|")[-1].strip()[0] in "+-"
    assert sum("(published)" in line for line in lines) == len(PUBLISHED)
    assert "| ResNet-18 + 3D (published) | 0.827 | 0.721 | | | |" in lines
    assert any("binary shapes, so networks read distances to the outside" in line for line in lines)
    assert "organmnist3d" in " ".join(lines)


def test_some_rungs_first_leave_a_table_that_names_the_others(done: Done) -> None:
    told = " ".join(done.first)
    assert "Not trained yet: nano_shape; voxels as they are." in told
    assert "Not trained yet" not in " ".join(done.lines)
    rows = [line.split("|")[1].strip() for line in done.first if line.startswith("| ")]
    assert {"shape", "PoolFormer nano"} <= set(rows)  # the reference is always there
    assert "nano_shape" not in rows
    assert [line for line in done.first if line.startswith("| shape")] == [
        line for line in done.lines if line.startswith("| shape")
    ]


def test_an_unknown_rung_is_refused_before_the_work(done: Done, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no rung shapes"):
        benchmark(done.root, tmp_path / "out", done.page, Lines(), only=["shapes"])
    assert not (tmp_path / "out").exists()


def test_the_rungs_that_make_climbs_first_are_in_the_ladder() -> None:
    text = (Path(__file__).parents[1] / "Makefile").read_text()
    (names,) = (line.split(" := ")[1] for line in text.splitlines() if "FIRST_RUNGS :=" in line)
    plan = read_ladder("ladders/medmnist3d", ["data.name=adrenalmnist3d"], lambda _: None)
    cut = [rung.plan.name for rung in plan.cut(names.split(",")).rungs]
    assert cut == names.split(",")


def test_started_again_it_decides_and_trains_nothing_twice(
    done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "tune", lambda *_: pytest.fail("searched again"))
    again = Lines()
    assert done.again(again) == done.lines
    assert sum("finished before" in line for line in again.shown) == 4


@pytest.mark.slow
def test_a_set_of_eleven_classes_goes_to_the_table_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, counts = "organmnist3d", (44, 22, 22)
    classes = SETS[name].classes
    generator = np.random.default_rng(0)
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        arrays[f"{split}_images"] = generator.integers(0, 256, (count, *[SIDE] * 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count, dtype=np.uint8) % len(classes))[:, None]
    np.savez_compressed(tmp_path / f"{name}.npz", allow_pickle=False, **arrays)
    md5 = hashlib.md5((tmp_path / f"{name}.npz").read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(SETS, name, MedmnistSet(classes, counts, {28: md5, 64: md5}))
    lines = benchmark(tmp_path, tmp_path / "out", tmp_path / "page.md", Lines(), overrides=SMALL)
    assert "### organmnist3d" in lines
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}
    assert {"shape", "PoolFormer nano", "nano_shape"} <= set(rows)
    assert any("grey volumes" in line for line in lines)


def test_grey_volumes_are_told_from_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, binary in (("grey", False), ("binary", True)):
        root = put_set(tmp_path / name, monkeypatch, binary=binary)
        cache = tmp_path / f"cache_{name}"
        data = [f"data.name={NAME}", f"data.root={root}", f"system.cache_dir={cache}"]
        assert module._is_binary(data, tmp_path, Lines()) == binary
        with pytest.raises(DataError, match="E_BUDGET"):  # it reads by the rules of the settings
            module._is_binary([*data, "data.max_bytes=1000"], tmp_path, Lines())


def test_the_test_part_is_not_read_before_its_networks_are_trained(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put_set(tmp_path / "data", monkeypatch, binary=True, noise=True)
    fetched: list[str] = []
    training: list[bool] = [False]
    fetch = VolumeStore.fetch_known

    def noting(store: VolumeStore, case: Case, content: str) -> object:
        if training[0]:
            fetched.append(case.case_id)
        return fetch(store, case, content)

    def marked(*arguments: object, **named: object) -> None:
        training[0] = True
        try:
            train_member(*arguments, **named)  # type: ignore[arg-type]
        finally:
            training[0] = False

    monkeypatch.setattr(VolumeStore, "fetch_known", noting)
    monkeypatch.setattr("pipeline.crossval.train_member", marked)
    monkeypatch.setattr("pipeline.tune_trial.train_member", marked)
    benchmark(root, tmp_path / "out", tmp_path / "page.md", Lines(), overrides=SMALL)
    assert fetched
    assert [name for name in fetched if name.startswith("test")] == []
    # Noise in the test part changes no choice and no network.
    assert learnt(tmp_path / "out") == learnt(done.out)


def learnt(out: Path) -> dict[str, str]:
    """What was decided, and how every network was trained; times are not among it."""
    folder = out / f"{NAME}_28"
    logs = sorted((folder / "ladder" / "nano").rglob("log.csv"))
    assert len(logs) == 2
    rows = {
        str(log.relative_to(folder)): "\n".join(
            line.rsplit(",", 2)[0] for line in log.read_text().splitlines()
        )
        for log in logs
    }
    return {"rules": (folder / "rules.json").read_text(), **rows}


def test_copies_within_a_published_set_are_said_and_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put_set(tmp_path / "data", monkeypatch, binary=True, copied=True)
    lines = benchmark(root, tmp_path / "out", tmp_path / "page.md", Lines(), overrides=SMALL)
    (told,) = (line for line in lines if "Doubtful" in line)
    assert "E_DUP_CONTENT: test_0000 (test_0000.nii) and train_0000 (train_0000.nii)" in told


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Rules(True, 0.5, 0.0), ["augment.noise=0.0", "augment.flip=0.5"]),
        (Rules(False, 0.0, 0.5), ["augment.test_time=none", "augment.rotate90=0.5"]),
    ],
)
def test_rules_become_settings(rules: Rules, expected: Sequence[str]) -> None:
    assert set(expected) <= set(rules.overrides())
    assert ("augment.noise=0.0" in rules.overrides()) == rules.binary
    assert bool(rules.defaults()) == rules.binary


def intensity_of(out: Path, rung: str) -> str:
    """How the grey values of a rung were scaled, as its record says."""
    record = json.loads((out / f"{NAME}_28" / "ladder" / "ladder.json").read_text())
    (found,) = (item for item in record["rungs"] if item["name"] == rung)
    return str(found["settings"]["preprocess.intensity.name"])


def test_networks_alone_read_the_distances_of_shapes(done: Done) -> None:
    found = {rung: intensity_of(done.out, rung) for rung in ("shape", "nano", "voxels")}
    assert found == {"shape": "unit", "nano": "distance", "voxels": "window"}


def test_of_grey_volumes_networks_read_the_voxels_and_no_rung_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put_set(tmp_path / "data", monkeypatch, binary=False)
    lines = benchmark(root, tmp_path / "out", tmp_path / "page.md", Lines(), overrides=SMALL)
    assert "voxels as they are" not in " ".join(lines)
    assert not (tmp_path / "out" / f"{NAME}_28" / "ladder" / "voxels").exists()
    assert intensity_of(tmp_path / "out", "nano") == "window"
    shown = Lines()
    again = benchmark(
        root, tmp_path / "out", tmp_path / "page.md", shown, overrides=SMALL, only=["voxels"]
    )
    assert again == lines
    assert "voxels: left out, for it would be nano again" in shown.shown


def test_a_rung_without_training_repeats_none(tmp_path: Path) -> None:
    # Baselines and networks of one recipe have one configuration.
    rungs = [{"name": "majority", "kind": "majority"}, {"name": "nano", "kind": "train"}]
    again = {"name": "again", "kind": "train"}
    path = tmp_path / "ladder.yaml"
    path.write_text(json.dumps({"config": "benchmarks/medmnist3d", "rungs": [*rungs, again]}))
    plan = read_ladder(str(path), [f"data.name={NAME}", "data.root=."], lambda _: None)
    assert plan.rungs[0].config == plan.rungs[1].config
    shown = Lines()
    left = module._without_repeats(plan, shown)
    assert [rung.plan.name for rung in left.rungs] == ["majority", "nano"]
    assert shown.shown == ["again: left out, for it would be nano again"]


def test_a_test_case_that_is_no_shape_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put_set(tmp_path / "data", monkeypatch, binary=True, spoilt=True)
    lines = benchmark(
        root, tmp_path / "out", tmp_path / "page.md", Lines(), overrides=SMALL, only=["nano_shape"]
    )
    assert "Left out: test_0000 (E_NOT_SHAPE)" in " ".join(lines)
    assert any(line.startswith("| PoolFormer nano |") for line in lines)


def test_the_search_reads_what_the_networks_read(done: Done) -> None:
    best = load_config(str(done.out / f"{NAME}_28" / "symmetry" / "best.yaml"))
    assert best.preprocess.intensity.name == "distance"


@pytest.mark.parametrize(
    "override",
    [
        *("augment.flip=0.0", "augment={}", "augment.noise=0.1"),
        *("preprocess.intensity={name: unit}", "preprocess.intensity.name=unit", "preprocess={}"),
        "train.keep=best",
    ],
)
def test_what_the_set_decides_cannot_be_set(done: Done, override: str) -> None:
    with pytest.raises(ConfigError, match="cannot be set for the benchmark"):
        benchmark(done.root, done.out, done.page, Lines(), overrides=[override])


def test_damaged_rules_are_refused_and_those_of_other_settings_not_taken(done: Done) -> None:
    path = done.out / f"{NAME}_28" / "rules.json"
    kept = path.read_text()
    decided_by = json.loads(kept)["decided_by"]
    path.write_text(json.dumps({"rules": {"binary": True}, "decided_by": decided_by}))
    with pytest.raises(StorageError, match=r"rules.json is damaged"):
        done.again(Lines())
    path.write_text(kept.replace(decided_by, "f" * 64))
    assert done.again(Lines()) == done.lines
    assert path.read_text() == kept


def test_a_folder_without_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        benchmark(tmp_path, tmp_path / "out", tmp_path / "page.md", Lines())
    assert "there is no set" in str(caught.value)
    assert not (tmp_path / "page.md").exists()


@pytest.fixture
def real() -> Path:
    """The real files, where they are."""
    shared = Path(__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("VOLCLASS_DATA", shared)) / "medmnist"
    if not (root / f"{NAME}.npz").is_file():
        pytest.skip("the MedMNIST files are not here")
    return root


def test_the_real_adrenal_shapes_are_found_to_be_binary(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETS, NAME, OFFICIAL)
    data = [f"data.name={NAME}", f"data.root={real}", f"system.cache_dir={tmp_path}"]
    assert module._is_binary(data, tmp_path, Lines())
