"""Features of every stage for every case, from a trained run or from a network that none trained.

Each case is described by a network that never saw it: in a cross-validated run by that of the fold
that tests it. Features of two networks live in two spaces, so what a later classifier may learn
from, the training parts by each fold's own network, is written into a file of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .build import build_dataset
from .config import Config
from .data.cases import Case
from .data.dataset import evaluation_batches
from .data.splits import Folds
from .data.transforms import preprocessing_key
from .errors import ConfigError
from .feature_maps import MapsFolder
from .feature_parts import PartsFolder
from .feature_sources import FeatureSource, from_config, from_run
from .feature_table import (
    Block,
    FeatureTable,
    Origin,
    block_names,
    check_suffix,
    read_features,
    training_path,
    write_features,
)
from .progress import Bar, Display
from .storage import check_writable, locked, remove_partial, sha256
from .training.stages import StageBatch, stage_batches

_PART_CASES = 64

#: (case id, network): what a row of features is of.
Row = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was written.

    Attributes:
        path: Features of every case, by a network that did not see it where there is one.
        training: Features of the training parts by each fold's network; None where one network
            describes all cases.
        table: The content of `path`.
    """

    path: Path
    training: Path | None
    table: FeatureTable


def extract(
    source: Path | Config,
    inputs: Sequence[str],
    out: Path,
    display: Display,
    *,
    model: str | None = None,
    maps: Path | None = None,
    folds: Folds | None = None,
) -> Extracted:
    """Extracts the pooled features of every stage, and goes on where it was stopped.

    Args:
        source: A run folder, or a configuration whose network is taken as it starts: random, or
            from `model.weights`.
        inputs: Volumes, folders or manifests; none stands for the cases of the run, or of the
            configuration. Labels are not needed. Overrides such as `data.root=DIR` may be among
            them where `source` is a run.
        out: `.parquet` or `.npz` to write.
        display: Where progress is shown.
        model: Describe all cases by this network of the run (`fold_0`, ..., `refit`), not each by
            the one that did not see it.
        maps: Folder for the whole maps of every stage: a folder a network, an `.npz` a case.
        folds: Of the cases of a configuration, where they are not those that it would make; a
            run has its own.

    Raises:
        ConfigError: No run, no such network, or `out` or `maps` holds features of another origin.
        DataError: A volume is refused, or is not the one that the run was trained with.
        StorageError: A file cannot be written.
    """
    check_suffix(out)
    check_writable(out.parent)
    if isinstance(source, Path):
        found = from_run(source, inputs, display, model)
    else:
        found = from_config(source, inputs, out, display, folds)
    if found.run.accelerator.num_processes > 1:
        raise ConfigError("features are extracted by one process", remedy="start a single one")
    origin = _origin(found)
    kept = None if maps is None else MapsFolder(maps, origin)
    with locked(out.parent, f".{out.name}.lock", "file of features"):
        remove_partial(out.parent, f".{out.name}.*.partial")
        if kept is not None:
            kept.open()
        done = _written(found, origin, out, kept)
        _parts(out, origin).close()
    return done


def _written(
    source: FeatureSource, origin: Origin, out: Path, maps: MapsFolder | None
) -> Extracted:
    """Both tables, from what is there already and from the networks."""
    own, taught = list(source.own.items()), _training_rows(source)
    beside = training_path(out) if taught else None
    blocks = _finished(out, own, origin)
    more = _finished(beside, taught, origin) if blocks is not None and beside else {}
    if blocks is None or more is None or not _mapped(maps, own):
        blocks = _extracted(source, origin, out, [*own, *taught], maps)
    else:
        source.run.display.line(f"{out.name} has all features already")
        blocks |= more
    if beside is not None:
        write_features(beside, _table(source, origin, taught, blocks))
    # Last: where this file is, all of them are. Labels and folds are always those of today.
    table = _table(source, origin, own, blocks)
    write_features(out, table)
    return Extracted(out, beside, table)


def _mapped(maps: MapsFolder | None, own: Sequence[Row]) -> bool:
    return maps is None or all(maps.has(name, [case_id]) for case_id, name in own)


def _training_rows(source: FeatureSource) -> list[Row]:
    """What each network was taught, where the cases are described by several networks."""
    used = sorted(set(source.own.values()))
    if len(used) == 1:
        return []
    return [(case_id, name) for name in used for case_id in sorted(source.networks[name].seen)]


def _origin(source: FeatureSource) -> Origin:
    run = source.run
    folds = source.folds
    plain = run.config.model.model_copy(update={"weights": None})
    # Where the weights lie decides nothing; what they are, their hash says.
    settings = [plain.model_dump_json(), run.config.train.precision]
    return Origin(
        network=run.config.model.name,
        settings=sha256(json.dumps(settings).encode()),
        start=source.start,
        channels=source.channels,
        weights={name: source.networks[name].sha256 for name in sorted(set(source.own.values()))},
        preprocessing=sha256(preprocessing_key(run.config.preprocess).encode()),
        cases=sha256(json.dumps(sorted(run.contents.items())).encode()),
        folds=folds.sha256 if folds else None,
        scheme=folds.scheme if folds else None,
        classes=folds.classes if folds else (),
        seed=run.config.seed,
    )


def _finished(path: Path, rows: Sequence[Row], origin: Origin) -> dict[Row, list[Block]] | None:
    """The blocks of a file that holds exactly these rows; None where there is none.

    Raises:
        ConfigError: The file holds other features.
        DataError: It is no file of features.
        StorageError: It is damaged.
    """
    if not path.exists():
        return None
    table = read_features(path)
    found = list(zip(table.case_ids, table.models, strict=True))
    if table.origin != origin or found != list(rows):
        there = table.origin.to_json()
        differs = [name for name, value in origin.to_json().items() if there[name] != value]
        raise ConfigError(
            f"{path.name} holds other features",
            where=str(path),
            why=f"it differs in {', '.join(differs) or 'the network that describes each case'}",
            remedy="choose another file with --out, or remove this one",
        )
    names = block_names(len(origin.channels))
    return {row: [table.blocks[name][place] for name in names] for place, row in enumerate(found)}


