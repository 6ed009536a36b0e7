"""What a frozen 2D network makes of every slice: computed once, then all that training reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version

import torch
from torch import Tensor

from models2d.slices import SliceClassifier

from .build import body_of, build_dataset, build_network
from .data.cache import CachedVolume, VolumeCache
from .data.cases import Case
from .data.dataset import evaluation_batches
from .data.transforms import preprocessing_key
from .progress import size
from .run import Run
from .storage import sha256
from .training.checkpoint import weights_sha256
from .training.signals import StopRequest


class SliceFeatures:
    """Features of the slices of every volume, in memory.

    Args:
        features: (S, D) float32 by content hash of the volume.
    """

    def __init__(self, features: Mapping[str, Tensor]) -> None:
        self._features = features

    def fetch_known(self, case: Case, content: str) -> CachedVolume:
        """The features of a case, (S, D), in the place of its image."""
        return _entry(self._features[content], content)


def compute_slice_features(run: Run, stop: StopRequest) -> SliceFeatures:
    """Passes every volume through the frozen network, unless the cache knows what comes out.

    Args:
        run: With all volumes known.
        stop: Obeyed between batches; what was computed stays in the cache.

    Raises:
        PreemptedError: The process was asked to end.
        InterruptedRunError: Ctrl-C.
        StorageError: The cache cannot be written.
    """
    network = _frozen_network(run)
    cache = _cache(run, network)
    found: dict[str, Tensor] = {}
    for content in sorted(set(run.contents.values())):
        kept = cache.load(content) if cache else None
        if kept is not None:
            found[content] = kept.image
    missing = [case for case in run.cases.values() if run.contents[case.case_id] not in found]
    bar = run.display.bar("computing slice features", len(missing))
    for case, features in _computed(run, network, missing):
        content = run.contents[case.case_id]
        found[content] = features
        if cache:
            cache.keep(_entry(features, content))
        bar.advance()
        stop.obey()
    count, width = next(iter(found.values())).shape
    memory = size(4 * len(found) * count * width)
    run.display.line(f"slice features: {count} slices of {width} numbers a volume, {memory} memory")
    run.display.line("frozen slice features: training cases are not augmented")
    return SliceFeatures(found)


def _entry(features: Tensor, content: str) -> CachedVolume:
    return CachedVolume(features, (1.0, 1.0, 1.0), content)


def _frozen_network(run: Run) -> SliceClassifier:
    built = build_network(run.config.model, len(run.folds.classes), seed=run.config.seed)
    network = body_of(built)
    assert isinstance(network, SliceClassifier)
    return network.to(run.accelerator.device).eval()


def _cache(run: Run, network: SliceClassifier) -> VolumeCache | None:
    """Entries of exactly these features; none on disk where volumes are kept in memory alone."""
    config = run.config
    if config.system.cache == "ram":
        return None
    slices = config.model.slices
    parts = [
        preprocessing_key(config.preprocess),
        config.model.name,
        json.dumps(config.model.options, sort_keys=True),
        slices.model_copy(update={"pool": "mean"}).model_dump_json(),
        weights_sha256(network.network),
        weights_sha256(network.levels) if network.levels is not None else "",
        config.train.precision,
        torch.__version__,
        version("timm"),
    ]
    return VolumeCache(run.cache, sha256(json.dumps(parts).encode()))


def _computed(
    run: Run, network: SliceClassifier, cases: Sequence[Case]
) -> Iterator[tuple[Case, Tensor]]:
    """Each case with its (S, D) float32 features, on the CPU."""
    unlabelled = [Case(case.case_id, case.patient_id, case.image) for case in cases]
    dataset = build_dataset(run.config, unlabelled, run.contents, (), run.store)
    workers = run.config.system.workers if run.accelerator.device.type != "cpu" else 0
    for batch in evaluation_batches(dataset, run.config.train.batch_size, workers):
        with torch.no_grad(), run.accelerator.autocast():
            features = network.embed(batch["image"].to(run.accelerator.device)).float().cpu()
        for index, case_features in zip(batch["index"].tolist(), features, strict=True):
            # A copy, so that one case does not keep the memory of its whole batch.
            yield cases[index], case_features.clone()
