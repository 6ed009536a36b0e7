"""Configs that were made to do harm: nothing in them runs, and each is refused with exit code 2."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app

SECONDS = 5.0
TOUCH = "touch harm"


def laughs(levels: int) -> str:
    """Each name stands for nine of the one before."""
    lines = ["l0: &l0 [lol]"]
    lines += [f"l{k}: &l{k} [{', '.join([f'*l{k - 1}'] * 9)}]" for k in range(1, levels)]
    return "\n".join(lines)


CONFIGS = {
    "apply": f"seed: !!python/object/apply:os.system ['{TOUCH}']",
    "new": "train: !!python/object/new:os.system {args: [touch harm]}",
    "name": "model: {name: !!python/name:os.system }",
    "module": "model: {options: !!python/module:antigravity }",
    "object": "seed: !!python/object:pathlib.Path {harm: 1}",
    "tuple": "preprocess: {size: !!python/tuple [8, 8, 8]}",
    "tag of our own": "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch harm']",
    "key that is an object": "? !!python/object/apply:os.system ['touch harm']\n: 1",
    "target": "model: {_target_: os.system, _args_: [touch harm]}",
    "target in options": "model: {options: {_target_: os.system, command: touch harm}}",
    "class": "model: {options: {__class__: os, __reduce__: touch harm}}",
    "import path": "model: {name: 'os:system'}",
    "import path of ours": "model: {name: 'pipeline.storage.remove_folder'}",
    "expression": "train: {lr: \"__import__('os').system('touch harm')\"}",
    "template": "train: {epochs: \"{{ cycler.__init__.__globals__.os.system('touch harm') }}\"}",
    "variable": "train: {epochs: '${oc.env:HOME}'}",
    "command": "train: {epochs: '$(touch harm)'}",
    "laughs": laughs(12),
    "anchor of itself": "data: &a [*a]",
    "merge": "train: &t {epochs: 1}\nmodel:\n  <<: *t",
    "merge without a name": "model:\n  <<: {name: resnet18, _target_: os.system}",
    "deep lists": "seed: " + "[" * 20_000,
    "deep and whole": "seed: " + "[" * 5000 + "]" * 5000,
    "deep mappings": "seed: " + "{a: " * 5000 + "1" + "}" * 5000,
    "deep indents": "\n".join(" " * k + f"a{k}:" for k in range(3000)),
    "digits": "seed: " + "9" * 100_000,
    "hexadecimal digits": "seed: 0x" + "f" * 100_000,
    "large exponent": "train: {lr: 1e999999999}",
    "sixties": "seed: " + ":".join(["59"] * 10_000),
    "no number": "train: {lr: .nan}",
    "large batch": "train: {batch_size: 1e400}",
    "base of itself": "base: config.yaml",
    "base in a circle": "base: other.yaml",
    "base far away": "base: ../../../../../../../../etc/passwd",
    "base without end": "base: /dev/zero",
    "base that waits": "base: pipe",
    "two documents": "seed: 1\n---\nseed: 2",
    "binary": "seed: !!binary c3lzdGVt",
    "set": "train: !!set {epochs, seeds}",
    "no such day": "seed: 2001-99-99",
    "control characters": 'seed: "\x07\x1b[2J"',
    "no text": "\x00\x01\x02",
}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in; harm would leave a file in it."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert [path for path in tmp_path.rglob("*") if path.name.startswith("harm")] == []


def assert_refused(arguments: list[str], code: int = 2) -> str:
    """Runs a verb that must refuse, in words, in good time and with this code."""
    started = time.monotonic()
    result = CliRunner().invoke(app, arguments)
    assert time.monotonic() - started < SECONDS
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert "volclass: " in result.output
    assert len(result.output) < 20_000
    return str(result.output)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_hostile_config_is_refused_and_runs_nothing(kind: str, work: Path) -> None:
    import os

    os.mkfifo(work / "pipe")
    (work / "config.yaml").write_text(CONFIGS[kind])
    (work / "other.yaml").write_text("base: config.yaml")
    assert_refused(["train", "-c", "config.yaml", "--dry-run", "--out", "run"])


OVERRIDES = {
    "apply": "seed=!!python/object/apply:os.system ['touch harm']",
    "target": "model._target_=os.system",
    "class": "model.__class__=os",
    "deep": "model.options=" + "[" * 20_000,
    "deep key": "model." + "options." * 5000 + "a=1",
    "digits": "seed=" + "9" * 100_000,
    "laughs": "model.options=[&a [1], *a]",
    "expression": "train.lr=__import__('os').system('touch harm')",
}


@pytest.mark.parametrize("kind", OVERRIDES)
def test_a_hostile_override_is_refused_and_runs_nothing(kind: str, work: Path) -> None:
    assert_refused(["train", "-c", "base", OVERRIDES[kind], "--dry-run", "--out", "run"])


@pytest.mark.parametrize("verb", ["ladder", "tune"])
@pytest.mark.parametrize("kind", ["apply", "target", "laughs", "deep and whole", "digits"])
def test_a_hostile_plan_is_refused_and_runs_nothing(kind: str, verb: str, work: Path) -> None:
    (work / "plan.yaml").write_text(CONFIGS[kind])
    assert_refused([verb, "-c", "plan.yaml", "--out", "out"])
