# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The TPM maker's certificate authority, which certifies the endorsement keys of the lab's software TPMs."""

from __future__ import annotations

import shutil
from pathlib import Path


class Authority:
    """A directory with a signing key, its certificate, and the settings with which swtpm_setup(8) uses them.

    The key and the certificates are made by swtpm_localca(8) when it certifies its first TPM. It locks its directory,
    so that TPMs can be made side by side.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory).resolve()
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        tool = shutil.which("swtpm_localca")
        if tool is None:
            raise FileNotFoundError("swtpm_localca is not there: install the packages of bindep.txt")
        self._write(
            "localca.conf",
            f"statedir = {self.directory}",
            f"signingkey = {self.directory}/signing-key.pem",
            f"issuercert = {self.directory}/issuer.pem",
            f"certserial = {self.directory}/serial",
        )
        self._write(
            "localca.options", "--platform-manufacturer tpmfleet", "--platform-version 1", "--platform-model lab"
        )
        self._write(
            "setup.conf",
            f"create_certs_tool = {tool}",
            f"create_certs_tool_config = {self.directory}/localca.conf",
            f"create_certs_tool_options = {self.directory}/localca.options",
            "active_pcr_banks = sha256",
        )

    def _write(self, name: str, *lines: str) -> None:
        (self.directory / name).write_text("\n".join(lines) + "\n")

    @property
    def setup_configuration(self) -> Path:
        """What ``swtpm_setup --config`` takes."""
        return self.directory / "setup.conf"

    @property
    def ca_certificates(self) -> list[Path]:
        """Root first, then the issuer; there once a TPM has been made."""
        return [self.directory / "swtpm-localca-rootca-cert.pem", self.directory / "issuer.pem"]
