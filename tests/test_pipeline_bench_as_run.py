"""Networks are measured in processes of their own, ours as `volclass` starts and others not."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import AbstractContextManager

import pytest

from pipeline.bench import as_run, timed_process
from pipeline.bench.as_run import as_run_settings, as_run_speeds
from pipeline.bench.networks_table import as_run_lines
from pipeline.bench.timed_process import Pass, TimedProcess
from pipeline.errors import StorageError

SMALL = "poolformer3d_t, 32^3, batch 8"


def test_each_network_is_timed_in_turns_with_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_run, "OTHERS", ("plain",))
    (setting,) = [item for item in as_run_settings() if item.name == SMALL]
    ticks: list[None] = []
    (found,) = as_run_speeds([setting], lambda: ticks.append(None), rounds=2)
    assert len(ticks) == 1
    for ratios in (found.forward, found.training):
        assert [item.name for item in ratios] == ["plain"]
        assert 0 < ratios[0].low <= ratios[0].high
    rows = [line for line in as_run_lines([found]) if line.startswith(f"| {SMALL} |")]
    assert [row.split(" | ")[1] for row in rows] == ["forward", "training step"]


def test_the_settings_are_those_of_the_goals() -> None:
    batches = {(item.network, item.size): set[int]() for item in as_run_settings()}
    for item in as_run_settings():
        batches[item.network, item.size].add(item.batch)
    assert batches == {
        ("poolformer3d_t", (32, 32, 32)): {8},
        ("poolformer3d_t", (64, 64, 64)): {8},
        ("poolformer3d_s12", (32, 32, 32)): {8},
        ("poolformer3d_s12", (96, 128, 96)): {1, 2},
    }


def test_a_process_that_is_killed_says_how_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed_process, "_SERVE", "import os; input(); os.kill(os.getpid(), 9)")
    with (
        pytest.raises(StorageError, match="exit status -9"),
        TimedProcess("ours", SMALL, os.environ, prepared=False) as process,
    ):
        process.seconds("forward")


def test_a_process_in_the_middle_of_a_pass_ends_with_the_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # More than a pipe holds; then an answer, and a pass that does not end.
    talk = "import sys, time; sys.stderr.write('w' * 200_000); sys.stderr.flush()"
    answer = f"print('{timed_process._ANSWER}', 1.5, flush=True); time.sleep(600)"
    monkeypatch.setattr(timed_process, "_SERVE", f"{talk}; {answer}")
    process = TimedProcess("ours", SMALL, os.environ, prepared=False)
    assert process.seconds("forward") == 1.5
    with pytest.raises(KeyError, match="else"), process:
        raise KeyError("else")
    assert process._process.returncode == -signal.SIGTERM


def test_a_network_that_is_not_there_is_no_measurement() -> None:
    with (
        pytest.raises(StorageError, match="no_such_network"),
        TimedProcess("no_such_network", SMALL, os.environ, prepared=True) as process,
    ):
        process.seconds("forward")


@pytest.mark.parametrize("prepared", [True, False])
def test_only_ours_starts_as_volclass_does(monkeypatch: pytest.MonkeyPatch, prepared: bool) -> None:
    # What the process would serve is replaced by a look at its environment.
    answer = f"print('{timed_process._ANSWER}', float('GOMP_SPINCOUNT' in os.environ), flush=True)"
    look = f"import os; input(); print('by the way'); {answer}"
    monkeypatch.setattr(timed_process, "_SERVE", look)
    bare = {"PATH": os.environ["PATH"]}
    with TimedProcess("ours", SMALL, bare, prepared=prepared) as process:
        assert process.seconds("forward") == float(prepared)


def test_others_come_without_what_volclass_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "20000")
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    started: list[str] = []
    asked: list[str] = []

    class Told(AbstractContextManager["Told"]):
        """Takes three seconds, ours one."""

        def __init__(
            self, network: str, setting: str, environment: Mapping[str, str], *, prepared: bool
        ) -> None:
            started.append(network)
            assert setting == SMALL
            assert prepared is (network == "ours")
            assert "GOMP_SPINCOUNT" not in environment
            assert environment["SOMETHING_ELSE"] == "kept"
            self._prepared = prepared
            self._network = network

        def __exit__(self, *_: object) -> None:
            pass

        def seconds(self, kind: Pass) -> float:
            if kind == "training":
                asked.append(self._network)
            return 1.0 if self._prepared else 3.0

    monkeypatch.setattr(as_run, "TimedProcess", Told)
    monkeypatch.setattr(as_run, "_REST", 0.0)
    (found,) = as_run_speeds([as_run_settings()[0]], lambda: None, rounds=2)
    assert started == ["ours", *as_run.OTHERS]
    # Once each to warm up; then in turns first and second.
    assert asked[:4] == started
    assert asked[4:6] == ["ours", "plain"]
    assert asked[10:12] == ["plain", "ours"]
    assert {item.median for item in (*found.forward, *found.training)} == {3.0}
