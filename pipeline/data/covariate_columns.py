"""Which columns of a manifest hold the clinical variables that a configuration names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from ..errors import ConfigError, DataError
from .covariates import is_not_finite
from .manifest_columns import ALIASES, find_columns

_WHERE = "data.covariates"


def columns_beside(
    header: Sequence[str], names: Sequence[str], required: Sequence[str]
) -> dict[str, str]:
    """Canonical name -> the header that carries it, beside the covariates.

    Where labels are needed, a covariate that would be read as one is refused. In a prediction it
    is a covariate: the label column may be missing there, and its place must not be taken.

    Args:
        header: Names of the columns.
        names: The covariates.
        required: Canonical names that must be there.

    Raises:
        ConfigError: A covariate is named twice, or has a role in the pipeline already.
        DataError: A column is missing, or two claim one name.
    """
    _check_names(names)
    free = header if "label" in required else [name for name in header if name not in names]
    columns = find_columns(free, required)
    _check_roles(names, columns)
    _check_there(header, names)
    return columns


def _check_names(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"the covariate {twice[0]} is named twice", where=_WHERE, remedy="name it once"
        )
    known = [name for name in names if name.strip().casefold() in ALIASES]
    if known:
        raise _has_a_role(known[0], known[0].strip().casefold())


def _check_roles(names: Sequence[str], columns: Mapping[str, str]) -> None:
    for canonical, column in columns.items():
        if column in names:
            raise _has_a_role(column, canonical)


def _has_a_role(name: str, canonical: str) -> ConfigError:
    return ConfigError(
        f"{name} cannot be a covariate",
        where=_WHERE,
        why=f"the column is read as {canonical}",
        remedy=f"leave it out; if it is something else, rename it, or name the right column "
        f"{canonical}",
    )


def _check_there(header: Sequence[str], names: Sequence[str]) -> None:
    for name in names:
        count = header.count(name)
        if count == 1:
            continue
        if count:
            raise DataError(
                f"E_COLUMNS: {count} columns are named {name!r}",
                remedy="rename or remove all of them but the one that is meant",
            )
        letters = {column.casefold(): column for column in header}
        near = difflib.get_close_matches(name.casefold(), letters, 1)
        hint = f"the nearest name there is {letters[near[0]]!r}; " if near else ""
        raise DataError(
            f"E_COLUMNS: the manifest has no column {name!r}, which {_WHERE} names",
            why="columns found: " + ", ".join(repr(column) for column in header),
            remedy=f"{hint}add the column (its cells may be empty), or name another",
        )


def cell_problem(name: str, cell: str) -> str | None:
    """What is wrong with a covariate's cell; None where nothing is."""
    if not is_not_finite(cell):
        return None
    return f"the covariate {name} is {cell.strip()!r}, no finite number; leave the cell empty?"
