# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the line's ledger is named, in the words that its modules share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  ledger:
    description:
      - The line's database, a path for SQLite, where the task runs, or an SQLAlchemy URL for PostgreSQL. A file is made
        where it is not there yet, readable by its owner only; so are tables.
      - Several stations share one in PostgreSQL, C(postgresql+psycopg://HOST/DATABASE). Who writes waits until another
        one is done, for a minute at most. A password belongs in the driver's own file (C(~/.pgpass)), not in the URL.
      - A ledger of an older schema is upgraded by who writes it first, and read as it is.
    type: str
    required: true
requirements:
  - SQLAlchemy 2.0 or later where the task runs, which is the controller
  - psycopg 3 there as well, for PostgreSQL
  - alembic 1.13 or later there as well, for a ledger of an older schema
"""
