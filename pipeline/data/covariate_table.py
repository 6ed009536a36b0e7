"""Clinical variables as a table of numbers, coded as a fold's training rows have it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..evaluation.baselines import Lesson
from ..evaluation.disguise import Judged, judge
from .cases import Case
from .covariates import Kinds, fit_encoder


class CovariateTable:
    """The covariates of N cases, or some of them; nothing is coded before rows are named.

    Args:
        cases: The rows.
        kinds: The columns.
    """

    def __init__(self, cases: Sequence[Case], kinds: Kinds) -> None:
        self._cases = list(cases)
        self._kinds = kinds

    def coded(self, training: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.float64]:
        """The wanted rows as the networks of a fold with these training rows would read them.

        Args:
            training: Rows that decide means, deviations, medians and words.
            wanted: Rows to code, M of them.

        Returns:
            Shape (M, F), finite.
        """
        encoder = fit_encoder([self._cases[row] for row in training], self._kinds)
        return encoder.encode([self._cases[row] for row in wanted]).astype(np.float64)


def judged(cases: Sequence[Case], kinds: Kinds, lesson: Lesson, seed: int) -> Judged:
    """How well each covariate alone, and all of them together, tell the label.

    Args:
        cases: Those that teach.
        kinds: The columns.
        lesson: Labels and patients of these cases.
        seed: The same seed gives the same figures.
    """
    alone = {kind[0]: CovariateTable(cases, (kind,)) for kind in kinds}
    return judge(alone, CovariateTable(cases, kinds), lesson, seed)
