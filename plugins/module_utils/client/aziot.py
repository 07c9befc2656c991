# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans and applies the configuration of Azure's IoT identity service on the device where this runs."""

from __future__ import annotations

import json
import os
from typing import Any, Callable

from . import placement

DIRECTORY = "/etc/aziot"
CONFIGURATION_FILE = DIRECTORY + "/config.toml"
TOOL = "/usr/bin/aziotctl"
# Where the tool writes what it makes of the file, for each of the services. It compares their times with the file's to
# tell whether a configuration was applied (iot-identity-service, aziotctl-common/src/check_last_modified.rs), and so is
# it done here: an apply that failed, or was cut off, is made up for by the next run.
APPLIED = tuple(f"{DIRECTORY}/{service}/config.d/00-super.toml" for service in ("keyd", "certd", "identityd", "tpmd"))


class AziotError(Exception):
    """It was not configured; the message says why, and what stands on the device now."""


class Aziot:
    """The identity service on this device, for the *options* of the module ``dps_client_aziot``.

    *run(argv)* gives exit code, stdout and stderr.
    """

    def __init__(self, options: dict[str, Any], *, run: Callable[..., Any]) -> None:
        self._present = options["state"] == "present"
        self._options = options
        self._run = run
        self._files: list[placement.Placement] = []
        self._changes: list[str] = []

    def plan(self) -> dict[str, Any]:
        """What :meth:`apply` will do: ``changed`` and ``changes``."""
        if not os.path.isdir(DIRECTORY):
            if self._present:
                raise AziotError(
                    f"there is no {DIRECTORY}, so this image does not have Azure's IoT identity service. Install "
                    "aziot-identity-service, or take the flavour builtin. Nothing was changed."
                )
            return {"changed": False, "changes": []}
        content = configuration(self._options) if self._present else None
        wanted = placement.WantedFile("configuration", CONFIGURATION_FILE, content, mode=0o600, secret=True)
        try:
            self._files = placement.plan([wanted])
        except placement.PlacementError as error:
            raise AziotError(f"{error}. Nothing was changed.") from error
        self._changes = ["configuration"] if self._files else []
        if self._present and os.access(TOOL, os.X_OK) and (self._files or not _is_applied()):
            self._changes.append("applied")
        return {"changed": bool(self._changes), "changes": self._changes}

    def apply(self) -> None:
        """Does what :meth:`plan` found."""
        try:
            placement.apply(self._files)
        except placement.PlacementError as error:
            raise AziotError(str(error)) from error
        if "applied" in self._changes:
            code, out, err = self._run([TOOL, "config", "apply"])
            if code:
                words = (err or out).strip() or f"exit code {code}"
                raise AziotError(f"{CONFIGURATION_FILE} is in place, and aziotctl config apply failed: {words}")


def configuration(options: dict[str, Any]) -> bytes:
    """The text of config.toml for the *options* of the module."""
    lines = [
        "# Ansible managed",
        "[provisioning]",
        'source = "dps"',
        f"global_endpoint = {_text(options['global_endpoint'])}",
        f"id_scope = {_text(options['id_scope'])}",
        "",
        "[provisioning.attestation]",
        'method = "tpm"',
        f"registration_id = {_text(options['registration_id'])}",
        "",
        "[tpm]",
        f"tcti = {_text(options['tcti'])}",
    ]
    if options.get("auth_key_index"):
        lines.append(f"auth_key_index = {_text(options['auth_key_index'])}")
    endorsement, owner = options.get("endorsement_auth") or "", options.get("owner_auth") or ""
    if endorsement or owner:
        lines += [
            "",
            "[tpm.hierarchy_authorization]",
            f"endorsement = {_text(endorsement)}",
            f"owner = {_text(owner)}",
        ]
    return ("\n".join(lines) + "\n").encode()


def _text(value: str) -> str:
    """A TOML basic string, whose escapes are JSON's."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_applied() -> bool:
    try:
        written = os.stat(CONFIGURATION_FILE).st_mtime
        return all(os.stat(path).st_mtime >= written for path in APPLIED)
    except FileNotFoundError:
        return False
