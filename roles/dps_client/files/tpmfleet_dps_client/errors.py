# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one exception of the client: a sentence for the journal, and how to go on."""

from __future__ import annotations

# Exit codes of the program, after sysexits.h: EX_TEMPFAIL and EX_NOPERM.
EXIT_OK, EXIT_ERROR, EXIT_TRY_AGAIN, EXIT_REFUSED = 0, 1, 75, 77


class ClientError(Exception):
    """Registration did not succeed this time.

    *refused*: the service understood and said no, so only a change on its side helps; asked again, but slowly.
    *retry_after*: seconds that the service asked to be left alone.
    """

    def __init__(self, sentence: str, *, refused: bool = False, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.refused = refused
        self.retry_after = retry_after
