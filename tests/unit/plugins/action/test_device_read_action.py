# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nobody waits for a device that is still at work, and what it makes is taken: by plays against devices that say so."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.derived import derived_from_endorsement_key
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils import rack_times
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.bounded_call import LeftError, bounded

ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
TPM = {"manufacturer": "IFX", "model": "SLB9670", "firmware_version": "7.85.17.4555", "tpm_type": "hardware"}
SECRET = "auth-of-the-endorsement-hierarchy"
# Notes what each call is given; then what the device does.
DEVICE = """#!{python}
import json, re, sys, time
given = sys.stdin.buffer.read().decode()
found = re.search(r'"goes_on": (\\{{[^}}]*\\}})', given)
goes_on = json.loads(found[1]) if found else None
with open({log!r}, "a") as log:
    log.write(json.dumps(goes_on) + "\\n")
with open({log!r}) as log:
    call = len(log.readlines())
still = '\\n{{"still_at_work": true}}\\n'
answer = {answer!r}
{does}
"""
QUICK = "print(answer)"
SLOW = """
if goes_on is None or not goes_on["ends"]:
    print(answer)
elif call == 1:
    print(still); sys.exit(75)
else:
    time.sleep(600)
"""
ALWAYS_AT_WORK = "print(still); sys.exit(75)"


