# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The TPM modules as Ansible runs them: packed, sent to a device's own Python, and heard in JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils import tpm
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.ownership import wish_of
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError

DEVICE_PYTHON = "/usr/bin/python3"
OWNER = "owner-authorization-of-32-bytes."
LOCKOUT = "lockout-authorization-32-bytes.."
AUTHS = {"owner_auth": OWNER, "lockout_auth": LOCKOUT}


@pytest.fixture
def ansible(tmp_path):
    """Runs one module, returns its result; the whole output of Ansible is in ``ansible.output`` afterwards."""

    def run(module, *, check=False, verbosity=0, **arguments):
        playbook = tmp_path / "playbook.yml"
        task = {f"tpmfleet.azure_dps.{module}": arguments, "register": "result", "ignore_errors": True}
        answer = tmp_path / "answer.json"
        tell = {"ansible.builtin.debug": {"msg": f"{{{{ result | to_json | kept('{answer}') }}}}"}}
        playbook.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task, tell]}]))
        command = [sys.executable, "-m", "ansible", "playbook", str(playbook), "--diff"]
        command += ["-e", f"ansible_python_interpreter={DEVICE_PYTHON}"]
        command += ["--check"] if check else []
        command += ["-" + "v" * verbosity] if verbosity else []
        done = subprocess.run(
            command,
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": collections_path(), "ANSIBLE_LOCALHOST_WARNING": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        run.output = done.stdout
        assert answer.exists(), done.stdout
        return json.loads(answer.read_text())

    return run


def collections_path():
    """The directory that holds the ansible_collections in which this collection is."""
    return str(Path(next(iter(tpm.__path__))).parents[5])


def test_a_device_through_its_life(ansible, software_tpm):
    tcti = software_tpm.tcti
    info = ansible("tpm_info", tcti=tcti)
    assert info["changed"] is False
    assert info["tpm"]["tpm_type"] == "software"
    assert info["hierarchies"] == {"owner_auth_set": False, "endorsement_auth_set": False, "lockout_auth_set": False}
    assert info["nv_indices"] == ["0x01c00002", "0x01c00016"]
    assert info["specification"]["family"] == "2.0"
    assert {"rsa", "sha256", "aes"} <= set(info["algorithms"])

    read = ansible("tpm_endorsement_key_info", tcti=tcti, template="tcg", all_certificates=True)
    key = read["endorsement_key"]
    assert (read["changed"], key["certificate_matches"], read["tpm"]) == (False, True, info["tpm"])
    assert len(read["certificates"]) == 2

    claim = {"tcti": tcti, "endorsement_key": key["public"], **AUTHS}
    planned = ansible("tpm_ownership", check=True, **claim)
    claimed = ansible("tpm_ownership", **claim, verbosity=4)
    assert OWNER not in ansible.output
    assert LOCKOUT not in ansible.output
    assert {**planned, "diff": None} == {**claimed, "diff": None}
    assert claimed["changed"] is True
    assert claimed["endorsement_key"] == {**key, "source": "persistent", "persisted": True, "handle": "0x81010001"}
    assert claimed["proven"] is True
    assert ansible("tpm_ownership", **claim)["changed"] is False

    info = ansible("tpm_info", tcti=tcti)
    assert info["persistent_handles"] == ["0x81000001", "0x81010001"]
    assert info["dictionary_attack"] == {"max_tries": 32, "recovery_time": 600, "lockout_recovery": 86400}

    released = ansible("tpm_ownership", state="released", remove_persistent_keys=True, **claim)
    assert released["storage_root_key"] is None
    # A release leaves the dictionary attack parameters as they are unless it is told others.
    assert released["dictionary_attack"] == info["dictionary_attack"]
    assert ansible("tpm_info", tcti=tcti)["persistent_handles"] == []


def test_a_fault_is_a_sentence_and_not_a_traceback(ansible):
    result = ansible("tpm_info", tcti="device:/dev/no-such-tpm")
    assert result["failed"]
    assert result["msg"].startswith("There is no TPM at /dev/no-such-tpm.")
    assert "Traceback" not in ansible.output


def test_a_refusal_has_its_code(ansible, software_tpm):
    where = {"tcti": software_tpm.tcti}
    where["endorsement_key"] = ansible("tpm_endorsement_key_info", **where)["endorsement_key"]["public"]
    ansible("tpm_ownership", **where, **AUTHS)
    result = ansible("tpm_ownership", **where, owner_auth="guess", lockout_auth="guess")
    assert result["failed"]
    assert result["msg"].startswith("This TPM has an owner: the authorization of owner, lockout is set")
    assert result["tpm_rc"] == "0xa2"


def test_a_hung_tpm_ends_the_module(ansible, software_tpm):
    software_tpm.pause()
    before = time.monotonic()
    result = ansible("tpm_endorsement_key_info", tcti=software_tpm.tcti, timeout=2)
    assert "did not answer within 2 s" in result["msg"]
    assert time.monotonic() - before < 20


OPTIONS = {
    "state": "claimed",
    "owner_auth": None,
    "endorsement_auth": None,
    "lockout_auth": None,
    "previous_owner_auth": None,
    "previous_endorsement_auth": None,
    "previous_lockout_auth": None,
    "key_version": None,
    "previous_key_version": None,
    "lockout_auth_trusted": False,
    "endorsement_key_sha256": None,
    "template": "auto",
    "identify_template": True,
    "read_certificate": True,
    "replace_persistent_keys": False,
    "remove_persistent_keys": False,
    "remove_handles": [],
    "clear_confirmation": None,
    "max_tries": None,
    "recovery_time": None,
    "lockout_recovery": None,
}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"owner_auth": "x" * 33}, "owner_auth is 33 bytes long"),
        ({"max_tries": 0}, "max_tries is 0; it has to be 1 to 4294967295"),
        ({"previous_lockout_auth": "x" * 33}, "previous_lockout_auth is 33 bytes long"),
        ({"key_version": 0}, "key_version is 0; it has to be 1 to 4294967295"),
        ({"recovery_time": -1}, "recovery_time is -1"),
        ({"remove_handles": ["0x81000100", "somewhere"]}, "remove_handles has somewhere, which is no handle"),
        ({"remove_handles": ["0x81800000"]}, "remove_handles has 0x81800000, which is no handle"),
        ({"lockout_recovery": 2**32}, "lockout_recovery is 4294967296"),
    ],
)
def test_what_no_tpm_takes_is_refused(given, words):
    with pytest.raises(TpmError, match=words):
        wish_of({**OPTIONS, **given})


def test_a_claim_has_dictionary_attack_parameters_of_its_own_and_a_release_leaves_them():
    assert wish_of(OPTIONS).dictionary_attack["lockout_recovery"] == 86400
    assert wish_of({**OPTIONS, "state": "rotated"}).dictionary_attack["max_tries"] == 32
    assert wish_of({**OPTIONS, "max_tries": 5}).dictionary_attack["max_tries"] == 5
    assert wish_of({**OPTIONS, "state": "released"}).dictionary_attack == {}
