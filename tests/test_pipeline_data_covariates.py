"""Clinical variables: what a cell means, and that a fold's training part alone encodes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.cases import Case
from pipeline.data.covariate_table import CovariateTable
from pipeline.data.covariates import (
    Kinds,
    check_covariates,
    covariate_kinds,
    describe_kinds,
    fit_encoder,
    is_missing,
    is_not_finite,
    is_number,
)
from pipeline.data.covariates_file import (
    check_same_covariates,
    covariate_record,
    read_covariates,
    read_encoder,
    write_covariates,
    write_encoder,
)
from pipeline.errors import DataError, StorageError

KINDS: Kinds = (("age", "numeric"), ("sex", "categorical"))
#: Numbers in single precision, and words, as a table may hold them.
NUMBERS = st.floats(-(2.0**99), 2.0**99, width=32).map(repr)
WORDS = st.text("abcäß ", min_size=1, max_size=3).filter(lambda text: bool(text.strip()))
GAPS = st.sampled_from(["", "NA", "n/a", " ", "?", "Unknown"])
PAIRS = st.tuples(st.one_of(NUMBERS, GAPS), st.one_of(WORDS, GAPS))


def case(number: int, age: str, sex: str = "") -> Case:
    cells = (("age", age), ("sex", sex))
    return Case(f"c{number:03d}", f"p{number}", Path("c.nii"), covariates=cells)


def cases(pairs: Sequence[tuple[str, str]]) -> list[Case]:
    return [case(number, *pair) for number, pair in enumerate(pairs)]


def column(name: str, cells: Sequence[str]) -> list[Case]:
    return [
        Case(f"c{number:03d}", "p", Path("c.nii"), covariates=((name, cell),))
        for number, cell in enumerate(cells)
    ]


@pytest.mark.parametrize(
    "cell", ["", "  ", "NA", "n/a", "N/A", "NaN", "none", "None", "?", "UNKNOWN"]
)
def test_these_cells_are_missing(cell: str) -> None:
    assert is_missing(cell)
    assert not is_number(cell)


@pytest.mark.parametrize("cell", ["1", "-1.5", "+2", ".5", "3.", "1e3", "1E-3", " 7 "])
def test_these_cells_are_numbers(cell: str) -> None:
    assert is_number(cell)
    assert not is_missing(cell)


@pytest.mark.parametrize("cell", ["1_000", "63,5", "0x10", "١٢", "1e", "-", "1 2", "inf", "nan"])
def test_these_cells_are_no_numbers(cell: str) -> None:
    assert not is_number(cell)


@pytest.mark.parametrize("cell", ["inf", "-Inf", "+infinity", "1e999", "-1e39", "-nan"])
def test_these_cells_cannot_be_computed_with(cell: str) -> None:
    assert is_not_finite(cell)


def test_a_column_of_numbers_and_gaps_is_numeric_and_any_other_is_not() -> None:
    for cells in (["1", "2.5", "?"], ["1", "NA", "1"]):
        assert covariate_kinds(column("x", cells), ["x"]) == (("x", "numeric"),)
    for cells in (["f", "m", ""], ["1", "2", "high"]):
        assert covariate_kinds(column("x", cells), ["x"]) == (("x", "categorical"),)


def test_a_column_without_any_value_is_refused() -> None:
    with pytest.raises(DataError, match="the covariate x is missing in every case"):
        covariate_kinds(column("x", ["", "NA", "?"]), ["x"])


def test_numbers_are_standardised_and_gaps_are_the_training_median() -> None:
    training = column("x", ["1", "2", "6", "NA"])
    encoder = fit_encoder(training, (("x", "numeric"),))
    coded = encoder.encode(training)
    deviation = np.std([1, 2, 6])
    assert coded[:, 0].tolist() == pytest.approx([(v - 3) / deviation for v in (1, 2, 6, 2)])
    assert coded[:, 1].tolist() == [0, 0, 0, 1]
    assert np.mean(coded[:3, 0]) == pytest.approx(0, abs=1e-7)
    assert np.std(coded[:3, 0]) == pytest.approx(1)


def test_a_far_number_is_not_clipped() -> None:
    encoder = fit_encoder(column("x", ["1", "3"]), (("x", "numeric"),))
    assert encoder.encode(column("x", ["1002"])).tolist() == [[1000, 0]]


def test_a_number_too_far_for_single_precision_is_refused() -> None:
    encoder = fit_encoder(column("x", ["1e-30", "2e-30"]), (("x", "numeric"),))
    with pytest.raises(DataError, match="case c000 is too large"):
        encoder.encode(column("x", ["1e30"]))


@pytest.mark.parametrize("cells", [["0.1"] * 7, ["NA", "5", "5"], ["NA", "NA"]])
def test_a_constant_number_says_nothing(cells: list[str]) -> None:
    encoder = fit_encoder(column("x", cells), (("x", "numeric"),))
    assert encoder.encode(column("x", ["7", "0.1"]))[:, 0].tolist() == [0, 0]


def test_words_of_the_training_part_have_a_column_each_and_others_count_as_missing() -> None:
    encoder = fit_encoder(column("x", ["F", "m", "", "f"]), (("x", "categorical"),))
    assert encoder.width == 3
    coded = encoder.encode(column("x", ["f", "M", "?", "diverse"]))
    assert coded.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]


def test_what_no_training_case_lacks_teaches_nothing_of_gaps() -> None:
    encoder = fit_encoder(cases([("1", "f"), ("2", "m")]), KINDS)
    assert encoder.width == 5
    assert encoder.encode(cases([("", "")])).tolist() == [[0, 0, 0, 0, 0]]


@given(st.lists(PAIRS, min_size=1, max_size=9), st.lists(PAIRS, max_size=9), st.randoms())
def test_the_training_part_alone_decides_and_its_order_does_not(
    taught: list[tuple[str, str]], others: list[tuple[str, str]], random: Random
) -> None:
    rows = cases([*taught, *others])
    training, rest = np.arange(len(taught)), np.arange(len(taught), len(rows))
    coded = CovariateTable(rows, KINDS).coded(training, training)
    random.shuffle(others)
    changed = cases([*taught, *reversed(others)])
    assert np.array_equal(CovariateTable(changed, KINDS).coded(training, training), coded)
    mixed = rows[: len(taught)]
    random.shuffle(mixed)
    encoder = fit_encoder(mixed, KINDS)
    assert encoder == fit_encoder(rows[: len(taught)], KINDS)
    # A row's numbers depend on that row and the encoder, not on the rows beside it.
    for row in rest:
        try:
            alone = encoder.encode([rows[row]])
        except DataError:
            continue
        assert np.isfinite(alone).all()
        assert np.array_equal(encoder.encode([rows[row], rows[0]])[:1], alone)


@given(st.lists(PAIRS, min_size=1, max_size=9))
def test_what_was_learnt_from_is_encoded_finitely_and_to_scale(
    pairs: list[tuple[str, str]],
) -> None:
    coded = fit_encoder(cases(pairs), KINDS).encode(cases(pairs))
    assert coded.dtype == np.float32
    assert np.isfinite(coded).all()
    # No value lies further out than n - 1 equal ones leave a single other.
    assert np.abs(coded[:, 0]).max() <= np.sqrt(len(pairs)) + 1e-3
    assert np.isin(coded[:, 1:], (0, 1)).all()


@given(st.lists(PAIRS, min_size=1, max_size=5))
def test_an_encoder_read_back_gives_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    encoder, path = fit_encoder(cases(pairs), KINDS), tmp_path_factory.mktemp("e") / "c.json"
    write_encoder(path, encoder)
    assert read_encoder(path) == encoder


def test_a_damaged_or_edited_encoder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "covariates.json"
    with pytest.raises(StorageError, match="cannot read covariates"):
        read_encoder(path)
    write_encoder(path, fit_encoder(cases([("1", "f"), ("2", "m")]), KINDS))
    content = json.loads(path.read_text())
    content["encoder"]["columns"][0]["mean"] = 1.0
    path.write_text(json.dumps(content))
    with pytest.raises(StorageError, match="sha256 does not fit"):
        read_encoder(path)
    del content["encoder"]["columns"][0]["mean"]
    path.write_text(json.dumps(content))
    with pytest.raises(StorageError, match=r"columns\.0\.numeric\.mean"):
        read_encoder(path)


def test_the_record_knows_values_and_not_how_they_are_written(tmp_path: Path) -> None:
    record = covariate_record(cases([("63", "f"), ("7", "M")]), ["age", "sex"])
    same = covariate_record(cases([("63.0", " F"), ("+7", "m")]), ["age", "sex"])
    assert record == same
    write_covariates(tmp_path / "c.json", record)
    assert read_covariates(tmp_path / "c.json") == record
    assert "63" not in json.dumps([kind for kind in record.kinds])
    check_same_covariates(record, same)


@pytest.mark.parametrize("pair", [("64", "f"), ("", "f"), ("63", "m")])
def test_a_changed_value_is_named_by_its_case(pair: tuple[str, str]) -> None:
    earlier = covariate_record(cases([("1", "m"), ("63", "f")]), ["age", "sex"])
    now = covariate_record(cases([("1", "m"), pair]), ["age", "sex"])
    assert earlier.sha256 != now.sha256
    with pytest.raises(DataError, match="covariates of 1 cases are not those") as caught:
        check_same_covariates(earlier, now)
    assert "c001" in str(caught.value)
    assert "c000" not in str(caught.value)


def test_numbers_that_became_words_are_noticed() -> None:
    earlier = covariate_record(cases([("1", "m"), ("63", "f")]), ["age"])
    now = covariate_record(cases([("1", "m"), ("old", "f")]), ["age"])
    with pytest.raises(DataError, match="which of them are numbers differs"):
        check_same_covariates(earlier, now)


def test_a_word_where_the_run_knows_numbers_is_refused() -> None:
    check_covariates(cases([("1", "x"), ("", "")]), KINDS)
    with pytest.raises(DataError) as caught:
        check_covariates(cases([("1", "x"), ("old", "")]), KINDS)
    assert "the covariate age of case c001 is no number" in str(caught.value)


def test_what_each_column_was_taken_for_is_said() -> None:
    rows = cases([("61", "f"), ("?", "m"), ("40.5", "F"), ("50", "m")])
    assert describe_kinds(rows, KINDS) == [
        "covariate age: numeric, 40.5 to 61, 1 missing",
        "covariate sex: categorical, 2 words (f, m)",
    ]


def test_a_likely_mistake_in_a_column_is_said() -> None:
    decimal = column("age", ["63,5", "40", "41"])
    lines = describe_kinds(decimal, covariate_kinds(decimal, ["age"]))
    assert any("2 of 3 cells of age are numbers, and '63,5' is none" in line for line in lines)
    many = column("code", ["a", "b", "c", "d"])
    lines = describe_kinds(many, covariate_kinds(many, ["code"]))
    assert any("code has nearly as many words as cases" in line for line in lines)
    typed = column("age", [*(str(40 + k % 20) for k in range(200)), "6300"])
    lines = describe_kinds(typed, covariate_kinds(typed, ["age"]))
    assert any("age is more than 10 deviations off in c200" in line for line in lines)
