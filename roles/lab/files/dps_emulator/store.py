# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the service remembers, in one SQLite file, so that it survives a restart.

Registration IDs are case-insensitive (reference), so the key of every table is the lower-case form. Enrollments are
kept as the JSON text that is answered, without the registration state, so that a page of a query is a join of
strings.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS enrollments (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, etag TEXT NOT NULL,
    key_digest BLOB NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS enrollments_by_key ON enrollments (key_digest);
CREATE TABLE IF NOT EXISTS registrations (
    id TEXT PRIMARY KEY, etag TEXT NOT NULL, document TEXT NOT NULL, hubs TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS challenges (
    id TEXT PRIMARY KEY, key BLOB NOT NULL, endorsement_key BLOB NOT NULL, storage_root_key BLOB NOT NULL,
    issued REAL NOT NULL, operation TEXT);
CREATE TABLE IF NOT EXISTS operations (
    operation TEXT PRIMARY KEY, id TEXT NOT NULL, ready REAL NOT NULL, payload TEXT NOT NULL, result TEXT);
CREATE TABLE IF NOT EXISTS hub_keys (device_id TEXT PRIMARY KEY, hub TEXT NOT NULL, key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS resources (name TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS management_operations (
    operation TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, ready REAL NOT NULL, ended INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Challenge:
    """What one device was challenged with: the key it must sign with, and the public keys it showed."""

    key: bytes
    endorsement_key: bytes
    storage_root_key: bytes
    issued: float
    operation: str | None


@dataclass(frozen=True)
class HubKey:
    """The key with which a device signs tokens for its hub."""

    hub: str
    key: bytes


def _digest(endorsement_key: str) -> bytes:
    return hashlib.sha256(endorsement_key.encode()).digest()


class Store:
    """One open database. Every write is committed before its method returns, unless in :meth:`together`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        """Ends the use of the file."""
        self._db.close()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """All writes within are committed at once."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _one(self, statement: str, *values: object) -> tuple | None:
        return self._db.execute(statement, values).fetchone()

    # Facts: what is chosen once and stays.

    def fact(self, name: str, default: str) -> str:
        """The value of *name*; *default* becomes it at first sight."""
        self._db.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, default))
        row = self._one("SELECT value FROM facts WHERE name = ?", name)
        assert row is not None
        return row[0]

    def id_scope(self) -> str:
        """The service's ID scope."""
        return self.fact("id_scope", f"0ne{secrets.token_hex(4).upper()}")

    def json_fact(self, name: str) -> Any:
        """The value of a fact that changes, None where there is none yet."""
        row = self._one("SELECT value FROM facts WHERE name = ?", name)
        return None if row is None else json.loads(row[0])

    def put_json_fact(self, name: str, value: Any) -> None:
        """Creates or replaces."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    # Enrollments.

    def enrollment(self, registration_id: str) -> tuple[str, dict] | None:
        """(etag, document) without the registration state, None where there is none."""
        row = self._one("SELECT etag, document FROM enrollments WHERE id = ?", registration_id.lower())
        return None if row is None else (row[0], json.loads(row[1]))

    def put_enrollment(self, registration_id: str, etag: str, document: dict) -> None:
        """Creates or replaces."""
        key = document["attestation"]["tpm"]["endorsementKey"]
        self._db.execute(
            "INSERT INTO enrollments (id, etag, key_digest, document) VALUES (?, ?, ?, ?) ON CONFLICT (id)"
            " DO UPDATE SET etag = excluded.etag, key_digest = excluded.key_digest, document = excluded.document",
            (registration_id.lower(), etag, _digest(key), json.dumps(document)),
        )

    def delete_enrollment(self, registration_id: str) -> None:
        """Removes the enrollment and its registration state. UNVERIFIED that the state goes with it."""
        self._db.execute("DELETE FROM enrollments WHERE id = ?", (registration_id.lower(),))
        self._db.execute("DELETE FROM registrations WHERE id = ?", (registration_id.lower(),))

    def enrollments_after(self, number: int, count: int) -> list[tuple[int, str]]:
        """Up to *count* (number, JSON text) in the order of creation."""
        return self._db.execute(
            "SELECT number, document FROM enrollments WHERE number > ? ORDER BY number LIMIT ?", (number, count)
        ).fetchall()

    def enrollments_with_key(self, endorsement_key: str) -> list[str]:
        """The registration IDs enrolled with this key, in lower case."""
        rows = self._db.execute("SELECT id FROM enrollments WHERE key_digest = ?", (_digest(endorsement_key),))
        return [row[0] for row in rows]

    def enrollment_count(self) -> int:
        """How many there are."""
        row = self._one("SELECT count(*) FROM enrollments")
        return row[0] if row else 0

    # Registration states.

    def registration(self, registration_id: str) -> tuple[str, dict, list[str]] | None:
        """(etag, state, every hub it was assigned to in order), None where the device never registered."""
        row = self._one("SELECT etag, document, hubs FROM registrations WHERE id = ?", registration_id.lower())
        return None if row is None else (row[0], json.loads(row[1]), json.loads(row[2]))

    def put_registration(self, registration_id: str, etag: str, state: dict, hubs: list[str]) -> None:
        """Creates or replaces."""
        self._db.execute(
            "INSERT OR REPLACE INTO registrations VALUES (?, ?, ?, ?)",
            (registration_id.lower(), etag, json.dumps(state), json.dumps(hubs)),
        )

    def delete_registration(self, registration_id: str) -> None:
        """Forgets that the device ever registered."""
        self._db.execute("DELETE FROM registrations WHERE id = ?", (registration_id.lower(),))

    # Challenges and operations of the device API.

    def challenge(self, registration_id: str) -> Challenge | None:
        """The newest challenge of a device."""
        row = self._one(
            "SELECT key, endorsement_key, storage_root_key, issued, operation FROM challenges WHERE id = ?",
            registration_id.lower(),
        )
        return None if row is None else Challenge(*row)

    def put_challenge(self, registration_id: str, challenge: Challenge) -> None:
        """A new challenge makes every older one worthless."""
        self._db.execute(
            "INSERT OR REPLACE INTO challenges VALUES (?, ?, ?, ?, ?, ?)",
            (
                registration_id.lower(),
                challenge.key,
                challenge.endorsement_key,
                challenge.storage_root_key,
                challenge.issued,
                challenge.operation,
            ),
        )

    def put_operation(self, operation: str, registration_id: str, ready: float, payload: str) -> None:
        """Begins an operation and notes it as what the challenge was used for."""
        with self.together():
            self._db.execute(
                "INSERT INTO operations VALUES (?, ?, ?, ?, NULL)", (operation, registration_id.lower(), ready, payload)
            )
            self._db.execute("UPDATE challenges SET operation = ? WHERE id = ?", (operation, registration_id.lower()))

    def operation(self, operation: str) -> tuple[str, dict | None] | None:
        """(registration ID, result or None while it goes on), None where there is no such operation."""
        row = self._one("SELECT id, result FROM operations WHERE operation = ?", operation)
        return None if row is None else (row[0], json.loads(row[1]) if row[1] else None)

    def unfinished_operations(self) -> list[tuple[str, str, float, str]]:
        """(operation, registration ID, when it is ready, payload as JSON) of all that go on."""
        return self._db.execute("SELECT operation, id, ready, payload FROM operations WHERE result IS NULL").fetchall()

    def finish_operation(self, operation: str, result: dict) -> None:
        """Notes the result; older finished operations of the device are forgotten."""
        self._db.execute("UPDATE operations SET result = ? WHERE operation = ?", (json.dumps(result), operation))
        self._db.execute(
            "DELETE FROM operations WHERE result IS NOT NULL AND operation != ? AND id ="
            " (SELECT id FROM operations WHERE operation = ?)",
            (operation, operation),
        )

    def put_hub_key(self, device_id: str, hub_key: HubKey) -> None:
        """The key that a device signs its hub tokens with from now on."""
        self._db.execute("INSERT OR REPLACE INTO hub_keys VALUES (?, ?, ?)", (device_id, hub_key.hub, hub_key.key))

    def hub_key_for(self, device_id: str) -> HubKey | None:
        """For a hub front: where the device belongs and the key that its tokens must be signed with."""
        row = self._one("SELECT hub, key FROM hub_keys WHERE device_id = ?", device_id)
        return None if row is None else HubKey(*row)

    # Resources of the resource manager, and its operations.

    def resource(self, name: str) -> dict | None:
        """A resource's whole document with its secrets, None where there is none."""
        row = self._one("SELECT document FROM resources WHERE name = ?", name.lower())
        return None if row is None else json.loads(row[0])

    def resources(self) -> list[dict]:
        """All of them."""
        return [json.loads(row[0]) for row in self._db.execute("SELECT document FROM resources ORDER BY name")]

    def put_resource(self, name: str, document: dict) -> None:
        """Creates or replaces."""
        self._db.execute("INSERT OR REPLACE INTO resources VALUES (?, ?)", (name.lower(), json.dumps(document)))

    def delete_resource(self, name: str) -> None:
        """Removes it."""
        self._db.execute("DELETE FROM resources WHERE name = ?", (name.lower(),))

    def put_management_operation(self, operation: str, name: str, kind: str, ready: float) -> None:
        """Begins an operation on a resource."""
        self._db.execute("INSERT INTO management_operations VALUES (?, ?, ?, ?, 0)", (operation, name, kind, ready))

    def management_operation(self, operation: str) -> bool | None:
        """Whether it has ended, None where there is no such operation."""
        row = self._one("SELECT ended FROM management_operations WHERE operation = ?", operation)
        return None if row is None else bool(row[0])

    def unfinished_management_operations(self) -> list[tuple[str, float]]:
        """(operation, when it is ready) of all that go on."""
        return self._db.execute("SELECT operation, ready FROM management_operations WHERE NOT ended").fetchall()

    def finish_management_operation(self, operation: str) -> tuple[str, str]:
        """(resource, kind) of an operation that ends now."""
        self._db.execute("UPDATE management_operations SET ended = 1 WHERE operation = ?", (operation,))
        row = self._one("SELECT name, kind FROM management_operations WHERE operation = ?", operation)
        assert row is not None
        return row[0], row[1]
