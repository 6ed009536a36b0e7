"""Files are complete or not there, whatever happens to the writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StorageError
from pipeline.storage import (
    check_writable,
    locked,
    read_json,
    read_table,
    replacing,
    write_bytes,
    write_json,
    write_table,
    write_text,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=12)


def test_a_failing_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    write_bytes(path, b"old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        fail()
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["weights"]


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_each_failing_system_call_is_named_and_loses_nothing(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"step": 1})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    target = Path if call == "replace" else os
    monkeypatch.setattr(target, call, full)
    with pytest.raises(StorageError, match="No space left"):
        write_json(path, {"step": 2})
    monkeypatch.undo()
    assert read_json(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


def test_a_writer_killed_at_any_instant_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "big"
    code = (
        "import sys, pathlib; from pipeline.storage import write_bytes\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "for number in range(10**6):\n"
        "    write_bytes(path, bytes([number % 251]) * 2_000_000)\n"
    )
    for attempt in range(4):
        with subprocess.Popen([sys.executable, "-c", code, str(path)]) as writer:
            deadline = time.monotonic() + 20
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.05 + 0.017 * attempt)
            writer.send_signal(signal.SIGKILL)
        content = path.read_bytes()
        assert len(content) == 2_000_000
        assert len(set(content)) == 1


def test_a_lock_refuses_a_second_process_and_dies_with_the_first(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, time; from pipeline.storage import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StorageError, match=str(holder.pid)), locked(tmp_path):
            pass
        holder.kill()
    with locked(tmp_path):
        pass


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib, time; from pipeline.storage import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        print(os.getpid(), flush=True); time.sleep(30); os._exit(0)\n"
        "    time.sleep(30)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        # The child says so itself: by then it has run what a fork runs in it.
        child = int(holder.stdout.readline())
        holder.kill()
    try:
        with locked(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        check_writable(tmp_path / "file" / "run")


@given(
    rows=st.lists(
        st.fixed_dictionaries({"id": TEXT, "value": st.floats(allow_nan=False)}), max_size=5
    )
)
def test_a_table_comes_back_as_it_was(
    rows: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("table") / "table.csv"
    write_table(path, ["id", "value"], rows)
    back = read_table(path)
    assert [row["id"] for row in back] == [row["id"] for row in rows]
    assert [float(row["value"]) for row in back] == [row["value"] for row in rows]


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "'quoted"])
def test_text_that_a_spreadsheet_would_run_is_disarmed(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_table(path, ["id"], [{"id": text}])
    assert path.read_text().splitlines()[1].lstrip('"').startswith("'")
    assert read_table(path) == [{"id": text}]


def test_a_damaged_json_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "folds.json", "{")
    with pytest.raises(StorageError, match=r"folds\.json"):
        read_json(tmp_path / "folds.json")


def test_json_without_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "metrics.json", {"auroc": float("nan")})
