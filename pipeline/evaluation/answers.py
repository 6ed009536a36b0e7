"""Rows of `predictions.csv`, whoever wrote them, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .cases import ScoredCases, scored_cases

_ROUNDING = 1e-6


@dataclass(frozen=True)
class Answer:
    """The answer for one case.

    Attributes:
        patient: Its patient.
        fold: The fold that tested it, counted from 0.
        label: Place of its label among the classes.
        probabilities: One a class.
    """

    patient: str
    fold: int
    label: int
    probabilities: tuple[float, ...]

    def agrees(self, other: Answer) -> bool:
        """Whether both say the same, up to the rounding of a CSV."""
        same = (self.patient, self.fold, self.label) == (other.patient, other.fold, other.label)
        pairs = zip(self.probabilities, other.probabilities, strict=True)
        return same and all(abs(one - two) <= _ROUNDING for one, two in pairs)


def is_most_probable(named: str, scores: Mapping[str, float]) -> bool:
    """Whether the named class has the largest probability, up to the rounding of a CSV."""
    return named in scores and scores[named] >= max(scores.values()) - _ROUNDING


def scored_answers(
    answers: Mapping[str, Answer], classes: Sequence[str]
) -> tuple[tuple[str, ...], ScoredCases]:
    """Case ids, sorted, and the answers in the same order.

    Raises:
        ValueError: The answers are no probabilities, or do not fit each other.
    """
    case_ids = tuple(sorted(answers))
    ordered = [answers[case_id] for case_id in case_ids]
    scored = scored_cases(
        [answer.label for answer in ordered],
        [answer.probabilities for answer in ordered],
        [answer.patient for answer in ordered],
        [answer.fold for answer in ordered],
        classes,
    )
    return case_ids, scored
