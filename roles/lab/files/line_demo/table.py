# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The closing table: device by step, for people."""

from __future__ import annotations

from .observe import Seen

HEADINGS = ["device", "1 TPM made", "2 TPM installed", "3 software", "4 warehouse", "5 in the field"]


def _row(seen: Seen, id_scope: str) -> list[str]:
    configured = seen.client_id_scope == id_scope
    return [
        seen.name,
        "EK on the list" if seen.listed else "-",
        "enrolled" if seen.enrolled else "-",
        " + ".join(what for what, true in (("owned", seen.owned), ("client", configured)) if true) or "-",
        "target verified" if seen.enrolled and seen.owned and configured else "-",
        (seen.registration["assignedHub"] if seen.assigned else "-") if seen.reachable else "UNREACHABLE",
    ]


def render(devices: list[Seen], id_scope: str) -> str:
    """The table, as wide as it needs to be."""
    rows = [HEADINGS, *(_row(seen, id_scope) for seen in devices)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
