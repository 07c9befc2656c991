# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A step does not start where Ansible would let a device change its settings, whoever configured that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment, meta

ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
COLLECTION = Path(__file__).resolve().parents[4]
ROLES = COLLECTION / "roles"
CURE = "Set inject_facts_as_vars = false in [defaults] of ansible.cfg"


@pytest.fixture
def play(tmp_path):
    """Runs one of our playbooks or a list of plays, from a directory of the user's; (exit code, what was printed)."""

    def run(what, configuration, **environment):
        (tmp_path / "ansible.cfg").write_text(configuration)
        if not isinstance(what, str):
            (tmp_path / "play.yml").write_text(yaml.safe_dump(what))
            what = "play.yml"
        own = {name: value for name, value in os.environ.items() if name != "ANSIBLE_CONFIG"}
        done = subprocess.run(
            [
                str(ANSIBLE_PLAYBOOK),
                "--inventory",
                "unit1,unit2,",
                what,
                "-e",
                f"tpmfleet_hosts=all tpmfleet_ledger={tmp_path}/ledger",
            ],
            cwd=tmp_path,
            env={**own, "ANSIBLE_NOCOLOR": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def own_play(*tasks):
    """A play of the user's own."""
    return [{"hosts": "all", "gather_facts": False, "tasks": list(tasks)}]


def test_our_playbooks_and_a_play_of_the_users_own_refuse_injected_facts(play):
    code, printed = play("tpmfleet.azure_dps.ek_intake", "[defaults]\n")
    assert code == 2 and CURE in printed and printed.count("fatal: ") == 1, printed
    role = own_play({"ansible.builtin.import_role": {"name": "tpmfleet.azure_dps.ek_intake"}})
    code, printed = play(role, "[defaults]\ninject_facts_as_vars = true\n")
    assert code == 2 and CURE in printed and "Nothing was changed." in printed, printed
    code, printed = play(role, "[defaults]\n", ANSIBLE_INJECT_FACT_VARS="0")
    assert code == 0 and "unit1" in printed, printed


def test_a_part_of_a_step_refuses_them_too(play):
    part = {"ansible.builtin.import_role": {"name": "tpmfleet.azure_dps.possession"}}
    keys = {"possession_endorsement_key": "x", "possession_storage_root_key": "x"}
    code, printed = play(own_play({**part, "vars": keys}), "[defaults]\n")
    assert code == 2 and printed.count("fatal: ") == 2 and printed.count(CURE) >= 2, printed


def test_our_configuration_does_not_inject_them(play):
    code, printed = play(own_play({"tpmfleet.azure_dps.step_start": {}}), (COLLECTION / "ansible.cfg").read_text())
    assert code == 0, printed


@pytest.mark.parametrize("strategy", ["free", "ansible.builtin.host_pinned"])
def test_a_strategy_that_has_each_device_go_on_by_itself_is_refused_in_words(play, strategy):
    """One cannot judge a batch of which some have not been read."""
    own = [
        {
            **own_play({"ansible.builtin.import_role": {"name": "tpmfleet.azure_dps.tpm_install"}})[0],
            "strategy": strategy,
        }
    ]
    code, printed = play(own, "[defaults]\ninject_facts_as_vars = false\n")
    assert code == 2, printed
    assert f"The strategy '{strategy}' has each device go on by itself" in " ".join(printed.split())
    assert "Read the device" not in printed


def test_the_arguments_of_a_step_are_looked_at_once(play):
    """By the step itself, since the playbooks leave out the check that Ansible makes for each device."""
    # The doctor is no step: it finds out what would keep one from its start.
    steps = [path for path in (COLLECTION / "playbooks").glob("*.yml") if path.stem != "doctor"]
    for text in (path.read_text() for path in steps):
        assert "import_role" not in text or "hosts: localhost" in text or "rolespec_validate: false" in text, text
    head = {"ansible.builtin.import_role": {"name": "tpmfleet.azure_dps.tpm_install", "rolespec_validate": False}}
    wrong = {"tpm_install_enroll": "perhaps", "tpm_install_software_tpm": ["no"]}
    code, printed = play(own_play({**head, "vars": wrong}), "[defaults]\ninject_facts_as_vars = false\n")
    assert code == 2 and printed.count("fatal: ") == 1, printed
    assert "tpm_install: " in printed and "tpm_install_enroll" in printed and "tpm_install_software_tpm" in printed


@pytest.mark.parametrize("role", sorted(path.name for path in ROLES.iterdir()))
def test_every_step_looks_before_it_does_anything(role):
    """A step is what writes into the ledger or has a playbook of its own; in check mode and with tags too."""
    tasks = yaml.safe_load((ROLES / role / "tasks" / "main.yml").read_text())
    playbooks = [path.read_text() for path in (COLLECTION / "playbooks").glob("*.yml")]
    # What is for this machine alone asks no device.
    has_playbook = any(f"tpmfleet.azure_dps.{role}\n" in text and "hosts: localhost" not in text for text in playbooks)
    looks = "tpmfleet.azure_dps.step_start" in tasks[0]
    assert looks == (has_playbook and role != "doctor")
    if looks:
        assert tasks[0]["run_once"] is True and "when" not in tasks[0]


def test_what_decides_whether_a_task_runs_once_is_what_a_task_has_returned():
    """A template of the inventory may fail for one host, and there it would end the run, without that host's name."""
    paths = sorted(ROLES.glob("*/tasks/*.yml"))
    tasks = [task for path in paths for task in _tasks(yaml.safe_load(path.read_text()) or [])]
    registered = {task["register"] for task in tasks if "register" in task}
    templated = [task for task in tasks if isinstance(task.get("run_once"), str)]
    assert len(templated) > 3
    for task in templated:
        own = {name: str(value) for name, value in (task.get("vars") or {}).items()}
        names = _names(task["run_once"])
        while names & own.keys():
            names = {one for name in names for one in (_names(own[name]) if name in own else {name})}
        assert names <= registered, f"{task['name']}: {names - registered}"


def _tasks(tasks):
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from _tasks(task.get(part) or [])


def _names(template):
    return meta.find_undeclared_variables(Environment(extensions=[]).parse(template))


@pytest.mark.parametrize("role", ["tpm_install", "software_install"])
def test_a_run_that_begins_at_a_later_task_asks_each_device(role, tmp_path):
    """What the step's first task would have told is not there then, and nobody tells for all."""
    tasks = yaml.safe_load((ROLES / role / "tasks" / "main.yml").read_text())
    (asked,) = [task["run_once"] for task in tasks if "start" in str(task.get("run_once"))]
    switch = re.search(r"'(\w+)' in", asked)[1]
    wanted = {"run_once": asked, "ansible.builtin.debug": {"msg": "is asked"}}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{**own_play(wanted)[0], "vars": {switch: False}}]))
    command = [str(ANSIBLE_PLAYBOOK), "--inventory", "unit1,unit2,", "--connection", "local", "play.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count("is asked") == 2, done.stdout + done.stderr
