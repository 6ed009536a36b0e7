"""A run: its folder, its names on disk, and what its steps share in memory."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from accelerate import Accelerator
from pydantic import JsonValue

from .config import NAMED_STARTS, Config
from .config_file import config_tree
from .data.cases import Case
from .data.covariates_file import CovariateRecord
from .data.dataset import ImageStore
from .data.splits import Folds
from .data.volumes import VolumeStore
from .progress import Display
from .seeds import derived_seed
from .storage import sha256

_LIBRARIES = (
    "torch",
    "monai",
    "accelerate",
    "nibabel",
    "numpy",
    "scikit-learn",
    "safetensors",
    "timm",
    "torchvision",
)
#: Sections that cannot change the result beyond rounding; `pretrain` is of other folders.
_FREE_SECTIONS = ("system", "report", "pretrain")
_FREE_KEYS = (
    ("data", "manifest"),
    ("data", "root"),
    ("data", "allow_outside_root"),
    ("train", "checkpoint_seconds"),
    # It comes after the folds and changes none of them, so a finished run may still get it.
    ("cv", "refit"),
    # Where the file lies; what is in it, `Run.start` says.
    ("model", "weights"),
)
#: In the place of a pretraining's folder; what is in it, `Run.start` says.
_PRETRAINED = "pretrained"


@dataclass(frozen=True, slots=True)
class Member:
    """One trained network of a run.

    Attributes:
        fold: The fold whose training part teaches it, counted from 0; None for all cases.
        replica: Counted from 0: networks of one fold differ in nothing but their seed.
    """

    fold: int | None
    replica: int = 0

    @property
    def name(self) -> str:
        """Its folder within the run, e.g. `fold_0`, `fold_0/seed_1`, `refit`."""
        first = "refit" if self.fold is None else f"fold_{self.fold}"
        return first if self.replica == 0 else f"{first}/seed_{self.replica}"

    def seed(self, run_seed: int) -> int:
        """Seed of its weights, order and augmentation."""
        part = ("refit",) if self.fold is None else ("fold", self.fold)
        replica = () if self.replica == 0 else ("replica", self.replica)
        return derived_seed(run_seed, *part, *replica)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Names of the files of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions and machine."""
        return self.path / "environment.json"

    @property
    def folds(self) -> Path:
        """Who is in which fold."""
        return self.path / "folds.json"

    @property
    def start(self) -> Path:
        """What the weights were that training started from."""
        return self.path / "start.json"

    @property
    def covariates(self) -> Path:
        """Which clinical variables there are, and a hash of each case's values."""
        return self.path / "covariates.json"

    @property
    def covariates_judged(self) -> Path:
        """How well clinical variables tell the label without any image."""
        return self.path / "covariates_judged.json"

    @property
    def quarantine(self) -> Path:
        """Volumes that were left out."""
        return self.path / "quarantine.csv"

    @property
    def predictions(self) -> Path:
        """Out-of-fold predictions, one row a case."""
        return self.path / "predictions.csv"

    @property
    def pictures(self) -> Path:
        """Pictures of cases as the network saw them."""
        return self.path / "cases"

    def pretrained_encoder(self, member: Member) -> Path:
        """What a pretraining kept of a network for others to start from."""
        return self.member(member) / "encoder.safetensors"

    @property
    def report(self) -> Path:
        """The page and metrics.json."""
        return self.path / "report"

    def fold(self, number: int) -> Path:
        """Folder of a fold, counted from 0."""
        return self.path / f"fold_{number}"

    def member(self, member: Member) -> Path:
        """Folder of a network; the first one of a fold lies in the fold's own."""
        return self.path / member.name

    def log(self, member: Member) -> Path:
        """One row an epoch."""
        return self.member(member) / "log.csv"

    def checkpoints(self, member: Member) -> Path:
        """Checkpoints of a network."""
        return self.member(member) / "checkpoints"

    def encoder(self, fold: int | None) -> Path:
        """How the networks of a fold, or those of all cases, read clinical variables."""
        return self.member(Member(fold)) / "covariates.json"

    def fold_predictions(self, number: int) -> Path:
        """Predictions of a fold's test cases; written last, so it marks a finished fold."""
        return self.fold(number) / "predictions.csv"

    def fold_seeds(self, number: int) -> Path:
        """What each network of a fold says alone, where it has several."""
        return self.fold(number) / "seeds.csv"

    def fold_slices(self, number: int) -> Path:
        """What each slice of a fold's test cases says, where a 2D network read them."""
        return self.fold(number) / "slices.csv"

    def cache(self, config: Config) -> Path:
        """The cache of preprocessed volumes: configured, or beside the run."""
        named = config.system.cache_dir
        return self.path.parent / ".volclass-cache" if named is None else Path(named)


