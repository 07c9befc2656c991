# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From schema 1 to schema 2: short rows to select and count devices by, and a head for each.

Nothing that was there is changed. The tables marks and heads came before schemas had revisions: they may be there. The
rows are made by the revision after this one, in the same transaction.
"""

from __future__ import annotations

try:
    import sqlalchemy
    from alembic import op
    from sqlalchemy import Column, Integer, String
except ImportError:
    sqlalchemy = None  # type: ignore[assignment]

revision = "2"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    there = set(sqlalchemy.inspect(op.get_bind()).get_table_names())
    if "marks" not in there:
        op.create_table("marks", Column("name", String(32), primary_key=True), Column("value", Integer, nullable=False))
    if "heads" not in there:
        op.create_table(
            "heads",
            Column("device", Integer, primary_key=True, autoincrement=False),
            Column("events", Integer, nullable=False),
            Column("head", String(64), nullable=False),
        )
    op.create_table(
        "standings",
        Column("device", Integer, primary_key=True, autoincrement=False),
        Column("last_step", String(32)),
        Column("decommissioned", Integer),
        Column("key_version", Integer),
        *(Column(name, String(255)) for name in ("dps_id_scope", "maker", "batch", "tpm_type")),
        *(Column(name, String(32)) for name in ("certificate_expires", "at", "step")),
        Column("station", String(255)),
        Column("state", String(32)),
        Column("cause", String(255)),
    )
    for name in ("last_step", "key_version", "dps_id_scope", "certificate_expires", "state"):
        op.create_index(f"ix_standings_{name}", "standings", [name, "decommissioned"])
    op.create_index("ix_standings_shipment", "standings", ["maker", "batch"])
    op.create_index("ix_standings_batch", "standings", ["batch"])
    op.create_table(
        "step_times",
        Column("device", Integer, primary_key=True, autoincrement=False),
        Column("step", String(32), primary_key=True),
        Column("at", String(32), nullable=False),
        Column("station", String(255), nullable=False),
    )
    op.create_index("ix_step_times_step", "step_times", ["step", "at"])
    op.create_index("ix_step_times_station", "step_times", ["station", "step"])
    op.create_index("ix_listed_keys_taken_in", "listed_keys", ["taken_in"])
