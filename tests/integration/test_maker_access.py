# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks that let a TPM maker in and out again, as they are run, and what the maker can do in between."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(sys.executable).parent


@pytest.fixture
def playbook(dps, azure, tmp_path):
    """Runs a playbook of the collection in the test's directory, as loud as it gets; what it printed."""
    connection = {name: value for name, value in azure.options().items() if name != "secret"}
    (tmp_path / "azure.yml").write_text(json.dumps({"tpmfleet_azure": connection}))
    printed: list[str] = []

    def run(name: str, *arguments: str, code: int = 0, **variables: object) -> str:
        # The secret as a pipeline gives it: by the environment, not by a file.
        secret = {"tpmfleet_azure": "{{ azure | combine({'secret': lookup('ansible.builtin.env', 'AZURE')}) }}"}
        given = {"azure": connection, **secret, **variables}
        command = [str(TOOLS / "ansible-playbook"), f"tpmfleet.azure_dps.{name}", "-vvv", "--diff", *arguments]
        done = subprocess.run(
            [*command, "-e", json.dumps(given)],
            cwd=tmp_path,
            env={**os.environ, "PWD": str(tmp_path), "AZURE": azure.where["secret"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        printed.append(done.stdout + done.stderr)
        return done.stdout

    run.printed = printed
    return run


def names(azure):
    return [one["keyName"] for one in azure.call("POST", azure.where["instance"], "/listkeys")["value"]]


def test_a_maker_delivers_and_is_locked_out(playbook, dps, azure, tmp_path, make_ek):
    who = {"maker_access_policy": "tpm-maker", "maker_access_token_file": "tpm-maker.sas"}
    assert "Say both" in playbook("maker_access", code=2)
    playbook("maker_access", "--check", **who)
    assert names(azure) == ["provisioningserviceowner"] and not (tmp_path / "tpm-maker.sas").exists()
    told = playbook("maker_access", **who, maker_access_hours=2)
    assert "changed=2" in told and "tpm-maker.sas lets in" in " ".join(told.split())
    token = tmp_path / "tpm-maker.sas"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert "changed=0" in playbook("maker_access", **who, maker_access_hours=2)

    lines = [json.dumps({"registration_id": f"unit-{number}", "endorsement_key": make_ek(number)}) for number in (1, 2)]
    (tmp_path / "delivery.jsonl").write_text("\n".join(lines) + "\n")
    maker = {
        "enrollments_manifest": "delivery.jsonl",
        "tpmfleet_dps_sas_token": "{{ lookup('ansible.builtin.file', directory ~ '/tpm-maker.sas') }}",
        "tpmfleet_dps_ca_file": dps.where["ca_file"],
        "directory": str(tmp_path),
    }
    assert "2 created" in playbook("enrollments_apply", **maker)
    kept = token.read_text()
    (policy,) = [
        one
        for one in azure.call("POST", azure.where["instance"], "/listkeys")["value"]
        if one["keyName"] == "tpm-maker"
    ]

    playbook("maker_access_revoke", **who, maker_access_keep_policy=True)
    assert names(azure) == ["provisioningserviceowner", "tpm-maker"] and not token.exists()
    token.write_text(kept)
    assert "401" in playbook("enrollments_apply", "--check", **maker, code=2)
    assert "changed=1" in playbook("maker_access_revoke", maker_access_policy="tpm-maker")
    assert names(azure) == ["provisioningserviceowner"]

    everything = "".join(playbook.printed)
    for secret in (policy["primaryKey"], policy["secondaryKey"], kept.strip(), azure.where["secret"]):
        assert secret not in everything
    assert base64.b64decode(policy["primaryKey"]).hex() not in everything
