# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One thing that was looked at: the verdict, the cause in words, and what mends it."""

from __future__ import annotations

OK, ATTENTION, FAULT, UNKNOWN = "ok", "attention", "fault", "unknown"
# The worst first, as they are told.
VERDICTS = (FAULT, ATTENTION, UNKNOWN, OK)

Finding = dict[str, str]


def finding(check: str, verdict: str, cause: str, mend: str = "", *, detail: str = "") -> Finding:
    """A finding. *cause* and *mend* are the same on each device that has it, *detail* is this one's."""
    return {"check": check, "verdict": verdict, "cause": cause, "detail": detail, "mend": mend}
