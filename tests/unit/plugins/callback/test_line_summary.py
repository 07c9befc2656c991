# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The summary that ends a run, from real runs of ansible-playbook."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils import failure

ANSIBLE_PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
PLUGIN = Path(__file__).resolve().parents[4] / "plugins" / "callback"


@pytest.fixture
def summary(tmp_path):
    """Runs a playbook over *units* hosts and returns what is printed from the summary on.

    The plugin is taken from its directory, so that the test needs no placed collection.
    """

    def run(
        tasks: str, *arguments: str, units: int = 3, hosts: str = "units", head: str = "", colour: bool = False
    ) -> str:
        names = [f"unit-{number:03}" for number in range(1, units + 1)]
        inventory = ["[units]", *(f"{name} ansible_connection=local" for name in names)]
        (tmp_path / "hosts.ini").write_text("\n".join(inventory) + "\n")
        (tmp_path / "ansible.cfg").write_text("[defaults]\n")
        play = f"- name: Step 3\n  hosts: {hosts}\n  gather_facts: false\n{head}  tasks:\n"
        body = "".join(f"    {line}\n" for line in tasks.strip("\n").splitlines())
        (tmp_path / "play.yml").write_text(play + body)
        done = subprocess.run(
            [ANSIBLE_PLAYBOOK, "-i", "hosts.ini", "play.yml", *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                "ANSIBLE_CALLBACK_PLUGINS": str(PLUGIN),
                "ANSIBLE_CALLBACKS_ENABLED": "line_summary",
                "ANSIBLE_CONFIG": "ansible.cfg",
                **({"ANSIBLE_FORCE_COLOR": "1", "ANSIBLE_NOCOLOR": ""} if colour else {"ANSIBLE_NOCOLOR": "1"}),
                "TPMFLEET_SUMMARY_FILE": "summary.json",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert "PLAY RECAP" in done.stdout, done.stdout
        assert "Callback dispatch" not in done.stdout and "Failure using method" not in done.stdout, done.stdout
        last = done.stdout[done.stdout.index("PLAY RECAP") :]
        found = re.search(r"^.*LINE SUMMARY(?s:.*)", last, re.MULTILINE)
        written = f"WRITTEN {tmp_path / 'summary.json'}"
        said = found[0] if found else ""
        assert not found or written in said, done.stdout
        return said.replace(written, "").strip()

    return run


FAIL = "- name: Check\n  ansible.builtin.fail:\n    msg: {msg}\n  when: inventory_hostname == 'unit-002'\n"


def test_only_what_is_wrong_is_listed(summary):
    """200 units, one of them bad: two lines more."""
    printed = summary(FAIL.format(msg='"{{ inventory_hostname }}: its key is\n      on no list"'), units=200)
    assert printed.splitlines() == [
        "LINE SUMMARY: 199 passed, 1 to pull",
        "PULL unit-002: stopped at Check (Step 3)",
        "     its key is on no list",
    ]


def test_all_passed(summary):
    assert summary("- ansible.builtin.debug:\n    msg: fine\n") == "LINE SUMMARY: 3 passed, 0 to pull"


def test_unreachable(summary):
    """A unit without an answer is pulled, with what the connection said."""
    tasks = "- name: Ask\n  ansible.builtin.raw: 'true'\n  vars:\n    ansible_connection: >-\n"
    tasks += "      {{ 'ssh' if inventory_hostname == 'unit-003' else 'local' }}\n    ansible_host: 127.0.0.1\n"
    printed = summary(tasks + "    ansible_port: 1\n")
    assert "LINE SUMMARY: 2 passed, 1 to pull\nPULL unit-003: unreachable at Ask (Step 3)\n" in printed
    assert "Connection refused" in printed


def test_ignored_and_rescued_failures_are_none(summary):
    tasks = FAIL.format(msg="ignored") + "  ignore_errors: true\n"
    tasks += "- name: Try\n  block:\n    - ansible.builtin.fail:\n        msg: rescued\n"
    tasks += "  rescue:\n    - ansible.builtin.debug:\n        msg: fine\n"
    assert summary(tasks) == "LINE SUMMARY: 3 passed, 0 to pull"


def test_no_log_stays_unsaid(summary):
    """Also where only an item of a loop is secret."""
    loop = "- name: Loop\n  ansible.builtin.fail:\n    msg: '{{ item }}'\n  no_log: true\n  loop: [s3cret-b]\n"
    loop += "  when: inventory_hostname == 'unit-001'\n"
    printed = summary(FAIL.format(msg="s3cret-a") + "  no_log: true\n" + loop)
    assert printed.startswith("LINE SUMMARY: 1 passed, 2 to pull")
    assert "s3cret" not in printed and printed.count("no_log") == 2


def test_a_batch_that_failed_as_one_is_held_up(summary):
    """The unit that stood for the batch is no worse than the others."""
    tasks = "- name: Enroll\n  ansible.builtin.fail:\n    msg: the service does not answer\n  run_once: true\n"
    tasks += "  vars:\n    __enroll_failure_kind: again\n"
    assert summary(tasks).splitlines() == [
        "LINE SUMMARY: 0 passed, 0 to pull, 3 held up: nothing is wrong with them, repeat the run",
        "AGAIN: stopped at Enroll (Step 3), for unit-001, unit-002, unit-003",
        "     the service does not answer",
    ]


def test_what_is_always_done_is_no_end_of_a_batch_that_failed(summary):
    """As step 3 reports to the owners of work orders, also where there is none: that task is skipped for all."""
    always = "  always:\n    - name: Report\n      ansible.builtin.debug:\n      run_once: true\n      when: {0}\n"
    fail = "- block:\n    - name: Enroll\n      ansible.builtin.fail:\n        msg: dead\n      run_once: true\n"
    last = "    - ansible.builtin.debug:\n"
    good = "- block:\n    - ansible.builtin.debug:\n"
    for when in ("true", "false"):
        printed = summary(fail + last + always.format(when))
        assert printed.startswith("LINE SUMMARY: 0 passed, 0 to pull, 3 held up")
        assert summary(good + always.format(when)) == "LINE SUMMARY: 3 passed, 0 to pull"


def test_a_batch_that_failed_holds_up_no_other_batch(summary):
    tasks = "- name: Enroll\n  ansible.builtin.fail:\n    msg: refused\n  run_once: true\n"
    tasks += "  when: \"'unit-004' in ansible_play_batch\"\n"
    printed = summary(tasks, units=4, head="  serial: 2\n")
    assert printed.startswith("LINE SUMMARY: 2 passed, 0 to pull, 2 held up")


def test_batches_that_never_began_are_not_run(summary):
    """Ansible ends a play in which a whole batch failed; the units of later batches stand where they stood."""
    tasks = "- name: Check\n  ansible.builtin.fail:\n    msg: bad\n"
    printed = summary(tasks, units=4, head="  serial: 2\n").splitlines()
    assert printed[0].startswith("LINE SUMMARY: 0 passed, 2 to pull, 2 not run")


def test_any_error_that_ends_the_batch(summary):
    """Here a unit is at fault, and the others are not."""
    tasks = FAIL.format(msg="bad key") + DEBUG
    printed = summary(tasks, head="  any_errors_fatal: true\n").splitlines()
    assert printed[0].startswith("LINE SUMMARY: 0 passed, 1 to pull, 2 held up")
    assert printed[1] == "PULL unit-002: stopped at Check (Step 3)"


def test_the_first_item_of_a_loop_is_the_reason(summary):
    tasks = "- name: Loop\n  ansible.builtin.assert:\n    that: item == 'good'\n    fail_msg: '{{ item }}'\n"
    printed = summary(tasks + "  loop: [good, bad, worse]\n", units=1).splitlines()
    assert printed[2].strip() == "bad"


@pytest.mark.parametrize("middle", ["It came about in another way. " * 40, "x" * 2000])
def test_a_long_reason_keeps_its_first_and_its_last_clause(summary, middle):
    """They say the cause and the remedy."""
    printed = summary(FAIL.format(msg=f"'The key is wrong. {middle} Set tpmfleet_key_version.'")).splitlines()[2]
    assert printed.strip().startswith("The key is wrong. ") and printed.endswith("Set tpmfleet_key_version.")
    assert len(printed.strip()) <= 400 and "[…]" in printed


def test_what_explains_a_reason_stands_at_its_end_whatever_is_cut_and_once_in_the_end(summary, tmp_path):
    said = (
        f"'The key is wrong. {'It came about in another way. ' * 40}Set tpmfleet_key_version. (errors.md#key-version)'"
    )
    tasks = FAIL.format(msg=said) + FAIL.format(msg=said).replace("unit-002", "unit-003")
    lines = summary(tasks).splitlines()
    assert lines[2].startswith("     The key is wrong. ") and "[…]" in lines[2]
    assert lines[2].endswith("Set tpmfleet_key_version. (errors.md#key-version)")
    # Those that one cause has stopped at one place are named together.
    assert lines[1].startswith("PULL unit-002, unit-003: stopped at ")
    assert lines[3:] == ["EXPLAINED by ansible-playbook tpmfleet.azure_dps.explain -e error=key-version"]
    read = json.loads((tmp_path / "summary.json").read_text())
    assert [one["error"] for one in read["pull"]] == ["key-version"] * 2


def test_what_others_say_is_explained_by_no_page_of_ours(summary):
    """Nor is an entry believed that there is not."""
    printed = summary(FAIL.format(msg="'There is no TPM at all, and the master key is odd (errors.md#no-such-entry)'"))
    assert printed.endswith("(errors.md#no-such-entry)") and "EXPLAINED" not in printed


def test_a_unit_that_cannot_be_reached_is_explained(summary):
    tasks = "- name: Ask\n  ansible.builtin.ping:\n  vars:\n    ansible_connection: ssh\n    ansible_host: 127.0.0.1\n"
    printed = summary(tasks + "    ansible_port: 1\n", units=1).splitlines()
    assert printed[2].endswith("Is it switched on and on the network? (errors.md#device-unreachable)")


def test_the_station_is_no_unit(summary):
    tasks = "- name: Read the list\n  ansible.builtin.fail:\n    msg: no such file\n"
    assert summary(tasks, hosts="localhost").splitlines()[:2] == [
        "LINE SUMMARY: 0 passed, 0 to pull",
        "MEND: stopped at Read the list (Step 3)",
    ]


DEBUG = "- name: Work\n  ansible.builtin.debug:\n    msg: fine\n- name: Tell\n  ansible.builtin.debug:\n    msg: [a]\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--tags", "enrol"), "0 passed, 0 to pull, 3 not run"),
        (("--start-at-task", "No such task"), "0 passed, 0 to pull, 3 not run"),
        (("--start-at-task", "Tell"), "3 passed, 0 to pull"),
        (("--tags", "work"), "0 passed, 0 to pull, 3 not run"),
    ],
)
@pytest.mark.parametrize("once", ["", "  run_once: true\n"])
def test_passed_is_who_reached_the_end(summary, arguments, told, once):
    """Whether each unit or one for all does the last task."""
    tasks = DEBUG.replace("    msg: fine\n", "    msg: fine\n  tags: work\n") + once
    printed = summary(tasks, *arguments).splitlines()
    assert printed[0].startswith(f"LINE SUMMARY: {told}")
    assert any(line.startswith("NOT RUN unit-001, unit-002, unit-003: ") for line in printed) == ("not run" in told)


