# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asked of a device's Python, with the TCTI as argument: can it run the TPM modules?

A second argument names the Python that was meant to be asked and is not there.

Answers one JSON object: ``missing`` (a list of sentences, empty where all is there), ``found`` (a sentence) and
``family`` (``debian``, ``redhat`` or what os-release(5) says), so that a device that lacks something needs no second
question.
"""

from __future__ import annotations

import ctypes
import json
import sys


def family_of(os_release: str) -> str:
    """The family of packages of the system that *os_release* describes."""
    pairs = (line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    names = {key: value.strip("\"'") for key, value in pairs}
    system = [names.get("ID", "unknown"), *names.get("ID_LIKE", "").split()]
    if "debian" in system:
        return "debian"
    return "redhat" if {"rhel", "fedora"}.intersection(system) else system[0]


def main() -> None:
    """Looks, and answers."""
    missing = [f"{python}, which is not there" for python in sys.argv[2:]]
    version = ""
    try:
        from importlib.metadata import version as version_of

        import tpm2_pytss  # noqa: F401

        version = version_of("tpm2-pytss")
    except Exception as error:  # a binding whose libraries do not fit fails in its own ways
        missing.append(f"tpm2-pytss for {sys.executable} ({type(error).__name__}: {error})")
    library = "libtss2-tcti-{}.so.0".format(sys.argv[1].split(":", 1)[0])
    try:
        ctypes.CDLL(library)
    except OSError:
        missing.append(library)
    try:
        with open("/etc/os-release") as release:
            family = family_of(release.read())
    except OSError:
        family = "unknown"
    found = f"tpm2-pytss {version} and {library} for {sys.executable}"
    sys.stdout.write(json.dumps({"missing": missing, "found": found, "family": family}) + "\n")


if __name__ == "__main__":
    main()
