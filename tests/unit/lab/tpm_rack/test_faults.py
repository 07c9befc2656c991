# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each fault is seen from outside, and is gone when it is mended."""

from __future__ import annotations

import re
import subprocess
import time

import pytest

BROKEN, OTHER = "rack1-slot01", "rack1-slot02"


@pytest.fixture
def break_(console):
    """Breaks the first device; it is whole again after the test."""
    yield lambda fault, argument=None: console.rack.break_(BROKEN, fault, argument)
    console.rack.mend(BROKEN)
    assert console.rack.status()[0] == {"name": BROKEN, "powered": True, "ssh": True, "tpm": True, "faults": []}


def _flag(console, name: str) -> str:
    said = console.tpm(BROKEN, "tpm2_getcap", "properties-variable").stdout
    found = re.search(rf"{name}:\s+(\d)", said)
    assert found, said
    return found[1]


def test_a_tpm_that_does_not_answer_still_does_not_after_a_power_cycle(console, break_):
    break_("tpm-not-answering")
    for _time in range(2):
        with pytest.raises(subprocess.TimeoutExpired):
            console.tpm(BROKEN, "tpm2_getrandom", "--hex", "4", seconds=1)
        console.rack.power_cycle([BROKEN])
    console.rack.mend(BROKEN, "tpm-not-answering")
    assert console.tpm(BROKEN, "tpm2_getrandom", "--hex", "4").returncode == 0


def test_a_tpm_that_is_gone_is_gone_after_a_power_cycle_too(console, break_):
    break_("tpm-gone")
    assert console.tpm(BROKEN, "tpm2_getrandom", "--hex", "4").returncode
    console.rack.power_cycle([BROKEN])
    assert console.tpm(BROKEN, "tpm2_getrandom", "--hex", "4").returncode
    console.rack.mend(BROKEN, "tpm-gone")
    assert console.tpm(BROKEN, "tpm2_getrandom", "--hex", "4").returncode == 0


def test_a_slow_tpm_is_slow_at_keys_alone(console, break_, tmp_path):
    break_("tpm-slow", "2")
    began = time.monotonic()
    assert console.tpm(BROKEN, "tpm2_getrandom", "--hex", "4").returncode == 0
    assert time.monotonic() - began < 2
    console.endorsement_key(BROKEN, tmp_path)
    assert time.monotonic() - began > 2
    console.rack.power_cycle([BROKEN])
    began = time.monotonic()
    console.endorsement_key(BROKEN, tmp_path)
    assert time.monotonic() - began > 2


def test_a_tpm_answers_by_a_script(console, break_, tmp_path):
    from tpm_rack.device import DeviceError

    script = tmp_path / "script.yml"
    script.write_text("answers: [{command: GetRandom, code: FAILURE}]\nproperties: {TPM_PT_LOCKOUT_COUNTER: 7}\n")
    break_("tpm-answers", str(script))
    console.rack.power_cycle([BROKEN])
    assert console.tpm(BROKEN, "tpm2_getrandom", "--hex", "4").returncode
    assert "TPM2_PT_LOCKOUT_COUNTER: 0x7" in console.tpm(BROKEN, "tpm2_getcap", "properties-variable").stdout
    with pytest.raises(DeviceError, match="a script already"):
        break_("tpm-slow", "2")
    console.rack.mend(BROKEN, "tpm-answers")
    assert console.tpm(BROKEN, "tpm2_getrandom", "--hex", "4").returncode == 0


def test_a_tpm_in_lockout(console, break_):
    break_("tpm-lockout")
    assert _flag(console, "inLockout") == "1"
    assert _flag(console, "lockoutAuthSet") == "0"
    console.rack.mend(BROKEN, "tpm-lockout")
    assert _flag(console, "inLockout") == "0"


def test_a_tpm_that_a_stranger_owns(console, break_):
    break_("tpm-owned-by-stranger")
    assert (_flag(console, "ownerAuthSet"), _flag(console, "lockoutAuthSet")) == ("1", "1")
    console.rack.mend(BROKEN, "tpm-owned-by-stranger")
    assert (_flag(console, "ownerAuthSet"), _flag(console, "lockoutAuthSet")) == ("0", "0")


def test_a_clone_has_the_other_one_s_endorsement_key(console, break_, tmp_path):
    own, other = (console.endorsement_key(name, tmp_path) for name in (BROKEN, OTHER))
    break_("tpm-cloned-from", OTHER)
    assert console.endorsement_key(BROKEN, tmp_path) == other
    console.rack.mend(BROKEN, "tpm-cloned-from")
    assert console.endorsement_key(BROKEN, tmp_path) == own != other


def test_a_second_fault_of_the_tpm_s_memory_is_refused(console, break_):
    from tpm_rack.device import DeviceError

    break_("tpm-lockout")
    with pytest.raises(DeviceError, match="mend that first"):
        break_("tpm-owned-by-stranger")
    assert console.rack.status()[0]["faults"] == ["tpm-lockout"]


def test_ssh_goes_after_that_many_commands(console, break_):
    break_("ssh-gone-after", "2")
    assert [console.ssh(BROKEN, "true").returncode for _time in range(4)] == [0, 0, 255, 255]
    console.rack.power_cycle([BROKEN])
    assert console.ssh(BROKEN, "true").returncode == 255
    console.rack.mend(BROKEN, "ssh-gone-after")
    assert console.said(BROKEN, "echo back") == "back"


def test_ssh_goes_for_sessions_of_one_connection_too(console, break_, tmp_path):
    break_("ssh-gone-after", "2")
    access = console.entry(BROKEN)["ssh"]
    shared = ["ssh", "-n", "-i", access["private_key_file"], "-p", str(access["port"]), "-o", "BatchMode=yes"]
    shared += ["-o", f"UserKnownHostsFile={access['known_hosts_file']}", "-o", "ControlMaster=auto"]
    shared += ["-o", f"ControlPath={tmp_path}/c", "-o", "ControlPersist=30", f"root@{access['host']}", "true"]
    codes = [subprocess.run(shared, stderr=subprocess.DEVNULL, check=False).returncode for _time in range(4)]
    assert codes == [0, 0, 255, 255]


def test_a_device_without_power_gets_none_by_a_power_cycle(console, break_):
    break_("powered-off")
    console.rack.power_cycle([BROKEN])
    assert console.rack.up(3) is False
    assert console.rack.status()[0] == {
        "name": BROKEN,
        "powered": False,
        "ssh": False,
        "tpm": False,
        "faults": ["powered-off"],
    }
    console.rack.mend(BROKEN, "powered-off")
    assert console.said(BROKEN, "echo back") == "back"


@pytest.mark.parametrize(
    ("fault", "argument", "says"),
    [
        ("tpm-gone", "rack1-slot02", "no argument"),
        ("tpm-cloned-from", None, "takes a device"),
        ("tpm-cloned-from", "rack9-slot01", "no such device"),
        ("tpm-on-fire", None, "no such fault"),
        ("tpm-slow", "much", "takes a number of seconds"),
        ("tpm-answers", "/no/such/script", "takes a script.*No such file"),
    ],
)
def test_what_makes_no_sense_is_refused(console, fault, argument, says):
    from tpm_rack.rack import RackError

    with pytest.raises(RackError, match=says):
        console.rack.break_(BROKEN, fault, argument)
