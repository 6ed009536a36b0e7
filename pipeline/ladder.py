"""`volclass ladder`: from knowing nothing to a 3D network, rung by rung, on the same folds.

Each rung leaves a competitor in a folder of its own, and the comparison of all of them is the
ladder's result. A stopped ladder goes on with the rung at which it stopped, and a stopped training
with the step at which it stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from .baselines import clinical_digest, metadata_digest, run_baseline
from .build import (
    build_store,
    check_network,
    describe_start,
)
from .compare import Comparison, compare, read_entry
from .config import Config
from .crossval import cross_validate
from .data.folds_file import read_folds
from .data.splits import Folds
from .ensemble import run_ensemble
from .errors import ConfigError, DataError, VolclassError
from .evaluation.competitors import CARD, PREDICTIONS, is_competitor
from .features import extract
from .ladder_config import Ladder, Rung, in_rung, read_ladder
from .ladder_record import LadderRecord
from .ladder_table import put_ladder
from .pretrain import pretrain
from .pretrained import FILE as PRETRAINED
from .probe import probe
from .progress import Display
from .run import Run, RunFolder
from .shared_cases import open_cases
from .storage import (
    check_writable,
    file_sha256,
    locked,
    make_folder,
    remove,
    remove_partial,
    sha256,
    write_bytes,
)

_FINGERPRINTS = ".fingerprints"
_FEATURES = "features.parquet"
#: What else a finished rung was told beside volumes and labels, by its kind.
_TOLD = {
    "metadata": "the metadata of the cases",
    "ensemble": "the answers of its parts",
    "train": "the covariates of the cases, or the pretraining,",
}


def ladder(
    source: str,
    out: Path,
    display: Display,
    overrides: Sequence[str] = (),
    *,
    only: Collection[str] = (),
    page: Path | None = None,
    defaults: Sequence[str] = (),
) -> Comparison:
    """Climbs every rung that is not finished yet, and compares all of them.

    Args:
        source: A ladder file, or the name of a shipped one.
        out: The ladder's folder: a folder for each rung, `ladder.json`, and the comparison.
        display: Where progress is shown.
        overrides: `section.key=value`, for all rungs.
        only: Names of the rungs to climb, with what they rest on; the others wait, and what is
            finished of them is compared too. All of them by default.
        page: A Markdown file that gets a table of the rungs, in place of the one of an earlier
            start.
        defaults: `section.key=value`, for all rungs that do not say otherwise.

    Raises:
        VolclassError: Whatever the user can mend, with the name of the rung; finished rungs stay.
    """
    plan = read_ladder(source, overrides, display.line, defaults)
    chosen = [rung.plan.name for rung in (plan.cut(only) if only else plan).rungs]
    whole = plan = _with_starts(_with_one_cache(plan, RunFolder(out).cache(plan.base)), out)
    for rung in plan.rungs:
        with in_rung(rung.plan.name):
            _check(rung)
    check_writable(out)
    if page is not None:
        check_writable(page.parent)
    with locked(out, what="ladder folder"):
        remove_partial(out)
        record = LadderRecord.opened(out, plan)
        done = [rung.plan.name for rung in plan.rungs if record.is_done(rung)]
        plan = plan.cut([*chosen, *done])
        _check_weights([rung for rung in plan.rungs if not record.is_done(rung)])
        run = open_cases(plan.base, out, display, what="a ladder")
        record.write()
        _climb(plan, run, record)
        answering = [rung for rung in plan.rungs if rung.plan.kind != "pretrain"]
        titles = {out / rung.plan.name: rung.plan.shown for rung in answering}
        samples, seed = plan.base.report.bootstrap, plan.base.seed
        found = compare(list(titles), out, display, titles=titles, resamples=samples, seed=seed)
    if page is not None:
        put_ladder(page, source, whole, out, found)
    return found


def _with_one_cache(plan: Ladder, cache: Path) -> Ladder:
    """The ladder with all rungs on the cache that a run in its place would have."""

    def moved(config: Config) -> Config:
        system = config.system.model_copy(update={"cache_dir": str(cache.resolve())})
        return config.model_copy(update={"system": system})

    rungs = tuple(replace(rung, config=moved(rung.config)) for rung in plan.rungs)
    return Ladder(moved(plan.base), rungs)


def _with_starts(plan: Ladder, out: Path) -> Ladder:
    """The ladder with rungs that start from a pretraining of its own."""

    def started(rung: Rung) -> Config:
        if rung.plan.start is None:
            return rung.config
        update = {"init": str((out / rung.plan.start).resolve())}
        return rung.config.model_copy(update={"model": rung.config.model.model_copy(update=update)})

    rungs = tuple(replace(rung, config=started(rung)) for rung in plan.rungs)
    return Ladder(plan.base, rungs)


def _check(rung: Rung) -> None:
    """Refuses a network that cannot be built before an earlier rung has taken hours."""
    if rung.plan.kind in ("train", "probe", "pretrain"):
        check_network(rung.config)


def _check_weights(rungs: Sequence[Rung]) -> None:
    """Refuses weights that do not fit, or cannot be had, before an earlier rung has taken hours."""
    tried: set[str] = set()
    for rung in rungs:
        model = rung.config.model
        known = rung.plan.start is not None or model.model_dump_json() in tried
        if rung.plan.kind in ("train", "probe") and not known:
            tried.add(model.model_dump_json())
            with in_rung(rung.plan.name):
                # How many classes there are is not known yet; the classifier starts anew anyway.
                describe_start(model, 2)


def _climb(plan: Ladder, run: Run, record: LadderRecord) -> None:
    bar = run.display.bar("rungs", len(plan.rungs))
    for number, rung in enumerate(plan.rungs, start=1):
        name, kind = rung.plan.name, rung.plan.kind
        place = f"rung {number} of {len(plan.rungs)}, {name}"
        folder = RunFolder(run.folder.path / name)
        inputs = _inputs(rung, run)
        if record.is_done(rung):
            lacking = _lacking(rung, folder, run.folds)
            if lacking is None and not record.was_told(rung, inputs):
                told = _TOLD.get(kind, "the covariates of the cases")
                lacking = f"{told} are not those that it was told"
            if lacking is None:
                run.display.line(f"{place}: finished before")
                bar.skip(1)
                continue
            run.display.line(f"{place}: climbed again, for {lacking}")
            # The answers to come are this rung's; a damaged card must not forbid them.
            remove(folder.path / CARD)
        run.display.line(f"{place}: {kind}" if kind != name else place)
        record.note(rung, "started", inputs)
        with in_rung(name):
            _one(rung, replace(run, config=rung.config, folder=folder))
        record.note(rung, "done", inputs)
        bar.advance(note=name)


def _inputs(rung: Rung, run: Run) -> str | None:
    """A hash of what a rung is told of the cases beside their labels and voxels."""
    if rung.plan.reads_covariates:
        return clinical_digest(replace(run, config=rung.config))
    if rung.plan.kind == "ensemble":
        parts = [run.folder.path / name / PREDICTIONS for name in rung.plan.of]
        return sha256("".join(file_sha256(part) for part in parts).encode())
    if rung.plan.start is not None:
        return file_sha256(run.folder.path / rung.plan.start / PRETRAINED)
    return metadata_digest(run) if rung.plan.kind == "metadata" else None


def _one(rung: Rung, run: Run) -> None:
    make_folder(run.folder.path)
    ladder_folder = run.folder.path.parent
    match rung.plan.kind:
        case "train":
            _train(rung, run, RunFolder(ladder_folder))
        case "probe":
            features = run.folder.path / _FEATURES
            extract(rung.config, [], features, run.display, folds=run.folds)
            samples = rung.config.report.bootstrap
            probe(features, run.folder.path, run.display, run=ladder_folder, resamples=samples)
        case "majority" | "metadata" | "histogram" | "shape" | "clinical" as kind:
            run = replace(run, store=build_store(run.config, run.cache))
            run_baseline(kind, run, rung.plan.shown, ladder_folder / _FINGERPRINTS)
        case "pretrain":
            _obey_folds(run, RunFolder(ladder_folder))
            resume = run.folder.config.is_file()
            pretrain(rung.config, run.folder.path, run.display, resume=resume)
        case "ensemble":
            parts = [ladder_folder / name for name in rung.plan.of]
            run_ensemble(run.folder.path, parts, rung.plan.shown)


def _train(rung: Rung, run: Run, whole: RunFolder) -> None:
    """Trains on the ladder's folds; the run finds them in its folder, and obeys them."""
    folder = run.folder
    if is_competitor(folder.path):
        raise ConfigError(
            "this rung's folder holds another competitor",
            where=str(folder.path),
            why=f"it has {CARD}, and a network would replace {PREDICTIONS}",
            remedy="move the folder away, or choose another folder with --out",
        )
    _obey_folds(run, whole)
    cross_validate(rung.config, folder.path, run.display, resume=folder.config.is_file())


