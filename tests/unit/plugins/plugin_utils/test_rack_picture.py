# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The picture of a rack: readable at any size, and who needs somebody is always on it."""

from __future__ import annotations

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.rack.picture import picture
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.rack.state import (
    DONE,
    FAILED,
    LATER,
    VERIFIED,
    Rack,
    clock,
)

READ, WORK = "Read the endorsement key", "Claim and place"
TROUBLE = "The owner authorization of this TPM was set by someone else. Give it, or have it cleared. " * 3


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def rack_of():
    """A rack of so many units: all are read, of which one failed, half have worked, one is slow."""

    def make(units, failed=(2,)):
        clock = Clock()
        rack = Rack(clock)
        rack.begin("Step 3", [f"rack{number // 16:02}-slot{number % 16:02}" for number in range(units)], units)
        names = list(rack.units)
        rack.begin_task(READ, common=False)
        for name in names:
            rack.unit_begins(name)
        clock.now += 4
        for number, name in enumerate(names):
            rack.unit_ends(name, READ, FAILED if number in failed else VERIFIED)
            if number in failed:
                rack.unit_fails(name, TROUBLE.strip(), READ)
        rack.begin_task("Judge the batch", common=True)
        clock.now += 1
        rack.begin_task(WORK, common=False)
        for number, name in enumerate(names):
            if number not in failed and number != units - 2:
                rack.unit_begins(name)
        clock.now += 61
        for number, name in enumerate(names[: units // 2]):
            if number not in failed:
                rack.unit_ends(name, WORK, DONE)
        return rack

    return make


def lines(rack, width=80, height=24):
    shown = picture(rack, width, height).plain.split("\n")
    assert len(shown) <= height and max(map(len, shown)) <= width
    return shown


def test_a_trouble_keeps_the_end_that_explains_it_and_room_for_its_cause(rack_of, monkeypatch):
    end = " (errors.md#tpm-owned)"
    monkeypatch.setitem(globals(), "TROUBLE", TROUBLE.rstrip() + end)
    [trouble] = [line for line in lines(rack_of(6)) if line.startswith("✘ rack00")]
    assert trouble.startswith("✘ rack00-slot02  The owner authorization of this TPM") and trouble.endswith(f"…{end}")
    # The cause has at least as much as the end.
    [trouble] = [line for line in lines(rack_of(6), width=50) if line.startswith("✘ rack00")]
    assert trouble.startswith("✘ rack00-slot02  The owner authorization") and "errors.md" not in trouble
    monkeypatch.setitem(globals(), "TROUBLE", "It is gone." + end)
    assert f"✘ rack00-slot02  It is gone.{end}" in lines(rack_of(6), width=50)


def test_one_that_is_left_for_later_is_shown_so_and_not_waited_for():
    rack = Rack(Clock())
    rack.begin("Step 3", ["slot1", "slot2"], 2)
    for task, ends in ((READ, {"slot1": VERIFIED, "slot2": LATER}), (WORK, {"slot1": DONE})):
        rack.begin_task(task, common=False)
        for name, state in ends.items():
            rack.unit_begins(name)
            rack.unit_ends(name, task, state)
        assert rack.progress()[:2] == (len(ends), len(ends))
    _title, counts, _progress, _head, *table = lines(rack)
    assert counts.split("  ") == ["✔ 1 done", "» 1 later", ""]
    assert [line.split() for line in table] == [["slot1", "=", "verified", "✔", "done"], ["slot2", "»", "later", "·"]]


def test_a_line_a_unit_where_there_is_room(rack_of):
    title, counts, progress, *rest = lines(rack_of(6))
    assert title == "Step 3  6 units  1:06"
    assert counts.split("  ") == ["✔ 2 done", "= 1 verified", "▶ 2 running", "✘ 1 failed", ""]
    assert progress == "████████░░░░░░░░░░░░ 2/5  1:31 left  Claim and place"
    trouble, slow, other, head, *table = rest
    # The cause and the remedy both.
    assert trouble.startswith("✘ rack00-slot02  The owner authorization") and trouble.endswith("have it cleared.")
    assert (slow, other) == ("▶ rack00-slot03  61 s  Claim and place", "▶ rack00-slot05  61 s  Claim and place")
    assert head.split() == [*READ.split(), *WORK.split()]
    assert [line.split() for line in table] == [
        ["rack00-slot00", "=", "verified", "✔", "done"],
        ["rack00-slot01", "=", "verified", "✔", "done"],
        ["rack00-slot02", "✘", "failed", "·"],
        ["rack00-slot03", "=", "verified", "▶", "61", "s"],
        ["rack00-slot04", "=", "verified", "·"],
        ["rack00-slot05", "=", "verified", "▶", "61", "s"],
    ]


def test_200_units_fold_into_racks_and_who_needs_somebody_stays_on_top(rack_of):
    shown = lines(rack_of(200, failed=(5, 77)))
    assert [line[:15] for line in shown[3:5]] == ["✘ rack00-slot05", "✘ rack04-slot13"]
    racks = [line for line in shown if line.startswith("rack")]
    assert len(racks) == 13
    assert racks[0] == "rack00 ✔✔✔✔✔✘✔✔✔✔✔✔✔✔✔✔  15 done, 1 failed"
    assert racks[12] == "rack12 ▶▶▶▶▶▶=▶          1 verified, 7 running"


def test_more_trouble_than_lines_is_counted(rack_of):
    shown = lines(rack_of(200, failed=range(0, 200, 4)))
    troubles = [line for line in shown if line.startswith("✘")]
    assert len(troubles) >= 7
    assert f"and {50 + 3 - len(troubles)} more need somebody" in "\n".join(shown)
    assert any(line.startswith("rack") for line in shown)


@pytest.mark.parametrize("size", [(20, 4), (40, 10), (200, 50), (1, 1)])
@pytest.mark.parametrize("units", [0, 1, 300])
def test_it_fits_any_terminal(rack_of, units, size):
    assert lines(rack_of(units, failed=()), *size)


def test_what_skips_a_part_leaves_no_trace_of_it():
    rack = Rack(lambda: 0)
    rack.begin("Step 2", ["a", "b"], 2)
    rack.begin_task("Not needed", common=False)
    for name in ("a", "b"):
        rack.unit_begins(name)
        rack.unit_ends(name, "Not needed", None)
    assert rack.parts == [] and rack.outcome() == "2 waiting"


def test_time_is_told_as_people_read_it():
    assert [clock(seconds) for seconds in (0, 59.9, 61, 3600)] == ["0:00", "0:59", "1:01", "1:00:00"]


def test_the_time_that_is_left_is_said_when_it_can_be_known():
    clock = Clock()
    rack = Rack(clock)
    rack.begin("Step 2", "abcdefgh", 8)
    rack.begin_task(WORK, common=False)

    def at(seconds, *, begin="", end=""):
        clock.now = seconds
        for name in begin:
            rack.unit_begins(name)
        for name in end:
            rack.unit_ends(name, WORK, DONE)
        return rack.progress()

    assert at(0, begin="abc") == (0, 8, None)
    # The first of those that work side by side says little of the others.
    assert at(2, end="a") == (1, 8, None)
    assert at(3, end="bc", begin="def") == (3, 8, 5)
    # All have begun: as long as the others took, and nothing where one takes longer.
    assert at(6, end="def", begin="gh")[:2] == (6, 8)
    assert rack.progress()[2] == pytest.approx((2 + 3 * 5) / 6)
    assert at(7, end="g")[:2] == (7, 8)
    assert at(30) == (7, 8, None)
    assert at(31, end="h") == (8, 8, None)


@pytest.mark.parametrize("width", [30, 62, 90, 300])
def test_a_trouble_has_its_cause_and_its_remedy_in_any_width(width):
    rack = Rack(lambda: 0)
    rack.begin("Step 2", ["rack1-slot01", "rack1-slot02"], 2)
    rack.unit_fails(
        "rack1-slot01", "This TPM has another owner. " + "Nobody knows who. " * 5 + "Have it cleared.", WORK
    )
    line = lines(rack, width)[3]
    assert line.startswith("✘ rack1-slot01  This") and ("cleared." in line) is (width > 80)
    assert (WORK in line) is (width == 300)


def test_counts_by_rack_are_told_alike_from_the_first_picture_to_the_last(rack_of):
    """Words that come where they just fit and go again make a picture jump."""
    for width in (80, 100, 200):
        shown = [line for line in lines(rack_of(200), width) if line.startswith("rack")]
        assert len({("running" in line or "done" in line) for line in shown}) == 1
