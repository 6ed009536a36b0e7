"""Grey values, network, batch and text: each rule on the volumes it is made for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from pipeline.config import Config
from pipeline.config_file import parse_yaml, validate
from pipeline.errors import ConfigError
from pipeline.planning.choices import Choice, in_order, plain
from pipeline.planning.fingerprint import Fingerprint, Look, Triple, Voxels, is_ct, spread
from pipeline.planning.intensity import SOFT_TISSUE, scale_for, soft_tissue
from pipeline.planning.proposal import propose
from pipeline.planning.text import encodable, plan_text
from pipeline.planning.training import (
    Counts,
    batch_for,
    folds_for,
    is_complete,
    keep_for,
    network_for,
    shares,
    straddle,
)
from pipeline.printable import printable

MR = (10.0, 40.0, 100.0, 190.0, 240.0, 260.0)
CT = (-203.0, -80.0, 40.0, 160.0, 671.0, 1500.0)


def look(
    spacing: Triple = (1.0, 1.0, 1.0),
    shape: Voxels = (64, 64, 64),
    crop: Voxels | None = None,
    greys: tuple[float, float, float, float, float, float] = MR,
    lowest: float = 0.0,
    whole: bool = True,
) -> Look:
    return Look(spacing, shape, crop or shape, "RAS", lowest, whole, greys)


def found(*looks: Look) -> Fingerprint:
    return Fingerprint(looks)


def test_ct_is_told_by_air_in_whole_numbers_or_air_alone() -> None:
    assert is_ct(-1024.0, whole=True)
    assert is_ct(-3024.0, whole=True)  # what scanners pad with
    assert is_ct(-1000.4, whole=False)  # resampled
    assert not is_ct(-5000.5, whole=False)
    assert not is_ct(-200.0, whole=True)


def test_each_kind_of_grey_values_has_its_scale() -> None:
    ct, mr = look(greys=CT, lowest=-1000), look()
    assert scale_for(found(ct, ct)).setting == {"name": "window", "low": -210, "high": 680}
    assert "nnU-Net" in scale_for(found(ct)).reason
    assert scale_for(found(mr, mr)).name == "zscore"
    assert scale_for(found(mr, ct)).name == "zscore"
    assert "no window suits all" in scale_for(found(mr, ct)).reason
    hot = look(greys=(0.1, 0.2, 1.0, 2.0, 4.0, 90.0))
    assert scale_for(found(hot, hot)).name == "percentiles"
    shape = look(greys=(1.0,) * 6)
    assert scale_for(found(shape, shape)).name == "unit"
    assert scale_for(found(shape, mr)).name == "unit"


def test_a_survey_knows_the_soft_tissue_window_for_ct_alone() -> None:
    scale = soft_tissue(["ct", "ct"])
    assert scale is not None
    assert scale.ends == SOFT_TISSUE
    assert soft_tissue(["ct", "other"]) is None
    assert soft_tissue([]) is None


@pytest.mark.parametrize(
    ("patients", "voxels", "name"),
    [
        (99, (96, 96, 96), "poolformer3d_n"),
        (100, (96, 96, 96), "poolformer3d_t"),
        (999, (96, 96, 96), "poolformer3d_t"),
        (1000, (96, 96, 16), "poolformer3d_s12"),
        (1000, (96, 48, 48), "poolformer3d_t"),
    ],
)
def test_the_network_goes_by_patients_and_size(patients: int, voxels: Voxels, name: str) -> None:
    chosen, reason = network_for(patients, voxels)
    assert chosen == name
    assert str(patients) in reason


def test_counts_batches_and_epochs() -> None:
    assert shares(100, 200, 5, 0.15) == Counts(68, 136, 24)
    assert shares(100, 200, 1, 0.15) == Counts(85, 170, 30)
    assert [batch_for(cases, 16) for cases in (3, 12, 40, 4000)] == [2, 3, 10, 16]
    assert keep_for(99)[0] == "last"
    assert "luck" in keep_for(99)[1]
    assert keep_for(100)[0] == "best"
    assert folds_for({"a": 9, "b": 3}, 5) == 3
    assert folds_for({}, 5) == 5


def test_a_split_must_be_whole_and_part_no_patient() -> None:
    assert straddle(["p", "p"], ["train", "test"])
    assert not straddle(["p", "p", "q"], ["train", "train", "test"])
    assert is_complete(["train", "train", "test", "test"], ["a", "b", "a", "b"])
    assert not is_complete(["train", "train", "test", "test"], ["a", "b", "a", "a"])


def test_cropping_is_proposed_where_there_is_much_to_cut() -> None:
    counts = Counts(20, 40, 5)
    small = propose(found(look(crop=(40, 40, 40))), counts, Config())
    assert (small.value("preprocess.crop"), small.value("preprocess.size")) == (
        "foreground",
        [40, 40, 40],
    )
    large = propose(found(look(crop=(62, 62, 62))), counts, Config())
    assert (large.value("preprocess.crop"), large.value("preprocess.size")) == ("none", [64] * 3)


def test_volumes_are_resized_where_padding_would_be_most_of_the_input() -> None:
    small, huge = look(shape=(20, 20, 20)), look(shape=(96, 96, 96))
    counts = Counts(20, 40, 5)
    assert propose(found(*[small] * 9, huge), counts, Config()).value("preprocess.fit") == "resize"
    assert propose(found(small, small), counts, Config()).value("preprocess.fit") == "pad_crop"


def test_what_is_asked_for_stands_and_the_rest_follows_it() -> None:
    config = Config.model_validate(
        {"preprocess": {"size": (32, 32, 9)}, "model": {"name": "poolformer3d_s12"}}
    )
    made = propose(found(look()), Counts(20, 40, 5), config, {"preprocess.size", "model.name"})
    assert made.value("preprocess.size") == [32, 32, 9]
    assert made.value("model.name") == "poolformer3d_s12"
    assert made.value("model.stem") == {"kernel": None, "stride": None}
    assert made.value("model.strides") == [[2, 2, 1], [2, 2, 1], [1, 1, 1]]
    asked = [choice.key for choice in made.choices if choice.asked]
    assert asked == ["preprocess.size", "model.name"]


def test_a_network_of_another_kind_keeps_its_strides() -> None:
    config = Config.model_validate({"model": {"name": "monai_resnet18"}})
    made = propose(found(look()), Counts(20, 40, 5), config)
    assert made.value("model.name") == "monai_resnet18"
    assert not any(choice.key in ("model.stem", "model.strides") for choice in made.choices)


def test_flat_volumes_are_told() -> None:
    made = propose(found(look(shape=(64, 64, 1))), Counts(20, 40, 5), Config())
    assert any("one voxel thick along z" in text for text in made.warnings)


EDGE = st.floats(0.2, 8.0)
SHAPES = st.tuples(*[st.integers(1, 400)] * 3)


@given(st.lists(st.tuples(st.tuples(EDGE, EDGE, EDGE), SHAPES), min_size=1, max_size=8))
def test_any_set_gets_a_valid_plan_that_does_not_depend_on_its_order(
    volumes: Sequence[tuple[Triple, Voxels]],
) -> None:
    looks = [look(spacing, shape) for spacing, shape in volumes]
    made = propose(Fingerprint(tuple(looks)), Counts(20, 40, 5), Config())
    again = propose(Fingerprint(tuple(reversed(looks))), Counts(20, 40, 5), Config())
    assert made.choices == again.choices
    size = made.value("preprocess.size")
    assert isinstance(size, list)
    assert np.prod(np.array(size, dtype=np.int64)) <= 96**3
    tree: dict[str, dict[str, object]] = {}
    for choice in made.choices:
        section, _, name = choice.key.partition(".")
        tree.setdefault(section, {})[name] = choice.value
    assert validate(yaml.safe_load(yaml.safe_dump(tree)), "plan").preprocess.size == tuple(size)
    assert all(choice.reason for choice in made.choices)


def test_the_fingerprint_tells_median_quartiles_and_range() -> None:
    rows = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 5.0], [2.0, 2.0, 9.0]])
    assert spread(rows) == (
        "median 2 x 2 x 5, quartiles 1.5 x 2 x 4 to 2.5 x 2 x 7, range 1 x 2 x 3 to 3 x 2 x 9"
    )
    assert spread(rows[:1]) == "1 x 2 x 3 in all"
    text = "\n".join(found(look(greys=CT, lowest=-1000), look(crop=(32, 64, 64))).lines())
    assert "CT in HU 1, other 1" in text
    assert "keeps 75 % of the median volume" in text


def test_a_hostile_name_stays_a_comment(tmp_path: Path) -> None:
    name = "a\nmodel: {name: x}\u2028\x85train: {epochs: 1}"
    written: dict[str, JsonValue] = {"preprocess.size": [8, 8, 8], "seed": 3}
    choices = [Choice("preprocess.size", [8, 8, 8], f"as {name} wants")]
    text = plan_text([f"Warning: {name}"], "base.yaml", choices, written)
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    assert parse_yaml(path) == {
        "base": "base.yaml",
        "seed": 3,
        "preprocess": {"size": [8, 8, 8]},
    }
    assert printable("a\nb\tc\u202ed") == "a?b?c?d"
    assert all(len(line) <= 100 for line in text.splitlines())


def test_a_path_that_is_no_text_is_refused() -> None:
    assert encodable("manifest: Bücher\n") == "manifest: Bücher\n"
    with pytest.raises(ConfigError, match="cannot be written in a config") as caught:
        encodable("manifest: \udcff\n")
    assert caught.value.remedy == "rename the folder"


def test_choices_stand_in_the_order_of_the_configuration() -> None:
    keys = ["cv.folds", "train.keep", "model.stem", "preprocess.size", "preprocess.spacing", "seed"]
    ordered = [choice.key for choice in in_order(Choice(key, 1, "") for key in keys)]
    assert ordered == [
        "seed",
        "preprocess.spacing",
        "preprocess.size",
        "model.stem",
        "train.keep",
        "cv.folds",
    ]
    assert plain({"name": "zscore", "low": None}) == "{name: zscore}"
