# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role ownership: its table of profiles and clients, what it refuses before a TPM is touched, and its states."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

COLLECTION = Path(__file__).resolve().parents[2]
MASTER_KEY = "Zq3v8yBEHMcQfTjWnZr4u7xADGKaPdSgVkYp2s5v8y0="
READ = {
    "name": "Read the endorsement key",
    "tpmfleet.azure_dps.tpm_endorsement_key_info": {"tcti": "{{ tpmfleet_tcti }}"},
    "register": "found",
}


def owning(**variables):
    """A task that has the role do something, as docs/ownership.md has it."""
    named = {
        "ownership_endorsement_key": "{{ found.endorsement_key.public }}",
        "ownership_endorsement_key_sha256": "{{ found.endorsement_key.sha256 }}",
    }
    return {
        "name": "Have it owned",
        "ansible.builtin.include_role": {"name": "tpmfleet.azure_dps.ownership"},
        "vars": {**named, **variables},
    }


def showing(name):
    """A task that shows the role's result, for a test to read."""
    return {"ansible.builtin.debug": {"msg": f"{name}: {{{{ ownership_claim | to_json }}}}"}}


@pytest.fixture
def play(software_tpm, tmp_path):
    """Runs tasks for hosts that are all this machine, with variables of their own; what each failed with, or None."""

    def run(hosts, tasks, *arguments):
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
            "tpmfleet_tcti": software_tpm.tcti,
            "tpmfleet_master_key": MASTER_KEY,
        }
        (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}))
        (tmp_path / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.json", "play.json", "--forks=1"]
            + list(arguments),
            cwd=tmp_path,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        run.printed = done.stdout
        failures = dict.fromkeys(hosts)
        for host, said in re.findall(r"^fatal: \[(\S+)\]: FAILED! => (\{.*\})$", done.stdout, re.MULTILINE):
            failures[host] = json.loads(said)["msg"]
        assert (done.returncode == 0) is not any(failures.values()), done.stdout
        return failures

    return run


def tpm_state(tpm):
    """What ownership changes, as tpm2-tools see it."""
    return [
        subprocess.run(["tpm2_getcap", "-T", tpm.tcti, what], stdout=subprocess.PIPE, check=True).stdout
        for what in ("properties-variable", "handles-persistent", "handles-nv-index")
    ]


ENDORSED = {"tpmfleet_endorsement_auth": "endorsement"}
OWN = {"tpmfleet_master_key": "", "ownership_owner_auth": "owner's own", "ownership_lockout_auth": "lockout's own"}
# The table of docs/ownership.md, row by row, and what else the role refuses.
PAIRS = {
    ("fleet", "builtin"): ({}, None),
    ("fleet", "aziot"): ({}, None),
    ("fleet", "aziot, not given it"): (OWN, "needs the owner authorization of the profile 'fleet'"),
    ("fleet", "aziot, given it"): ({**OWN, "dps_client_owner_auth": "owner's own"}, None),
    ("fleet", "sdk"): ({}, "cannot live together.*Clients for this profile: builtin, aziot"),
    ("sdk", "builtin"): ({}, None),
    ("sdk", "aziot"): ({}, None),
    ("sdk", "sdk"): ({}, None),
    ("fleet", "builtin, endorsement"): (ENDORSED, None),
    ("sdk", "aziot, endorsement"): (ENDORSED, None),
    ("sdk", "sdk, endorsement"): (ENDORSED, "the stock SDK clients need an empty endorsement authorization"),
}
REFUSED = {
    "rotation-from-nowhere": ({"ownership_state": "rotated"}, r"\(now 0\) and tpmfleet_key_version \(now 1\)"),
    "rotation-to-itself": (
        {"ownership_state": "rotated", "tpmfleet_previous_key_version": 3, "tpmfleet_key_version": 3},
        r"\(now 3\) and tpmfleet_key_version \(now 3\)",
    ),
    "clear-unconfirmed": ({"ownership_state": "cleared"}, "ownership_clear_confirmation does not name this device"),
    "clear-of-another": (
        {"ownership_state": "cleared", "ownership_clear_confirmation": "TF-2", "tpmfleet_serial_number": "TF-1"},
        "does not name this device: give [0-9a-f]{64} or TF-1",
    ),
}


def test_what_cannot_work_is_refused_before_the_tpm_is_touched_and_all_else_is_planned(play, software_tpm):
    hosts, expected = {}, {}
    for number, ((profile, client), (variables, words)) in enumerate(PAIRS.items()):
        flavour = client.split(",")[0]
        hosts[f"pair{number}"] = {
            "tpmfleet_ownership_profile": profile,
            "tpmfleet_dps_client_flavour": flavour,
            **variables,
        }
        expected[f"pair{number}"] = words
    for name, (variables, words) in REFUSED.items():
        hosts[name], expected[name] = variables, words
    before = tpm_state(software_tpm)
    failures = play(hosts, [READ, owning()], "--check")
    for host, words in expected.items():
        said = failures[host]
        assert bool(said) is bool(words), f"{host} {hosts[host]}: {said}"
        if words:
            assert re.search(words, said)
            assert said.startswith(f"{host}: ") and "The TPM was not touched. (errors.md#" in said
    assert tpm_state(software_tpm) == before
    # The refusals do not hang on check mode.
    impossible = {host: hosts[host] for host, words in expected.items() if words}
    assert all(play(impossible, [READ, owning()]).values())
    assert tpm_state(software_tpm) == before


def test_a_tpm_goes_through_all_states(play):
    """One host's variables, from the claim to the clear; each state is told by its result."""
    serial = {"tpmfleet_serial_number": "TF-000001"}
    states = {
        "claimed": owning(ownership_max_tries=7),
        "rotated": owning(ownership_state="rotated", ownership_key_version=2, ownership_previous_key_version=1),
        "released": owning(ownership_state="released", ownership_key_version=2, ownership_remove_persistent_keys=True),
        "sdk": owning(ownership_profile="sdk", ownership_recovery_time=0),
        "sdk-rotated": owning(
            ownership_profile="sdk",
            ownership_state="rotated",
            ownership_key_version=2,
            ownership_previous_key_version=1,
        ),
        "cleared": owning(
            ownership_profile="sdk",
            ownership_state="cleared",
            ownership_key_version=2,
            ownership_clear_confirmation="TF-000001",
        ),
    }
    tasks = [READ, *(task for name, does in states.items() for task in (does, showing(name)))]
    assert play({"unit": serial}, tasks) == {"unit": None}, play.printed
    shown = dict(re.findall(r'^ +"msg": "([a-z-]+): (\{.*\})"$', play.printed, re.MULTILINE))
    results = {name: json.loads(json.loads(f'"{said}"')) for name, said in shown.items()}
    assert list(results) == list(states)
    assert all(result["changed"] for result in results.values())
    assert {name: tuple(result["authorizations"].values()) for name, result in results.items()} == {
        "claimed": ("given", "none", "given"),
        "rotated": ("given", "none", "given"),
        "released": ("none", "none", "none"),
        "sdk": ("none", "none", "given"),
        "sdk-rotated": ("none", "none", "given"),
        "cleared": ("none", "none", "none"),
    }
    assert results["claimed"]["dictionary_attack"]["max_tries"] == 7
    assert results["rotated"]["actions"][-2:] == ["change the owner authorization", "set the lockout authorization"]
    assert results["sdk"]["dictionary_attack"]["recovery_time"] == 0
    assert [result["recorded_key_version"] for result in results.values()] == [None, None, None, 1, 2, None]
    assert results["released"]["storage_root_key"] is None