def _parts(out: Path, origin: Origin) -> PartsFolder:
    identity = sha256(json.dumps(origin.to_json(), sort_keys=True).encode())
    return PartsFolder(out.with_name(f".{out.name}.parts"), identity, len(origin.channels))


def _extracted(
    source: FeatureSource,
    origin: Origin,
    out: Path,
    rows: Sequence[Row],
    maps: MapsFolder | None,
) -> dict[Row, list[Block]]:
    """The blocks of every row, each (channels,), from parts that are there and from the network."""
    folder = _parts(out, origin)
    if folder.open():
        source.run.display.line("going on with an extraction that was stopped")
    bar = source.run.display.bar("extracting features", len(set(rows)))
    found: dict[Row, list[Block]] = {}
    for name, group in groupby(sorted(set(rows), key=lambda row: row[::-1]), lambda row: row[1]):
        cases = [source.run.cases[case_id] for case_id, _ in group]
        for case_id, blocks in _by_network(source, name, cases, folder, maps, bar):
            found[case_id, name] = blocks
    return found


def _by_network(
    source: FeatureSource,
    name: str,
    cases: Sequence[Case],
    folder: PartsFolder,
    maps: MapsFolder | None,
    bar: Bar,
) -> Iterator[tuple[str, list[Block]]]:
    """All cases of one network; whole groups of them come from the parts folder."""
    batch = source.run.config.train.batch_size
    size = batch * max(_PART_CASES // batch, 1)
    groups = [cases[start : start + size] for start in range(0, len(cases), size)]
    missing: list[tuple[str, Sequence[Case]]] = []
    for number, group in enumerate(groups):
        ids = [case.case_id for case in group]
        described = [(case_id, name) for case_id in ids if source.own[case_id] == name]
        part = folder.read(f"{name}-{number}", ids) if _mapped(maps, described) else None
        if part is None:
            missing.append((f"{name}-{number}", group))
            continue
        bar.skip(len(ids))
        yield from _split(ids, [part[key] for key in block_names(folder.stages)])
    if missing:
        yield from _computed(source, name, missing, folder, maps, bar)


def _computed(
    source: FeatureSource,
    name: str,
    groups: Sequence[tuple[str, Sequence[Case]]],
    folder: PartsFolder,
    maps: MapsFolder | None,
    bar: Bar,
) -> Iterator[tuple[str, list[Block]]]:
    """Groups of cases through the network, in one stream of batches; each is kept when whole."""
    run = source.run
    cases = [Case(c.case_id, c.patient_id, c.image) for _, group in groups for c in group]
    dataset = build_dataset(run.config, cases, run.contents, (), run.store)
    # The volumes are cached by now. Where the network fills every core, reading them takes about a
    # millisecond each, and processes that read ahead would only take cores away from it.
    workers = 0 if run.accelerator.device.type == "cpu" else run.config.system.workers
    batches = evaluation_batches(dataset, run.config.train.batch_size, workers)
    network = source.networks[name].load()
    stream = stage_batches(network, batches, run.accelerator, keep_maps=maps is not None)
    for part, group in groups:
        ids = [case.case_id for case in group]
        pooled: list[list[Tensor]] = []
        while sum(len(batch[0]) for batch in pooled) < len(ids):
            features = next(stream)
            if maps is not None:
                described = [cases[index].case_id for index in features.indices]
                _write_maps(features, described, name, source, maps)
            pooled.append(features.pooled)
            bar.advance(len(features.indices))
        # A part's blocks: for each stage mean, maximum and standard deviation, as `POOLINGS` says.
        stages = [torch.cat(stage).numpy() for stage in zip(*pooled, strict=True)]
        blocks = [stage[:, kind] for stage in stages for kind in range(stage.shape[1])]
        folder.write(part, ids, dict(zip(block_names(folder.stages), blocks, strict=True)))
        yield from _split(ids, blocks)


def _split(ids: Sequence[str], blocks: Sequence[Block]) -> Iterator[tuple[str, list[Block]]]:
    for place, case_id in enumerate(ids):
        yield case_id, [block[place] for block in blocks]


def _write_maps(
    features: StageBatch, ids: Sequence[str], name: str, source: FeatureSource, maps: MapsFolder
) -> None:
    """Keeps the maps of those cases that this network describes; what it was taught needs none."""
    for place, case_id in enumerate(ids):
        if source.own[case_id] == name:
            stages = [stage[place].float().cpu().numpy() for stage in features.maps]
            maps.write(name, case_id, stages)


def _table(
    source: FeatureSource, origin: Origin, rows: Sequence[Row], blocks: dict[Row, list[Block]]
) -> FeatureTable:
    cases = [source.run.cases[case_id] for case_id, _ in rows]
    columns = zip(*(blocks[row] for row in rows), strict=True)
    return FeatureTable(
        case_ids=tuple(case.case_id for case in cases),
        patient_ids=tuple(case.patient_id for case in cases),
        labels=tuple(case.label for case in cases),
        folds=tuple(source.tested.get(case.case_id) for case in cases),
        models=tuple(name for _, name in rows),
        seen=tuple(case_id in source.networks[name].seen for case_id, name in rows),
        blocks={
            name: np.stack(column)
            for name, column in zip(block_names(len(origin.channels)), columns, strict=True)
        },
        origin=origin,
    )
