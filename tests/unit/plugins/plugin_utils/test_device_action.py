# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wall between devices and Ansible, by plays against a device whose Python says what the test has it say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils import device_action
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.answer import NoAnswerError, read_answer
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.bounded_call import TooLateError, bounded
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.returned import DIFFERENCES, RETURNED
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.shape import ShapeError

ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
TPM = {"manufacturer": "IFX", "model": "SLB9670", "firmware_version": "7.85.17.4555", "tpm_type": "hardware"}
INFO = {
    "changed": False,
    "tpm": TPM,
    "specification": {"family": "2.0", "revision": "1.64", "year": 2021},
    "hierarchies": {"owner_auth_set": False, "endorsement_auth_set": False, "lockout_auth_set": False},
    "clear_disabled": False,
    "in_lockout": False,
    "lockout_counter": 0,
    "dictionary_attack": {"max_tries": 32, "recovery_time": 600, "lockout_recovery": 86400},
    "persistent_handles": ["0x81000001"],
    "nv_indices": [],
    "algorithms": ["rsa"],
}


def answering(answer):
    """A program that gives *answer*."""
    return f"sys.stdout.write({json.dumps(answer)!r})"


@pytest.fixture
def ask(tmp_path):
    """Plays a task against units that answer by their programs; (what each registered and saw, what was printed)."""

    def run(programs, *arguments, task=None, **environment):
        hosts = {}
        for name, program in programs.items():
            python = tmp_path / f"python-{name}"
            python.write_text(f"#!{sys.executable}\nimport sys, time\nsys.stdin.buffer.read()\n{program}\n")
            python.chmod(0o755)
            hosts[name] = {"ansible_connection": "local", "ansible_python_interpreter": str(python)}
        kept = tmp_path / "kept"
        kept.mkdir()
        known = "{'said': said, 'facts': ansible_facts, 'hosts': groups.all, 'seen': seen | d()} | to_json"
        tasks = [
            {"tpmfleet.azure_dps.tpm_info": {}, "register": "said", "ignore_errors": True, **(task or {})},
            {"ansible.builtin.debug": {"msg": f"{{{{ {known} | kept('{kept}/' ~ inventory_hostname) }}}}"}},
        ]
        playbook, inventory = tmp_path / "play.yml", tmp_path / "hosts.yml"
        playbook.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        done = subprocess.run(
            [str(ANSIBLE_PLAYBOOK), "--inventory", str(inventory), str(playbook), *arguments],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == 0, printed
        return {name: json.loads((kept / name).read_text()) for name in programs}, printed

    return run


OWNED = {
    "ansible_facts": {"tpmfleet_power_up_command": ["touch", "/owned"], "seen": "injected", "ansible_seen": "x"},
    "ansible_host": "elsewhere",
    "_ansible_no_log": True,
    "_ansible_notify": ["x"],
    "_ansible_delegated_vars": {"ansible_delegated_host": "localhost"},
    "add_host": {"host_name": "new", "groups": ["devices"], "host_vars": {}},
    "add_group": "devices",
    "ansible_stats": {"data": {"x": 1}},
    "unreachable": True,
    "skipped": True,
    "include": "/etc/passwd",
    "include_args": {},
    "exception": "x",
    "results": [{"ansible_facts": {"seen": "x"}}],
    "attempts": 3,
    "diff": {"before": "\x1b[2J", "after": ""},
}
WARNINGS = {
    "warnings": ["\x1b[2Jfine\nPLAY RECAP", {"event": {"msg": "\u202eodd"}, "__ansible_type": "X"}, "a" * 100_000],
    "deprecations": [{"msg": "old\x1b", "version": "9", "collection_name": {"x": []}}],
}
FAILED = {"failed": True, "msg": "The TPM\x1b is away", "tpm_rc": "0x101", "ansible_facts": {"a": 1}, "tpm": TPM}


def test_what_passes_the_wall(ask):
    said, printed = ask(
        {
            "honest": answering({**INFO, "invocation": {"module_args": {}}}),
            "noisy": r"print('Welcome\n'); " + answering(INFO) + "; print('\\nLogged out.')",
            "owned": answering({**INFO, **OWNED, "tpm": {**TPM, **OWNED}}),
            "warning": answering({**INFO, **WARNINGS}),
            "failed": answering({**FAILED, "exception": "Traceback (most recent call last):\nok: [honest]"}),
            "list": answering({**INFO, "tpm": {**TPM, "model": ["x"]}}),
            "deep": "sys.stdout.write('{\"a\":' * 20_000 + '1' + '}' * 20_000)",
            "mute": "sys.stderr.write('\\x1b[2Jdead'); sys.exit(3)",
            "bare": "sys.exit(127)",
            "large": answering({**INFO, "tpm": {**TPM, "model": "a" * 300_000}}),
        },
        task={"diff": True},
        ANSIBLE_INJECT_FACT_VARS="1",
    )
    for name in ("honest", "noisy", "owned"):
        assert said[name]["said"] == {**INFO, "failed": False}, printed
    for unit in said.values():
        assert (unit["facts"], sorted(unit["hosts"]), unit["seen"]) == ({}, sorted(said), ""), printed
    assert not said["warning"]["said"]["failed"]
    assert r"warning: \x1b[2Jfine\nPLAY RECAP" in printed and r"warning: \u202eodd" in printed
    assert r"warning: old\x1b" in printed
    assert said["failed"]["said"].pop("exception", None) is not None
    assert said["failed"]["said"] == {
        "failed": True,
        "changed": False,
        "msg": r"The TPM\x1b is away",
        "tpm_rc": "0x101",
        "answered": True,
    }
    assert printed.count("\nok: [honest]\n") == 1, printed
    reasons = {name: said[name]["said"]["msg"] for name in ("list", "deep", "mute", "large")}
    assert reasons["list"] == (
        "list: what it returned for tpmfleet.azure_dps.tpm_info is not what that returns: tpm.model is a list, not "
        "text. Take it off the line: what runs on it is not what this collection runs, or was tampered with. "
        "(errors.md#device-tampered)"
    )
    assert reasons["deep"].startswith("deep: gave an answer that is nested deeper than 32 levels"), printed
    assert r"(exit code 3, last words: \x1b[2Jdead)" in reasons["mute"], printed
    assert reasons["large"].startswith("large: sent more than 256 kB"), printed
    # Its image or the inventory is to be mended, and no unit pulled.
    mend = {"kind": "setup", "option": None, "variable": "ansible_python_interpreter"}
    assert said["bare"]["said"]["failure"] == mend, printed
    assert "Python traceback" not in printed and 'File "' not in printed
    assert not {"\x1b", "\u202e"}.intersection(printed) and len(printed) < 20_000


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({**INFO, "tpm": "x"}, "tpm is text, not an object"),
        ({**INFO, "tpm": {**TPM, "tpm_type": "\x1b"}}, r"tpm.tpm_type is '\x1b', not one of hardware, software"),
        ({**INFO, "lockout_counter": -1}, "lockout_counter is a number that is not within 0 and 4294967295"),
        ({**INFO, "lockout_counter": True}, "lockout_counter is true or false, not a whole number"),
        ({**INFO, "lockout_counter": 1.5}, "lockout_counter is a number, not a whole number"),
        ({**INFO, "in_lockout": 0}, "in_lockout is a number, not true or false"),
        ({**INFO, "nv_indices": ["0x81000001"] * 2000}, "nv_indices has 2,000 entries"),
        ({**INFO, "nv_indices": ["0x81000001\n"]}, r"nv_indices[0] has 11 characters"),
        ({name: value for name, value in INFO.items() if name != "tpm"}, "tpm is missing"),
        ({**INFO, "failed": "no"}, "failed is text, not true or false"),
        ({**INFO, "changed": None}, "changed is null, not true or false"),
        ({**INFO, "warnings": {"a": 1}}, "warnings is not a list"),
        ({**INFO, "warnings": ["x"] * 21}, "warnings has 21 entries"),
        ({**INFO, "deprecations": [{"msg": ["x"]}]}, "deprecations[0] is a list, not text"),
        ({"failed": True, "msg": {"a": 1}}, "msg is an object, not text"),
        ({"failed": True, "msg": "", "tpm_rc": 257}, "tpm_rc is a number, not text"),
    ],
)
def test_what_the_module_does_not_return_is_told(answer, words):
    with pytest.raises(ShapeError) as error:
        read_answer(json.dumps(answer), RETURNED["tpm_info"], None)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ('{"a":' * 30_000 + "1" + "}" * 30_000, "nested deeper than 32 levels"),
        ('{"a": NaN}', "has NaN"),
        ('{"a": 1, "a": 2}', "twice"),
        (r'{"a": "\u0000"}', "a NUL"),
        (r'{"a": "\ud800"}', "half a character"),
        ('{"a": "\udcff"}', "half a character"),
        ('{"a": ' + "9" * 100_000 + "}", "64 bits"),
        ("no words at all", "gave no answer that a module gives"),
        ("[]", "gave no answer"),
        ("}{", "gave no answer"),
        ("", "gave no answer"),
        ("{" * 260_000, "gave no answer"),
        ("{" * 130_000 + "}" * 130_000, "nested deeper"),
    ],
)
def test_what_is_no_answer_is_told(printed, words):
    with pytest.raises(NoAnswerError, match=words):
        read_answer(printed, RETURNED["tpm_info"], None)


