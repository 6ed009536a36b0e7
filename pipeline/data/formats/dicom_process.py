"""Starts and questions the process that reads DICOM files, within limits of time and memory.

A damaged or hostile file may end that process or keep it busy for ever, not this one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from types import TracebackType
from typing import BinaryIO, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from ..volume import Reason, VolumeError
from .dicom_header import Answer, listed

CHILD = Path(__file__).with_name("dicom_child.py")
#: Time for the first answer and for the pixels: so many seconds, and what slow disks and
#: decoders take.
SECONDS = 60.0
_BYTES_A_SECOND = 2 << 20
#: Address space: the program with all decoders takes less than the first; no slice needs more than
#: the second beside it.
_PROGRAM_BYTES = 384 << 20
_WORK_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of the pixels of one file: `problem` says why there are none.

    Attributes:
        extra: Bytes after the pixels that none should be.
    """

    size: int = 0
    extra: int = 0
    problem: str = ""
    memory: bool = False
    content: bytes = b""


_Told = TypeVar("_Told")
_ANSWER = TypeAdapter(Answer)
_DECODED = TypeAdapter(Decoded)


def answer_about(name: str, line: bytes | str) -> Answer:
    """What the process said of a file.

    The name is added here: one that is no UTF-8 may be asked about, but not repeated.

    Args:
        name: The file, as it was asked for.
        line: The answer, JSON.

    Raises:
        ValidationError: It is no answer.
    """
    answer = _ANSWER.validate_json(line)
    if answer.header is None:
        return answer
    return replace(answer, header=replace(answer.header, file=PurePath(name).name))


class SeriesProcess:
    """The reading process of one folder, as a context manager that ends it.

    Args:
        path: The volume, as messages name it.
        folder: Where the files lie.
        files: Their names and sizes in bytes.
        budget: Most bytes that the volume may take; the process gets no more to work with.
        seconds: Time for each of the two answers, beside that in proportion to their size.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        files: Mapping[str, int],
        budget: int,
        seconds: float | None = None,
    ) -> None:
        self._path = path
        self._folder = folder
        self._files = files
        self._memory = _PROGRAM_BYTES + min(budget, _WORK_BYTES)
        self._seconds = SECONDS if seconds is None else seconds
        self._timer: threading.Timer | None = None
        self._late = threading.Event()

    def __enter__(self) -> SeriesProcess:
        # -P keeps modules of the current and of this folder from being taken for others.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the main process
        )
        self._input = cast("BinaryIO", self._process.stdin)
        self._output = cast("BinaryIO", self._process.stdout)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop_clock()
        self._process.kill()
        self._output.close()
        with suppress(BrokenPipeError):  # of a question that was never read
            self._input.close()
        self._process.wait()

    def headers(self) -> dict[str, Answer]:
        """What each file of the folder is.

        Raises:
            VolumeError: The process died, took too long or needed too much memory.
        """
        self._start_clock(sum(self._files.values()))
        folder = str(self._folder.absolute())
        self._ask({"folder": folder, "files": list(self._files), "memory": self._memory})
        answers: dict[str, Answer] = {}
        for name in self._files:
            answer = self._understood(partial(answer_about, name), self._line(name), name)
            if answer.kind == "memory":
                raise self._too_large(name)
            answers[name] = answer
        self._stop_clock()
        return answers

    def ask_for_pixels(self, names: Sequence[str], size: int) -> None:
        """Has files decoded, in this order; `pixels` gives one after the other.

        Args:
            names: The files.
            size: How many bytes the pixels take.
        """
        self._start_clock(size + sum(self._files[name] for name in names))
        self._ask(list(names))

    def pixels(self, name: str, size: int) -> Decoded:
        """The pixels of the next file.

        Args:
            name: The file.
            size: How many bytes its pixels take.

        Raises:
            VolumeError: The process died, took too long or needed too much memory.
        """
        decoded = self._understood(_DECODED.validate_json, self._line(name), name)
        if decoded.memory:
            raise self._too_large(name)
        if decoded.problem:
            return decoded
        content = self._output.read(size) if decoded.size == size else b""
        if len(content) != size:
            raise self._death(name)
        return Decoded(size, decoded.extra, content=content)

    def _ask(self, question: Mapping[str, object] | list[str]) -> None:
        try:
            self._input.write(json.dumps(question).encode() + b"\n")
            self._input.flush()
        except BrokenPipeError:
            raise self._death("") from None

    def _line(self, name: str) -> bytes:
        line = self._output.readline()
        if not line.endswith(b"\n"):
            raise self._death(name)
        return line

    def _understood(self, understand: Callable[[bytes], _Told], line: bytes, name: str) -> _Told:
        try:
            return understand(line)
        except ValidationError:
            raise self._death(name) from None

    def _start_clock(self, size: int) -> None:
        self._limit = self._seconds + size / _BYTES_A_SECOND
        self._timer = threading.Timer(self._limit, self._end_late)
        self._timer.daemon = True
        self._timer.start()

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()

    def _end_late(self) -> None:
        self._late.set()
        self._process.kill()

    def _death(self, name: str) -> VolumeError:
        """Why there is no answer about a file."""
        about = f"at {listed([PurePath(name).name])}" if name else "at its start"
        self._process.kill()
        status = self._process.wait()
        if self._late.is_set():
            why = f"reading it was stopped {about}: it took more than {self._limit:.3g} s"
        elif status < 0:
            why = f"the process that reads it died {about} ({signal.Signals(-status).name})"
        else:
            why = f"the process that reads it failed {about} (status {status})"
        return VolumeError(Reason.E_DICOM_SLICE, self._path, why)

    def _too_large(self, name: str) -> VolumeError:
        why = f"reading {listed([PurePath(name).name])} takes more than {self._memory >> 20:,} MiB"
        return VolumeError(Reason.E_BUDGET, self._path, why)