def test_a_run_with_none_passed_is_not_green(summary):
    """What it prints in colour."""
    red, green = "\x1b[0;31m", "\x1b[0;32m"
    assert summary(DEBUG, colour=True).count(green) and red not in summary(DEBUG, colour=True)
    assert summary(DEBUG, "--tags", "enrol", colour=True).startswith(f"{red}LINE SUMMARY: 0 passed")


def test_an_end_that_is_included_or_rescued_is_an_end(summary, tmp_path):
    (tmp_path / "more.yml").write_text("- ansible.builtin.debug:\n")
    assert summary("- ansible.builtin.include_tasks: more.yml\n") == "LINE SUMMARY: 3 passed, 0 to pull"
    tasks = "- block:\n    - ansible.builtin.fail:\n  rescue:\n    - ansible.builtin.debug:\n    - meta: noop\n"
    assert summary(tasks) == "LINE SUMMARY: 3 passed, 0 to pull"


@pytest.mark.parametrize("how", ["run_once: true", "any_errors_fatal: true\n  when: inventory_hostname == 'unit-002'"])
def test_who_failed_in_what_was_included_last_has_not_passed(summary, tmp_path, how):
    """Nor has the rest of a batch that ended with it."""
    (tmp_path / "more.yml").write_text(f"- ansible.builtin.fail:\n    msg: dead\n  {how}\n- ansible.builtin.debug:\n")
    printed = summary("- ansible.builtin.include_tasks: more.yml\n")
    assert printed.startswith("LINE SUMMARY: 0 passed")


