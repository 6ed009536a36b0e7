"""Masked-volume pretraining: encoders that learn from volumes without labels, a fold apart.

An encoder of a fold is taught by the fold's training part and chosen by its validation part; the
test part is read, for the record of all volumes, and never shown to it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue

from .build import (
    build_accelerator,
    build_manifest,
    build_store,
    check_augmentation,
    check_network,
    check_pretraining_network,
    describe_start,
)
from .config import Config, HeadConfig, MaskConfig, SupervisionConfig, TrainConfig
from .config_file import config_tree, load_config
from .data.splits import Folds
from .errors import ConfigError
from .inputs import read_volumes
from .pretrain_member import pretrain_member
from .pretrain_parts import folds_of, parts_of_member
from .pretrained import (
    FILE,
    PretrainedNetwork,
    Pretraining,
    encoder_settings,
    preprocess_settings,
    read_pretraining,
    write_pretraining,
)
from .processes import check_shares, owned
from .progress import Display, Silent, making_bar
from .run import Member, Run, RunFolder
from .run_record import (
    check_folder,
    check_same_refusals,
    note_seconds,
    write_settings,
    write_start,
)
from .start_record import check_start, write_start_record
from .storage import check_writable
from .training.loop import asked_to_stop
from .training.signals import StopRequest, heeding_signals


@dataclass(frozen=True, slots=True)
class Pretrained:
    """What a pretraining made.

    Attributes:
        folder: To start from, as `model.init`.
        networks: All that are done, also those of earlier sessions.
    """

    folder: Path
    networks: tuple[PretrainedNetwork, ...]

    def lines(self) -> list[str]:
        """The result in words."""
        told = [
            f"{_name(item.fold)}: reconstruction loss {item.loss:.3f} at epoch {item.epoch} "
            "(guessing the mean: about 1)"
            for item in self.networks
        ]
        return [*told, f"start from it: volclass train ... model.init={self.folder}"]


def pretrain(
    config: Config,
    out: Path,
    display: Display,
    *,
    fold: int | None = None,
    resume: bool = False,
) -> Pretrained | None:
    """Pretrains a network for each fold, or one of all cases, and notes what each has seen.

    Args:
        config: The configuration; what only training by labels needs is left out of it.
        out: The folder.
        display: Where progress is shown.
        fold: Pretrain that of this fold only, counted from 0.
        resume: Go on with a pretraining that was stopped.

    Returns:
        What was made; None on all processes but the first.

    Raises:
        VolclassError: Whatever the user can mend; nothing that was there is lost.
    """
    folder = RunFolder(out)
    config, left_out = without_labels(config)
    check_pretraining_network(config)
    check_network(config)
    check_writable(out)
    accelerator = build_accelerator(config.system, config.train.precision)
    check_augmentation(config, accelerator.device)
    first = bool(accelerator.is_main_process)
    display = display if first else Silent()
    with owned(folder, accelerator), heeding_signals() as stop:
        _check_folder(config, folder, resume=resume, fold=fold)
        if left_out:
            display.line(f"not used in pretraining: {', '.join(left_out)}")
        nobody = Folds(config.cv.scheme, config.seed, (), {}, ())
        store = build_store(config, folder.cache(config))
        run = Run(config, folder, accelerator, store, {}, {}, nobody, display)
        started = time.monotonic()
        try:
            run = _begun(run, stop)
            _train_all(run, _chosen(run, fold), stop)
        finally:
            if first and folder.environment.is_file():
                note_seconds(folder, time.monotonic() - started)
    return Pretrained(out, read_pretraining(out).networks) if first else None


def without_labels(config: Config) -> tuple[Config, list[str]]:
    """The configuration of a pretraining, and the keys that were set and play no part in it."""
    model = {
        "head": HeadConfig(),
        "masks": MaskConfig(),
        "supervision": SupervisionConfig(),
    }
    default = TrainConfig()
    unused = ("freeze", "freeze_norm", "layer_decay", "seeds", "loss", "smoothing", "focal_gamma")
    train = {name: getattr(default, name) for name in unused}
    changed = config.model_copy(
        update={
            "data": config.data.model_copy(update={"covariates": ()}),
            "augment": config.augment.model_copy(update={"mixup": 0.0, "test_time": "none"}),
            "model": config.model.model_copy(update=model),
            "train": config.train.model_copy(
                update={
                    **train,
                    "sampler": "shuffle",
                    "class_weights": "none",
                    "monitor": "loss",
                }
            ),
        }
    )
    sections = ("data", "augment", "model", "train")
    pairs = [(name, key) for name in sections for key in getattr(config, name).model_fields_set]
    quiet = {("train", "class_weights"), ("train", "monitor"), ("train", "sampler")}
    told = sorted(
        f"{name}.{key}"
        for name, key in set(pairs) - quiet
        if getattr(getattr(config, name), key) != getattr(getattr(changed, name), key)
    )
    return changed, told


def _check_folder(config: Config, folder: RunFolder, *, resume: bool, fold: int | None) -> None:
    if folder.config.is_file() and not (folder.path / FILE).is_file():
        raise ConfigError(
            "this folder holds something else than a pretraining",
            where=str(folder.path),
            why=f"it has {folder.config.name} and no {FILE}",
            remedy="choose another folder with --out",
        )
    check_folder(config, folder, resume=resume, fold=fold)
    if not any(folder.path.glob("*/checkpoints")):
        return
    earlier = load_config(str(folder.config))
    then, now = (config_tree(c, folder.path)["pretrain"] for c in (earlier, config))
    if then != now:
        raise ConfigError(
            "this folder holds a pretraining of other settings",
            where=str(folder.path),
            why=f"pretrain: {then} in the folder, {now} now",
            remedy="use its settings, or choose another folder with --out",
        )


def _begun(run: Run, stop: StopRequest) -> Run:
    """Cases, folds and volumes; from then on the folder holds a pretraining."""
    config, folder, display = run.config, run.folder, run.display
    labelled = config.pretrain.scope == "fold"
    with run.accelerator.main_process_first():
        manifest = build_manifest(
            config, run.cache, making_bar(display), labels_required=labelled, masks=False
        )
    for line in manifest.notes():
        display.line(line)
    start = check_start(folder, config.model)
    for line in describe_start(config.model, 2):
        display.line(line)
    run = replace(run, start=start)
    if not folder.folds.is_file():
        # What cannot be split is refused before it is read.
        folds_of(run, manifest.cases)
    bar = display.bar("reading volumes", len(manifest.cases))

    def advance() -> None:
        """Shows progress, and obeys a request to stop: what was read stays in the cache."""
        bar.advance()
        stop.obey()

    with run.accelerator.main_process_first():
        read = read_volumes(run, manifest.cases, advance)
    check_same_refusals(folder, {item.case_id for item in read.refused})
    cases = {case.case_id: case for case in manifest.cases if case.case_id in read.contents}
    folds = folds_of(run, list(cases.values()))
    run.accelerator.wait_for_everyone()
    run = replace(run, cases=cases, contents=read.contents, folds=folds)
    taught = [len(fold.train) for fold in run.folds.folds]
    check_shares(run, [*taught, *([len(run.folds.cases)] if config.cv.refit else [])])
    if run.accelerator.is_main_process:
        notes: dict[str, JsonValue] = {"patients_assumed": manifest.patients_assumed}
        write_start(run, read.refused, {**notes, "doubtful": read.doubtful})
        _write_record(run)
        write_start_record(folder, start)
        write_settings(run)
    run.accelerator.wait_for_everyone()
    return run


def _write_record(run: Run) -> None:
    """The record of a folder that has none yet."""
    if (run.folder.path / FILE).is_file():
        return
    config = run.config
    record = Pretraining(
        scope=config.pretrain.scope,
        model=encoder_settings(config.model),
        preprocess=preprocess_settings(config.preprocess),
    )
    write_pretraining(run.folder.path, record)


def _chosen(run: Run, fold: int | None) -> list[Member]:
    """The networks that are asked for."""
    count = len(run.folds.folds)
    if run.config.pretrain.scope == "all":
        if fold is not None:
            raise ConfigError(
                f"there is no fold {fold}",
                where="--fold",
                why="pretrain.scope is all, which makes one network from all cases",
                remedy="leave out --fold, or set pretrain.scope=fold",
            )
        return [Member(None)]
    if fold is not None and not 0 <= fold < count:
        raise ConfigError(
            f"there is no fold {fold}", where="--fold", why=f"folds count from 0 to {count - 1}"
        )
    refit = [Member(None)] if run.config.cv.refit and fold is None else []
    return [*(Member(k) for k in (range(count) if fold is None else [fold])), *refit]


def _train_all(run: Run, members: list[Member], stop: StopRequest) -> None:
    done = {item.fold for item in read_pretraining(run.folder.path).networks}
    left = [member for member in members if member.fold not in done]
    epochs = run.config.train.epochs
    total = run.display.bar("all networks", epochs * len(left))
    for member in left:
        bar = run.display.bar(_name(member.fold), epochs)
        made = pretrain_member(run, member, parts_of_member(run, member), (bar, total), stop)
        if run.accelerator.is_main_process:
            record = read_pretraining(run.folder.path)
            networks = [*record.networks, made]
            networks.sort(key=lambda item: (item.fold is None, item.fold or 0))
            update = {"networks": tuple(networks)}
            write_pretraining(run.folder.path, record.model_copy(update=update))
        run.accelerator.wait_for_everyone()
        if asked_to_stop(run.accelerator, stop):
            raise stop.error()


def _name(fold: int | None) -> str:
    return "all cases" if fold is None else f"fold {fold}"
