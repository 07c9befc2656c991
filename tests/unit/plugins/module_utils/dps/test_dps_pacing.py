# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pacing against a quota as a clock-driven model has it: the quota is used and not fought."""

from __future__ import annotations

from collections import deque

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.pacing import Pacer

MINUTES = 20


class World:
    """A service with *quota* calls in any *window* seconds, and time that passes only by waiting and by calling."""

    def __init__(self, quota: int, *, call_seconds: float = 0.01, window: float = 60) -> None:
        self.now = 0.0
        self.window = window
        self.quota = quota
        self.call_seconds = call_seconds
        self.taken: deque[float] = deque()
        self.done = 0
        self.refused = 0

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)

    def forget(self) -> None:
        while self.taken and self.taken[0] <= self.now - self.window:
            self.taken.popleft()

    def call(self, pacer: Pacer, held: int = 1, cost: int = 1) -> None:
        pacer.wait(held)
        self.forget()
        accepted = len(self.taken) + cost <= self.quota
        if accepted:
            self.taken.extend([self.now] * cost)
        self.now += self.call_seconds
        if accepted:
            self.done += 1
            pacer.answered(held)
        else:
            self.refused += 1
            pacer.refused(max(1.0, self.taken[0] + self.window - self.now), held)

    def run(self, pacer: Pacer, minutes: float = MINUTES) -> None:
        until = self.now + minutes * 60
        while self.now < until:
            self.call(pacer)


def pacer_in(world: World, share: float = 1.0) -> Pacer:
    return Pacer(share, clock=lambda: world.now, sleep=world.sleep)


@pytest.mark.parametrize("quota", [1000, 100])
def test_the_whole_quota_is_used_and_hardly_ever_refused(quota):
    world = World(quota)
    world.run(pacer_in(world))
    assert world.done >= 0.95 * quota * MINUTES
    assert world.refused <= 0.02 * (world.done + world.refused)


@pytest.mark.parametrize("window", [6, 20])
def test_a_quota_that_looks_back_less_is_used_too(window):
    world = World(100, window=window, call_seconds=0.001)
    world.run(pacer_in(world))
    assert world.done >= 0.9 * 100 * 60 / window * MINUTES
    assert world.refused <= 0.02 * (world.done + world.refused)


def test_without_a_quota_nothing_is_waited_for():
    world = World(10**9, call_seconds=0.001)
    world.run(pacer_in(world), minutes=1)
    assert world.done >= 59_000


@pytest.mark.parametrize("cost", [1, 10])
def test_what_a_bulk_call_costs_is_found_by_one_refusal_among_other_calls(cost):
    world = World(1000)
    pacer = pacer_in(world)
    for _page in range(30):
        world.call(pacer)
    while world.now < 600:
        world.call(pacer, 10, cost)
    assert world.done >= 0.95 * 10 * 1000 / cost
    assert world.refused <= 5


def test_a_share_of_the_documented_quota_is_never_refused():
    world = World(1000)
    world.run(pacer_in(world, 0.5), minutes=10)
    assert world.refused == 0
    assert 0.95 * 500 * 10 <= world.done <= 500 * 11


@pytest.mark.parametrize(("cost", "refused"), [(1, 0), (10, 1)])
def test_what_a_bulk_call_costs_is_found_with_a_share_too_at_the_price_of_one_refusal(cost, refused):
    world = World(1000)
    pacer = pacer_in(world, 0.5)
    while world.now < 180:
        world.call(pacer, 10, cost)
    assert world.refused == refused
    before = world.done
    while world.now < 180 + 600:
        world.call(pacer, 10, cost)
    assert world.refused == refused
    assert 0.95 * 10 * 500 / cost <= world.done - before <= 11 * 500 / cost


@pytest.mark.parametrize("cost", [1, 10])
def test_asking_what_a_bulk_call_costs_leaves_the_devices_theirs(cost):
    # Others take 300 a minute all the time.
    world = World(1000)
    pacer = pacer_in(world, 0.5)
    refused, calls = 0, 0
    while world.now < 600:
        world.call(pacer, 10, cost)
        while calls < world.now * 5:
            calls += 1
            world.forget()
            if len(world.taken) < world.quota:
                world.taken.append(world.now)
            else:
                refused += 1
    assert calls >= 3000 and refused <= 0.01 * calls
    assert world.refused <= 1


def test_a_batch_within_the_share_asks_nothing():
    world = World(1000)
    pacer = pacer_in(world, 0.5)
    for _call in range(50):
        world.call(pacer, 10, 10)
    assert world.now < 1 and world.refused == 0


def test_a_share_of_a_smaller_quota_is_found_by_one_refusal():
    world = World(100)
    pacer = pacer_in(world, 0.5)
    world.run(pacer, minutes=2)
    assert world.refused == 1
    before = world.done
    world.run(pacer, minutes=10)
    assert world.refused == 1
    assert 0.95 * 50 * 10 <= world.done - before <= 50 * 11


def test_a_quota_that_grows_is_found():
    world = World(100)
    pacer = pacer_in(world)
    world.run(pacer, minutes=3)
    world.quota = 1000
    world.run(pacer, minutes=40)
    before = world.done
    world.run(pacer, minutes=5)
    assert world.done - before >= 0.8 * 5 * 1000


def test_a_quota_that_others_take_is_given_way_to():
    world = World(1000)
    pacer = pacer_in(world)
    world.run(pacer, minutes=3)
    world.quota = 300
    world.run(pacer, minutes=5)
    refused, done = world.refused, world.done
    world.run(pacer, minutes=10)
    assert world.refused - refused <= 0.02 * (world.done - done)