@pytest.fixture
def own_roles(tmp_path):
    """Two roles of three tasks, in plays of somebody's own."""
    for name in ("one", "two"):
        tasks = tmp_path / "roles" / name / "tasks"
        tasks.mkdir(parents=True)
        checked = "- ansible.builtin.debug:\n  tags: always\n"
        (tasks / "main.yml").write_text(checked + "- ansible.builtin.debug:\n- name: End\n  ansible.builtin.debug:\n")


ROLES = """
- ansible.builtin.{0}_role:
    name: one
  tags: [first]
- ansible.builtin.{0}_role:
    name: two
  tags: [second]
"""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "3 passed"),
        (("--tags", "first"), "3 passed"),
        (("--tags", "second"), "3 passed"),
        (("--skip-tags", "second"), "3 passed"),
        (("--tags", "third"), "0 passed, 0 to pull, 3 not run"),
        (("--tags", "always"), "0 passed, 0 to pull, 3 not run"),
    ],
)
def test_tags_that_choose_whole_roles_have_their_end(summary, own_roles, arguments, told):
    assert summary(ROLES.format("import"), *arguments).startswith(f"LINE SUMMARY: {told}")


@pytest.mark.parametrize("tag", ["first", "second"])
def test_tags_that_what_is_included_does_not_have_run_nothing(summary, own_roles, tag):
    """Ansible applies them to the task that includes alone."""
    assert summary(ROLES.format("include"), "--tags", tag).startswith("LINE SUMMARY: 0 passed, 0 to pull, 3 not run")


