# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where everything of a lab is: ``lab.json`` for its clients, ``inventory.yml`` for playbooks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import indent

PROGRAMS = Path(__file__).resolve().parents[1]


def lab(directory: Path) -> str:
    """What lab.json says."""
    service, rack = _found(directory)
    found = {
        "ca_file": service["ca_file"],
        "service": {name: service[name] for name in ("endpoint", "connection_string")},
        "device_api": {"endpoint": service["device_endpoint"], "id_scope": service["id_scope"]},
        "devices": rack["devices"],
    }
    return json.dumps(found, indent=4, sort_keys=True) + "\n"


def inventory(directory: Path, group_vars: Path) -> str:
    """The inventory, with what is the same for every lab, as the files in *group_vars* have it."""
    service, rack = _found(directory)
    variables = {
        "tpmfleet_dps_connection_string": service["connection_string"],
        "tpmfleet_dps_ca_file": service["ca_file"],
        "tpmfleet_dps_id_scope": service["id_scope"],
        "tpmfleet_dps_global_endpoint": service["device_endpoint"],
        "tpmfleet_ledger": f"{directory}/ledger.sqlite",
        "tpmfleet_ek_list": f"{directory}/rack/ek-list.jsonl",
        "tpmfleet_ek_certificate_roots": rack["ek_certificate_roots"],
        "tpmfleet_master_key": f"{{{{ lookup('ansible.builtin.file', '{directory}/master-key') }}}}",
        "tpmfleet_power_up_command": [
            *("env", f"PYTHONPATH={PROGRAMS}", sys.executable),
            *("-m", "tpm_rack", "power-cycle", "--rack-dir", f"{directory}/rack"),
        ],
    }
    lines = ["# Made by the lab role: what playbooks need to run over this rack.", "---", "all:", "  vars:"]
    lines += [_shared(group_vars / "all.yml"), *_values(variables, 4), "devices:", "  hosts:"]
    for device in rack["devices"]:
        own = {
            **connection(device),
            "tpmfleet_serial_number": device["serial_number"],
            "tpmfleet_tcti": rack["tcti_on_device"][device["name"]],
        }
        lines += [f"    {device['name']}:", *_values(own, 6)]
    return "\n".join([*lines, "  vars:", _shared(group_vars / "devices.yml")]) + "\n"


def connection(device: dict) -> dict[str, object]:
    """Ansible's variables by which it reaches the *device*, an entry of rack.json."""
    ssh = device["ssh"]
    return {
        "ansible_host": ssh["host"],
        "ansible_port": ssh["port"],
        "ansible_user": ssh["user"],
        "ansible_ssh_private_key_file": ssh["private_key_file"],
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={ssh['known_hosts_file']}",
    }


def _found(directory: Path) -> tuple[dict, dict]:
    """What the service and the rack say of themselves."""
    places = (directory / "dps" / "emulator.json", directory / "rack" / "rack.json")
    service, rack = (json.loads(place.read_text()) for place in places)
    return service, rack


def _values(variables: dict, columns: int) -> list[str]:
    """A line each; what JSON is, YAML is."""
    return [f"{' ' * columns}{name}: {json.dumps(value)}" for name, value in variables.items()]


def _shared(path: Path) -> str:
    return indent(path.read_text().replace("---\n", "").rstrip("\n"), " " * 4)
