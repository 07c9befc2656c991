# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One unit of a rack is in an attacker's hands, who has root there: he harms nobody but that unit, and not the station.

docs/trust.md names these tests.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.hierarchy_auth import derive

HERE = Path(__file__).parent
ATTACKERS_PYTHON = "usr/local/bin/attackers-python"
HONEST, HOSTILE, ENDLESS = "rack1-slot01", "rack1-slot02", "rack1-slot03"
ENDLESS_PYTHON = "#!/bin/sh\nexec cat /dev/zero\n"


@pytest.fixture(scope="module")
def line(start_line, tmp_path_factory):
    """A rack of three; two run Python by the attacker's program, once he has put one there."""
    line = start_line(3)
    attacked = tmp_path_factory.mktemp("attacked") / "attacked.yml"
    python = {"ansible_python_interpreter": f"/{ATTACKERS_PYTHON}"}
    attacked.write_text(json.dumps({"all": {"hosts": {HOSTILE: python, ENDLESS: python}}}))
    line.attacked = ["-i", str(attacked)]
    for name in (HOSTILE, ENDLESS):
        put(line, name, '#!/bin/sh\nexec /usr/bin/python3 "$@"\n')
    return line


def put(line, name, program):
    """Makes *program* what Ansible takes for Python on a device."""
    path = line.rack.device(name).files / ATTACKERS_PYTHON
    path.write_text(program)
    path.chmod(0o755)


def attack(line, **settings):
    """Puts the hostile unit's modules into the attacker's hands."""
    put(line, HOSTILE, "#!/usr/bin/python3\n" + (HERE / "python_of_an_attacker.py").read_text())
    (line.rack.device(HOSTILE).files / "etc/attacker.json").write_text(json.dumps(settings))


def adding(fields):
    """Settings that add *fields* to the result of every module."""
    return {"outgoing": [['"invocation": {', json.dumps(fields)[1:-1] + ', "invocation": {']]}


def test_what_a_unit_says_configures_nothing(line, tmp_path):
    """All of the line, with every result of the unit full of facts, hosts, groups and settings."""
    marker, other_ledger = tmp_path / "owned", tmp_path / "ledger.sqlite"
    settings = {
        "tpmfleet_power_up_command": ["touch", str(marker)],
        "field_activation_power_up_command": ["touch", str(marker)],
        "tpmfleet_production": False,
        "tpmfleet_ek_list_policy": "ignored",
        "tpmfleet_ek_certificate_policy": "ignored",
        "tpmfleet_ledger": str(other_ledger),
        "tpmfleet_dps_connection_string": "HostName=attacker.example;SharedAccessKeyName=a;SharedAccessKey=YQ==",
        "tpmfleet_master_key": "a" * 48,
        "tpmfleet_serial_number": "TF-000001",
        "ansible_connection": "local",
        "ansible_python_interpreter": str(marker),
    }
    hosts = {"add_host": {"host_name": "localhost", "groups": ["devices"], "host_vars": settings}}
    attack(
        line, **adding({"ansible_facts": settings, **settings, **hosts, "add_group": "devices", "unreachable": True})
    )
    run = line.play("site", *line.attacked)
    assert (run.code, run.bad) == (0, set()), run.printed
    assert set(run.hosts) == {HONEST, HOSTILE, ENDLESS}
    assert not marker.exists() and not other_ledger.exists()
    records = {record["host"]: record for record in line.records()}
    assert set(records) == {HONEST, HOSTILE, ENDLESS}
    assert records[HOSTILE]["serial_number"] == "TF-000002"
    assert all(one.assigned for one in line.seen().values())


def impersonated(line, **settings):
    """The records of all units, the hostile one having taken the identity of the honest one."""
    records = {record["host"]: record for record in line.records()}
    names = ("endorsement_key", "endorsement_key_sha256", "endorsement_key_name", "registration_id")
    pairs = [[records[HOSTILE][name], records[HONEST][name]] for name in names]
    matches = ['"certificate_matches": true', '"certificate_matches": false']
    attack(line, incoming=[pair[::-1] for pair in pairs], outgoing=[*pairs, matches], **settings)
    return records