def test_a_run_that_found_no_host_says_so(summary, tmp_path):
    """Ansible ends it with the status 0."""
    printed = summary(DEBUG, hosts="devices", colour=True)
    assert printed.startswith("\x1b[0;31mLINE SUMMARY: 0 passed") and "NOTHING RAN" in printed
    assert "-e tpmfleet_hosts=GROUP" in printed
    assert json.loads((tmp_path / "summary.json").read_text())["without_hosts"] == ["Step 3"]


def test_the_inventory_to_mend_is_said_once_with_the_variable(summary):
    """Three units, one line; no unit is to be pulled for it."""
    tasks = "- name: Claim\n  ansible.builtin.assert:\n    that: tpmfleet_master_key | length > 0\n"
    printed = summary(tasks).splitlines()
    assert printed == [
        "LINE SUMMARY: 0 passed, 0 to pull, 3 held up: nothing is wrong with them, mend what is named below, then "
        "repeat the run",
        "MEND tpmfleet_master_key: stopped at Claim (Step 3), for unit-001, unit-002, unit-003",
        "     tpmfleet_master_key is not defined. Set it in the inventory, for all units of this step. "
        "(errors.md#undefined-variable)",
        "EXPLAINED by ansible-playbook tpmfleet.azure_dps.explain -e error=undefined-variable",
    ]


