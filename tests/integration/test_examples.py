# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The example in each role's README, as it is printed there, over one unit from its shipment to its end."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

UNIT, SERIAL_NUMBER = "rack1-slot01", "TF-000001"
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "roles"
# The one that starts the lab in which the others run.
LAB = EXAMPLES / "lab.yml"
# A unit's life. What reads no endorsement key comes first, so that nothing of another play is there to help it.
LIFE = (
    "ek_roots",
    "ek_intake",
    "tpm_runtime",
    "dps_client",
    "ek_export",
    "endorsement_key",
    "enrollment",
    "tpm_install",
    "ownership",
    "possession",
    "work_order",
    "device_work",
    "software_install",
    "work_report",
    "warehouse",
    "device_labels",
    "fleet_report",
    "warehouse_audit",
    "doctor",
    "field_activation",
    "ownership_rotation",
    "reprovision",
    "disenrollment",
    "replace_tpm",
    "decommission",
    "software_tpm",
)


def report(directory, key):
    """A line's report on the order of the example, of which it has made no unit ready yet."""
    text = directory / "report.json"
    text.write_text(json.dumps({"work_report_version": 1, "number": "WO-2026-0042", "count": 0, "units": []}))
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", "tpmfleet-work-report", text], check=True)
    (directory / "lines").write_text(f"line@example.org {key.with_suffix('.pub').read_text()}")
    path = directory / "WO-2026-0042.report"
    path.write_text((directory / "report.json.sig").read_text() + text.read_text())
    return path


@pytest.fixture(scope="module")
def life(start_line, tmp_path_factory):
    """A run of all of them in one go, each with what its inventory would say that day; and the line."""
    from tpm_rack.software_tpm import reserve_port_pair

    line = start_line(1, str(LAB))
    directory = tmp_path_factory.mktemp("examples")
    key = directory / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    roots = line.rack.authority.ca_certificates
    root = x509.load_pem_x509_certificate(roots[0].read_bytes())
    inventory = {
        "ek_roots": {
            "tpmfleet_ek_roots_src": [str(file) for file in roots],
            "tpmfleet_ek_roots_path": str(directory / "ek-roots"),
            "tpmfleet_ek_roots_fingerprints": [root.fingerprint(hashes.SHA256()).hex()],
        },
        "ek_export": {"tpmfleet_ek_export": str(directory / "ek-list.jsonl")},
        "fleet_report": {"tpmfleet_report": str(directory / "report.html")},
        "work_order": {
            "tpmfleet_work_order_dest": str(directory / "order.age"),
            "tpmfleet_work_order_recipients": [key.with_suffix(".pub").read_text()],
            "tpmfleet_work_order_signing_key": str(key),
        },
        "work_report": {
            "tpmfleet_work_report": str(report(directory, key)),
            "tpmfleet_work_report_allowed_signers": str(directory / "lines"),
        },
        "device_labels": {"tpmfleet_labels": str(directory / "labels.pdf")},
        "reprovision": {"tpmfleet_key_version": 2},
        "disenrollment": {"tpmfleet_key_version": 2},
        "replace_tpm": {"tpmfleet_key_version": 2, "tpmfleet_replace_tpm": True},
        "decommission": {"tpmfleet_key_version": 2, "tpmfleet_decommission_confirm": SERIAL_NUMBER},
        # Simulated devices share the host's network.
        "software_tpm": {"tpmfleet_software_tpm_port": reserve_port_pair(directory / "port")},
    }
    plays = [
        {"ansible.builtin.import_playbook": str(EXAMPLES / f"{name}.yml"), "vars": inventory.get(name, {})}
        for name in LIFE
    ]
    (directory / "life.yml").write_text(json.dumps(plays))
    line.written = directory
    return line, line.command("ansible-playbook", *line.inventory, str(directory / "life.yml"))


def test_each_example_runs(life):
    _line, run = life
    assert {f"{name}.yml" for name in LIFE} | {LAB.name} == {path.name for path in EXAMPLES.iterdir()}
    assert run.returncode == 0, run.stdout
    titles = [re.search(r"name: (.*)", (EXAMPLES / f"{name}.yml").read_text())[1] for name in LIFE]
    assert re.findall(r"^PLAY \[(.*)\] \*+$", run.stdout, re.MULTILINE) == titles


def test_each_did_what_it_is_for(life):
    line, run = life
    (record,) = line.records()
    assert record["maker"] == "STM" and record["steps"]["field_activation"]["outcome"]["assigned_hub"]
    assert {"tpm_install", "software_install", "warehouse", "reprovision", "decommission"} <= set(record["steps"])
    assert [path for path in (line.written / "ek-roots").rglob("*") if path.is_file()], run.stdout
    (listed,) = map(json.loads, (line.written / "ek-list.jsonl").read_text().splitlines())
    assert (listed["tray"], listed["position"]) == ("T-0001", UNIT) and listed["endorsement_key_certificate"]
    assert (line.written / "labels.pdf").read_bytes().startswith(b"%PDF-")
    device = line.rack.device(UNIT)
    assert not (device.files / "etc/tpmfleet-dps-client/config.json").exists()
    assert (device.files / "var/lib/tpmfleet-swtpm").exists()
