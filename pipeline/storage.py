"""The one place that writes files: complete or not at all, and on disk when we say so.

Every write goes to a temporary name in the same folder, is fsynced, renamed over the target,
and the folder is fsynced. A process killed at any instant leaves the old file or the new one.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from .errors import StorageError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")


def _refusal(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot write {path.name}",
        where=str(path),
        why=error.strerror or str(error),
        remedy="free space, change the permissions, or choose another folder with --out",
    )


def safe_name(text: str) -> str:
    """A file name for a case id, without ending, safe on every system.

    A plain id of up to 80 of `A-Za-z0-9._-` is kept; any other is escaped and made unique by a
    short hash, so that no id can leave its folder or take the place of another.
    """
    if _PLAIN_NAME.fullmatch(text):
        return text
    escaped = re.sub(r"[^A-Za-z0-9_-]", "_", text)[:64]
    return f"{escaped}-{sha256(text.encode())[:12]}"


def make_folder(path: Path, mode: int = 0o777) -> Path:
    """Creates a folder and its parents where they are missing.

    Raises:
        StorageError: The folder cannot be created or is a file.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(path, error) from error
    return path


def check_writable(folder: Path) -> None:
    """Creates `folder` and proves that a file can be written there.

    Raises:
        StorageError: It cannot; raised before any data is read.
    """
    make_folder(folder)
    probe = folder / ".writable"
    write_bytes(probe, b"")
    probe.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path; what is written there takes the place of `path` at the end.

    Nothing happens to `path` if the block raises.

    Raises:
        StorageError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file, complete or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Writes UTF-8 text, complete or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    write_bytes(path, content.encode())


def write_json(path: Path, value: JsonValue) -> None:
    """Writes indented JSON; refuses NaN and infinity, which JSON has not."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_regular(path: Path) -> None:
    """Refuses what is no file before it is opened: a pipe would block, a device never end.

    Raises:
        OSError: It is a pipe, a socket or a device. Of what is missing, opening it tells.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is a pipe, socket or device, not a file")


def read_json(path: Path) -> JsonValue:
    """Reads a JSON file of the run.

    Raises:
        StorageError: The file is missing or damaged.
    """
    try:
        check_regular(path)
        value: JsonValue = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(
            f"cannot read {path.name}", where=str(path), why=str(error), remedy="is this a run?"
        ) from error
    return value


def sha256(content: bytes | memoryview) -> str:
    """SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        StorageError: The file cannot be read.
    """
    try:
        check_regular(path)
        return sha256(path.read_bytes())
    except OSError as error:
        raise StorageError(
            f"cannot read {path.name}", where=str(path), why=error.strerror or str(error)
        ) from error


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Writes a CSV; text that a spreadsheet would run as a formula is prefixed with `'`.

    Numbers keep all their digits; None becomes an empty cell. `read_table` undoes the prefix.
    """
    lines = [_line(columns)]
    lines += [_line([row.get(name) for name in columns]) for row in rows]
    write_text(path, "".join(lines))


def read_table(path: Path) -> list[dict[str, str]]:
    """Reads a CSV that `write_table` wrote; all cells are text.

    Raises:
        StorageError: The file cannot be read.
    """
    try:
        check_regular(path)
        with path.open(newline="", encoding="utf-8") as handle:
            lines = [[cell.removeprefix("'") for cell in line] for line in csv.reader(handle)]
        return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    except (OSError, ValueError, csv.Error) as error:
        raise StorageError(f"cannot read {path.name}", where=str(path), why=str(error)) from error


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Writes named arrays of numbers or text as .npz, complete or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    import numpy as np

    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, allow_pickle=False, **arrays)


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Reads an .npz of numbers and text; one that holds Python objects is refused.

    Raises:
        StorageError: The file is missing, damaged, or no such archive.
    """
    import numpy as np

    try:
        check_regular(path)
        with path.open("rb") as handle:
            archive = np.load(handle, allow_pickle=False)
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise StorageError(f"cannot read {path.name}", where=str(path), why=str(error)) from error


def write_parquet(path: Path, table: pa.Table, metadata: Mapping[str, str]) -> None:
    """Writes a table as Parquet with `metadata` in its schema, complete or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(dict(metadata)), temporary)


def read_parquet(path: Path) -> tuple[pa.Table, dict[str, str]]:
    """Reads a Parquet file; the table, and the metadata of its schema.

    Raises:
        StorageError: The file is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        check_regular(path)
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read {path.name}", where=str(path), why=str(error)) from error
    stored = table.schema.metadata or {}
    return table, {key.decode(): value.decode() for key, value in stored.items()}


def _line(values: Sequence[object]) -> str:
    text = io.StringIO()
    # Only characters that may end a line are quoted: with both, a CR in a cell stays in it.
    csv.writer(text, lineterminator="\r\n").writerow([_cell(value) for value in values])
    return text.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA_STARTS) else value
    return repr(value) if isinstance(value, float) else str(value)


@contextmanager
def locked(folder: Path, name: str = ".lock", what: str = "run folder") -> Iterator[None]:
    """Holds a folder for this process; the system frees it when the process dies.

    Args:
        folder: Where the lock lies.
        name: Of the lock, where a part of the folder alone is held.
        what: What is held, for the message.

    Raises:
        StorageError: Another living process holds it.
    """
    path = folder / name
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _refusal(path, error) from error
    # A forked loading process inherits the handle, and with it the lock: it must let go of it.
    held = [handle]
    os.register_at_fork(after_in_child=lambda: _close_all(held))
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(handle, 100).decode(errors="replace").strip() or "unknown"
            raise StorageError(
                f"another process is working in this {what}",
                where=str(folder),
                why=f"process {holder} holds its lock",
                remedy="wait for it, end it, or choose another folder with --out",
            ) from error
        except OSError as error:
            raise StorageError(
                f"the {what} cannot be locked",
                where=str(folder),
                why=error.strerror,
                remedy="choose a file system that knows flock, with --out",
            ) from error
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        held.clear()
        os.close(handle)


def _close_all(handles: list[int]) -> None:
    while handles:
        os.close(handles.pop())


def remove(path: Path) -> None:
    """Removes a file that nothing names any more; a missing one is no error."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _refusal(path, error) from error


def rename(path: Path, new: Path) -> None:
    """Gives a file another name in the same folder."""
    try:
        path.replace(new)
    except OSError as error:
        raise _refusal(new, error) from error


def remove_folder(path: Path) -> None:
    """Removes a folder of intermediate files with all that is in it; a missing one is no error."""
    try:
        if path.exists():
            shutil.rmtree(path)
    except OSError as error:
        raise _refusal(path, error) from error


def remove_partial(folder: Path, pattern: str = "**/.*.partial") -> None:
    """Removes what killed writers left in a folder, or of a file in it, that this process holds."""
    for path in folder.glob(pattern):
        remove(path)


def folder_bytes(folder: Path) -> int:
    """Bytes that all files below `folder` take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk of `folder`."""
    return shutil.disk_usage(folder).free