def test_a_module_of_the_station_says_which_option_and_the_summary_which_variable(summary):
    tasks = "- name: Ask\n  tpmfleet.azure_dps.dps_registration_info:\n    registration_ids: [a]\n"
    tasks += (
        "    connection_string: '{{ tpmfleet_dps_connection_string }}'\n  run_once: true\n  delegate_to: localhost\n"
    )
    tasks += "  vars:\n    tpmfleet_dps_connection_string: HostName=nonsense\n"
    printed = summary(tasks).splitlines()
    assert printed[1].startswith("MEND tpmfleet_dps_connection_string: stopped at Ask (Step 3)")
    assert printed[2].endswith("It comes from tpmfleet_dps_connection_string. (errors.md#dps-connection-string)")


def test_a_service_that_does_not_answer_is_nobodys_fault(summary):
    tasks = "- name: Ask\n  tpmfleet.azure_dps.dps_registration_info:\n    registration_ids: [a]\n    retry_budget: 1\n"
    tasks += "    timeout: 1\n    sas_token: SharedAccessSignature sr=127.0.0.1%3A1&sig=QQ%3D%3D&se=9999999999&skn=a\n"
    printed = summary(tasks + "  run_once: true\n  delegate_to: localhost\n").splitlines()
    assert printed[0].endswith("3 held up: nothing is wrong with them, repeat the run"), printed
    assert printed[1].startswith("AGAIN: stopped at Ask (Step 3)")


HOSTILE = """
- name: Read
  ansible.builtin.command:
    argv: [/bin/sh, -c, 'printf "%s" "$0"; exit 1', "{{ words }}"]
  failed_when: true
  vars:
    words: "'tpmfleet_ledger' is undefined"
  when: inventory_hostname == 'unit-002'
"""


def test_the_words_of_a_device_do_not_change_the_kind(summary):
    """A result that came from a unit is about that unit, whatever it says."""
    tasks = HOSTILE + "- ansible.builtin.fail:\n    msg: 'unit-003: said \\x1b[2J\\u202e {{ said }}'\n"
    tasks += "  when: inventory_hostname == 'unit-003'\n  vars:\n    said: \"'tpmfleet_ledger' is undefined\"\n"
    printed = summary(tasks.replace("'unit-003: said", '"unit-003: said').replace("}}'\n", '}}"\n'))
    assert printed.startswith("LINE SUMMARY: 1 passed, 2 to pull"), printed
    assert "MEND" not in printed and "\x1b" not in printed and "\u202e" not in printed
    assert "\\x1b[2J\\u202e" in printed


def test_a_program_reads_the_same(summary, tmp_path):
    summary(FAIL.format(msg="its key is on no list"))
    read = json.loads((tmp_path / "summary.json").read_text())
    assert read["passed"] == ["unit-001", "unit-003"] and read["held_up"] == read["not_run"] == []
    assert read["pull"] == [
        {
            "unit": "unit-002",
            "task": "Check",
            "play": "Step 3",
            "how": "stopped",
            "reason": "its key is on no list",
            "error": "",
        }
    ]
    assert read["mend"] == read["again"] == read["next"] == [] and read["version"] == 1


def test_what_comes_next_is_said_where_all_went_well(summary):
    tasks = "- name: Tell\n  ansible.builtin.debug:\n    msg: ['unit-001: done', 'NEXT: box the units']\n"
    tasks += "  run_once: true\n"
    assert summary(tasks).splitlines()[-1] == "NEXT box the units"
    assert "NEXT" not in summary(FAIL.format(msg="bad") + tasks)


def test_a_run_over_the_station_alone_has_no_summary(summary):
    assert summary("- ansible.builtin.debug:", hosts="localhost") == ""


def test_what_a_task_on_a_device_lacks_is_the_inventorys(summary):
    """Its arguments could not be made, so that no device was asked."""
    tasks = "- name: Read\n  tpmfleet.azure_dps.tpm_info:\n    tcti: '{{ tpmfleet_tcti }}'\n"
    printed = summary(tasks).splitlines()
    assert printed[1].startswith("MEND tpmfleet_tcti: stopped at Read (Step 3), for unit-001, unit-002, unit-003")


