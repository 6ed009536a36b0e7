"""Networks that no machine can hold are refused in words, before anything is allocated."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from pipeline.build import check_network
from pipeline.config import Config
from pipeline.config.limits import MOST_BLOCKS, MOST_CHANNELS, within_limits
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.errors import ConfigError
from pipeline.progress import Silent

FLAT, DEEP = "model.name=resnet18", "model.name=monai_resnet18"
BY_VALUE = {
    "depths": (["model.options={depths: [999999999, 2, 2, 2]}"], "options: depths has 999,999,999"),
    "depths together": (["model.options={depths: [400, 400, 400, 2]}"], "1,202 blocks"),
    "one depth": (["model.options={depths: 999999999}"], "model.options: depths"),
    "dims": (["model.options={dims: [3000000, 3000000, 3, 3]}"], "model.options: dims has 3,000,0"),
    "ratio": (["model.options={mlp_ratio: 1.0e+9}"], "model.options: mlp_ratio has 1,000,000,000"),
    "stages": ([f"model.options={{depths: {[1] * 65}}}"], "depths has 65 entries"),
    "2D depths": ([FLAT, "model.options={layers: [2, 2, 99999, 2]}"], "model.options: layers"),
    "2D width": ([FLAT, "model.options={base_width: 99999999}"], "model.options: base_width"),
    "MONAI depths": ([DEEP, "model.options={layers: [1001, 1, 1, 1]}"], "model.options: layers"),
    "MONAI dims": ([DEEP, "model.options={block_inplanes: [9, 9, 9, 90000]}"], "block_inplanes"),
    "MONAI growth": (
        ["model.name=monai_densenet121", "model.options={block_config: [9000, 1, 1, 1]}"],
        "model.options: block_config",
    ),
    "nested": ([FLAT, "model.options={block_args: {x: 999999}}"], "block_args.x has 999,999"),
    "hidden": (["model.head={stages: all, hidden: [99999999]}"], "model.head.hidden.0"),
    "hidden layers": ([f"model.head={{stages: all, hidden: {[8] * 65}}}"], "model.head.hidden"),
    "kernel": (["model.stem={kernel: 999999}"], "model.stem.kernel"),
    "stride": (["model.stem={stride: [1, 999999, 1]}"], "model.stem.stride"),
    "windows": (["model.stem={kind: pyramid, windows: [99999]}"], "model.stem.windows.0"),
    "strides": (["model.strides=[999999, 2, 2]"], "model.strides.0"),
    "neighbours": ([FLAT, "model.slices={neighbours: 99999999}"], "model.slices.neighbours"),
    "slices": ([FLAT, "model.slices={count: 99999999}"], "model.slices.count"),
}
BY_MEMORY = {
    "3D": ["model.options={dims: [65536, 65536, 65536, 65536]}"],
    "3D ratio": ["model.options={dims: [8, 8, 8, 65536], mlp_ratio: 65000}"],
    "2D": ["model.name=resnet50", "model.options={channels: [65536, 65536, 65536, 65536]}"],
    "MONAI": [DEEP, "model.options={block_inplanes: [65536, 65536, 65536, 65536]}"],
    "MONAI stem": [DEEP, "model.options={stem_kernel: 65536}"],
    "head": ["model.head={stages: all, hidden: [65536, 65536, 65536]}"],
}


def refused(words: list[str]) -> str:
    """The message for settings that must be refused in two seconds, and without much memory."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(ConfigError) as caught:
        check_network(load_config("base", words))
    assert time.process_time() - started < 2.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 200 << 10
    return str(caught.value)


@pytest.mark.parametrize("name", BY_VALUE)
def test_numbers_beyond_what_a_network_needs_are_refused_with_their_key(name: str) -> None:
    words, told = BY_VALUE[name]
    with pytest.raises(ConfigError, match=r"model\."):
        load_config("base", words)
    assert told in refused(words)


@pytest.mark.parametrize("name", BY_MEMORY)
def test_networks_larger_than_the_machine_are_refused(name: str) -> None:
    message = refused(BY_MEMORY[name])
    assert "too large for this machine" in message
    assert "model.options" in message
    assert "parameters take" in message


def test_numbers_that_overflow_are_refused_in_words() -> None:
    widest = "block_inplanes: [65536, 65536, 65536, 65536]"
    message = refused([DEEP, f"model.options={{stem_kernel: 65536, {widest}}}"])
    assert "cannot be built" in message


def test_nothing_is_begun_for_a_network_that_is_too_large(
    tmp_path: Path, small_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small:
        total = 1 << 10

    monkeypatch.setattr(psutil, "virtual_memory", Small)
    with pytest.raises(ConfigError, match="too large for this machine"):
        cross_validate(small_config(), tmp_path / "run", Silent())
    assert not (tmp_path / "run/fold_0").exists()


@given(
    st.dictionaries(
        st.sampled_from(["depths", "dims", "mlp_ratio", "drop_rate"]),
        st.lists(st.integers(0, MOST_BLOCKS // 4), max_size=4) | st.floats(0, MOST_CHANNELS),
    )
)
def test_what_is_within_the_limits_is_left_as_it_is(options: dict[str, JsonValue]) -> None:
    assert within_limits(dict(options)) == options


@given(st.integers(MOST_CHANNELS + 1) | st.floats(MOST_CHANNELS, exclude_min=True), st.integers(0))
def test_what_is_beyond_is_refused_at_any_depth(number: float, place: int) -> None:
    lists: list[JsonValue] = [
        number,
        [number],
        [[1, number]],
        {"inner": number},
        {"inner": [1, number]},
    ]
    with pytest.raises(ValueError, match="beyond 65,536"):
        within_limits({"option": lists[place % len(lists)]})


@pytest.mark.parametrize(
    "words",
    [
        ["model.options={depths: [2, 2, 60, 2]}"],
        ["model.stem={kernel: [7, 7, 3], stride: 4}", "model.strides=[2, [2, 2, 1], 2]"],
        [FLAT, "model.slices={neighbours: 2, count: 8}"],
    ],
)
def test_unusual_but_possible_settings_are_accepted(words: list[str]) -> None:
    check_network(load_config("base", words))
