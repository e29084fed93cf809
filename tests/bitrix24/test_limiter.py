"""The leaky bucket and who may dip into it."""

from __future__ import annotations

import pytest

from integrations.bitrix24.limiter import Bucket, Level, MemoryLimiter, Priority

LIVE, BACKGROUND = Priority.LIVE, Priority.BACKGROUND


@pytest.mark.parametrize(
    ("level", "seconds_later", "priority", "wait", "left"),
    [
        (0, 0, LIVE, 0, 1),
        (39, 0, LIVE, 0, 40),
        (40, 0, LIVE, 0.5, 40),
        (40, 1, LIVE, 0, 39),
        (40, 100, LIVE, 0, 1),
        (29, 0, BACKGROUND, 0, 30),
        (30, 0, BACKGROUND, 0.5, 30),
        (45, 0, BACKGROUND, 8, 45),
        (45, -5, LIVE, 3, 45),
    ],
)
def test_the_bucket(level, seconds_later, priority, wait, left):
    bucket = Bucket(rate=2, burst=45 if priority is BACKGROUND else 40)

    state, told = bucket.take(Level(level, 1000), 1000 + seconds_later, priority=priority)

    assert told == pytest.approx(wait)
    assert state.level == pytest.approx(left)


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def limiter(clock):
    return MemoryLimiter(Bucket(rate=2, burst=6), clock=lambda: clock[0])


def test_background_work_leaves_room_for_live_calls(limiter):
    background = [limiter.acquire("m", priority=BACKGROUND) for _ in range(5)]
    live = [limiter.acquire("m", priority=LIVE) for _ in range(3)]

    assert background == [0, 0, 0, 0, 0.5]
    assert live == [0, 0, 0.5]


def test_a_penalty_stops_everybody_for_its_time(limiter, clock):
    limiter.penalise(3)

    assert limiter.acquire("m", priority=LIVE) == 3
    clock[0] += 3
    assert limiter.acquire("m", priority=LIVE) == 0


def test_a_blocked_method_does_not_block_the_others(limiter, clock):
    limiter.block_method("crm.item.update", clock[0] + 60)

    assert limiter.acquire("crm.item.update", priority=LIVE) == 60
    assert limiter.acquire("crm.item.get", priority=LIVE) == 0


def test_a_method_that_has_nearly_used_up_its_time_is_kept_for_live_calls(limiter, clock):
    limiter.observe(400, clock[0] + 200, "crm.item.list")

    assert limiter.acquire("crm.item.list", priority=BACKGROUND) == 200
    assert limiter.acquire("crm.item.list", priority=LIVE) == 0
    limiter.observe(10, clock[0] + 600, "crm.item.list")
    assert limiter.acquire("crm.item.list", priority=BACKGROUND) == 0