@pytest.mark.parametrize(
    ("answered", "kind"),
    [({"answered": True}, failure.UNIT), ({}, failure.SETUP), ({"answered": False}, failure.SETUP)],
)
def test_a_device_that_says_what_ansible_would_say_stays_a_device(answered, kind):
    said = "Task failed: Finalization of task args for 'x' failed: 'tpmfleet_ledger' is undefined"
    task = SimpleNamespace(vars={}, action="tpmfleet.azure_dps.tpm_info", resolved_action=None, run_once=False)
    found = failure.failure_of({"failed": True, "msg": said, **answered}, task, "unit-001")
    assert found.kind == kind


CONNECTION = [
    ("Failed to connect to the host via ssh: ssh: connect to host 10.0.0.1 port 22: Connection refused", failure.UNIT),
    ("Failed to connect to the host via ssh: line@10.0.0.1: Permission denied (publickey).", failure.SETUP),
    # Where the module was larger than what a pipe takes.
    (
        'Data could not be sent to remote host "10.0.0.1". Make sure this host can be reached over ssh: '
        "line@10.0.0.1: Permission denied (publickey).",
        failure.SETUP,
    ),
    ("Failed to connect to the host via ssh: a banner\nHost key verification failed.", failure.SETUP),
    ("Host key verification failed.\nssh: connect to host 10.0.0.1 port 22: Connection timed out", failure.UNIT),
    ("ssh: Could not resolve hostname slot1: Name or service not known", failure.SETUP),
    ("Missing sudo password", failure.SETUP),
    ("Timeout (12s) waiting for privilege escalation prompt: ", failure.AGAIN),
    ("Host key verification failed. (said the banner)", failure.UNIT),
]


@pytest.mark.parametrize(("said", "kind"), CONNECTION)
def test_a_unit_that_is_off_is_told_from_one_that_we_may_not_log_in_to(said, kind):
    """By the last line, which is our own ssh's; those before it may be the device's banner."""
    task = SimpleNamespace(vars={}, action="tpmfleet.azure_dps.tpm_info", resolved_action=None, run_once=False)
    assert failure.failure_of({"unreachable": True, "msg": said}, task, "slot1", unreachable=True).kind == kind


def test_what_runs_on_devices_is_known_as_that():
    """The modules whose action is the wall's."""
    actions = PLUGIN.parent / "action"
    walled = {
        path.stem
        for path in actions.glob("*.py")
        if re.search(r"\((Device|Proving|Runtime|Reading|Noting)Action\b", path.read_text())
    }
    assert {name.rpartition(".")[2] for name in failure.DEVICE_MODULES} == walled


@pytest.mark.parametrize(
    "msg",
    ["Error executing command.", "[Errno 2] No such file or directory: b'power-on'", "Task failed: Module failed."],
)
def test_a_command_of_the_station_that_is_not_there_is_named_with_its_variable(msg):
    """And not its arguments, of which one may be the password of a power distribution unit."""
    written = {"argv": "{{ (field_activation_power_up_command is string | ternary(1, 2)) + waiting }}"}
    default = {"field_activation_power_up_command": "{{ tpmfleet_power_up_command | default([]) }}"}
    role = SimpleNamespace(get_name=lambda: "tpmfleet.azure_dps.field_activation", get_default_vars=lambda: default)
    task = SimpleNamespace(
        vars={}, action="ansible.builtin.command", resolved_action=None, run_once=True, _role=role,
        get_ds=lambda: {"ansible.builtin.command": written},
    )  # fmt: skip
    result = {"failed": True, "msg": msg, "rc": 2, "cmd": ["power-on", "--password", "geheim"]}
    found = failure.failure_of(result, task, "unit-001")
    ended = {
        **result,
        "msg": "non-zero return code",
        "rc": 1,
        "delta": "0:00:01",
        "stderr": "trace\nno such outlet: geheim",
    }
    said = failure.failure_of(ended, task, "unit-001").reason
    words = "The command power-on ended with the status 1: no such outlet: …. It comes from tpmfleet_power_up_command."
    assert said.startswith(words) and "geheim" not in said
    assert (found.kind, found.variable) == (failure.SETUP, "tpmfleet_power_up_command")
    words = (
        "The command power-on could not be begun: No such file or directory. It comes from tpmfleet_power_up_command."
    )
    assert found.reason.startswith(words) and "geheim" not in found.reason
