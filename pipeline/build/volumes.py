"""Cases, and the volumes that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from ..config import Config
from ..data.augment import Augmentation, augmentation, moves_of
from ..data.batch_augment import BatchAugmentation
from ..data.batch_grey import GreyChances
from ..data.cache import VolumeCache
from ..data.cases import Case
from ..data.covariates import CovariateEncoder
from ..data.dataset import ImageStore, VolumeDataset
from ..data.formats.rules import rules_of
from ..data.manifest import Manifest, read_manifest
from ..data.masks import check_kept, check_taught
from ..data.memory import MemoryCache
from ..data.sources.medmnist import write_medmnist
from ..data.sources.medmnist_sets import medmnist_note
from ..data.sources.phantoms import write_phantoms
from ..data.transforms import preprocessing_key
from ..data.unlabelled import UnlabelledVolumes
from ..data.volumes import VolumeStore
from ..storage import make_folder


def build_manifest(
    config: Config,
    cache: Path,
    advance: Callable[[int, int], None],
    *,
    labels_required: bool = True,
    masks: bool = True,
    without: Collection[int] = (),
) -> Manifest:
    """The cases of the configured source; generated or unpacked ones lie in the cache folder.

    Args:
        config: The configuration.
        cache: The cache folder.
        advance: Told how many of how many volumes are made.
        labels_required: False where labels play no part; then masks play none either.
        masks: False where masks play no part, even if the configuration trains on them.
        without: Lines of a user's manifest that are passed over.

    Raises:
        ConfigError: The set must be downloaded, and the package that does so is missing.
        DataError: The manifest, or the file of the set, is refused.
    """
    data = config.data
    masks = masks and labels_required and config.model.masks.weight > 0
    # Whoever comes first makes the folder: it will hold images, so it is closed to others.
    make_folder(cache, mode=0o700)
    if data.source == "phantoms":
        made = data.phantoms
        folder = cache / "phantoms" / f"{made.patients}-{made.scans}-{made.seed}"
        path = write_phantoms(made, folder, advance)
        data = data.model_copy(update={"source": "manifest", "manifest": str(path)})
    elif data.source == "medmnist":
        name, root = cast("str", data.name), None if data.root is None else Path(data.root)
        folder = cache / "medmnist" / f"{name}-{data.size}"
        path = write_medmnist(name, data.size, root, folder, advance)
        update = {"source": "manifest", "manifest": str(path), "root": None}
        manifest = read_manifest(data.model_copy(update=update), labels_required, masks=masks)
        return replace(manifest, remark=medmnist_note(name, config.data.size))
    return read_manifest(data, labels_required, masks=masks, without=without)


def build_store(config: Config, cache: Path) -> VolumeStore:
    """Preprocessed volumes by case, kept on disk or in memory."""
    preprocess, rules = config.preprocess, rules_of(config.data)
    if config.system.cache == "ram":
        return VolumeStore(preprocess, MemoryCache(), rules)
    mapped = config.system.cache == "mapped"
    kept = VolumeCache(cache, preprocessing_key(preprocess, rules), mapped=mapped)
    return VolumeStore(preprocess, kept, rules)


def build_dataset(
    config: Config,
    cases: Sequence[Case],
    contents: dict[str, str],
    classes: Sequence[str],
    store: ImageStore,
    *,
    augment_seed: int | None = None,
    encoder: CovariateEncoder | None = None,
    masks: bool = False,
) -> VolumeDataset:
    """Volumes of some cases; augmented where a seed is given, with covariates by an encoder.

    Augmented volumes come with their masks where `masks` is set; one case at least must have one.

    Raises:
        DataError: A covariate cannot be encoded, or no case has a mask, or keeps it.
    """
    beside = None if encoder is None else torch.from_numpy(encoder.encode(cases))
    if augment_seed is None:
        return VolumeDataset(cases, contents, classes, store, covariates=beside)
    chain, seeded = _augmentation(config)
    drawn = mask_store(store, cases, contents) if masks else None
    return VolumeDataset(
        cases, contents, classes, store, chain, augment_seed, beside, drawn, seeded=seeded
    )


def build_unlabelled(
    config: Config,
    cases: Sequence[Case],
    contents: dict[str, str],
    store: ImageStore,
    seed: int,
    *,
    augmented: bool,
) -> UnlabelledVolumes:
    """Volumes of some cases with what their hidden blocks are drawn from; labels are not read."""
    chain, seeded = _augmentation(config) if augmented else (None, False)
    return UnlabelledVolumes(cases, contents, store, chain, seed, seeded=seeded)


def build_batch_augmentation(config: Config) -> BatchAugmentation | None:
    """What augments batches on the device that trains, or None where loading processes do it."""
    augment = config.augment
    if augment.where == "workers":
        return None
    chances = GreyChances(augment.blur, augment.noise, augment.intensity, augment.gamma)
    return BatchAugmentation(moves_of(augment, config.preprocess), chances)


def _augmentation(config: Config) -> tuple[Augmentation | None, bool]:
    """What augments each case as it is loaded; if nothing, whether it takes its seed along."""
    if config.augment.where == "device":
        return None, True
    return augmentation(config.augment, config.preprocess), False


def mask_store(
    store: ImageStore, cases: Sequence[Case], contents: Mapping[str, str]
) -> VolumeStore:
    """Where the masks of training cases come from.

    Raises:
        DataError: No case has a mask, or preprocessing leaves nothing of any.
    """
    check_taught(cases)
    # The configuration refuses masks beside features of slices.
    assert isinstance(store, VolumeStore)
    volumes = store
    check_kept(cases, lambda case: volumes.fetch_mask(case, contents[case.case_id]) is not None)
    return store
