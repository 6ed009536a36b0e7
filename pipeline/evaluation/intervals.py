"""95 % intervals by resampling patients, because cases of one patient are not independent.

Patients are drawn with replacement and bring all their cases (the cluster bootstrap: Field & Welsh
2007); the interval spans the 2.5th to the 97.5th percentile (Efron & Tibshirani 1993). The draws
are not stratified by class, and a fold that misses a class in a resample is left out of that
resample's mean, as it is left out of the estimate. The reason is a simulation (300 runs each, 5
folds): with a rare class (15 % of 60 patients) intervals stratified by class within folds covered
the true AUROC in 76 % of runs, intervals from which incomplete resamples were dropped in 80 %,
these in 93 %; in four other settings these covered 83 to 96 %, the alternatives never more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from pydantic import JsonValue

from .cases import FloatArray, IntArray, ScoredCases

_BLOCK_CELLS = 2_000_000
_LEAST_DEFINED = 0.5


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        estimate: The value on the cases themselves; None where it is not defined.
        low: Lower end of the interval; None where there is none.
        high: Upper end.
        method: How the value and its interval were computed.
        reason: Why the value or the interval is missing, else None.
    """

    estimate: float | None
    low: float | None
    high: float | None
    method: str
    reason: str | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """The fields as a JSON object; `reason` only where there is one."""
        values: dict[str, JsonValue] = asdict(self)
        return values if self.reason else {k: v for k, v in values.items() if k != "reason"}


def resamplings(
    cases: ScoredCases, count: int, seed: int, *, within_folds: bool = False
) -> Iterator[FloatArray]:
    """Yields bootstrap multiplicities in blocks that fit into memory.

    Args:
        cases: N cases.
        count: Number of resamplings in all.
        seed: The same seed gives the same resamplings.
        within_folds: Draw as many patients from each fold as it has.

    Yields:
        Arrays of shape (rows, N); together `count` rows. All cases of a patient share a value.
    """
    strata = cases.folds if within_folds else np.zeros_like(cases.folds)
    units, member = _units(cases, strata)
    rng = np.random.default_rng([seed, int(within_folds)])
    rows = max(1, _BLOCK_CELLS // len(cases))
    for start in range(0, count, rows):
        drawn = np.empty((min(rows, count - start), len(units)))
        for stratum in np.unique(units):
            inside = np.flatnonzero(units == stratum)
            # How often each of n units comes up in n draws is multinomial.
            even = np.full(len(inside), 1.0 / len(inside))
            drawn[:, inside] = rng.multinomial(len(inside), even, size=len(drawn))
        yield drawn[:, member]


def _units(cases: ScoredCases, strata: IntArray) -> tuple[IntArray, IntArray]:
    """The stratum of each resampled unit, and the unit of each case."""
    _, patient = np.unique(cases.patients, return_inverse=True)
    pairs = np.stack([strata, patient.astype(np.int64)], axis=1)
    units, member = np.unique(pairs, axis=0, return_inverse=True)
    return units[:, 0], member.reshape(-1).astype(np.int64)


def percentile_interval(
    estimate: float, values: FloatArray, *, patients: int, method: str, undefined: str
) -> Estimate:
    """Makes an `Estimate` of a value and of what the resamplings gave for it.

    Args:
        estimate: The value on the cases themselves, NaN where undefined.
        values: The resamplings' values, shape (R,), NaN where undefined; those are dropped.
        patients: Number of patients resampled; one patient gives no interval.
        method: What `values` are; the number of dropped ones is appended.
        undefined: Why `estimate` is undefined, if it is.
    """
    if np.isnan(estimate):
        return Estimate(None, None, None, method, undefined)
    if patients < 2:
        return Estimate(estimate, None, None, method, "one patient gives no interval")
    known = values[~np.isnan(values)]
    dropped = len(values) - len(known)
    if dropped:
        method += f"; {dropped} resamplings in which it is undefined were dropped"
    if len(known) < _LEAST_DEFINED * len(values):
        reason = f"undefined in {dropped} of {len(values)} resamplings: too few cases"
        return Estimate(estimate, None, None, method, reason)
    low, high = np.quantile(known, (0.025, 0.975))
    if low == high:
        reason = "every resampling gives the same value, which says nothing of new patients"
        return Estimate(estimate, None, None, method, reason)
    return Estimate(estimate, float(low), float(high), method)
