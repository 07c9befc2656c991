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
# The variables that a column of the table is about. What a unit's authorizations are made of is the master key.
COLUMNS = {
    "master key": MASTER_KEY,
    "a unit's authorizations": MASTER_KEY,
    "right at the DPS": RIGHT,
    "EK list": ("tpmfleet_ek_export_signing_key", "tpmfleet_ek_list"),
    "orders": ("tpmfleet_work_order", "tpmfleet_work_order_key", "tpmfleet_work_order_signing_key"),
    "reports": ("tpmfleet_work_report", "tpmfleet_work_report_signing_key"),
    "ledger": LEDGER,
}
# Whose playbooks which are. The software installer's step is the owner's too: what he has is looked at on his machine.
PLAYBOOKS = {
    "TPM maker": ("ek_export",),
    "Device maker": ("tpm_install",),
    "Warehouse": ("warehouse",),
    "CI": ("enrollments_apply",),
    "Auditor": ("story", "ledger_verify", "report", "device_records_export"),
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


def cells() -> list[tuple[str, str, str]]:
    """(Party, column, what the table of docs/work-orders.md says of it.)"""
    text = (COLLECTION / "docs/work-orders.md").read_text().partition("## Who has which secret")[2]
    head, _line, *rows = [line for line in text.partition("\n\nA device maker")[0].splitlines() if line.startswith("|")]
    columns = [one.strip() for one in head.strip("|").split("|")][1:]
    found = []
    for row in rows:
        party, *said = (one.strip() for one in row.strip("|").split("|"))
        found += [(next(one for one in PARTIES if party.startswith(one)), *cell) for cell in zip(columns, said)]
    return found


def test_the_table_has_every_column():
    assert {column for _party, column, _said in cells()} == set(COLUMNS)
    assert len(cells()) == len(PARTIES) * len(COLUMNS)


@pytest.mark.parametrize(
    ("party", "column"), [one[:2] for one in cells() if one[0] in PLAYBOOKS and one[2].startswith("no")]
)
def test_who_has_none_of_it_is_not_asked_for_it(party, column):
    for playbook in PLAYBOOKS[party]:
        assert not reads(playbook) & set(COLUMNS[column]), playbook


@pytest.mark.parametrize(
    ("playbook", "column"),
    [
        ("ek_export", "EK list"),
        ("work_order", "master key"),
        ("work_order", "orders"),
        ("work_order", "ledger"),
        ("work_report", "reports"),
        ("work_report", "right at the DPS"),
        ("software_install", "orders"),
        ("software_install", "reports"),
        ("warehouse", "master key"),
        ("warehouse", "right at the DPS"),
        ("enrollments_apply", "right at the DPS"),
        ("story", "ledger"),
    ],
)
def test_who_has_it_is_asked_for_it(playbook, column):
    """Else the cells that say no would be so of everybody."""
    assert reads(playbook) & set(COLUMNS[column])


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
