# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Uses the field client that is on this device, as a person at its console would."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ..outside import strict_json
from ..outside.visible import visible, visible_lines
from .files import COMMAND

_LONGEST_LINE = 2000


class ControlError(Exception):
    """The client did not do as it was told; the message has its own words."""


class ClientControl:
    """The client at :data:`COMMAND`. *run(argv)* gives exit code, stdout and stderr."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    @property
    def installed(self) -> bool:
        """Whether there is a client at all."""
        return os.path.exists(COMMAND)

    def assignment(self) -> dict[str, Any] | None:
        """What the client holds, without its key; None where it is not assigned."""
        _code, out, err = self._run([COMMAND, "status", "--json"])
        try:
            return strict_json.parse(out)["assignment"]
        except (ValueError, KeyError, TypeError) as error:
            raise ControlError(f"{COMMAND} status does not answer: {_words(err, out)}.{_question(err)}") from error

    def usable(self) -> bool:
        """Whether what the client holds is of this device's TPM, and of the service that it is configured for."""
        _code, out, err = self._run([COMMAND, "selftest"])
        try:
            return bool(strict_json.parse(out)["assigned"])
        except (ValueError, KeyError, TypeError) as error:
            raise ControlError(f"the client's selftest failed: {_words(err, out)}.{_question(err)}") from error

    def register(self, *, anew: bool, timeout: int) -> None:
        """Registers within *timeout* seconds; *anew* also where the device is assigned."""
        code, _out, err = self._run([COMMAND, "reprovision" if anew else "register", "--within", str(timeout)])
        if code:
            words = err.strip().splitlines()[-1:] or [f"exit code {code}"]
            raise ControlError(f"the device did not register: {visible(words[0], most=_LONGEST_LINE)}")

    def forget(self) -> None:
        """Removes the assignment from the device."""
        code, out, err = self._run([COMMAND, "forget"])
        if code:
            raise ControlError(f"the assignment was not removed: {_words(err, out)}.{_question(err)}")


def _words(err: str, out: str) -> str:
    lines = visible_lines((err or out).strip(), most=_LONGEST_LINE)
    return "; ".join(lines).rstrip(".") or "it gave no reason"


def _question(err: str) -> str:
    """What to look at: who asked, where that is it; else whether there is a client that could answer."""
    if os.geteuid() != 0 or "ermission" in err:
        return " Its files are root's: run with become."
    return "" if os.path.exists(COMMAND) else " Was the client placed?"


def without_root(what: str) -> str:
    """Why *what* is refused before anything is tried; empty for root."""
    if os.geteuid() == 0:
        return ""
    return f"{what} takes root, and the task runs as a user (ID {os.geteuid()}): set become. Nothing was changed."
