"""The numbers of an audit: outliers, copies, tables and what is to be decided."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.audit_decisions import decisions_of
from pipeline.evaluation.audit_likeness import find_pairs
from pipeline.evaluation.audit_near import near_rows
from pipeline.evaluation.audit_outliers import find_outliers
from pipeline.evaluation.audit_record import (
    Area,
    AuditedVolume,
    Differs,
    ManifestProblem,
    Pair,
    RefusedVolume,
    Shortcut,
)
from pipeline.evaluation.audit_tables import (
    MOST_ROWS,
    common,
    differing,
    find_straddlers,
    group_tables,
    mixed_patients,
    scans_a_patient,
    telling_groups,
)

QUIET: tuple[tuple[str, str], ...] = ()


def volume(number: int, **changes: object) -> AuditedVolume:
    plain: dict[str, object] = {
        "case_id": f"c{number:03d}",
        "patient_id": f"p{number}",
        "label": "ab"[number % 2],
        "site": None,
        "split": None,
        "file": f"c{number}.nii.gz",
        "voxel_type": "int16",
        "file_format": "nifti",
        "spacing": (1.0, 1.0, 3.0),
        "shape": (100, 100, 40),
        "orientation": "RAS",
        "tilt": 0.0,
        "lowest": 0.0,
        "highest": 1000.0,
    }
    return AuditedVolume.model_validate(plain | changes)


def outliers(volumes: list[AuditedVolume]) -> set[tuple[str, str]]:
    return {(item.case_id, item.code) for item in find_outliers(volumes, [QUIET] * len(volumes))}


@given(
    st.lists(st.floats(0.8, 1.25), min_size=5, max_size=40),
    st.permutations(range(3)),
)
@settings(max_examples=50, deadline=None)
def test_small_differences_and_other_directions_are_no_outliers(
    factors: list[float], order: list[int]
) -> None:
    made = []
    for number, factor in enumerate(factors):
        spacing = np.array([1.0, 1.0, 3.0])[order] * factor
        shape = np.array([100, 100, 40])[order]
        made.append(
            volume(
                number,
                spacing=tuple(spacing.tolist()),
                shape=tuple(shape.tolist()),
                highest=1000.0 * factor,
            )
        )
    assert outliers(made) == set()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"spacing": (1.0, 1.0, 7.0)}, "W_SPACING_OUTLIER"),
        ({"spacing": (0.2, 0.2, 3.0)}, "W_SPACING_OUTLIER"),
        ({"shape": (100, 100, 12)}, "W_SHAPE_OUTLIER"),
        ({"shape": (100, 500, 40)}, "W_FIELD_OF_VIEW"),
        ({"highest": 60000.0}, "W_INTENSITY_OUTLIER"),
        ({"highest": 3.0}, "W_INTENSITY_OUTLIER"),
        ({"lowest": -1000.0, "highest": 500.0}, "W_INTENSITY_OUTLIER"),
        ({"orientation": "LPS"}, "W_ORIENTATION_OTHER"),
    ],
)
def test_one_volume_unlike_the_others_is_found(changes: dict[str, object], code: str) -> None:
    made = [volume(number) for number in range(12)] + [volume(12, **changes)]
    found = outliers(made)
    assert ("c012", code) in found
    assert {name for name, _ in found} == {"c012"}


@pytest.mark.parametrize("count", [0, 1, 4])
def test_few_volumes_have_no_usual_value(count: int) -> None:
    made = [volume(number, highest=10.0 ** (number + 1)) for number in range(count)]
    assert outliers(made) == set()


def test_two_kinds_of_volumes_are_no_outliers_of_each_other() -> None:
    kinds: tuple[dict[str, object], ...] = (
        {},
        {"spacing": (4.0, 4.0, 4.0), "orientation": "LPS", "highest": 60000.0},
    )
    assert outliers([volume(number, **kinds[number % 2]) for number in range(20)]) == set()


def test_what_fixed_rules_said_is_not_said_twice() -> None:
    made = [volume(number) for number in range(12)] + [volume(12, spacing=(1.0, 1.0, 50.0))]
    said = [QUIET] * 12 + [(("W_SPACING_OUTLIER", "far too thick"),)]
    texts = [item.text for item in find_outliers(made, said) if item.code == "W_SPACING_OUTLIER"]
    assert texts == ["far too thick"]


def random_signatures(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(-127, 128, (count, 4096)).astype(np.int8)


@given(st.integers(0, 299), st.integers(0, 299), st.integers(0, 7))
@settings(max_examples=5, deadline=None)
def test_the_one_planted_pair_is_found_wherever_it_stands(one: int, other: int, turn: int) -> None:
    """In one block of rows or across two, as it is or mirrored."""
    if one == other:
        return
    made = random_signatures(300)
    odd = np.indices((16, 16, 16)).reshape(3, -1) % 2
    axes = [(turn >> 2) & 1, (turn >> 1) & 1, turn & 1]
    signs = np.where((np.array(axes) @ odd) % 2 == 1, -1, 1)
    made[other] = made[one] * signs
    found = near_rows(made)
    assert [(pair.first, pair.second) for pair in found.pairs] == [
        (min(one, other), max(one, other))
    ]
    assert found.pairs[0].turn.flips == tuple(bool(axis) for axis in axes)
    assert not found.pairs[0].turn.is_permuted
    assert found.nearest is not None
    assert found.nearest > 0.5


@pytest.mark.parametrize("count", [0, 1, 2])
def test_no_pair_has_no_distance(count: int) -> None:
    found = near_rows(random_signatures(count))
    assert (found.pairs, found.nearest) == ((), None)


def test_what_contradicts_comes_first_and_copies_are_compared_once() -> None:
    made = random_signatures(9)
    made[1] = made[0]
    made[3] = made[2]
    volumes = [
        volume(0, patient_id="p"),
        volume(2, patient_id="p"),
        volume(4),
        volume(6, split="train"),
        *(volume(number) for number in range(8, 18, 2)),
    ]
    found = find_pairs(volumes, ["x", "x", *"yzabcde"], made)
    assert [(p.kind, p.first, p.second, p.differs) for p in found.pairs] == [
        ("near", "c004", "c006", ("patient",)),
        ("same", "c000", "c002", ()),
    ]
    assert found.nearest is not None


def test_a_split_that_one_of_two_lacks_is_no_contradiction() -> None:
    made = random_signatures(2)
    volumes = [volume(0, patient_id="p", split="train"), volume(2, patient_id="p")]
    assert find_pairs(volumes, ["x", "x"], made).pairs[0].differs == ()


def test_tables_count_cases_and_patients_of_each_class() -> None:
    made = [volume(number, site="ns"[number % 3 == 0], patient_id="p") for number in range(9)]
    (table,) = group_tables(made, ("a", "b"))
    assert table.name == "site"
    assert [(r.group, r.cases, r.patients, r.counts) for r in table.rows] == [
        ("n", 6, 1, (3, 3)),
        ("s", 3, 1, (2, 1)),
    ]


@given(st.integers(MOST_ROWS + 1, 40))
@settings(max_examples=10, deadline=None)
def test_many_groups_are_cut_short_and_nobody_is_lost(groups: int) -> None:
    made = [volume(number, site=f"s{number % groups:02d}") for number in range(2 * groups)]
    (table,) = group_tables(made, ("a", "b"))
    assert len(table.rows) == MOST_ROWS
    assert sum(row.cases for row in table.rows) == len(made)
    assert table.rows[-1].group == f"{groups - MOST_ROWS + 1} others"


def test_what_is_the_same_or_different_in_all_needs_no_table() -> None:
    made = [volume(number, shape=(100 + number, 100, 40)) for number in range(10)]
    assert group_tables(made, ("a", "b")) == ()
    assert differing(made) == ("size",)
    assert common(made)["orientation"] == "RAS"
    assert "site" not in common(made)
    assert common([]) == {}


def test_patients_are_counted_by_scans_labels_and_parts() -> None:
    assert scans_a_patient(["p", "p", "q", "r", "r"]) == {1: 1, 2: 2}
    assert mixed_patients([("p", "b"), ("p", "a"), ("q", "a")]) == {"p": ("a", "b")}
    parts = [("c1", "p", "train"), ("c2", "p", "test"), ("c3", "q", "test"), ("c4", "q", None)]
    (found,) = find_straddlers(parts)
    assert found.patient_id == "p"
    assert found.parts == {"test": ("c2",), "train": ("c1",)}


def pair(kind: str, *differs: Differs) -> Pair:
    return Pair.model_validate(
        {"kind": kind, "first": "x", "second": "y", "distance": 0.0, "differs": differs}
    )


def decided(**found: object) -> list[str]:
    given_: dict[str, object] = {
        "refused": (),
        "allowed": 0,
        "pairs": (),
        "straddlers": (),
        "folds": None,
        "shortcut": Shortcut(),
    }
    made = decisions_of(**(given_ | found))  # type: ignore[arg-type]
    assert all(item.what and item.remedy for item in made)
    return [item.code for item in made]


def test_what_contradicts_nothing_is_no_decision() -> None:
    assert decided(pairs=(pair("same"), pair("near"))) == []


def test_the_gravest_contradiction_of_a_pair_names_it() -> None:
    found = (pair("same", "label", "patient"), pair("near", "patient", "split"))
    assert decided(pairs=found) == ["E_LABEL_CONFLICT", "W_NEAR_PATIENT"]


@pytest.mark.parametrize(("allowed", "wanted"), [(0, ["E_REFUSED"]), (1, ["E_REFUSED"]), (2, [])])
def test_as_many_refused_volumes_as_allowed_are_no_decision(
    allowed: int, wanted: list[str]
) -> None:
    one = RefusedVolume(case_id="c", label="a", file="c.nii", code="E_CRC", reason="r", remedy="m")
    assert decided(refused=(one, one), allowed=allowed) == wanted


@pytest.mark.parametrize("tells", [True, False])
def test_a_shortcut_is_a_decision(tells: bool) -> None:
    area = Area(estimate=0.9, low=0.8, high=0.95, method="m")
    found = decided(shortcut=Shortcut(auroc=area, header=area, folds=5, tells=tells))
    assert found == (["W_SHORTCUT"] if tells else [])


def test_lines_of_the_manifest_and_covariates_in_disguise_are_decisions() -> None:
    line = ManifestProblem(line=3, text="E_MISSING: x.nii does not exist")
    found = decided(manifest=(line, line), disguised=("Label in disguise: the covariate age.",))
    assert found == ["E_MANIFEST", "W_DISGUISED"]


def test_groups_that_split_the_classes_are_named_and_mixed_ones_are_not() -> None:
    split = [volume(number, orientation=("RAS", "LAS")[number % 2]) for number in range(6)]
    (found,) = telling_groups(split, ("a", "b"))
    assert (found.name, found.groups) == ("orientation", (("LAS", "b", 3), ("RAS", "a", 3)))
    assert telling_groups(split[:4], ("a", "b")) == ()
    assert telling_groups([*split, volume(7, orientation="RAS")], ("a", "b")) == ()


def test_one_group_of_one_class_is_named_where_chance_does_not_make_it() -> None:
    mixed = [volume(number, site="north") for number in range(30)]
    for count, wanted in ((3, []), (12, ["south"])):
        pure = [volume(40 + 2 * number, site="south") for number in range(count)]
        named = [
            group for item in telling_groups([*mixed, *pure], ("a", "b")) for group in item.groups
        ]
        assert [name for name, _, _ in named] == wanted
