"""Rows 11 to 22: grey values that are no grey values, and sizes that are a trap."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from pydantic import JsonValue

from .bad_file import BadFile
from .bad_file import bad_volume as _bad
from .volumes import DIM, GOOD, SHAPE, SLOPE, nifti, packed, patched, voxels, with_value

_NAN, _INF = math.nan, math.inf
_FILL: Mapping[str, JsonValue] = {"nan": "fill"}
_CEILING: Mapping[str, JsonValue] = {"max_bytes": 16 << 20}


def _filled(value: float, dtype: str = "<f4") -> bytes:
    return nifti(np.full(SHAPE, value, dtype))


def _sparse(count: int) -> bytes:
    values = np.zeros(SHAPE, "<i2")
    values.reshape(-1)[np.random.default_rng(0).permutation(values.size)[:count]] = range(
        1, count + 1
    )
    return nifti(values)


def value_faults() -> list[BadFile]:
    """Rows 11 to 19."""
    return [
        _bad(11, "refused", with_value(_NAN), "E_NONFINITE"),
        _bad(11, "filled", with_value(_NAN), "W_FILLED", expected="warn", data=_FILL),
        _bad(12, "positive", with_value(_INF), "E_NONFINITE"),
        _bad(12, "negative", packed(with_value(-_INF, "<f8")), "E_NONFINITE"),
        _bad(12, "filled", with_value(_INF, places=9), "W_FILLED", expected="warn", data=_FILL),
        _bad(13, "refused", _filled(_NAN), "E_NONFINITE"),
        _bad(13, "nothing to fill with", _filled(_NAN), "E_NONFINITE", data=_FILL),
        _bad(14, "zeros", _filled(0.0), "E_CONSTANT"),
        _bad(14, "one grey value", _filled(7.0, "<i2"), "E_CONSTANT"),
        _bad(15, "20 voxels", _sparse(20), "W_SPARSE", expected="warn"),
        _bad(15, "one voxel", _sparse(1), "W_SPARSE", expected="warn"),
        _bad(16, "beyond it", with_value(1e300, "<f8"), "E_RANGE"),
        _bad(16, "below it", with_value(-1e39, "<f8"), "E_RANGE"),
        *(
            _bad(17, str(slope), patched(GOOD, SLOPE, "f", slope), "W_SLOPE", expected="warn")
            for slope in (0.0, _NAN, _INF)
        ),
        _bad(18, "of int16", patched(GOOD, SLOPE, "f", 1e38), "E_RANGE"),
        _bad(18, "of float32", patched(with_value(9.0), SLOPE, "f", -1e38), "E_RANGE"),
        _bad(19, "NaN", patched(GOOD, SLOPE, "ff", 1.0, _NAN), "E_SCALE"),
        _bad(19, "Inf", patched(GOOD, SLOPE, "ff", 1.0, _INF), "E_SCALE"),
    ]


def size_faults() -> list[BadFile]:
    """Rows 20 to 22."""
    vast = patched(GOOD, DIM, "4h", 3, 32767, 32767, 1000)
    large = patched(GOOD, DIM, "4h", 3, 2000, 1600, 1600)
    bomb = packed(nifti(voxels()) + bytes(32 << 20))
    zeros = packed(patched(GOOD, DIM, "4h", 3, 1000, 1000, 16)[:352] + bytes(32_000_000))
    return [
        _bad(20, "plain", vast, "E_BUDGET"),
        _bad(20, "compressed", packed(vast), "E_BUDGET"),
        _bad(21, "compressed", packed(large), "E_BUDGET"),
        _bad(21, "within the ceiling, and beyond what the file can hold", _within(), "E_TRUNCATED"),
        _bad(22, "behind a volume", bomb, "E_BUDGET", data=_CEILING),
        _bad(22, "as a volume", zeros, "E_BUDGET", data=_CEILING),
    ]


def _within() -> bytes:
    return packed(patched(GOOD, DIM, "4h", 3, 1000, 1000, 500))