@dataclass(frozen=True, slots=True)
class Run:
    """A run at work.

    Attributes:
        config: The whole configuration.
        folder: Where results go.
        accelerator: Device, precision, processes.
        store: Preprocessed volumes.
        cases: The usable cases by id.
        contents: Content hash by case id.
        folds: Who is in which fold.
        display: Where progress is shown.
        slice_features: What a frozen 2D network makes of the volumes, once it is known.
        start: SHA-256 of the weights that training starts from; None for random ones.
        covariates: What there is to know of the clinical variables; None where none is read.
    """

    config: Config
    folder: RunFolder
    accelerator: Accelerator
    store: VolumeStore
    cases: dict[str, Case]
    contents: dict[str, str]
    folds: Folds
    display: Display
    slice_features: ImageStore | None = None
    start: str | None = None
    covariates: CovariateRecord | None = None

    def select(self, case_ids: tuple[str, ...]) -> list[Case]:
        """Cases by their ids, in that order."""
        return [self.cases[case_id] for case_id in case_ids]

    def members(self, fold: int | None) -> list[Member]:
        """The networks of a fold, or those of all cases."""
        return [Member(fold, replica) for replica in range(self.config.train.seeds)]

    def taught(self, member: Member) -> tuple[str, ...]:
        """Ids of the cases that teach a network."""
        if member.fold is None:
            return tuple(sorted(self.folds.cases))
        return self.folds.folds[member.fold].train

    @property
    def cache(self) -> Path:
        """The cache folder."""
        return self.folder.cache(self.config)

    @property
    def lessons(self) -> ImageStore:
        """What training and validation read: the volumes, or features of their slices."""
        return self.store if self.slice_features is None else self.slice_features

    @property
    def loads(self) -> tuple[int, int, int]:
        """Workers, this process and all processes: what loading needs to know."""
        accelerator = self.accelerator
        # Slice features are in memory: handing them from process to process would cost more.
        workers = self.config.system.workers if self.slice_features is None else 0
        return workers, int(accelerator.process_index), int(accelerator.num_processes)


def deciding_settings(config: Config, folder: Path) -> dict[str, JsonValue]:
    """The settings that decide the result, with paths relative to `folder`.

    Where the data lie is not among them: folds.json knows the cases and their contents.
    """
    return _deciding(config_tree(config, folder))


def _deciding(tree: dict[str, JsonValue]) -> dict[str, JsonValue]:
    for section, key in _FREE_KEYS:
        cast("dict[str, JsonValue]", tree[section]).pop(key)
    model = cast("dict[str, JsonValue]", tree["model"])
    if model["init"] not in NAMED_STARTS:
        model["init"] = _PRETRAINED
    return {name: part for name, part in tree.items() if name not in _FREE_SECTIONS}


def training_identity(run: Run) -> str:
    """Hash of all that decides a fold's training; where files lie does not."""
    tree = _deciding(cast("dict[str, JsonValue]", json.loads(run.config.model_dump_json())))
    parts = {name: tree[name] for name in ("seed", "preprocess", "augment", "model", "train")}
    model = cast("dict[str, JsonValue]", parts["model"])
    model["weights"] = run.start
    if run.covariates is not None:
        parts["covariates"] = run.covariates.sha256
    return sha256(json.dumps([parts, run.folds.sha256], sort_keys=True).encode())


@cache
def _versions() -> dict[str, JsonValue]:
    """Of what is installed, which does not change while we run."""
    return {name: importlib.metadata.version(name) for name in ("volclass", *_LIBRARIES)}


def environment(accelerator: Accelerator) -> dict[str, JsonValue]:
    """Versions and machine, as far as they can change a result's last bits; no names, no paths."""
    import torch

    return {
        **_versions(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": str(accelerator.device.type),
        "processes": int(accelerator.num_processes),
        "threads": torch.get_num_threads(),
    }
