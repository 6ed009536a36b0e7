"""Clinical variables as numbers: what a cell of the manifest says, and how a fold encodes it.

Numbers are standardised and words become columns of 0 and 1. Means, deviations, medians and words
come from the training cases of a fold alone. Missing numbers are imputed with the training median,
and a column beside each variable says that its value is missing (van Buuren 2018, "Flexible
Imputation of Missing Data", section 1.3.7, on what such indicators can and cannot do).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ..errors import DataError
from .cases import Case

Kind = Literal["numeric", "categorical"]
#: Name and kind of each covariate, in the order of `data.covariates`.
Kinds = tuple[tuple[str, Kind], ...]

#: What stands for a missing value, in any case.
MISSING = frozenset({"", "na", "n/a", "nan", "none", "?", "unknown"})

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_NOT_FINITE = re.compile(r"[+-]?(inf|infinity)|[+-]nan", re.IGNORECASE)
_LARGEST = float(np.finfo(np.float32).max)
_SHOWN = 8
#: Cases of which it is no chance that none has a known word.
_ENOUGH = 3
#: Deviations from the mean beyond which a number is shown: a typing mistake, more often than not.
_FAR = 10.0


def is_missing(text: str) -> bool:
    """Whether a cell says that the value is not known."""
    return text.strip().casefold() in MISSING


def is_number(text: str) -> bool:
    """Whether a cell is a number with a decimal point."""
    return _NUMBER.fullmatch(text.strip()) is not None


def is_not_finite(text: str) -> bool:
    """Whether a cell is an infinity, or a number too large to compute with in single precision."""
    text = text.strip()
    if is_number(text):
        return abs(float(text)) > _LARGEST
    return _NOT_FINITE.fullmatch(text) is not None


def covariate_kinds(cases: Sequence[Case], names: Sequence[str]) -> Kinds:
    """A column whose known cells are all numbers is numeric, any other categorical.

    Args:
        cases: All cases of a run; labels and folds play no part.
        names: The columns.

    Raises:
        DataError: A column has no known cell.
    """
    return tuple((name, _kind(name, _column(cases, name))) for name in names)


def _column(cases: Sequence[Case], name: str) -> list[str]:
    """The cells of a covariate; of an unknown one, a KeyError, for that is our own mistake."""
    return [dict(case.covariates)[name] for case in cases]


def _kind(name: str, cells: Sequence[str]) -> Kind:
    known = [cell for cell in cells if not is_missing(cell)]
    if not known:
        raise DataError(
            f"the covariate {name} is missing in every case",
            where="data.covariates",
            why="there is nothing to learn from it",
            remedy="leave it out, or fill in the column",
        )
    return "numeric" if all(is_number(cell) for cell in known) else "categorical"


def describe_kinds(cases: Sequence[Case], kinds: Kinds) -> list[str]:
    """What each covariate was taken for, in a line, and what looks like a mistake."""
    return [line for name, kind in kinds for line in _described(name, kind, cases)]


def _described(name: str, kind: Kind, cases: Sequence[Case]) -> list[str]:
    cells = _column(cases, name)
    known = [cell for cell in cells if not is_missing(cell)]
    missing = f", {len(cells) - len(known)} missing" if len(known) < len(cells) else ""
    if kind == "numeric":
        numbers = np.array([float(cell) for cell in known])
        span = f"{numbers.min():g} to {numbers.max():g}"
        return [f"covariate {name}: numeric, {span}{missing}", *_outliers(name, cases, numbers)]
    words = sorted({cell.casefold() for cell in known})
    shown = ", ".join(words[:_SHOWN]) + (", ..." if len(words) > _SHOWN else "")
    lines = [f"covariate {name}: categorical, {len(words)} words ({shown}){missing}"]
    numbers_among = sum(is_number(cell) for cell in known)
    if numbers_among:
        odd = next(cell for cell in known if not is_number(cell))
        lines.append(
            f"warning: {numbers_among} of {len(known)} cells of {name} are numbers, and {odd!r} is "
            "none, so all count as words"
        )
    elif 2 * len(words) > len(known) > 2:
        lines.append(f"warning: {name} has nearly as many words as cases: they can name a patient")
    return lines


def _outliers(name: str, cases: Sequence[Case], numbers: NDArray[np.float64]) -> list[str]:
    with np.errstate(over="ignore", invalid="ignore"):
        far = np.abs(numbers - numbers.mean()) > _FAR * numbers.std()
    known = [case.case_id for case in cases if not is_missing(dict(case.covariates)[name])]
    named = [known[place] for place in np.flatnonzero(far)]
    if not named:
        return []
    return [f"warning: {name} is more than {_FAR:g} deviations off in {', '.join(named[:_SHOWN])}"]


def check_covariates(cases: Sequence[Case], kinds: Kinds) -> None:
    """Refuses cases whose cells are of another kind than those of the run.

    Raises:
        DataError: A numeric covariate holds a word; names the case and the column.
    """
    for name, kind in kinds:
        if kind != "numeric":
            continue
        for case, cell in zip(cases, _column(cases, name), strict=True):
            if not (is_missing(cell) or is_number(cell)):
                raise DataError(
                    f"the covariate {name} of case {case.case_id} is no number",
                    where=f"column {name!r}",
                    why=f"it is {cell!r}, and the run was trained on numbers",
                    remedy="write a number with a decimal point, or leave the cell empty",
                )


def describe_unknown(cases: Sequence[Case], encoders: Sequence[CovariateEncoder]) -> list[str]:
    """What the values of new cases are replaced by, in a line for each column, where they are.

    Args:
        cases: The new cases; their columns are those of the encoders.
        encoders: Of the folds that answer.

    Raises:
        DataError: A column of words has several, and none that any fold was trained on.
    """
    lines = []
    for place, column in enumerate(encoders[0].columns):
        kinds: Kinds = ((column.name, column.kind),)
        values = [values_of(case, kinds)[0] for case in cases]
        missing = sum(value is None for value in values)
        if missing:
            how = "the median" if column.kind == "numeric" else "no word"
            lines.append(
                f"covariate {column.name}: missing in {missing} cases; {how} stands for it"
            )
        if column.kind == "categorical":
            known = {
                word
                for encoder in encoders
                if isinstance(found := encoder.columns[place], CategoricalColumn)
                for word in found.words
            }
            lines += _unknown_words(column.name, [v for v in values if v is not None], known)
    return lines


def _unknown_words(name: str, values: Sequence[float | str], known: set[str]) -> list[str]:
    strange = [str(value) for value in values if value not in known]
    if not strange:
        return []
    shown = ", ".join(repr(word) for word in sorted(set(strange))[:_SHOWN])
    if len(strange) == len(values) >= _ENOUGH:
        raise DataError(
            f"no case has a {name} that the run was trained on",
            where=f"column {name!r}",
            why=f"there are {shown}; the run knows {', '.join(sorted(known)[:_SHOWN])}",
            remedy="write the words as in the manifest of the run, or leave the cells empty",
        )
    return [
        f"covariate {name}: {shown} in {len(strange)} cases unknown to the run, which knows "
        f"{', '.join(sorted(known)[:_SHOWN])}; it counts as missing"
    ]


def values_of(case: Case, kinds: Kinds) -> list[float | str | None]:
    """What a case's covariates mean: numbers, words in small letters, None where missing."""
    cells = dict(case.covariates)
    return [_value(cells[name], kind) for name, kind in kinds]