def test_a_difference_is_shown_line_by_line_and_nothing_in_it_moves():
    difference = [{"before_header": "/etc/x", "after_header": "/etc/x", "before": "", "after": "a\n\x1b[2J\n"}]
    client = {"changed": True, "changes": ["configuration"], "changed_settings": [], "diff": difference}
    said = read_answer(json.dumps(client), RETURNED["dps_client"], DIFFERENCES["dps_client"])
    assert said["diff"] == [{**difference[0], "after": "a\n\\x1b[2J\n"}]
    assert "diff" not in read_answer(json.dumps(client), RETURNED["dps_client"], None)


# Time and memory


def test_a_call_that_does_not_end_is_ended_with_what_it_started():
    started = []

    def call():
        started.append(subprocess.Popen(["sleep", "600"], stdout=subprocess.PIPE))
        return started[0].stdout.read()

    begin = time.monotonic()
    with pytest.raises(TooLateError):
        bounded(call, seconds=0.3)
    assert started[0].wait(timeout=5) == -signal.SIGKILL
    assert time.monotonic() - begin < 5
    assert signal.getsignal(signal.SIGALRM) in (signal.SIG_DFL, None)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_the_tasks_own_timeout_comes_first_and_leaves_nothing():
    started = []

    def call():
        started.append(subprocess.Popen(["sleep", "600"], stdout=subprocess.PIPE))
        return started[0].stdout.read()

    class TaskTimeout(BaseException):
        pass

    def alarm(*_signal):
        raise TaskTimeout

    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(TaskTimeout):
            bounded(call, seconds=60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert started[0].wait(timeout=5) == -signal.SIGKILL


def test_a_later_timeout_of_the_task_still_comes():
    alarms = []
    signal.signal(signal.SIGALRM, lambda *_signal: alarms.append(time.monotonic()))
    signal.setitimer(signal.ITIMER_REAL, 0.6)
    try:
        with pytest.raises(TooLateError):
            bounded(lambda: time.sleep(600), seconds=0.2)
        assert not alarms
        time.sleep(1)
        assert alarms
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


class Asking(device_action.DeviceAction):
    """tpm_info of a unit whose connection does what *connection* does."""

    MODULE = "tpm_info"

    def __init__(self, connection, **arguments):
        self._task = SimpleNamespace(
            delegate_to=None, args=arguments, diff=False, check_mode=False, action="tpm_info", run_once=False
        )
        self._connection = SimpleNamespace(transport="ssh")
        self._templar = SimpleNamespace(template=lambda value: value)
        self.connect = connection

    def _execute(self, *_module):
        return self._read(self._low_level_execute_command("python"))


@pytest.fixture
def asking(monkeypatch):
    monkeypatch.setattr(
        ActionBase, "_low_level_execute_command", lambda action, *_arguments, **_options: action.connect()
    )
    return Asking


def test_a_unit_that_never_answers_is_given_up_with_its_own_timeout(asking, monkeypatch):
    monkeypatch.setattr(device_action, "MARGIN", 0.2)
    begin = time.monotonic()
    action = asking(lambda: time.sleep(600), timeout=0)
    said = action.work({"inventory_hostname": "unit"})
    assert said["failed"] and said["msg"].startswith("unit: gave no answer within 0.2 s. ")
    assert time.monotonic() - begin < 5
    # Nor is it waited for again, to clean up there.
    with pytest.raises(AnsibleError, match="gave no answer"):
        action._low_level_execute_command("rm")
    assert time.monotonic() - begin < 5


def test_what_a_task_asks_of_a_unit_has_one_deadline_however_often_it_asks(asking, monkeypatch):
    """Else one that asks for an authorization at its last moment would have as long again."""
    monkeypatch.setattr(device_action, "MARGIN", 100)
    left = []

    def answer():
        left.append(unit._end - time.monotonic())
        time.sleep(0.2)
        return {"stdout": json.dumps(INFO), "stderr": "", "rc": 0}

    unit = asking(answer, timeout=0)
    unit.work({})
    # An installation has its own.
    unit.run_module("tpm_info", {}, {}, seconds=500)
    unit.work({})
    assert left[0] > 99 and left[1] > 499 and 90 < left[2] <= left[0] - 0.2


@pytest.mark.parametrize(
    ("arguments", "variables", "seconds"),
    [
        ({}, {}, 360),
        ({"timeout": 5}, {"tpmfleet_tpm_timeout": 900}, 65),
        ({}, {"tpmfleet_tpm_timeout": "900"}, 960),
        ({"timeout": "soon"}, {}, 360),
        ({"timeout": 1e400}, {}, 360),
        ({"timeout": -5}, {}, 60),
    ],
)
def test_how_long_a_unit_is_waited_for_follows_its_tpms_timeout(asking, arguments, variables, seconds):
    assert asking(None).patience(arguments, variables) == seconds


def test_a_secret_that_a_unit_says_again_is_not_shown(asking):
    said = {**INFO, "tpm": {**TPM, "model": "my lockout-secret"}, "warnings": ["lockout-secret"]}
    unit = asking(lambda: {"stdout": json.dumps(said), "stderr": "", "rc": 0}, lockout_auth="lockout-secret")
    unit.SECRET_OPTIONS = ("lockout_auth",)
    assert "lockout-secret" not in json.dumps(unit.work({"inventory_hostname": "unit"}))


@pytest.mark.parametrize("kind", [AnsibleConnectionFailure, AnsibleError])
def test_what_a_unit_says_while_it_is_connected_to_passes_for_no_line_of_ansibles(asking, kind):
    def refuse():
        raise kind("Failed to connect\nok: [other]\n\x1b[2J" + "a" * 10_000)

    with pytest.raises(AnsibleError) as error:
        asking(refuse).work({"inventory_hostname": "unit"})
    assert isinstance(error.value, AnsibleConnectionFailure) is (kind is AnsibleConnectionFailure)
    assert str(error.value).startswith("Failed to connect\n| ok: [other]\n| \\x1b[2Jaaa")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("path", ["/tmp/x\n!touch /owned", "relative", "/tmp/'x", "/" + "a" * 600, "/tmp/\x1b[2J"])
def test_a_directory_that_a_unit_names_becomes_no_command(asking, monkeypatch, path):
    monkeypatch.setattr(ActionBase, "_make_tmp_path", lambda _action: path)
    with pytest.raises(AnsibleError, match="said that its directory for temporary files is '") as error:
        asking(None)._make_tmp_path()
    assert str(error.value).isprintable()


def test_a_call_that_takes_all_memory_is_ended_and_the_memory_is_there_again():
    """In a process of its own, as Ansible forks one for each task."""
    program = """
import resource, subprocess, sys
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.bounded_call import TooMuchError, bounded

def call():
    endless = subprocess.Popen(["cat", "/dev/zero"], stdout=subprocess.PIPE)
    return endless.stdout.read()

before = resource.getrlimit(resource.RLIMIT_DATA)
for _time in range(2):
    try:
        bounded(call, seconds=60)
    except TooMuchError:
        print("too much")
assert resource.getrlimit(resource.RLIMIT_DATA) == before
assert bounded(lambda: bytes(1 << 20), seconds=60) == bytes(1 << 20)
# Of this program alone; ru_maxrss begins with what its parent had.
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *told, most = done.stdout.split("\n")[:-1]
    assert told == ["too much"] * 2
    assert int(most) < 110
