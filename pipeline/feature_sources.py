"""Which network describes which case: those of a trained run, or one as it starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import nn

from models3d.contract import VolumeModel

from .build import (
    body_of,
    build_accelerator,
    build_manifest,
    build_network,
    build_store,
    check_network,
    start_weights,
)
from .config import Config
from .data.cases import Case
from .data.folds_file import check_folds
from .data.splits import Folds, make_folds
from .data.volume import volume_of, voxels_of
from .data.volume_inputs import input_cases
from .errors import ConfigError, DataError
from .feature_table import Start
from .inputs import (
    is_override,
    models_that_saw,
    open_run,
    trained_folds,
    trained_network,
    with_volumes,
)
from .progress import Display, making_bar
from .run import Member, Run, RunFolder, training_identity
from .seeds import derived_seed
from .start_record import check_prepared, seen_by_pretraining
from .training.checkpoint import CheckpointFolder, weights_sha256

_ONLY = "network"


@dataclass(frozen=True, slots=True)
class DescribingNetwork:
    """A network that describes cases.

    Attributes:
        sha256: Of its weights.
        seen: Ids of the cases that it was trained on or chosen by, or whose patient it was.
        load: Gives it up to the head of the configuration, on the run's device.
    """

    sha256: str
    seen: frozenset[str]
    load: Callable[[], nn.Module]


@dataclass(frozen=True, slots=True)
class FeatureSource:
    """Networks and cases.

    Attributes:
        run: Configuration, device, cases and contents; has no folder where no run was trained.
        networks: By name: `fold_0`, ..., `refit`, or `network`.
        own: The name of the network that describes a case, by case id.
        tested: The fold that tests a case, by case id; missing where none does.
        folds: The folds, or None.
        start: Where the weights come from.
        channels: Of each stage.
    """

    run: Run
    networks: dict[str, DescribingNetwork]
    own: dict[str, str]
    tested: dict[str, int]
    folds: Folds | None
    start: Start
    channels: tuple[int, ...]


def from_run(
    folder: Path, inputs: Sequence[str], display: Display, model: str | None
) -> FeatureSource:
    """The networks of a run, and its own cases where `inputs` names none.

    Raises:
        ConfigError: No run, nothing trained in it, or no network of that name.
        DataError: A volume is refused, or is not the one that the run was trained with.
    """
    overrides = [text for text in inputs if is_override(text)]
    opened = open_run(folder, display, overrides)
    trained = trained_folds(opened)
    paths = [Path(text) for text in inputs if text not in overrides]
    rooted = any(text.startswith("data.root=") for text in overrides)
    members = [Member(fold) for fold in trained]
    members += [Member(None)] if _has_refit(opened) else []
    networks_there = [member.name for member in members]
    if model is not None and model not in networks_there:
        raise ConfigError(
            f"the run has no network {model}",
            where="--model",
            remedy=f"it has: {', '.join(networks_there)}",
        )
    if opened.config.train.seeds > 1:
        display.line("of several seeds, the first network of each fold describes the cases")
    data = _without_covariates(opened.config).data
    cases = input_cases(paths, data, rooted, display) if paths else _run_cases(opened)
    run = with_volumes(opened, cases)
    if not paths:
        _check_unchanged(run)
    saw = models_that_saw(run.folds)
    networks = {member.name: _trained(run, member, saw) for member in members}
    tested = _tested(run, trained)
    own = {name: model or _unseeing(name, networks, tested.get(name)) for name in sorted(run.cases)}
    channels = tuple(check_network(run.config).feature_info.channels())
    return FeatureSource(run, networks, own, tested, run.folds, "run", channels)


def _run_cases(run: Run) -> list[Case]:
    """The cases of the run, as its manifest has them now; labels and patients must be the same."""
    config = _without_covariates(run.config)
    manifest = build_manifest(config, run.cache, making_bar(run.display), masks=False)
    cases = [case for case in manifest.cases if case.case_id in run.folds.cases]
    check_folds(run.folds, cases)
    if more := len(manifest.cases) - len(cases):
        run.display.line(f"not described: {more} cases of the manifest that the run did not use")
    return cases


def _check_unchanged(run: Run) -> None:
    changed = [
        name
        for name, record in sorted(run.folds.cases.items())
        if record.content is not None
        and name in run.contents
        and volume_of(run.contents[name]) != volume_of(record.content)
    ]
    missing = sorted(run.folds.cases.keys() - run.cases.keys())
    if changed or missing:
        named = ", ".join([*changed, *missing][:5])
        raise DataError(
            "the volumes are not those that this run was trained with",
            why=f"{len(changed)} have other voxels, {len(missing)} are not there: {named}",
            remedy="restore the files, or name the volumes to describe as INPUT",
        )


def _has_refit(run: Run) -> bool:
    identity = training_identity(run)
    return CheckpointFolder(run.folder.checkpoints(Member(None)), identity).has_best()


def _trained(run: Run, member: Member, saw: dict[str, set[int | None]]) -> DescribingNetwork:
    identity = training_identity(run)
    digest = CheckpointFolder(run.folder.checkpoints(member), identity).best_sha256()
    taught = run.taught(member)
    if member.fold is not None:
        taught += run.folds.folds[member.fold].validation
    patients = {run.folds.cases[case_id].patient_id for case_id in taught}
    seen = [
        name
        for name, content in run.contents.items()
        if member.fold in saw.get(voxels_of(content), ()) or run.cases[name].patient_id in patients
    ]
    return DescribingNetwork(digest, frozenset(seen), partial(_trained_body, run, member))


def _trained_body(run: Run, member: Member) -> nn.Module:
    """The network up to its head: stages do not depend on covariates, which may be missing."""
    return body_of(trained_network(run, member))


def _without_covariates(config: Config) -> Config:
    return config.model_copy(update={"data": config.data.model_copy(update={"covariates": ()})})


def _tested(run: Run, trained: Sequence[int]) -> dict[str, int]:
    """By voxels, so that a volume of the run is known under any name and header."""
    folds = {
        voxels_of(run.folds.cases[case_id].content or ""): number
        for number in trained
        for case_id in run.folds.folds[number].test
    }
    known = {name: voxels_of(content) for name, content in run.contents.items()}
    return {name: folds[voxels] for name, voxels in known.items() if voxels in folds}


def _unseeing(case_id: str, networks: dict[str, DescribingNetwork], tested: int | None) -> str:
    """The network of the fold that tests a case; else one that did not see it; else any."""
    if tested is not None:
        return Member(tested).name
    free = [name for name, network in networks.items() if case_id not in network.seen]
    refit = Member(None).name
    return refit if refit in free else next(iter([*free, *networks]))


def from_config(
    config: Config,
    inputs: Sequence[str],
    out: Path,
    display: Display,
    folds: Folds | None = None,
) -> FeatureSource:
    """A network as it starts, random or from a file, and the cases of the configuration.

    Args:
        config: Names the network and the cases.
        inputs: Volumes, folders or manifests in place of the cases.
        out: Where the features go; the cache lies beside it.
        display: Shows the progress.
        folds: Of the cases, where they are known; by default those of a run of the configuration.

    Raises:
        ConfigError: The network cannot be built, or the volumes are prepared otherwise than in
            the pretraining that it starts from.
        DataError: A volume is refused, or the cases are not those of `folds`, or the pretraining
            saw what a fold tests.
    """
    config = _without_covariates(config)
    channels = tuple(check_network(config).feature_info.channels())
    check_prepared(config)
    # First, so that weights that cannot be had are refused before volumes are read. Two classes:
    # features do not depend on the classifier.
    torch.manual_seed(derived_seed(config.seed, "weights"))
    network, is_random = _started(config, display)
    folder = RunFolder(out)
    accelerator = build_accelerator(config.system, config.train.precision)
    store = build_store(config, folder.cache(config))
    nobody = Folds(config.cv.scheme, config.seed, (), {}, ())
    run = Run(config, folder, accelerator, store, {}, {}, nobody, display)
    if inputs:
        paths = [Path(text) for text in inputs]
        cases = input_cases(paths, config.data, False, display)
    else:
        cases = _labelled_or_not(run)
    run = with_volumes(run, cases)
    if folds is None:
        folds = _folds(run)
    else:
        check_folds(folds, list(run.cases.values()))
    digest = weights_sha256(network)
    network = network.to(accelerator.device)
    tested = {
        name: number
        for number, fold in enumerate(folds.folds if folds else ())
        for name in fold.test
    }
    run = replace(run, folds=folds or nobody)
    only = DescribingNetwork(digest, seen_by_pretraining(run, tested), lambda: network)
    start: Start = "random" if is_random else _start_of(config)
    own = dict.fromkeys(sorted(run.cases), _ONLY)
    return FeatureSource(run, {_ONLY: only}, own, tested, folds, start, channels)


def _start_of(config: Config) -> Start:
    if config.model.pretrained_run is not None:
        return "pretraining"
    return "timm" if config.model.init == "timm" else "file"


def _started(config: Config, display: Display) -> tuple[nn.Module, bool]:
    """The network with the weights that it starts from, and whether a part of it is random."""
    built = build_network(config.model, 2, start=False, seed=config.seed)
    network = cast("VolumeModel", body_of(built))
    started = start_weights(network, config.model)
    for line in started.lines:
        display.line(line)
    if started.random:
        parts = ", ".join(started.random)
        display.line(f"random weights ({parts}): these features come from an untrained network")
    return network, bool(started.random)


def _labelled_or_not(run: Run) -> list[Case]:
    manifest = build_manifest(run.config, run.cache, making_bar(run.display), labels_required=False)
    for line in manifest.notes():
        run.display.line(line)
    return list(manifest.cases)


def _folds(run: Run) -> Folds | None:
    """The folds that a run of this configuration would have; none where labels are missing."""
    cases = list(run.cases.values())
    if any(case.label is None for case in cases):
        run.display.line("no folds: not every case has a label")
        return None
    try:
        return make_folds(cases, run.config.cv, run.config.seed)
    except DataError as error:
        run.display.line(f"no folds: {error.what}")
        return None
