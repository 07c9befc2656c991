# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of the owner's secrets a playbook can make use of at all: the table of parties in docs/work-orders.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.choices import composed

COLLECTION = Path(__file__).resolve().parents[2]
MASTER_KEY = ("tpmfleet_master_key",)
RIGHT = ("tpmfleet_dps_connection_string", "tpmfleet_dps_sas_token", "tpmfleet_dps_host")
LEDGER = ("tpmfleet_ledger",)
# Whose playbook it is, and what is never asked of him.
NEVER = {
    "ek_export": ("TPM maker", (*MASTER_KEY, *RIGHT, *LEDGER)),
    "enrollments_apply": ("CI", (*MASTER_KEY, *LEDGER)),
    "story": ("auditor", (*MASTER_KEY, *RIGHT)),
    "ledger_verify": ("auditor", (*MASTER_KEY, *RIGHT)),
    "report": ("auditor", (*MASTER_KEY, *RIGHT)),
    "device_records_export": ("auditor", (*MASTER_KEY, *RIGHT)),
    "work_order": ("owner, at his desk", RIGHT),
    "ek_intake": ("owner, at his desk", (*MASTER_KEY, *RIGHT)),
}
PARTIES = ("TPM maker", "Owner", "Software installer", "Device maker", "Warehouse", "CI", "Auditor")


def reads(playbook: str) -> set[str]:
    """The inventory's variables that a playbook, and the roles that it composes, read."""
    path = COLLECTION / "playbooks" / f"{playbook}.yml"
    texts = [path.read_text()]
    for play in yaml.safe_load(texts[0]):
        for task in play.get("tasks") or ():
            for key in ("ansible.builtin.import_role", "ansible.builtin.include_role"):
                if key in task:
                    role = COLLECTION / "roles" / task[key]["name"].rpartition(".")[2]
                    texts += [one.read_text() for place in composed(role) for one in place.glob("[dtv]*/*.yml")]
    return set(re.findall(r"\btpmfleet_\w+", "\n".join(texts)))


@pytest.mark.parametrize("playbook", NEVER)
def test_nobody_is_asked_for_what_he_does_not_need(playbook):
    whose, never = NEVER[playbook]
    assert not reads(playbook) & set(never), whose


def test_the_looking_finds_what_is_there():
    """Else nothing would ever be found."""
    assert {*MASTER_KEY, *LEDGER, "tpmfleet_dps_connection_string"} <= reads("software_install")
    assert {*MASTER_KEY, "tpmfleet_dps_connection_string"} <= reads("work_report")


def test_every_party_has_its_row_and_every_test_of_the_table_is_there():
    text = (COLLECTION / "docs/work-orders.md").read_text().partition("## Who has which secret")[2]
    rows = [line.strip("|").split("|")[0].strip() for line in text.splitlines() if line.startswith("| ")]
    assert [party for party in PARTIES if not any(row.startswith(party) for row in rows)] == []
    named = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", text)
    there = {path.name: path.read_text() for path in (COLLECTION / "tests").rglob("test_*.py")}
    assert len(named) > 10
    assert [
        one for one in named if f"def {one[1]}(" not in there.get(one[0], "") and one[1] or one[0] not in there
    ] == []
