"""What a run will take, measured on one step before it starts: time, memory and disk."""

from __future__ import annotations

import resource
import time
from contextlib import nullcontext
from dataclasses import dataclass

import psutil
import torch
from accelerate import Accelerator

from models2d.slices import SliceClassifier

from .build import IN_CHANNELS, body_of, build_optimizer, build_task, build_views
from .config import Config
from .errors import ConfigError, StorageError
from .progress import duration, size
from .run import Run
from .storage import free_bytes

_VOLUMES_READ = 2
_COPIES = 4 * 2 + 1  # weights, average and two moments, two generations of them; the best


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the rest of a run will take.

    Attributes:
        seconds: Wall time, if no fold stops early.
        memory: Bytes at the peak of a training step.
        disk: Bytes of cache and checkpoints.
        parameters: Numbers of the network.
        uncached: Volumes that must be read first.
        epochs: Epochs of all folds, at most.
        stages: (channels, x, y, z) of each stage.
    """

    seconds: float
    memory: int
    disk: int
    parameters: int
    uncached: int
    epochs: int
    stages: tuple[tuple[int, ...], ...]

    def lines(self) -> list[str]:
        """The forecast in words."""
        grids = " -> ".join(f"{c} x {x}x{y}x{z}" for c, x, y, z in self.stages)
        single = any(max(grid[1:]) == 1 for grid in self.stages)
        warning = [
            "a stage is one voxel wide, so nothing is mixed there: "
            "raise preprocess.size, or lower model.strides where the network has them"
        ]
        return [
            f"network: {self.parameters:,} parameters, stages {grids}",
            *(warning if single else []),
            f"forecast: at most {duration(self.seconds)} for {self.epochs} epochs"
            f" and {self.uncached} volumes to read, {size(self.memory)} memory,"
            f" {size(self.disk)} disk",
        ]


@dataclass(frozen=True, slots=True)
class Step:
    """What one training step took.

    Attributes:
        seconds: Wall time.
        embedding: Seconds in which a frozen network made features of the volumes of a batch.
        kept: Bytes that the forward pass keeps of the batch for the backward pass.
        parameters: Numbers of the network.
        stages: (channels, x, y, z) of each stage.
    """

    seconds: float
    embedding: float
    kept: int
    parameters: int
    stages: tuple[tuple[int, ...], ...]


def forecast(run: Run, folds: list[int]) -> Forecast:
    """Measures one training step and the reading of two volumes.

    Args:
        run: The run; its contents need not be known yet.
        folds: The folds that will be trained.

    Raises:
        StorageError: The disk has too little room.
    """
    config = run.config.train
    step = measure_step(run.config, run.accelerator, len(run.folds.classes))
    reading, uncached = _measure_reading(run)
    members = [member for fold in folds for member in run.members(fold)]
    members += run.members(None) if run.config.cv.refit else []
    cases = sum(len(run.taught(member)) for member in members)
    judged = config.seeds * sum(len(run.folds.folds[k].validation) for k in folds)
    seconds = config.epochs * epoch_seconds(run.config, step, cases, judged)
    # Each volume passes through a frozen network once.
    seconds += step.embedding / config.batch_size * len(run.cases)
    volume = IN_CHANNELS * torch.Size(run.config.preprocess.size).numel() * 4
    in_ram = run.config.system.cache == "ram"
    cache, weights = uncached * volume, len(members) * step.parameters * 4 * _COPIES
    _check_room(run, 0 if in_ram else cache, weights)
    if in_ram:
        _check_memory(cache)
    memory = memory_peak(run.accelerator.device) + (cache if in_ram else 0)
    return Forecast(
        seconds=seconds + reading * uncached / max(run.config.system.workers, 1),
        memory=memory,
        disk=weights + (0 if in_ram else cache),
        parameters=step.parameters,
        uncached=uncached,
        epochs=config.epochs * len(members),
        stages=step.stages,
    )


def epoch_seconds(config: Config, step: Step, taught: int, judged: int) -> float:
    """How long an epoch takes, by one step of it.

    Args:
        config: Whose step was measured.
        step: What was measured.
        taught: Cases that teach.
        judged: Cases of the validation part.
    """
    views = max(len(build_views(config)), 1)
    # A forward pass alone takes about a third of a training step.
    return step.seconds / config.train.batch_size * (taught + views * judged / 3)


def memory_peak(device: torch.device) -> int:
    """Bytes that this process has taken at most; on a GPU, of its memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_step(config: Config, accelerator: Accelerator, classes: int) -> Step:
    """Takes a training step on random volumes.

    Args:
        config: Network, size and batch.
        accelerator: Device, precision, processes.
        classes: How many there are to tell apart.
    """
    device = accelerator.device
    task = build_task(config, list(range(classes)), classes, seed=0, start=False)
    task = task.to(device)
    optimizer = build_optimizer(config.train, task)
    # The batch size is that of all processes together; each forecasts its own share.
    share = -(-config.train.batch_size // accelerator.num_processes)
    images = torch.randn(share, IN_CHANNELS, *config.preprocess.size).to(device)
    lessons, embedding = _lessons(task.plain_network, images)
    labels = torch.arange(share, device=device) % classes
    masks = torch.zeros_like(images) if config.model.masks.weight > 0 else None
    seconds, kept = 0.0, _Kept()
    for counted in (True, False):  # the first step also sets up memory and threads
        started = time.monotonic()
        with accelerator.autocast(), kept.watching() if counted else nullcontext():
            loss = task(lessons, labels, masks=masks)["total"] / len(labels)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.monotonic() - started
    with torch.no_grad():
        *stages, _ = task.plain_network.eval()(images[:1])
    shapes = tuple(tuple(stage.shape[1:]) for stage in stages)
    parameters = sum(p.numel() for p in task.plain_network.parameters())
    return Step(seconds, embedding, kept.bytes, parameters, shapes)


class _Kept:
    """Counts what autograd keeps of a forward pass, each piece of memory once.

    Unlike the peak of a process it knows nothing of what was done before, and is the same each
    time.
    """

    def __init__(self) -> None:
        self._pieces: dict[int, int] = {}

    @property
    def bytes(self) -> int:
        """Bytes of all pieces."""
        return sum(self._pieces.values())

    def watching(self) -> torch.autograd.graph.saved_tensors_hooks:
        """A context in which everything that is kept is counted."""
        return torch.autograd.graph.saved_tensors_hooks(self._note, lambda tensor: tensor)

    def _note(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        self._pieces[storage.data_ptr()] = storage.nbytes()
        # An output that its own graph kept would never be freed.
        return tensor.detach()


def _lessons(network: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, float]:
    """What a training step reads, and the seconds that making it of volumes takes."""
    body = body_of(network)
    if not (isinstance(body, SliceClassifier) and body.frozen):
        return images, 0.0
    started = time.monotonic()
    return body.embed(images), time.monotonic() - started


def _measure_reading(run: Run) -> tuple[float, int]:
    """Seconds a volume takes, and how many are not cached."""
    unread = [case for case in run.cases.values() if not run.store.has(case)]
    started = time.monotonic()
    for case in unread[:_VOLUMES_READ]:
        run.store.inspect(case)
    return (time.monotonic() - started) / max(len(unread[:_VOLUMES_READ]), 1), len(unread)


def _check_memory(cache: int) -> None:
    free = psutil.virtual_memory().available
    if cache > free:
        raise ConfigError(
            "the memory is too small for all preprocessed volumes",
            where="system.cache",
            why=f"they need {size(cache)}, {size(free)} are free",
            remedy="use system.cache=disk",
        )


def _check_room(run: Run, cache: int, weights: int) -> None:
    """Cache and checkpoints may lie on two disks, or share one."""
    out, kept = run.folder.path, run.folder.cache(run.config)
    same = out.stat().st_dev == kept.stat().st_dev
    needs = [(out, cache + weights)] if same else [(out, weights), (kept, cache)]
    for folder, needed in needs:
        free = free_bytes(folder)
        if needed > free:
            raise StorageError(
                "the disk has too little room for this run",
                where=str(folder),
                why=f"it needs about {size(needed)}, {size(free)} are free",
                remedy="free space, or choose another disk with --out or system.cache_dir",
            )
