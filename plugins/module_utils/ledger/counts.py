# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many devices stand where, and what failed how often: by what is indexed, so that no record is read for it."""

from __future__ import annotations

from typing import Any

from .database import FAILURES, LISTED_KEYS, STANDINGS, LedgerError, is_old, sqlalchemy

# Of causes, the most frequent.
MOST_CAUSES = 200


def counts(connection: Any) -> dict[str, Any]:
    """What ``fleet_info`` returns. LedgerError for a ledger of an older schema, which has no such rows."""
    if is_old(connection):
        raise LedgerError(
            "The ledger has an older schema, in which devices are not counted. The next step that writes it brings it "
            "to the present one: run a step first."
        )
    in_use = STANDINGS.c.decommissioned == 0
    by_use = _counted(connection, [STANDINGS.c.decommissioned, STANDINGS.c.last_step])
    return {
        "devices": sum(count for *_use, count in by_use),
        "decommissioned": sum(count for gone, _step, count in by_use if gone),
        "last_steps": {step or "": count for gone, step, count in by_use if not gone},
        "states": _by(connection, STANDINGS.c.state, in_use),
        "key_versions": _by(connection, STANDINGS.c.key_version, in_use),
        "dps_id_scopes": _by(connection, STANDINGS.c.dps_id_scope, in_use),
        "certificates_expire": _by(connection, sqlalchemy.func.substr(STANDINGS.c.certificate_expires, 1, 7), in_use),
        "listed_keys": connection.execute(sqlalchemy.select(sqlalchemy.func.count(LISTED_KEYS.c.taken_in))).scalar(),
        "failures": _failures(connection),
    }


def _by(connection: Any, column: Any, *where: Any) -> dict[str, int]:
    """How many rows there are of each value, nothing being the empty one."""
    return {"" if value is None else str(value): count for value, count in _counted(connection, [column], *where)}


def _counted(connection: Any, columns: list[Any], *where: Any) -> list[Any]:
    found = sqlalchemy.select(*columns, sqlalchemy.func.count()).where(*where).group_by(*columns).order_by(*columns)
    return list(connection.execute(found))


def _failures(connection: Any) -> list[dict[str, Any]]:
    columns = [FAILURES.c.cause, FAILURES.c.step, FAILURES.c.station]
    count = sqlalchemy.func.count().label("count")
    found = sqlalchemy.select(*columns, count).group_by(*columns).order_by(count.desc(), *columns).limit(MOST_CAUSES)
    return [dict(one._mapping) for one in connection.execute(found)]
