# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The field client as it is sent to devices: one file, packed of its own sources and of what it shares with modules."""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path

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


def build_program(interpreter: str) -> bytes:
    """The one-file program: a zip file (PEP 441) that *interpreter* runs."""
    # Isolated: neither the environment nor a user's packages change what a service of the system runs.
    return f"#!{interpreter} -I\n".encode() + packed_sources()


@functools.cache
def packed_sources() -> bytes:
    """What each interpreter's program has; equal sources give equal bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(_sources().items()):
            entry = zipfile.ZipInfo(name, NO_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return packed.getvalue()


def read_units() -> dict[str, str]:
    """Unit name to its text."""
    return {path.name: path.read_text() for path in sorted((FILES / "units").iterdir())}
