# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the demo says of a rack and how it ends, where all is well and where a device is not there."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from line_demo import __main__ as demo
from line_demo.observe import Seen
from line_demo.table import render

ID_SCOPE = "0ne00000000"
HUB = "hub-eu.azure-devices.example"


def unit(number: int, **others) -> Seen:
    """A device that went through the whole line."""
    found = {
        "reachable": True,
        "endorsement_key": "AToA",
        "storage_root_key": "ARoA",
        "owner_auth_set": True,
        "lockout_auth_set": True,
        "listed": True,
        "enrollment": {"provisioningStatus": "enabled"},
        "registration": {"status": "assigned", "assignedHub": HUB},
        "client_id_scope": ID_SCOPE,
    }
    return Seen(f"rack1-slot{number:02d}", **{**found, **others})


GOOD = [unit(1), unit(2)]
WITHOUT_POWER = Seen("rack1-slot02")
WITHOUT_SSH = unit(2, reachable=False)


def rows(devices):
    """The cells of each device's line, without its name."""
    lines = render(devices, ID_SCOPE).splitlines()[2:]
    return {cells[0]: cells[1:] for cells in (re.split(r"\s{2,}", line) for line in lines)}


# The table.


def test_the_table_has_every_step_of_every_device():
    lines = render(GOOD, ID_SCOPE).splitlines()
    assert re.split(r"\s{2,}", lines[0])[::5] == ["device", "5 in the field"]
    row = ["EK on the list", "enrolled", "owned + client", "target verified", HUB]
    assert rows(GOOD) == {"rack1-slot01": row, "rack1-slot02": row}
    assert {line.index("enrolled") for line in lines[2:]} == {lines[0].index("2 TPM installed")}


def test_a_device_without_power_is_said_to_be_unreachable():
    assert rows([unit(1), WITHOUT_POWER])["rack1-slot02"] == ["-", "-", "-", "-", "UNREACHABLE"]


def test_a_device_without_ssh_is_too_whatever_it_has_gone_through():
    found = rows([unit(1), WITHOUT_SSH])
    assert found["rack1-slot02"][-1] == "UNREACHABLE"
    assert found["rack1-slot01"][-1] == HUB


@pytest.mark.parametrize(
    ("change", "cells"),
    [
        ({"listed": False}, {0: "-"}),
        ({"enrollment": {"provisioningStatus": "disabled"}}, {1: "-", 3: "-"}),
        ({"owner_auth_set": False}, {2: "client", 3: "-"}),
        ({"storage_root_key": None}, {2: "client", 3: "-"}),
        ({"client_id_scope": "0neANOTHER"}, {2: "owned", 3: "-"}),
        ({"client_id_scope": None, "lockout_auth_set": False}, {2: "-", 3: "-"}),
        ({"registration": {"status": "assigning"}}, {4: "-"}),
    ],
)
def test_what_is_missing_is_left_out(change, cells):
    whole, part = (rows([unit(1, **one)])["rack1-slot01"] for one in ({}, change))
    assert {at: cell for at, cell in enumerate(part) if cell != whole[at]} == cells


# The difference that a second run makes.


def test_what_is_as_it_was_is_no_difference():
    assert demo.differences(GOOD, [dataclasses.replace(one) for one in GOOD]) == 0


@pytest.mark.parametrize("field", [one.name for one in dataclasses.fields(Seen) if one.name != "name"])
def test_every_change_of_a_device_is_a_difference(field):
    changed = dataclasses.replace(GOOD[1], **{field: "another"})
    assert demo.differences(GOOD, [GOOD[0], changed]) == 1