@pytest.fixture
def read(tmp_path, make_ek):
    """Reads devices that do so, and then those that were left; (what each registered in either play, calls, output)."""

    def run(devices, *arguments, first=None, second=None, **environment):
        public = make_ek(1)
        key = {name: None for name in ("handle", "certificate", "certificate_nv_index", "certificate_matches")}
        key.update(derived_from_endorsement_key(base64.b64decode(public)), certificate_about=None)
        key.update(public=public, template="tcg", source="template", persisted=False)
        answer = json.dumps({"changed": False, "endorsement_key": key, "tpm": TPM, "unreadable": []})
        hosts = {}
        for name, does in devices.items():
            if isinstance(does, dict):
                hosts[name] = does
                continue
            python, log = tmp_path / f"python-{name}", str(tmp_path / f"calls-{name}")
            python.write_text(DEVICE.format(python=sys.executable, log=log, answer=answer, does=does))
            python.chmod(0o755)
            hosts[name] = {"ansible_connection": "local", "ansible_python_interpreter": str(python)}
        options = {"template": "tcg", "earlier": "device", "endorsement_auth": SECRET}
        plays = []
        for number, (hosts_of, given) in enumerate(
            [("all", {"slow_group": "left", **(first or {})}), ("{{ groups.left | default([]) }}", second or {})], 1
        ):
            task = {"name": "Read", "tpmfleet.azure_dps.device_read": {**options, **given}, "register": "device"}
            task.update(changed_when="device.installed | default(false)", ignore_errors=True)
            kept = f"[device, groups] | to_json | kept('{tmp_path}/{number}-' ~ inventory_hostname)"
            keep = {"ansible.builtin.set_fact": {"kept": f"{{{{ {kept} }}}}"}}
            play = {"name": f"Play {number}", "hosts": hosts_of, "gather_facts": False, "tasks": [task, keep]}
            plays.append(play)
        (tmp_path / "play.yml").write_text(yaml.safe_dump(plays))
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        done = subprocess.run(
            [str(ANSIBLE_PLAYBOOK), "--inventory", "hosts.yml", "play.yml", "-f", "9", *arguments],
            cwd=tmp_path,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        said = {path.name: json.loads(path.read_text()) for path in tmp_path.glob("[12]-*")}
        registered = {(int(name[0]), name[2:]): result for name, (result, _groups) in said.items()}
        groups = next(iter(said.values()))[1] if said else {}
        logs = {name: tmp_path / f"calls-{name}" for name in devices}
        calls = {
            name: [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
            for name, log in logs.items()
        }
        return registered, calls, done.stdout, groups, done.returncode

    return run


def test_a_device_that_takes_its_time_is_left_to_it_and_its_answer_is_taken(read):
    said, calls, printed, groups, code = read({"quick": QUICK, "slow": SLOW, "also": QUICK})
    assert code == 0, printed
    assert groups["left"] == ["slow"], printed
    assert "record" in said[1, "quick"] and "later" not in said[1, "quick"]
    assert "record" not in said[1, "slow"] and "its TPM takes its time" in said[1, "slow"]["msg"]
    assert said[2, "slow"]["record"]["host"] == "slow" and set(said) == {
        *((1, name) for name in ("quick", "slow", "also")),
        (2, "slow"),
    }
    assert not any(result["changed"] for result in said.values())
    assert "changed=0" in printed and "changed=1" not in printed
    # The one of the second play is asked for by the name that the first ones gave it, and waited for.
    (quick,), slow = calls["quick"], calls["slow"]
    assert [one["ends"] for one in slow] == [True] * (len(slow) - 1) + [False]
    assert len({one["name"] for one in slow}) == 1 and quick["name"] != slow[0]["name"]
    assert 2 <= len(slow) <= 3 and slow[0]["seconds"] == 360
    assert SECRET not in printed + json.dumps(list(said.values()))


def test_the_line_tells_it_as_what_it_is_and_once(read, tmp_path):
    line = {"ANSIBLE_STDOUT_CALLBACK": "tpmfleet.azure_dps.line", "TPMFLEET_SUMMARY_FILE": "summary.json"}
    _said, _calls, printed, _groups, code = read({"quick": QUICK, "slow": SLOW, "also": QUICK}, **line)
    lines = [one.rpartition(", in ")[0] or one for one in printed.splitlines()]
    assert lines == [
        "STEP Play 1: 3 units",
        "  LATER slow: its TPM takes its time, and goes on; it is asked again after the others",
        "  Read: 2 verified, 1 later, of 3",
        "  FINISHED: 2 of 3 units, 1 later",
        "STEP Play 2: 1 units",
        "  Read: 1 verified, of 1",
        "LINE SUMMARY: 3 passed, 0 to pull",
        f"WRITTEN {tmp_path / 'summary.json'}",
    ]
    assert json.loads((tmp_path / "summary.json").read_text())["passed"] == ["also", "quick", "slow"]
    assert code == 0


def test_where_nobody_is_left_the_second_play_costs_no_line(read):
    line = {"ANSIBLE_STDOUT_CALLBACK": "tpmfleet.azure_dps.line"}
    _said, calls, printed, groups, code = read({"quick": QUICK, "also": QUICK}, **line)
    assert code == 0 and "left" not in groups and "Play 2" not in printed and "skipping" not in printed, printed
    assert [len(one) for one in calls.values()] == [1, 1]


def test_other_arguments_are_another_question(read):
    said, calls, printed, _groups, _code = read({"quick": QUICK, "slow": SLOW}, second={"template": "sdk"})
    first, *_others, last = calls["slow"]
    assert last["name"] != first["name"] and not last["ends"]
    assert said[2, "slow"]["record"], printed


def test_a_check_leaves_a_device_too_and_changes_nothing(read):
    said, _calls, printed, _groups, code = read({"quick": QUICK, "slow": SLOW}, "--check")
    assert code == 0 and said[2, "slow"]["record"], printed
    assert "changed=1" not in printed


@pytest.mark.parametrize(
    ("devices", "first"),
    [
        ({"alone": SLOW}, {}),
        ({"quick": QUICK, "slow": SLOW}, {"slow_after": 0}),
        ({"a": SLOW, "b": QUICK}, {"slow_group": ""}),
    ],
)
def test_where_it_is_not_wanted_each_device_is_waited_for(read, devices, first):
    said, calls, printed, groups, code = read(devices, first=first)
    assert code == 0 and "left" not in groups, printed
    assert all(result["record"] for result in said.values()) and {play for play, _name in said} == {1}
    assert all(one == [None] for one in calls.values())


def test_a_device_that_is_always_at_work_is_found_out(read):
    """In the second play that is no answer; and in the first it is asked no more often than an honest one."""
    said, calls, _printed, groups, _code = read({"quick": QUICK, "liar": ALWAYS_AT_WORK})
    assert groups["left"] == ["liar"] and len(calls["liar"]) <= 5
    assert said[2, "liar"]["failed"] and "Take it off the line" in said[2, "liar"]["msg"]


@pytest.mark.parametrize("after", ["soon", [1]])
def test_a_time_that_is_none_is_told(read, after):
    said, _calls, _printed, _groups, _code = read({"quick": QUICK}, first={"slow_after": after})
    assert "not a number of seconds" in said[1, "quick"]["msg"]


# How long one is waited for


@pytest.fixture
def clock(monkeypatch):
    """The seconds that these tests live in."""
    time = [1000.0]
    monkeypatch.setattr(rack_times.time, "monotonic", lambda: time[0])
    return time


def over_after(patience, clock):
    """How many seconds it takes from now on until nobody waits any more, in tenths; None for an hour and more."""
    for tenths in range(36_000):
        if patience.is_over():
            return tenths / 10
        clock[0] += 0.1
    return None


def test_where_none_is_done_the_rack_waits_as_long_as_it_is_told(clock):
    assert over_after(rack_times.Patience("none", 60), clock) == pytest.approx(60, abs=0.2)


@pytest.mark.parametrize("others", [0.5, 10, 100])
def test_where_all_others_are_done_it_waits_little_longer_than_for_them(clock, others):
    patience = rack_times.Patience(f"others {others}", 60)
    several = [rack_times.Patience(f"others {others}", 60) for _one in range(3)]
    clock[0] += others
    for one in several:
        one.ended()
    assert over_after(patience, clock) <= 1.2 * others + 1


def test_chips_that_come_to_an_end_one_by_one_are_waited_for(clock):
    """As those of one kind do, of which each takes as long as chance has it."""
    several = [rack_times.Patience("one by one", 60) for _one in range(16)]
    for number, one in enumerate(several):
        clock[0] += 1.5 if number else 5
        assert not one.is_over(), number
        one.ended()


def test_units_that_begin_later_have_their_time(clock):
    """There are more devices than processes to ask them."""
    first = rack_times.Patience("later", 60)
    clock[0] += 10
    first.ended()
    second = rack_times.Patience("later", 60)
    assert over_after(second, clock) > 10


def test_another_task_says_nothing_of_this_one(clock):
    rack_times.Patience("another", 60).ended()
    assert over_after(rack_times.Patience("this", 30), clock) == pytest.approx(30, abs=0.2)


def test_what_others_took_is_known_in_all_processes():
    patience = rack_times.Patience("forked", 60)
    if os.fork() == 0:
        rack_times.Patience("forked", 60).ended()
        os._exit(0)
    os.wait()
    assert patience._times() is not None


def test_a_call_is_left_once_there_is_something_else_to_do_with_what_it_started():
    started, asked = [], []

    def call():
        started.append(subprocess.Popen(["sleep", "600"], stdout=subprocess.PIPE))
        return started[0].stdout.read()

    def leaving():
        asked.append(None)
        return len(asked) == 3

    with pytest.raises(LeftError):
        bounded(call, seconds=60, leaving=leaving)
    assert started[0].wait(timeout=5) < 0 and len(asked) == 3
    assert bounded(lambda: "done", seconds=60, leaving=leaving) == "done"


def test_who_cannot_be_reached_is_noted_once_a_batch_and_what_the_inventory_has_wrong_is_not(
    read, tmp_path, run_module
):
    ledger = str(tmp_path / "ledger.sqlite")
    noted = {"ledger": ledger, "step": "software_install", "station": "line-1"}
    away = {"ansible_host": "127.0.0.1", "ansible_port": 1, "noted": noted}
    units = {f"slot{number}": {**away, "tpmfleet_serial_number": f"TF-{number}"} for number in range(1, 5)}
    misnamed = {**away, "ansible_host": "no-such-host.invalid", "tpmfleet_serial_number": "TF-9"}
    devices = {**units, "slot9": misnamed, "slot5": QUICK}
    for arguments in (["--check"], []):
        assert not Path(ledger).exists()
        said, _calls, printed, _groups, code = read(devices, *arguments, first={"noting": "noted"})
        assert code == 4 and "record" in said[1, "slot5"], printed
    assert run_module("fleet_info", ledger=ledger)["failures"] == [
        {
            "cause": "Data could not be sent to remote host …. Make sure this host can be reached over ssh: ssh: "
            "connect to host … port …: Connection refused",
            "step": "software_install",
            "station": "line-1",
            "count": 4,
        }
    ]
    for number, told in ((1, True), (9, False)):
        lines = run_module("device_story_info", ledger=ledger, serial_number=f"TF-{number}")["lines"]
        assert any("step 3" in one and "NOT REACHED: Data could not be sent" in one for one in lines) is told, lines
