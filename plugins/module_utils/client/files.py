# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the field client lives on a device, and what it is told there."""

from __future__ import annotations

import base64
import json
from typing import Any

from .placement import Placement, WantedFile

USER = "tpmfleet-dps-client"
TPM_GROUP = "tss"
PROGRAM = "/usr/lib/tpmfleet-dps-client/tpmfleet-dps-client.pyz"
COMMAND = "/usr/bin/tpmfleet-dps-client"
CONFIGURATION_DIRECTORY = "/etc/tpmfleet-dps-client"
STATE_DIRECTORY = "/var/lib/tpmfleet-dps-client"
UNIT_DIRECTORY = "/etc/systemd/system"
CONFIGURATION_FILE = CONFIGURATION_DIRECTORY + "/config.json"
CA_FILE = CONFIGURATION_DIRECTORY + "/ca.pem"
# Option with a secret to the file that holds it. The client's setting for the path is the option's name with _file.
SECRETS = {
    "endorsement_auth": CONFIGURATION_DIRECTORY + "/endorsement-auth",
    "owner_auth": CONFIGURATION_DIRECTORY + "/owner-auth",
    "proxy_auth": CONFIGURATION_DIRECTORY + "/proxy-auth",
}
SERVICE = "tpmfleet-dps-client.service"
TIMER = "tpmfleet-dps-client.timer"
# Unit to the target that wants it: what "systemctl enable" makes of its [Install] section.
ENABLED = {SERVICE: "multi-user.target", TIMER: "timers.target"}
SETTINGS = (
    "id_scope",
    "global_endpoint",
    "registration_id",
    "endorsement_key_template",
    "tcti",
    "persistent_handle",
    "proxy",
    "first_attempt_spread",
    "backoff_base",
    "backoff_cap",
    "refused_delay",
    "ask_hub",
)


def configuration(options: dict[str, Any]) -> bytes:
    """The client's config.json for the *options* of the module; what is not given stays the client's default."""
    document = {name: options[name] for name in SETTINGS if options.get(name) is not None}
    if options.get("ca_certificates"):
        document["ca_file"] = CA_FILE
    document.update({f"{name}_file": path for name, path in SECRETS.items() if options.get(name)})
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def changed_settings(placements: list[Placement]) -> list[str]:
    """The settings in config.json that *placements* change, by name; all of them where it is no configuration."""
    for each in placements:
        if each.wanted.path == CONFIGURATION_FILE:
            before, after = _settings(each.before), _settings(each.wanted.content)
            return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return []


def _settings(content: bytes | None) -> dict[str, Any]:
    try:
        document = json.loads(content or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def wanted_files(options: dict[str, Any], owner: tuple[int, int]) -> list[WantedFile]:
    """Every file of the client. *owner*: user and group ID that the client runs as."""
    present = options["state"] == "present"

    def text(value: str | None) -> bytes | None:
        return value.rstrip("\n").encode() + b"\n" if present and value else None

    program = base64.b64decode(options["program"]) if present else None
    units = [
        WantedFile("units", f"{UNIT_DIRECTORY}/{name}", content.encode() if present else None)
        for name, content in sorted(options["units"].items())
    ]
    config = configuration(options) if present else None
    return [
        WantedFile("program", PROGRAM, program, mode=0o755, keep_previous=present),
        WantedFile("configuration", CA_FILE, text(options.get("ca_certificates"))),
        *(
            WantedFile("configuration", path, text(options.get(name)), mode=0o600, owner=owner, secret=True)
            for name, path in SECRETS.items()
        ),
        WantedFile("configuration", CONFIGURATION_FILE, config),
        *units,
    ]


def wanted_links(options: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    """Link to the part it belongs to and its target; target None wants the link gone."""
    present = options["state"] == "present"
    links: dict[str, tuple[str, str | None]] = {COMMAND: ("program", PROGRAM if present else None)}
    for unit, target in ENABLED.items():
        wanted = present and options["enabled"]
        link = f"{UNIT_DIRECTORY}/{target}.wants/{unit}"
        links[link] = ("enabled", f"{UNIT_DIRECTORY}/{unit}" if wanted else None)
    return links
