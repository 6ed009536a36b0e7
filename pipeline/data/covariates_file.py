"""What a run notes of its clinical variables: of all cases once, and how each fold encodes them.

`RUN/covariates.json` says which variable is a number and which a word, and holds a hash of each
case's values, so that a change between two sessions is noticed as changed voxels are. Whoever tries
all ages finds the one that a hash was made of, so the file is as private as the manifest.
`RUN/fold_0/covariates.json` is the encoder of a fold.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter

from ..errors import DataError
from ..storage import sha256, write_json
from ..typed_files import damaged, read_typed
from .cases import Case
from .covariates import CovariateEncoder, Kinds, covariate_kinds, values_of

_SHOWN = 5
_REMEDY = "restore it; or remove the folder of the run and train again"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_AnyPart = TypeVar("_AnyPart", bound=_Part)


class CovariateRecord(_Part):
    """The clinical variables of a run."""

    format: Literal[1] = 1
    kinds: Kinds
    cases: dict[str, str]
    """A hash of the values by case id."""

    @property
    def sha256(self) -> str:
        """Of all of it: another hash stands for other values or other kinds."""
        return sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode())


class _EncoderFile(_Part):
    format: Literal[1] = 1
    encoder: CovariateEncoder
    sha256: str


def covariate_record(cases: Sequence[Case], names: Sequence[str]) -> CovariateRecord:
    """What there is to note of these cases.

    Raises:
        DataError: A column has no known cell.
    """
    kinds = covariate_kinds(cases, names)
    digests = {case.case_id: _digest(case, kinds) for case in cases}
    return CovariateRecord(kinds=kinds, cases=dict(sorted(digests.items())))


def _digest(case: Case, kinds: Kinds) -> str:
    return sha256(json.dumps(values_of(case, kinds)).encode())


def write_covariates(path: Path, record: CovariateRecord) -> None:
    """Writes the file of a run.

    Raises:
        StorageError: It cannot be written.
    """
    write_json(path, cast("dict[str, JsonValue]", record.model_dump(mode="json")))


def read_covariates(path: Path) -> CovariateRecord:
    """Reads the file of a run.

    Raises:
        StorageError: It is missing or damaged.
    """
    return _read(path, CovariateRecord)


def check_same_covariates(earlier: CovariateRecord, now: CovariateRecord) -> None:
    """Refuses to go on with other values than those that the run began with.

    Other columns are no matter of values: whether they may be taken, the configuration decides.

    Raises:
        DataError: Names cases whose values differ.
    """
    if [name for name, _ in earlier.kinds] != [name for name, _ in now.kinds]:
        return
    changed = sorted(
        case_id for case_id, digest in now.cases.items() if earlier.cases.get(case_id) != digest
    )
    if changed or earlier.kinds != now.kinds:
        kinds = "; which of them are numbers differs" if earlier.kinds != now.kinds else ""
        raise DataError(
            f"the covariates of {len(changed)} cases are not those that this run began with",
            where="data.covariates",
            why=f"they differ in {', '.join(changed[:_SHOWN]) or 'no case'}{kinds}",
            remedy="restore the manifest, or start a new run with another --out",
        )


def write_encoder(path: Path, encoder: CovariateEncoder) -> None:
    """Writes the encoder of a fold.

    Raises:
        StorageError: It cannot be written.
    """
    file = _EncoderFile(encoder=encoder, sha256=_encoder_sha256(encoder))
    write_json(path, cast("dict[str, JsonValue]", file.model_dump(mode="json")))


def read_encoder(path: Path) -> CovariateEncoder:
    """Reads the encoder of a fold.

    Raises:
        StorageError: It is missing, damaged, or was changed since it was written.
    """
    file = _read(path, _EncoderFile)
    if file.sha256 != _encoder_sha256(file.encoder):
        raise damaged(path, "its sha256 does not fit its content", _REMEDY)
    return file.encoder


def _encoder_sha256(encoder: CovariateEncoder) -> str:
    return sha256(json.dumps(encoder.model_dump(mode="json"), sort_keys=True).encode())


def _read(path: Path, form: type[_AnyPart]) -> _AnyPart:
    return read_typed(path, TypeAdapter(form), _REMEDY)
