# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the field client on the controller and hands it to the module of its name: placing it costs one call."""

from __future__ import annotations

import base64
import functools
import io
import zipfile
from pathlib import Path

from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import DeviceAction

COLLECTION = Path(__file__).resolve().parents[2]
FILES = COLLECTION / "roles" / "dps_client" / "files"
# What the client shares with the modules that run on devices, and no more: each file of it is on every device.
LIBRARIES = COLLECTION / "plugins" / "module_utils"
SHARED = {
    "tpm": (
        "certificates",
        "connection",
        "credential",
        "der",
        "endorsement_key",
        "library",
        "nv",
        "persistent_key",
        "properties",
        "session",
        "templates",
        "virtual",
    ),
    "outside": ("files", "strict_json", "visible"),
}
PACKAGE = "tpmfleet_dps_client"
# The earliest date that a zip file can hold: equal sources give equal bytes, so that a second run changes nothing.
NO_DATE = (1980, 1, 1, 0, 0, 0)
START = f"import sys\n\nfrom {PACKAGE}.cli import main\n\nsys.exit(main())\n"


def _sources() -> dict[str, bytes]:
    sources = {f"{PACKAGE}/{path.name}": path.read_bytes() for path in (FILES / PACKAGE).glob("*.py")}
    for library, names in SHARED.items():
        sources[f"{PACKAGE}/{library}/__init__.py"] = b""
        for name in names:
            sources[f"{PACKAGE}/{library}/{name}.py"] = (LIBRARIES / library / f"{name}.py").read_bytes()
    sources["__main__.py"] = START.encode()
    return sources


@functools.cache
def build_program(interpreter: str) -> bytes:
    """The one-file program: a zip file (PEP 441) that *interpreter* runs."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(_sources().items()):
            entry = zipfile.ZipInfo(name, NO_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    # Isolated: neither the environment nor a user's packages change what a service of the system runs.
    return f"#!{interpreter} -I\n".encode() + packed.getvalue()


def read_units() -> dict[str, str]:
    """Unit name to its text."""
    return {path.name: path.read_text() for path in sorted((FILES / "units").iterdir())}


class ActionModule(DeviceAction):
    """Adds the program and its units to the arguments."""

    MODULE = "dps_client"
    SECRET_OPTIONS = ("endorsement_auth", "owner_auth", "proxy_auth", "program")

    def work(self, task_vars):
        """Runs the module on the device."""
        arguments = dict(self._task.args)
        if arguments.get("state", "present") == "present":
            interpreter = arguments.get("interpreter") or "/usr/bin/python3"
            arguments["program"] = base64.b64encode(build_program(interpreter)).decode()
        arguments["units"] = read_units()
        return self.run_module(self.MODULE, arguments, task_vars)
