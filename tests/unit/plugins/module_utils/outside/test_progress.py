# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far a run is: what is written while it works, and how it reads."""

from __future__ import annotations

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside import progress as module
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.progress import Progress, read_progress, told


@pytest.mark.parametrize(
    ("state", "seconds", "line"),
    [
        ({"phase": "read", "done": 30_000, "total": None}, 3, "read 30,000, 10,000 a second"),
        ({"phase": "compare", "done": 0, "total": 9}, 5, "compared 0 of 9"),
        ({"phase": "apply", "done": 250, "total": 1000}, 100, "applied 250 of 1,000, 2 a second, 5 min 00 s left"),
        ({"phase": "apply", "done": 10, "total": 1000}, 60, "applied 10 of 1,000, 10 a minute, 1 h 39 min left"),
        ({"phase": "wait", "done": 3, "total": 3, "silent": []}, 20, "3 of 3 assigned after 20 s"),
        (
            {"phase": "wait", "done": 3, "total": 8, "failed": 1, "silent": ["a", "b\x1b", "c", "d"]},
            20,
            "3 of 8 assigned after 20 s, 1 refused so far, 4 never called the service (a, b\\x1b, c, …): are they "
            "switched on and on the network?",
        ),
        ({"phase": "apply", "done": 9, "total": 9, "failed": 1}, 3, "applied 9 of 9, 3 a second, 0 s left, 1 refused"),
    ],
)
def test_a_line_for_people(state, seconds, line):
    assert told({"failed": 0, "since": 100.0, **state}, 100.0 + seconds) == line


def test_it_is_written_now_and_then_and_at_each_phase(tmp_path, monkeypatch):
    now = [10.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    path = tmp_path / "progress.json"
    progress = Progress(str(path))
    assert read_progress(str(path)) is None
    progress.begin("compare", 5)
    assert read_progress(str(path))["done"] == 0
    progress.step()
    progress.step(failed=True)
    assert read_progress(str(path))["done"] == 0
    now[0] += 1
    progress.step()
    state = read_progress(str(path))
    assert (state["phase"], state["done"], state["total"], state["failed"]) == ("compare", 3, 5, 1)
    progress.begin("apply", 2)
    assert read_progress(str(path))["phase"] == "apply"
    assert [one.name for one in tmp_path.iterdir()] == ["progress.json"]


def test_a_file_that_cannot_be_written_stops_nothing_but_a_wrong_path_is_told(tmp_path):
    (tmp_path / "taken").mkdir()
    progress = Progress(str(tmp_path / "taken"))
    progress.begin("apply", 1)
    progress.step()
    for fault in (ValueError, LookupError):
        with pytest.raises(fault, match="does not exist where the task runs"):
            Progress(str(tmp_path / "nowhere" / "progress.json"), fault)


def test_without_a_file_nothing_is_counted():
    progress = Progress(None)
    progress.begin("apply", 1)
    progress.step()
