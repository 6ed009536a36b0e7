"""Batches of volumes: augmented for training, as they are for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from ..batches import NO_MASK, Batch, LoadedStep
from ..errors import VolclassError
from .augment import Augmentation, augmentation_seed, single_threaded
from .cache import CachedVolume
from .cases import Case
from .order import TrainingOrder
from .signals import handed_over, leave_signals_to_the_main_process

#: (epoch, index of the case): all that a loading process needs to know.
Request = tuple[int, int]


class ImageStore(Protocol):
    """Where what a network reads comes from: volumes, or features of their slices."""

    def fetch_known(self, case: Case, content: str) -> CachedVolume:
        """What belongs to a case whose content hash was taken when the run started."""


class MaskStore(Protocol):
    """Where masks come from."""

    def fetch_mask(self, case: Case, content: str) -> Tensor | None:
        """The mask of a case, (1, X, Y, Z) of 0 and 1, or None where it has none."""


class VolumeDataset(Dataset[Batch]):
    """Volumes by `(epoch, index)`; without augmentation the epoch does not matter.

    Args:
        cases: The cases, in the order that indices refer to.
        contents: Content hash by case id.
        classes: Class names in order; a case's label is its place here.
        store: Where volumes come from.
        augment: The random chain, or None.
        seed: Of the run and fold.
        covariates: (cases, F) as the fold encodes them, or None.
        masks: Where masks come from, if they are wanted.
        seeded: Whether cases come as they are, with the seeds by which their batch is augmented.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        contents: Mapping[str, str],
        classes: Sequence[str],
        store: ImageStore,
        augment: Augmentation | None = None,
        seed: int = 0,
        covariates: Tensor | None = None,
        masks: MaskStore | None = None,
        *,
        seeded: bool = False,
    ) -> None:
        self.cases = list(cases)
        self._contents = [contents[case.case_id] for case in cases]
        places = {name: place for place, name in enumerate(classes)}
        self.labels = [-1 if case.label is None else places[case.label] for case in cases]
        self._store = store
        self._augment = augment
        self._seed = seed
        self._covariates = covariates
        self._masks = masks
        self._seeded = seeded

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, request: Request) -> Batch:
        epoch, index = request
        image, mask = single_threaded(lambda: self._volumes(epoch, index))
        item: Batch = {
            "image": image,
            "label": torch.tensor(self.labels[index]),
            "index": torch.tensor(index),
        }
        if self._covariates is not None:
            item["covariates"] = self._covariates[index]
        if self._masks is not None:
            item["mask"] = torch.full((1, *image.shape[1:]), NO_MASK) if mask is None else mask
        if self._seeded:
            item["seed"] = torch.tensor(self._augmentation_seed(epoch, index))
        return item

    def _volumes(self, epoch: int, index: int) -> tuple[Tensor, Tensor | None]:
        """The volume of a case and its mask, where it is wanted and there; augmented alike."""
        case, content = self.cases[index], self._contents[index]
        image = self._store.fetch_known(case, content).image
        mask = None if self._masks is None else self._masks.fetch_mask(case, content)
        if self._augment is None:
            return image, mask
        seed = self._augmentation_seed(epoch, index)
        if mask is None:
            return self._augment(image, seed), None
        return self._augment.with_mask(image, mask, seed)

    def _augmentation_seed(self, epoch: int, index: int) -> int:
        return augmentation_seed(self._seed, epoch, self.cases[index].case_id)


def training_steps(
    dataset: VolumeDataset,
    order: TrainingOrder,
    *,
    start: int,
    epochs: int,
    workers: int,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[LoadedStep]:
    """Loads every step from `start` to the end of training as one stream.

    One stream, not one an epoch: loading goes on while the loop validates.

    Args:
        dataset: The training volumes.
        order: Which cases come when.
        start: First step, counted from 0 over all epochs.
        epochs: Number of epochs in all.
        workers: Loading processes; any number gives the same bits.
        rank: This process.
        processes: All processes; each takes its share of every batch.
    """
    plans = list(order.from_step(start, epochs))
    requests = [
        [(plan.epoch, index) for index in batch[rank::processes]]
        for plan in plans
        for batch in plan.batches
    ]
    loader = iter(Batches(dataset, requests, workers))
    for plan in plans:
        yield LoadedStep(plan, list(islice(loader, len(plan.batches))))


def evaluation_batches(
    dataset: VolumeDataset,
    batch_size: int,
    workers: int,
    rank: int = 0,
    processes: int = 1,
    *,
    stay: bool = False,
) -> Batches:
    """Every case once, in order, without augmentation; each process takes its share.

    Args:
        dataset: The volumes.
        batch_size: Cases of a batch.
        workers: Loading processes; 0 loads in this one.
        rank: This process.
        processes: All processes.
        stay: Whether the cases will be asked for again, see `Batches`.
    """
    share = range(len(dataset))[rank::processes]
    requests = [
        [(0, index) for index in share[first : first + batch_size]]
        for first in range(0, len(share), batch_size)
    ]
    return Batches(dataset, requests, workers, stay=stay)


class Batches:
    """Batches of the requested cases, loaded ahead by worker processes.

    They can be walked through again, one walk after the other.

    Args:
        dataset: The volumes.
        requests: What each batch holds.
        workers: Loading processes; 0 loads in this one.
        stay: Whether these wait for the next walk, as through a validation part after each epoch;
            they know by then which entries of the cache are sound. They end with this object.
    """

    def __init__(
        self,
        dataset: VolumeDataset,
        requests: Sequence[list[Request]],
        workers: int,
        *,
        stay: bool = False,
    ) -> None:
        workers = min(workers, len(requests))
        self._loader: DataLoader[Batch | VolclassError] = DataLoader(
            _Tolerant(dataset),
            batch_sampler=_Requests(requests),
            collate_fn=_collate,
            num_workers=workers,
            persistent_workers=stay and workers > 0,
            worker_init_fn=leave_signals_to_the_main_process,
            pin_memory=torch.cuda.is_available(),
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch in handed_over(self._loader):
            if isinstance(batch, VolclassError):
                raise batch
            yield batch


class _Tolerant(Dataset["Batch | VolclassError"]):
    """Hands a refusal on as a value: as an exception it would lose its parts between processes."""

    def __init__(self, dataset: VolumeDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, request: Request) -> Batch | VolclassError:
        try:
            return self._dataset[request]
        except VolclassError as error:
            return error


class _Requests(Sampler[list[Request]]):
    def __init__(self, batches: Sequence[list[Request]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[Request]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def _collate(items: list[Batch | VolclassError]) -> Batch | VolclassError:
    cases: list[Batch] = []
    for item in items:
        if isinstance(item, VolclassError):
            return item
        cases.append(item)
    # Torch's own stacks in memory that processes share; what torch.stack makes is copied there.
    batch: Batch = default_collate(cases)
    return batch
