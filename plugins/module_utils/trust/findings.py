# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the trust room says: a fault of what it was given to trust by, or a finding about a certificate."""

from __future__ import annotations

from typing import NamedTuple


class TrustError(Exception):
    """What the user gave to judge by (roots, CRLs, a signer's key) cannot be used. Tells what to do next."""


class Finding(NamedTuple):
    """Something about one certificate: *code* for machines, *message* a sentence for people."""

    code: str
    message: str

    def as_result(self) -> dict[str, str]:
        """As a module returns it."""
        return self._asdict()
