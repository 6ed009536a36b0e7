"""The errors that a user may meet: one message each, and the exit code that goes with it."""

from __future__ import annotations

from typing import ClassVar


class VolclassError(Exception):
    """Base of all errors that are shown to the user without a traceback.

    Args:
        what: What went wrong, in one sentence.
        where: The file, key or line that it concerns.
        why: The reason, if it is not plain from `what`.
        remedy: What the user can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        why: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        details = (("where", self.where), ("why", self.why), ("what to do", self.remedy))
        lines = [self.what, *(f"  {name}: {text}" for name, text in details if text)]
        return "\n".join(lines)


class ConfigError(VolclassError):
    """A config file, an override or a command line that cannot be used (exit code 2)."""

    exit_code = 2


class DataError(VolclassError):
    """A manifest, a volume or a split that is refused (exit code 3)."""

    exit_code = 3


class StorageError(VolclassError):
    """A file or folder that cannot be written, locked or trusted (exit code 4)."""

    exit_code = 4


class EndedLoaderError(VolclassError):
    """A process that loads volumes was ended, by others or by a crash (exit code 4).

    Args:
        seen: What was seen of it; torch names the signal, where there was one.
    """

    exit_code = 4

    def __init__(self, seen: str) -> None:
        if "Bus error" in seen:
            reason = "shared memory ran out, or a mapped file of the cache cannot be read"
            remedy = "give the machine more shared memory (in a container --shm-size), lower"
            remedy += " system.workers, or set system.cache=disk"
        elif "exit code" in seen or ("signal" in seen and "Killed" not in seen):
            reason = "a library crashed"
            remedy = "see where with system.workers=0 and --debug"
        else:
            reason = "mostly it is the system, because memory ran out"
            remedy = "lower system.workers or train.batch_size"
        super().__init__(
            "a process that loads volumes was ended",
            why=f"{seen}: {reason}",
            remedy=f"{remedy}; a training goes on with --resume",
        )


class DivergedError(VolclassError):
    """Training met a loss or gradient that is not finite (exit code 5)."""

    exit_code = 5


class PreemptedError(VolclassError):
    """The process was asked to end (SIGTERM); a checkpoint was written (exit code 75)."""

    exit_code = 75


class InterruptedRunError(VolclassError):
    """The user pressed Ctrl-C; a training, unlike a measurement, wrote a checkpoint (exit 130)."""

    exit_code = 130
