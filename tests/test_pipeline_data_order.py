"""The order of training is a function of seed and epoch, and wastes no case."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.order import TrainingOrder
from pipeline.seeds import derived_seed

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=60)


def order(
    labels: list[int],
    batch_size: int = 4,
    accumulate: int = 1,
    sampler: Literal["shuffle", "balanced"] = "shuffle",
    seed: int = 0,
) -> TrainingOrder:
    return TrainingOrder(labels, batch_size, accumulate, sampler, seed)


@given(
    labels=LABELS, batch=st.integers(1, 9), accumulate=st.integers(1, 3), epoch=st.integers(0, 9)
)
def test_shuffling_sees_every_case_once_in_even_steps(
    labels: list[int], batch: int, accumulate: int, epoch: int
) -> None:
    planned = order(labels, batch, accumulate)
    steps = planned.epoch(epoch)
    seen = sorted(chain.from_iterable(chain.from_iterable(step.batches for step in steps)))
    assert seen == list(range(len(labels)))
    assert len(steps) == planned.steps_per_epoch
    assert all(len(part) <= batch for step in steps for part in step.batches)
    assert all(len(step.batches) <= accumulate for step in steps)
    assert max(step.cases for step in steps) - min(step.cases for step in steps) <= 1
    assert [step.last for step in steps] == [False] * (len(steps) - 1) + [True]


@given(labels=LABELS, epoch=st.integers(0, 5))
def test_balancing_draws_each_class_equally_often(labels: list[int], epoch: int) -> None:
    steps = order(labels, sampler="balanced").epoch(epoch)
    drawn = Counter(labels[index] for step in steps for part in step.batches for index in part)
    assert set(drawn) == set(labels)
    assert max(drawn.values()) - min(drawn.values()) <= 1


@given(labels=LABELS, start=st.integers(0, 40))
def test_starting_late_gives_the_rest_of_the_same_order(labels: list[int], start: int) -> None:
    whole = list(order(labels).from_step(0, 5))
    assert list(order(labels).from_step(start, 5)) == whole[start:]


def test_epochs_and_seeds_give_other_orders() -> None:
    labels = [0, 1] * 20
    assert order(labels).epoch(0) == order(labels).epoch(0)
    assert order(labels).epoch(0) != order(labels).epoch(1)
    assert order(labels).epoch(0) != order(labels, seed=1).epoch(0)


@given(st.lists(st.one_of(st.integers(), st.text()), min_size=2, max_size=4, unique_by=repr))
def test_a_seed_depends_on_every_part_and_on_their_order(parts: list[int | str]) -> None:
    seed = derived_seed(*parts)
    assert 0 <= seed < 2**32
    assert seed == derived_seed(*parts)
    assert seed != derived_seed(*reversed(parts))
    assert seed != derived_seed(*parts[:-1])


def test_a_number_and_its_text_are_different_parts() -> None:
    assert derived_seed(1) != derived_seed("1")
