# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A prototype on the line: its TPM is software, made at step 3, and it provisions itself like any other unit."""

from __future__ import annotations

import json

import pytest

UNIT = "rack1-slot01"
# The devices of a lab share the host's network: a port above those that racks give out, and below the system's own.
PORT = 32021


@pytest.fixture(scope="module")
def line(start_line):
    """A line with one device, whose own TPM plays no part here."""
    return start_line(1)


def site(line, **variables):
    """A run of all five steps over the prototype."""
    said = {
        "tpmfleet_software_tpm": True,
        "tpmfleet_software_tpm_port": PORT,
        "tpmfleet_tcti": f"swtpm:host=127.0.0.1,port={PORT}",
        "tpmfleet_ek_list_policy": "ignored",
        "tpmfleet_ek_certificate_policy": "ignored",
        **variables,
    }
    return line.play("site", "-e", json.dumps(said))


def test_a_production_line_refuses_it(line):
    run = site(line, tpmfleet_production=True)
    assert "a software TPM is refused in a production inventory" in run.batch_reason, run.printed
    assert not (line.rack.device(UNIT).files / "var/lib/tpmfleet-swtpm").exists()


def test_it_provisions_itself(line):
    """And the second run changes nothing."""
    run = site(line)
    assert run.code == 0, run.printed
    [record] = line.records()
    assert record["tpm_type"] == "software"
    assert record["steps"]["field_activation"]["outcome"]["assigned_hub"]
    assert record["endorsement_key"] != line.seen()[UNIT].endorsement_key
    assert site(line).changed == 0