def _obey_folds(run: Run, whole: RunFolder) -> None:
    """Puts the ladder's folds into a rung's folder, or makes sure that they are there."""
    folder = run.folder
    if not folder.folds.is_file():
        # Folds last: without them the other file means nothing, and the copying is begun anew.
        write_bytes(folder.quarantine, whole.quarantine.read_bytes())
        write_bytes(folder.folds, whole.folds.read_bytes())
    elif read_folds(folder.folds).sha256 != run.folds.sha256:
        raise DataError(
            "this rung has other folds than the ladder",
            where=str(folder.folds),
            remedy="remove the rung's folder, or choose another folder with --out",
        )


def _lacking(rung: Rung, folder: RunFolder, folds: Folds) -> str | None:
    """Why a finished rung cannot be compared; None where every tested case has its answer."""
    if rung.plan.kind == "pretrain":
        return None if (folder.path / PRETRAINED).is_file() else f"{PRETRAINED} is missing"
    path = folder.path / PREDICTIONS
    if not path.is_file() or path.stat().st_size == 0:
        return f"{PREDICTIONS} is missing or empty"
    try:
        answers = read_entry(folder.path).answers
    except VolclassError as error:
        return error.what if error.why is None else f"{error.what}: {error.why}"
    found = dict(zip(answers.case_ids, answers.scored.folds.tolist(), strict=True))
    tested = {name: number for number, fold in enumerate(folds.folds) for name in fold.test}
    return None if found == tested else f"{PREDICTIONS} has other cases or folds"
