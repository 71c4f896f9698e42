"""Which experts keep their slots, and in which order a pass takes them."""

import random
from collections.abc import Sequence

import pytest

from model.hot import HotSet, Wave

EXPERTS = 12


def counts(*experts: int) -> list[int]:
    return [experts.count(number) for number in range(EXPERTS)]


def loads(waves: Sequence[Wave]) -> list[int]:
    return [expert for wave in waves for expert in wave.loads]


def test_the_least_valuable_expert_makes_room() -> None:
    hot = HotSet(EXPERTS, 3)
    for expert in (0, 0, 0, 1, 1, 2):
        hot.plan(counts(expert), 1)
    assert sorted(hot.places) == [0, 1, 2] and (hot.hits, hot.misses) == (3, 3)
    assert loads(hot.plan(counts(5), 1)) == [5]  # used less often than 0 and 1, and as often as 2, but later
    assert sorted(hot.places) == [0, 1, 5]
    assert loads(hot.plan(counts(0, 1, 5), 1)) == []
    assert (hot.hits, hot.misses) == (6, 4)


def test_what_was_used_long_ago_counts_less() -> None:
    hot = HotSet(EXPERTS, 2, half_life=4.0)
    for _ in range(8):
        hot.plan(counts(0), 1)
    hot.plan(counts(1), 1)
    hot.plan(counts(2), 1)
    assert sorted(hot.places) == [0, 2]  # eight uses outweigh one
    for _ in range(8):
        hot.plan(counts(2), 1)
    hot.plan(counts(2), 40)
    hot.plan(counts(3), 1)
    assert sorted(hot.places) == [2, 3]


def test_tokens_count_not_passes() -> None:
    hot = HotSet(EXPERTS, 2)
    hot.plan(counts(0, 0, 0, 0, 0, 1), 6)  # one pass
    hot.plan(counts(1), 1)
    hot.plan(counts(2), 1)
    assert sorted(hot.places) == [0, 2]


@pytest.mark.parametrize("slots", [2, 3, 5, 8, 12])
def test_waves_cover_what_is_needed_and_leave_the_wave_before_alone(slots: int) -> None:
    draw = random.Random(slots)
    hot = HotSet(EXPERTS, slots)
    held: dict[int, int] = {}  # slot -> expert, as the copies make it
    for _ in range(300):
        needed = draw.sample(range(EXPERTS), draw.randrange(EXPERTS + 1))
        waves = hot.plan(counts(*needed), 1)
        assert sorted(expert for wave in waves for expert in wave.places) == sorted(needed)
        for number, wave in enumerate(waves):
            before = set(waves[number - 1].places.values()) if number else set()
            assert len(wave.places) <= slots and len(set(wave.places.values())) == len(wave.places)
            for expert in wave.loads:
                assert wave.places[expert] not in before  # it is copied while that is computed
                held[wave.places[expert]] = expert
            assert all(held[slot] == expert and 0 <= slot < slots for expert, slot in wave.places.items())
        assert {slot: expert for expert, slot in hot.places.items()} == held
    assert (hot.misses <= EXPERTS) if slots == EXPERTS else (hot.hits > 0 < hot.misses)


def test_the_most_valuable_stay_after_a_pass_over_all() -> None:
    hot = HotSet(EXPERTS, 6)
    uses = [number for number in range(EXPERTS) for _ in range(number + 1)]
    for _ in range(2):
        waves = hot.plan(counts(*uses), len(uses))
    assert len(waves) > 2 and set(hot.places) >= {8, 9, 10, 11}