def _value(cell: str, kind: Kind) -> float | str | None:
    if is_missing(cell):
        return None
    # Adding 0 turns -0 into 0: they are the same value.
    return float(cell) + 0.0 if kind == "numeric" else cell.strip().casefold()


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NumericColumn(_Part):
    """How numbers are encoded, in two columns: standardised, and whether missing."""

    kind: Literal["numeric"] = "numeric"
    name: str
    mean: float
    deviation: Annotated[float, Field(ge=0.0)]
    """0 where the training cases do not differ: the column is then 0 in every case."""
    median: float
    some_missing: bool
    """Whether a training case lacks it; if none does, nothing can be learnt of the second column,
    and it stays 0."""

    @property
    def width(self) -> int:
        """Number of columns."""
        return 2

    def encode(self, values: Sequence[float | str | None]) -> NDArray[np.float64]:
        """(N, 2)."""
        missing = np.array([value is None for value in values], dtype=bool)
        numbers = np.array([self.median if v is None else float(v) for v in values])
        scaled = np.zeros(len(values))
        if self.deviation > 0.0:
            with np.errstate(over="ignore"):
                scaled = (numbers - self.mean) / self.deviation
        return np.stack([scaled, missing & self.some_missing], axis=1)


class CategoricalColumn(_Part):
    """How words are encoded: a column for each word of the training cases, and whether missing."""

    kind: Literal["categorical"] = "categorical"
    name: str
    words: tuple[str, ...]
    some_missing: bool
    """As in numeric columns; a word that no training case has counts as missing."""

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.words) + 1

    def encode(self, values: Sequence[float | str | None]) -> NDArray[np.float64]:
        """(N, words + 1)."""
        places = {word: place for place, word in enumerate(self.words)}
        coded = np.zeros((len(values), self.width))
        for row, value in enumerate(values):
            place = None if value is None else places.get(str(value))
            if place is not None:
                coded[row, place] = 1.0
            elif self.some_missing:
                coded[row, -1] = 1.0
        return coded


