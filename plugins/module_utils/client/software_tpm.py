# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans and makes the software TPM of a prototype on the device where this runs: its memory, its unit, its service."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from typing import Any, Callable

from . import placement

PROGRAMS = ("swtpm", "swtpm_setup")
SERVICE = "tpmfleet-swtpm.service"
UNIT = f"/etc/systemd/system/{SERVICE}"
# What swtpm keeps in its directory, once there is a TPM.
MEMORY = "tpm2-00.permall"


class SoftwareTpmError(Exception):
    """It was not made; the message says why."""


class SoftwareTpm:
    """The software TPM on this device. *run(argv)* gives exit code, stdout and stderr."""

    def __init__(self, *, state_dir: str, user: str, unit: str, run: Callable[..., Any]) -> None:
        self._directory = state_dir
        self._user = user
        self._unit = unit
        self._run = run
        self._files: list[placement.Placement] = []
        self._changes: list[str] = []

    def has_programs(self) -> bool:
        """Whether the device has what makes a TPM and what runs it."""
        return all(shutil.which(program) for program in PROGRAMS)

    def plan(self) -> list[str]:
        """What :meth:`apply` will do, of ``directory``, ``tpm``, ``unit``, ``enabled`` and ``started``."""
        try:
            self._files = placement.plan([placement.WantedFile("unit", UNIT, self._unit.encode())])
        except placement.PlacementError as error:
            raise SoftwareTpmError(str(error)) from error
        found = {
            "directory": not self._has_directory(),
            "tpm": not os.path.exists(os.path.join(self._directory, MEMORY)),
            "unit": bool(self._files),
            "enabled": self._run(["systemctl", "is-enabled", "--quiet", SERVICE])[0] != 0,
            "started": bool(self._files) or self._run(["systemctl", "is-active", "--quiet", SERVICE])[0] != 0,
        }
        self._changes = [change for change, needed in found.items() if needed]
        return self._changes

    def apply(self) -> None:
        """Does what :meth:`plan` found."""
        if "directory" in self._changes:
            self._make_directory()
        if "tpm" in self._changes:
            where = ("--tpmstate", self._directory, "--runas", self._user)
            self._command("swtpm_setup", "--tpm2", *where, "--not-overwrite")
        try:
            placement.apply(self._files)
        except placement.PlacementError as error:
            raise SoftwareTpmError(str(error)) from error
        if "unit" in self._changes:
            self._command("systemctl", "daemon-reload")
        if "enabled" in self._changes:
            self._command("systemctl", "enable", SERVICE)
        # What swtpm_setup and systemctl made they did not sync.
        os.sync()
        if "started" in self._changes:
            self._command("systemctl", "restart" if "unit" in self._changes else "start", SERVICE)

    def _owner(self) -> tuple[int, int] | None:
        try:
            user = pwd.getpwnam(self._user)
        except KeyError:
            return None
        return user.pw_uid, user.pw_gid

    def _has_directory(self) -> bool:
        try:
            found = os.lstat(self._directory)
        except OSError:
            return False
        owner = (found.st_uid, found.st_gid)
        return stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700 and owner == self._owner()

    def _make_directory(self) -> None:
        owner = self._owner()
        if owner is None:
            raise SoftwareTpmError(f"there is no user {self._user}, whom the TPM is to run as")
        try:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            os.chown(self._directory, *owner)
            os.chmod(self._directory, 0o700)
        except OSError as error:
            raise SoftwareTpmError(f"{self._directory} cannot be made: {error.strerror}") from error

    def _command(self, *argv: str) -> None:
        code, out, err = self._run(list(argv))
        if code:
            words = (err or out).strip().splitlines()[-1:] or [f"exit code {code}"]
            raise SoftwareTpmError(f"{' '.join(argv[:2])} failed: {words[0]}")