def test_a_device_that_is_lost_is_a_difference():
    assert demo.differences(GOOD, [GOOD[0], WITHOUT_POWER]) == 1


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Has what is given run in place of ansible-playbook."""

    def make(script):
        program = tmp_path / "ansible-playbook"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return make


@pytest.mark.parametrize("code", [0, 2])
def test_changes_are_what_the_summary_of_the_run_says(stand_in, code):
    stand_in(f"""echo '{{"changed": 7}}' >$TPMFLEET_SUMMARY_FILE; exit {code}""")
    assert demo.play("playbooks/site.yml") == demo.Played(7, succeeded=code == 0)


def test_a_run_that_told_nothing_went_wrong(stand_in):
    stand_in("exit 0")
    assert not demo.play("playbooks/site.yml").succeeded


# How it ends.


@pytest.fixture
def run_demo(monkeypatch, capsys):
    """Runs the demo over what is *seen* after either run; (its exit code, its last line, all it printed)."""

    def run(seen, *, changed=0, succeeds=True, starts=True, before=None):
        looks = iter([seen if before is None else before, seen])
        played = []

        def play(*arguments):
            played.append(arguments)
            if arguments[0].endswith("lab_up"):
                lab_dir = demo.Path(arguments[2].partition("=")[2])
                lab_dir.mkdir()
                (lab_dir / "lab.json").write_text(json.dumps({"device_api": {"id_scope": ID_SCOPE}}))
                return demo.Played(0, starts)
            return demo.Played(changed, succeeds)

        monkeypatch.setattr(demo, "play", play)
        monkeypatch.setattr(demo, "observe", lambda lab, rack_dir: next(looks))
        monkeypatch.setattr(sys, "argv", ["line_demo", "--devices", str(len(seen))])
        code = demo.main()
        assert played[-1][0].endswith("lab_down")
        printed = capsys.readouterr().out
        return code, printed.splitlines()[-1] if printed else "", printed

    return run


def test_a_good_rack_ends_in_one_line_of_json(run_demo):
    code, last, printed = run_demo(GOOD)
    found = json.loads(last)
    assert found.pop("seconds") >= 0
    assert found == {"devices": 2, "enrolled": 2, "owned": 2, "assigned": 2, "second_run_changed": 0}
    assert code == 0
    assert printed.count("rack1-slot") == 2


@pytest.mark.parametrize(
    ("device", "counted"), [(WITHOUT_POWER, 1), (WITHOUT_SSH, 2)], ids=["no power", "no SSH although assigned"]
)
def test_a_device_that_is_not_there_is_a_failure(run_demo, device, counted):
    code, last, printed = run_demo([unit(1), device])
    assert code == 1
    assert "UNREACHABLE" in printed
    found = json.loads(last)
    assert (found["devices"], found["enrolled"], found["owned"], found["assigned"]) == (2, counted, counted, counted)


def test_a_second_run_that_says_it_changed_something_is_a_failure(run_demo):
    code, last, _printed = run_demo(GOOD, changed=3)
    assert (code, json.loads(last)["second_run_changed"]) == (1, 3)


def test_a_second_run_that_changed_something_and_kept_silent_is_a_failure(run_demo):
    code, last, _printed = run_demo(GOOD, before=[GOOD[0], unit(2, endorsement_key="another")])
    assert (code, json.loads(last)["second_run_changed"]) == (1, 1)


def test_a_second_run_that_fails_is_a_failure(run_demo):
    assert run_demo(GOOD, succeeds=False)[0] == 1


def test_a_lab_that_does_not_start_is_a_failure_and_is_ended(run_demo):
    assert run_demo(GOOD, starts=False)[:2] == (1, "")


def test_a_demo_that_is_told_to_end_takes_its_lab_down(tmp_path, stand_in):
    """And the playbook that was running starts nothing more."""
    played = tmp_path / "played"
    stand_in(f'echo "$1 $$" >>{played}\ncase $1 in *lab_up) exec sleep 60;; esac')
    process = subprocess.Popen(
        [sys.executable, "-m", "line_demo"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    deadline = time.monotonic() + 30
    # The file is there before its first line is.
    while not (played.exists() and played.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    (up, pid), (down, _pid) = (line.split() for line in played.read_text().splitlines())
    assert (up, down) == ("tpmfleet.azure_dps.lab_up", "tpmfleet.azure_dps.lab_down")
    assert not os.path.exists(f"/proc/{pid}")