class CovariateEncoder(_Part):
    """Covariates of cases as numbers, as the training part of one fold has it."""

    columns: tuple[Annotated[NumericColumn | CategoricalColumn, Field(discriminator="kind")], ...]

    @property
    def width(self) -> int:
        """Numbers a case."""
        return sum(column.width for column in self.columns)

    def encode(self, cases: Sequence[Case]) -> NDArray[np.float32]:
        """The numbers of each case, (N, width), finite; far values are not clipped.

        Raises:
            DataError: A number is so far from the training cases that it cannot be scaled.
        """
        kinds: Kinds = tuple((column.name, column.kind) for column in self.columns)
        rows = [values_of(case, kinds) for case in cases]
        blocks = [
            column.encode([row[place] for row in rows]) for place, column in enumerate(self.columns)
        ]
        coded = np.concatenate(blocks, axis=1)
        bad = np.flatnonzero(~(np.abs(coded) <= _LARGEST).all(axis=1))
        if len(bad):
            raise DataError(
                f"a covariate of case {cases[int(bad[0])].case_id} is too large to be scaled",
                where="data.covariates",
                remedy="correct the cell, or leave it empty",
            )
        return coded.astype(np.float32)


def fit_encoder(cases: Sequence[Case], kinds: Kinds) -> CovariateEncoder:
    """The encoder that these cases, a training part, make; their order does not matter."""
    rows = [values_of(case, kinds) for case in cases]
    return CovariateEncoder(
        columns=tuple(
            _fitted(name, kind, [row[place] for row in rows])
            for place, (name, kind) in enumerate(kinds)
        )
    )


def _fitted(
    name: str, kind: Kind, values: Sequence[float | str | None]
) -> NumericColumn | CategoricalColumn:
    some_missing = any(value is None for value in values)
    if kind == "categorical":
        words = tuple(sorted({str(value) for value in values if value is not None}))
        return CategoricalColumn(name=name, words=words, some_missing=some_missing)
    # Sorted, so that rounding cannot depend on the order of the cases.
    numbers = np.array(sorted(float(value) for value in values if value is not None))
    if not len(numbers):
        return NumericColumn(
            name=name, mean=0.0, deviation=0.0, median=0.0, some_missing=some_missing
        )
    # Equal numbers may have a mean that is off by rounding, and with it a deviation above 0.
    varies = numbers[0] < numbers[-1]
    return NumericColumn(
        name=name,
        mean=float(numbers.mean()),
        deviation=float(numbers.std()) if varies and math.isfinite(numbers.std()) else 0.0,
        median=float(np.median(numbers)),
        some_missing=some_missing,
    )
