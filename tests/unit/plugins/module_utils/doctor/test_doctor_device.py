# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a device said, judged: each finding by the one thing that is wrong, on a device that is well otherwise."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.doctor.device import findings_of
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.returned import RETURNED

NOW = 1_764_000_000.0
DEVICE = "device:/dev/tpmrm0"
WELL = {
    "nodes": [
        {"path": path, "kind": "device", "mode": "0660", "owner": "tss", "group": "tss"}
        for path in ("/dev/tpm0", "/dev/tpmrm0")
    ],
    "version_major": 2,
    "driver": "tpm_tis",
    "holders": [],
    "may_use": True,
    "user": "root",
    "python": "3.11.2",
    "library": "1.2.0",
    "stack": "4.0.1",
    "refusal": None,
    "chip": {
        "tpm": {"manufacturer": "IFX", "model": "SLB9670", "firmware_version": "7.85.17.4555", "tpm_type": "hardware"},
        "hierarchies": {"owner_auth_set": True, "endorsement_auth_set": False, "lockout_auth_set": True},
        "in_lockout": False,
        "lockout_counter": 0,
        "dictionary_attack": {"max_tries": 32, "recovery_time": 600, "lockout_recovery": 86400},
        "persistent_handles": ["0x81000001", "0x81010001"],
        "ek_certificate": True,
        "room": {"transient": 3, "sessions": 3, "persistent": 5},
    },
    "clock": NOW,
    "file_systems": [{"path": "/etc", "writable": True, "free_mib": 5120}],
    "systemd": {"running": True, "version": 252},
    "client": {"placed": True, "state": "inactive"},
}


def judged(changes=(), tcti=DEVICE, pipelined=True):
    """What is not well, by check, where the *changes* (path, value) are made to a device that is."""
    seen = copy.deepcopy(WELL)
    for path, value in changes:
        *above, last = path.split(".")
        place = seen
        for name in above:
            place = place[name]
        place[last] = value
    RETURNED["doctor_device"](seen)
    found = findings_of(seen, tcti=tcti, asked=NOW - 1, answered=NOW + 1, pipelined=pipelined)
    assert all(one["cause"] and (one["mend"] or one["verdict"] in ("ok", "unknown")) for one in found)
    return {one["check"]: one for one in found if one["verdict"] != "ok"}


@pytest.mark.parametrize("tcti", [DEVICE, "swtpm:port=2321"])
def test_a_device_that_is_well_has_nothing(tcti):
    assert judged(tcti=tcti) == {}


NOT_ASKED = [("chip", None)]


@pytest.mark.parametrize(
    ("changes", "check", "verdict", "words"),
    [
        ([("version_major", 1), *NOT_ASKED], "version", "fault", "TPM 1.2"),
        ([("version_major", None)], "version", "unknown", "does not tell"),
        ([("nodes", []), ("version_major", None), *NOT_ASKED], "node", "fault", "no /dev/tpm0"),
        ([("nodes", WELL["nodes"][:1])], "node", "fault", "no /dev/tpmrm0"),
        ([("may_use", False), ("user", "line")], "rights", "fault", "may not use"),
        ([("holders", ["tpm2-abrmd"])], "resource_manager", "attention", "tpm2-abrmd"),
        ([("holders", ["other"])], "resource_manager", "attention", "a program holds"),
        ([("library", None), *NOT_ASKED], "library", "attention", "missing"),
        ([("library", None), *NOT_ASKED], "tpm", "unknown", "not asked"),
        ([("refusal", "it hangs"), *NOT_ASKED], "tpm", "fault", "could not be asked"),
        ([("chip.in_lockout", True)], "lockout", "fault", "in dictionary attack lockout"),
        ([("chip.lockout_counter", 16)], "lockout", "attention", "not far from lockout"),
        ([("chip.room.transient", 0)], "room", "attention", "no room"),
        ([("chip.room.sessions", 1)], "room", "attention", "no room"),
        ([("chip.room.transient", None)], "room", "unknown", "does not tell"),
        ([("chip.ek_certificate", False)], "ek_certificate", "attention", "no EK certificate"),
        ([("clock", 0.0)], "clock", "fault", "tokens are refused"),
        ([("clock", NOW + 400)], "clock", "fault", "tokens are refused"),
        ([("clock", NOW - 90)], "clock", "attention", "a little off"),
        ([("file_systems", [{"path": "/etc", "writable": False, "free_mib": 9}])], "disk", "fault", "read-only"),
        ([("file_systems", [{"path": "/etc", "writable": True, "free_mib": 19}])], "disk", "fault", "MiB left"),
        ([("systemd", {"running": False, "version": None})], "systemd", "fault", "does not run systemd"),
        ([("client.state", "failed")], "client", "attention", "last run failed"),
    ],
)
def test_what_is_wrong_is_one_finding_with_what_mends_it(changes, check, verdict, words):
    found = judged(changes)
    assert found[check]["verdict"] == verdict and words in found[check]["cause"]
    beside = set(found) - {check}
    # What cannot be asked any more is said to be unknown, and what is unknown beside is no cause.
    assert beside <= {"tpm", "version"} or check == "tpm", found


@pytest.mark.parametrize(
    ("changes", "nothing"),
    [
        ([("chip.lockout_counter", 15)], "lockout"),
        ([("chip.lockout_counter", 40), ("chip.dictionary_attack.max_tries", None)], "lockout"),
        ([("clock", NOW - 60)], "clock"),
        ([("client", {"placed": False, "state": None})], "client"),
        ([("file_systems", [{"path": "/etc", "writable": True, "free_mib": 20}])], "disk"),
    ],
)
def test_what_is_at_its_limit_is_well(changes, nothing):
    assert nothing not in judged(changes)


def test_a_software_tpm_is_not_asked_for_nodes():
    bare = [("nodes", []), ("version_major", None), ("driver", None), ("may_use", None)]
    assert judged(bare, tcti="swtpm:port=2321") == {}


def test_a_connection_that_does_not_pipeline_is_told():
    assert judged(pipelined=False)["pipelining"]["verdict"] == "attention"
