# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ledgers in both kinds of database, and devices to judge."""

from __future__ import annotations

import base64
import hashlib

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.judgement import Step
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.verification import Proof
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.policy import CertificatePolicy


@pytest.fixture
def sqlite(tmp_path):
    """The path of a ledger that is not there yet."""
    return str(tmp_path / "line" / "ledger.sqlite")


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request):
    """A new ledger, in each kind of database."""
    if request.param == "sqlite":
        return request.getfixturevalue("sqlite")
    return request.getfixturevalue("postgresql").ledger()


@pytest.fixture
def key(make_ek):
    """The fields of the *number*-th endorsement key."""

    def fields(number: int = 0) -> dict:
        public = make_ek(number)
        decoded = base64.b64decode(public)
        return {
            "endorsement_key": public,
            "endorsement_key_sha256": hashlib.sha256(decoded).hexdigest(),
            "endorsement_key_name": "000b" + hashlib.sha256(decoded[2:]).hexdigest(),
            "registration_id": f"unit-{number}",
        }

    return fields


@pytest.fixture
def take(sqlite):
    """Has a step take *records* into a ledger; the verdicts by host."""

    def run(*records, ledger=sqlite, step="tpm_install", policy="ignored", at="2026-11-24T12:00:00Z"):
        with opened(ledger, Access.WRITE) as connection:
            certificates = CertificatePolicy("ignored")
            at_work = Step(
                connection, step=step, station="line-1", at=at, list_policy=policy, certificates=certificates
            )
            return at_work.take(records)

    return run


@pytest.fixture
def units(key):
    """The records of units by their numbers, each with *fields* besides."""

    def of(*numbers, **fields):
        return [
            {"host": f"slot{number}", "serial_number": f"TF-{number}", **key(number), **fields} for number in numbers
        ]

    return of


@pytest.fixture
def proof_of():
    """(the proof of a ledger's chain, whether it is whole), also of one that was cut."""

    def run(ledger, *anchors):
        with opened(ledger, Access.READ, cut=True) as connection:
            proof = Proof(connection, anchors)
            return proof, proof.run()

    return run


@pytest.fixture
def change():
    """Does to a ledger what somebody does by its database's own means: texts, or statements of SQLAlchemy."""

    def run(ledger, *commands):
        with opened(ledger, Access.READ, cut=True) as connection:
            engine = connection.engine
        with engine.connect() as connection:
            for command in commands:
                execute = connection.exec_driver_sql if isinstance(command, str) else connection.execute
                execute(command)
            connection.commit()
        engine.dispose()

    return run
