"""Work in a child process with a time limit, so that a hang or a crash is a result like another."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Generic, Literal, TypeVar

from pydantic import TypeAdapter

Death = Literal["traceback", "hang", "died"]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Ran(Generic[Result]):
    """What became of the work.

    Attributes:
        result: What it gave, or how it ended.
        seconds: How long it took.
        peak_bytes: Memory that the process took beyond what it began with.
        message: The error that it raised, where it raised one.
    """

    result: Result | Death
    seconds: float
    peak_bytes: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class _Sent(Generic[Result]):
    seconds: float
    peak_bytes: int
    result: Result | None = None
    message: str = ""


def in_child(work: Callable[[], Result], kind: type[Result], seconds: float) -> Ran[Result]:
    """Does the work in a copy of this process, which is ended when the time is over.

    Args:
        work: What is done; the copy has all that this process has.
        kind: The type of its result, which must have a form in JSON.
        seconds: Most time that it may take.
    """
    sent = TypeAdapter(_Sent[kind])  # type: ignore[valid-type]  # known when it runs
    processes = multiprocessing.get_context("fork")
    receiver, sender = processes.Pipe(duplex=False)
    process = processes.Process(target=_work, args=(work, sent, sender), daemon=True)
    start = time.monotonic()
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            return Ran("hang", time.monotonic() - start)
        answer: _Sent[Result] = sent.validate_json(receiver.recv_bytes())
    except EOFError:
        return Ran("died", time.monotonic() - start)
    finally:
        process.kill()
        process.join()
        receiver.close()
    if answer.result is None:
        return Ran("traceback", answer.seconds, answer.peak_bytes, answer.message)
    return Ran(answer.result, answer.seconds, answer.peak_bytes)


def _work(work: Callable[[], Result], sent: TypeAdapter[_Sent[Result]], sender: Connection) -> None:
    start, before = time.perf_counter(), peak_bytes()
    try:
        result, message = work(), ""
    except Exception as error:  # it is the result that is asked for
        result, message = None, f"{type(error).__name__}: {error}"
    seconds, peak = time.perf_counter() - start, peak_bytes() - before
    sender.send_bytes(sent.dump_json(_Sent(seconds, peak, result, message)))


def peak_bytes() -> int:
    """The most memory that this process has had; a new child begins with what it was given."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
