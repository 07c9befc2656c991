# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Brings a ledger of an older schema to the present one, by revisions of Alembic.

It happens in the transaction of who writes next, with all other writers kept out, so that it is done wholly or not at
all. A file is copied before, beside it. The revisions are ordinary ones but for where they are found: a module that is
sent has no directory of scripts, so they are imported.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from typing import Any

from ..outside import durable
from .database import REVISION, SCHEMA_VERSION, LedgerError

try:
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext, MigrationStep
    from alembic.script import Script
    from alembic.script.revision import RevisionMap
except ImportError:
    Operations = None  # type: ignore[assignment,misc]


def upgrade(connection: Any, version: int, path: str | None) -> str:
    """Brings the ledger with schema *version* that is open to the present schema; says so.

    *path* is that of a file. LedgerError where it cannot be done; then nothing was changed.
    """
    if Operations is None:
        raise LedgerError(
            f"The ledger has schema version {version} and is to be brought to {SCHEMA_VERSION}, for which the Python "
            "library alembic is missing: pip install -r requirements.txt. Nothing was changed."
        )
    copy = _copied(path, version) if connection.dialect.name == "sqlite" and path else None
    steps = MigrationContext.configure(connection, opts={"fn": _steps, "version_table": REVISION.name})
    with Operations.context(steps):
        steps.run_migrations()
    kept = f" What it was before is in {copy}." if copy else ""
    return f"The ledger was brought from schema version {version} to {SCHEMA_VERSION}.{kept}"


def _steps(begin: Any, _context: Any) -> list[Any]:
    """What leads from the revision *begin* to the last one."""
    from .revisions import orders, standings

    scripts = RevisionMap(lambda: [Script(one, one.revision, one.__file__ or "") for one in (standings, orders)])
    lead = reversed(list(scripts.iterate_revisions("head", begin or "base")))
    return [MigrationStep.upgrade_from_script(scripts, script) for script in lead if isinstance(script, Script)]


def _copied(path: str, version: int) -> str:
    """Where the file at *path* was copied to, to which nobody writes meanwhile."""
    copy = f"{path}.schema-{version}"
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".ledger-", dir=os.path.dirname(path))
        os.close(descriptor)
        with (
            contextlib.closing(sqlite3.connect(path)) as source,
            contextlib.closing(sqlite3.connect(temporary)) as target,
        ):
            source.backup(target)
        durable.sync(temporary)
        os.replace(temporary, copy)
        durable.sync_name(copy)
    except (OSError, sqlite3.Error) as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        reason = error.strerror if isinstance(error, OSError) else error
        raise LedgerError(
            f"The ledger {path} has schema version {version} and is to be brought to {SCHEMA_VERSION}; it cannot be "
            f"copied to {copy} before: {reason}. Make room there, and run again. Nothing was changed."
        ) from None
    return copy