def test_a_unit_under_decommission_that_names_anothers_key_ends_nothing(line):
    """It has left the line, as it seems, with the identity of a unit that stays."""
    records = impersonated(line)
    named = f"tpmfleet_decommission_confirm={records[HOSTILE]['serial_number']}"
    run = line.play("decommission", *line.attacked, "--limit", HOSTILE, "-e", named)
    assert run.bad == {HOSTILE}, run.printed
    holder = f"its endorsement key was also found on TF-000001 ({HONEST}), which has proven that its TPM holds it"
    assert f"{HOSTILE}: {holder}; this one did not prove it: " in run.printed, run.printed
    assert {record["host"]: record for record in line.records()} == records
    assert all(one.assigned for one in line.seen().values())


@pytest.mark.parametrize(
    ("playbook", "options"),
    [
        ("rotate_ownership", {"tpmfleet_key_version": 2}),
        ("reprovision", {}),
        ("replace_tpm", {"tpmfleet_replace_tpm": True}),
    ],
)
def test_a_unit_of_the_warehouse_that_names_anothers_key_learns_and_ends_nothing(line, playbook, options):
    """No authorization of the one that it names is in what was sent to it, and nothing of either was changed."""
    records = impersonated(line, record="/root/all")
    run = line.play(playbook, *line.attacked, "--limit", HOSTILE, "-e", json.dumps(options))
    assert run.bad == {HOSTILE}, run.printed
    assert "did not prove it" in run.reason(HOSTILE), run.printed
    sent = (line.rack.device(HOSTILE).files / "root/all").read_text()
    assert records[HOSTILE]["endorsement_key_name"] not in sent and len(sent) > 1000
    master_key = (line.directory / "master-key").read_text().strip()
    for hierarchy in ("owner", "lockout"):
        for version in (1, 2):
            assert derive(master_key, records[HONEST]["endorsement_key_name"], hierarchy, version) not in sent
    assert {record["host"]: record for record in line.records()} == records
    assert all(one.assigned for one in line.seen().values())


def test_a_unit_that_answers_wrongly_or_without_an_end_is_stopped_alone(line):
    attack(
        line,
        outgoing=[['"model": "', '"model": {"\\u001b[2J": "'], ['", "firmware_version"', '"}, "firmware_version"']],
    )
    put(line, ENDLESS, ENDLESS_PYTHON)
    run = line.play("warehouse", *line.attacked, "-v")
    assert run.bad == {HOSTILE, ENDLESS}, run.printed
    assert "tpm.model is an object, not text" in run.reason(HOSTILE), run.printed
    assert "sent more than fits into 16 MB" in run.reason(ENDLESS), run.printed
    assert "Traceback" not in run.printed and "\x1b" not in run.printed
    [record] = [one for one in line.records() if one["host"] == HONEST]
    assert "warehouse" in record["steps"]


def test_nothing_is_left_of_a_unit_that_is_given_up(line):
    """By the task's own timeout too, which Ansible keeps with an alarm."""
    put(line, HOSTILE, "#!/bin/sh\ncat > /dev/null\nexec sleep 600\n")
    task = {"tpmfleet.azure_dps.tpm_info": {"tcti": "{{ tpmfleet_tcti }}"}, "timeout": 6}
    play = line.directory / "look.yml"
    play.write_text(json.dumps([{"hosts": HOSTILE, "gather_facts": False, "tasks": [task]}]))
    done = line.command("ansible-playbook", *line.inventory, *line.attacked, str(play))
    assert done.returncode == 2 and "Timed out after 6 second(s)" in done.stdout, done.stdout
    waiting = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(line.directory).encode() in command and ATTACKERS_PYTHON.encode() in command:
            waiting.append(command)
    assert not waiting
