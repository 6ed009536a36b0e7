"""Where the weights of the network started, as the settings of a run say it."""

from __future__ import annotations

from collections.abc import Mapping

from ..config import NAMED_STARTS, is_volume_network

_NONE = ("", "null")


def start_words(config: Mapping[str, str]) -> str:
    """The start in a few words; empty where an older run does not say it.

    Args:
        config: Every config key as text, paths hidden.
    """
    init, weights = config.get("model.init"), config.get("model.weights", "null")
    volumes = is_volume_network(config.get("model.name"))
    if init == "timm":
        return "published 2D weights (timm)" + (", inflated to 3D" if volumes else "")
    if init == "inflate":
        return f"inflated 2D weights of a file, {weights}"
    if started_from_a_file(config):
        return f"a file, {weights}"
    if started_from_a_run(config):
        return f"a pretraining run without labels, {init}"
    return init or ""


def started_from_a_run(config: Mapping[str, str]) -> bool:
    """Whether the weights came from a pretraining run of this program."""
    return config.get("model.init", "random") not in NAMED_STARTS


def start_source(config: Mapping[str, str]) -> str | None:
    """Where weights that are not random came from, without a path; None where they are random."""
    if started_from_a_file(config):
        return "a file's weights"
    if started_from_a_run(config):
        return "pretraining without labels"
    return None if config.get("model.init", "random") == "random" else "published weights"


def started_from_a_file(config: Mapping[str, str]) -> bool:
    """Whether the weights came from a file, of which nobody knows what they have seen."""
    return config.get("model.weights", "null") not in _NONE


def untrained_parts(config: Mapping[str, str]) -> tuple[str, ...]:
    """What was kept as it was drawn at random, one loud sentence each; mostly there is nothing."""
    drawn = start_words(config) == "random"
    if config.get("model.slices.frozen") == "true":
        if drawn:
            return (
                "The features are those of an untrained network: the 2D network started from "
                "random weights and was kept frozen. Only the pool over slices and the classifier "
                "were trained.",
            )
        if config.get("model.slices.pyramid") == "true":
            return (
                "The feature pyramid was never trained: it has random weights and was kept frozen "
                "with the 2D network under it.",
            )
    stages = config.get("model.slices.freeze_stages", "0")
    if drawn and stages not in (*_NONE, "0"):
        return (
            f"The stem and the first {stages} stages of the 2D network were never trained: they "
            "started from random weights and were kept frozen.",
        )
    return ()
