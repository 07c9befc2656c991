# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A TPM that answers by a script is seen through tpm2-tools as the chip that the script describes."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time

import pytest
from tpm_rack.answers import COMMANDS


@pytest.fixture
def tool(software_tpm):
    """Has the TPM answer by a script from a power cycle on, and runs tpm2-tools on it: what one says, and whether."""

    def run(script, *command):
        if script is not None:
            software_tpm.stop()
            software_tpm.answer_by(script)
            software_tpm.start()
        done = subprocess.run(
            [command[0], "-T", software_tpm.tcti, *map(str, command[1:])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout

    return run


RANDOM = ("tpm2_getrandom", "--hex", "4")
FIXED = ("tpm2_getcap", "properties-fixed")


def test_a_code_is_answered_so_often_after_so_many(tool):
    script = {"answers": [{"command": "GetRandom", "code": "TPM_RC_FAILURE", "after": 1, "times": 1}]}
    answers = [tool(script, *RANDOM), tool(None, *RANDOM), tool(None, *RANDOM)]
    assert [code == 0 for code, _said in answers] == [True, False, True]
    assert "0x101" in answers[1][1]


def test_it_is_on_once_both_of_its_ports_take_connections(software_tpm, monkeypatch):
    """Control too, which a machine asks for first; what stands before a chip comes to it half a second later here."""
    software_tpm.stop()
    software_tpm.answer_by({})
    with socket.socket() as commands, socket.socket() as control:

        def stand_before(_chip):
            for port, server in enumerate((commands, control), software_tpm.port):
                server.bind(("127.0.0.1", port))
            commands.listen()
            threading.Timer(0.5, control.listen).start()

        monkeypatch.setattr(software_tpm, "_stand_before", stand_before)
        software_tpm.start()
        socket.create_connection(("127.0.0.1", software_tpm.port + 1)).close()


def test_what_it_is_asked_is_noted_across_power_cycles(tool, software_tpm):
    tool({}, *RANDOM)
    software_tpm.power_cycle()
    tool({"answers": [{"command": "GetRandom", "code": 0x101}]}, *RANDOM)
    assert software_tpm.commands.count(COMMANDS["GetRandom"]) == 2
    before = len(software_tpm.commands)
    tool(None, *FIXED)
    assert set(software_tpm.commands[before:]) == {COMMANDS["GetCapability"]}


def test_a_power_cycle_begins_the_script_anew(tool, software_tpm):
    assert tool({"answers": [{"command": "GetRandom", "code": 0x101, "times": 1}]}, *RANDOM)[0]
    assert tool(None, *RANDOM)[0] == 0
    software_tpm.power_cycle()
    assert tool(None, *RANDOM)[0]


def test_a_tpm_that_wants_to_be_started(tool):
    script = {"answers": [{"code": "INITIALIZE", "until": "Startup"}]}
    assert "0x100" in tool(script, *RANDOM)[1]
    assert tool(None, "tpm2_startup", "-c")[0] == 0
    assert tool(None, *RANDOM)[0] == 0


def test_one_nv_index_cannot_be_read(tool):
    script = {"answers": [{"command": "NV_Read", "handle": "0x01c00002", "code": "NV_LOCKED"}]}
    assert "0x148" in tool(script, "tpm2_nvread", "0x01c00002")[1]
    assert tool(None, "tpm2_nvread", "0x01c00016")[0] == 0


def test_a_delay_is_of_the_commands_that_it_names(tool):
    script = {"delays": [{"command": "GetRandom", "seconds": 1.5}]}
    began = time.monotonic()
    assert tool(script, "tpm2_readpublic", "-c", "0x81010001")[0]
    assert time.monotonic() - began < 1.5
    assert tool(None, *RANDOM)[0] == 0
    assert time.monotonic() - began > 1.5


@pytest.mark.parametrize(("value", "raw"), [(None, None), (0, "0x0"), (65535, "0xFFFF")])
def test_a_property_is_left_out_or_has_another_value(tool, value, raw):
    said = tool({"properties": {"TPM_PT_NV_BUFFER_MAX": value}}, *FIXED)[1]
    after = said.partition("TPM2_PT_NV_BUFFER_MAX:")[2].split()
    assert (after[1] if after else None) == raw
    assert "TPM2_PT_MODES" in said


def test_handles_and_algorithms_are_left_out_and_added(tool):
    script = {"handles": {"leave_out": ["0x01c00002"], "add": ["0x01c00100"]}, "algorithms": {"leave_out": [0x23]}}
    said = tool(script, "tpm2_getcap", "handles-nv-index")[1]
    assert "0x1C00002" not in said and "0x1C00100" in said and "0x1C00016" in said
    said = tool(None, "tpm2_getcap", "algorithms")[1]
    assert "ecc:" not in said and "rsa:" in said


def test_small_pages_and_small_reads(tool, software_tpm):
    whole = tool(None, *FIXED)[1]
    assert tool({"page": 3}, *FIXED)[1] == whole
    said = tool({"nv_reads": {"at_most": 256}}, "tpm2_nvread", "0x01c00002", "-s", "600")[1]
    assert "0x1c4" in said.lower()
    tool({"nv_reads": {"cut_to": 100}}, *FIXED)
    # The maker's own reading asks again for what did not come.
    maker = json.loads((software_tpm.state_dir / "maker.json").read_text())
    assert software_tpm._nv_read(0x01C00002).hex() == maker["endorsement_key_certificate"]
    wanted = ("-s", "100", "-o", software_tpm.state_dir / "read")
    assert tool(None, "tpm2_nvread", "0x01c00002", *wanted)[0] == 0
    assert tool(None, "tpm2_nvread", "0x01c00002", "-s", "101")[0] != 0


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"answer": []}, "no answer; there are algorithms, answers"),
        ({"answers": [{"command": "NV_Reed", "code": 1}]}, "no such command: NV_Reed"),
        ({"answers": [{"command": "NV_Read"}]}, "without code"),
        ({"answers": [{"code": "TPM_RC_TIRED"}]}, "no such code: TPM_RC_TIRED"),
        ({"properties": {"NV_BUFFER": 1}}, "no such property: NV_BUFFER"),
        ({"handles": []}, "handles is no object"),
        ("be slow", "a script is an object"),
    ],
)
def test_a_script_that_says_nothing_is_refused_with_its_place(software_tpm, script, words):
    from tpm_rack.answers import ScriptError

    with pytest.raises(ScriptError, match=words):
        software_tpm.answer_by(script)
