"""Work in child processes: how it ends is a result, and one end costs one trial."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pipeline.reliability.child import in_child
from pipeline.reliability.output import caught_output
from pipeline.reliability.privileges import become_plain, can_be_plain
from pipeline.reliability.trials import trials


def test_a_hang_an_error_and_a_death_are_results() -> None:
    assert in_child(lambda: "x" * 100_000, str, 5.0).result == "x" * 100_000
    hung = in_child(_forever, str, 0.3)
    assert (hung.result, hung.seconds < 2) == ("hang", True)
    raised = in_child(lambda: str(1 // 0), str, 5.0)
    assert raised.result == "traceback"
    assert raised.message.startswith("ZeroDivisionError")
    assert in_child(_dies, str, 5.0).result == "died"


def _forever() -> str:
    while True:
        pass


def _dies() -> str:
    os._exit(1)


def test_a_hang_a_crash_and_a_death_cost_one_trial_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.reliability.trials._BATCH", 4)

    def work(number: int) -> str:
        if number == 1:
            os._exit(1)
        if number == 5:
            raise ValueError("no result")
        while number == 9:
            pass
        return "done"

    amounts: list[int] = []
    found, peak = trials(work, 11, amounts.append, seconds=1.0)
    ends = {number: trial.end for number, trial in enumerate(found) if trial.end != "done"}
    assert ends == {1: "died", 5: "traceback", 9: "hang"}
    assert len(found) == sum(amounts) == 11
    assert peak >= 0


@pytest.mark.skipif(not can_be_plain(), reason="the superuser cannot give up its rights here")
def test_a_process_without_privileges_reads_no_locked_file(tmp_path: Path) -> None:
    file = tmp_path / "locked"
    file.write_bytes(b"secret")
    file.chmod(0)

    def read() -> str:
        become_plain()
        return file.read_text()

    assert in_child(read, str, 5.0).message.startswith("PermissionError")


def test_what_a_process_writes_past_python_is_caught(capfd: pytest.CaptureFixture[str]) -> None:
    with caught_output() as written:
        nothing = written()
        os.write(2, b"a warning of a library")
        something = written()
    sys.stdout.write("seen again")
    sys.stdout.flush()
    assert (nothing, something) == (False, True)
    assert capfd.readouterr() == ("seen again", "")
