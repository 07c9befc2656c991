# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's refusals, as its own variables make them."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

COLLECTION = Path(__file__).resolve().parents[4]
ANSIBLE = Path(sys.executable).with_name("ansible")
SAID = {
    "ownership_state": "claimed",
    "ownership_profile": "fleet",
    "ownership_client_flavour": "builtin",
    "ownership_endorsement_auth": "",
    "ownership_key_version": 1,
    "ownership_previous_key_version": 0,
    "ownership_clear_confirmation": "",
    "ownership_endorsement_key_sha256": "",
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """A function: why nothing is done, by case, of the variables that each case has besides the usual ones."""
    directory = tmp_path_factory.mktemp("cases")

    def run(cases: dict[str, dict]) -> dict[str, list[str]]:
        (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": cases, "vars": SAID}}))
        where = ["-i", directory / "hosts.yml", "-e", f"@{COLLECTION}/roles/ownership/vars/main.yml"]
        ask = [
            "-c",
            "local",
            "-m",
            "ansible.builtin.debug",
            "-a",
            "msg={{ __ownership_refusals | to_json | b64encode }}",
        ]
        done = subprocess.run([ANSIBLE, "all", *where, *ask], capture_output=True, text=True, check=False)
        # Base64 is never wrapped, as a sentence is.
        found = re.findall(r"^(\w+) \| SUCCESS =>\s+\W*msg\W+([A-Za-z0-9+/=]+)", done.stdout, re.MULTILINE)
        assert len(found) == len(cases), done.stdout + done.stderr
        return {name: [one for one in json.loads(base64.b64decode(text)) if one.strip()] for name, text in found}

    return run
