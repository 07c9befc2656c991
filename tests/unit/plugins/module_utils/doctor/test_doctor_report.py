# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the doctor says at the end: each cause once, the worst first, and a rack of 200 is readable."""

from __future__ import annotations

from ansible_collections.tpmfleet.azure_dps.plugins.filter.doctor_report import doctor_report
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.doctor.finding import finding

WELL = finding("clock", "ok", "the clock is the controller's")
LOCKED = finding("lockout", "fault", "it is in lockout", "Wait.", detail="32 tries")
ODD = finding("room", "attention", "no room", "Power-cycle it.")


def said(found, **station):
    hostvars = {host: {"looked": result} for host, result in found.items()}
    return doctor_report(list(found), hostvars, "looked", **station)


def test_200_devices_with_two_causes_are_three_lines():
    found = {f"unit-{number:03}": {"findings": [WELL, ODD]} for number in range(200)}
    found["unit-007"] = {"findings": [LOCKED]}
    report = said(found)
    assert report["lines"] == [
        "DOCTOR: 0 of 200 devices are well, 1 with a fault",
        "FAULT unit-007: lockout: it is in lockout (32 tries). Wait.",
        "ATTENTION unit-000, unit-001, unit-002, unit-003, unit-004 and 194 more: room: no room. Power-cycle it.",
    ]
    assert report["bad"] == {"unit-007": "it is in lockout"}
    assert report["counts"] == {"fault": 1, "attention": 199, "unknown": 0, "ok": 0}


def test_a_rack_that_is_well_is_one_line():
    report = said({"a": {"findings": [WELL]}}, station={"findings": [WELL]})
    assert report["lines"] == ["DOCTOR: 1 of 1 devices are well, 0 with a fault; the station is well"]
    assert report["bad"] == {} and report["devices"]["a"]["verdict"] == "ok"


def test_who_cannot_be_reached_or_fell_over_is_a_finding_and_harmless():
    report = said(
        {
            "gone": {"unreachable": True, "msg": "Connection refused\x1b[2J"},
            "fell": {"failed": True, "msg": "no Python"},
            "never": {},
            "well": {"findings": [WELL]},
        }
    )
    assert sorted(report["bad"]) == ["fell", "gone", "never"]
    assert all(line.isprintable() for line in report["lines"]) and "Connection refused" in str(report["lines"])
