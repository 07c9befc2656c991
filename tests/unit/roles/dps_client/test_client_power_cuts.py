# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The power goes at every step that writes; the next boot always ends assigned, as the same device."""

from __future__ import annotations

import pytest

# The power goes just before the N-th call that changes the disk. Waiting is cut short.
POWER_CUT = """
left = {number}
def cut(real):
    def call(*given, **named):
        global left
        left -= 1
        if left == 0:
            os._exit(99)
        return real(*given, **named)
    return call
for name in ("write", "fsync", "rename", "ftruncate", "unlink", "utime"):
    setattr(os, name, cut(getattr(os, name)))
wait = time.sleep
time.sleep = lambda seconds: wait(min(seconds, 0.05))
"""


@pytest.fixture
def quick(enrolled):
    """The service assigns at once while this lasts."""
    enrolled.control("settings", {"assignment_seconds": 0.02, "poll_throttle": False})
    return enrolled


@pytest.mark.parametrize("held", [False, True], ids=["first", "again"])
def test_every_write_may_be_the_last(quick, held):
    survived = None
    with quick.forks() as run:
        if held:
            assert run("", "register")[0] == 0
        for number in range(1, 200):
            code, said = run(POWER_CUT.format(number=number), "reprovision" if held else "register")
            if code == 0:
                survived = number
                break
            assert code == 99, said
            code, said = run(POWER_CUT.format(number=0), "register")
            assert code == 0, (number, said)
            assert quick.hub_accepts(run("", "token")[1].strip()), number
            assert quick.assignment()["registration_id"] == quick.registration_id
            if not held:
                assert run("", "forget")[0] == 0
    # Fewer steps than this would mean that the cuts do not reach the client's writes.
    assert survived is not None
    assert survived > 15
    left = sorted(path.name for path in quick.state.iterdir())
    assert left == ["assignment.json", "lock", "status.json", "time-floor"]
