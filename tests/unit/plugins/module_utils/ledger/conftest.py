# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ledgers in both kinds of database, and devices to judge."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.judgement import Step
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.policy import CertificatePolicy


class PostgreSql:
    """A server of the distribution's release, reached by a socket in *directory* and by nobody else.

    It refuses to run as root, so root starts it as the package's own account.
    """

    # A role that needs a password, which nobody knows.
    GUARDED = "guarded"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        self._account: dict = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(directory, account.pw_uid, account.pw_gid)
            self._account = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self._data = directory / "data"
        self._names = itertools.count()

    def _run(self, program: str, *arguments: str) -> None:
        log = self.directory / "log"
        # No pipe, which the server that pg_ctl starts would hold open.
        with open(log, "a") as file:
            done = subprocess.run(
                [str(self._programs / program), *arguments],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                check=False,
                **self._account,
            )
        assert done.returncode == 0, log.read_text()

    def start(self) -> None:
        self._run("initdb", "--no-sync", "--username=line", "--auth=trust", f"--pgdata={self._data}")
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"local all {self.GUARDED} scram-sha-256\n" + rules.read_text())
        options = f"-F -c listen_addresses='' -c unix_socket_directories='{self.directory}'"
        self._run("pg_ctl", "start", "--wait", f"--pgdata={self._data}", f"--options={options}")
        self.tell(f"CREATE ROLE {self.GUARDED} LOGIN PASSWORD 'of nobody'")

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "--mode=immediate", f"--pgdata={self._data}")

    def ledger(self) -> str:
        """The URL of a new and empty part of the database."""
        name = f"ledger{next(self._names)}"
        self.tell(f"CREATE SCHEMA {name}")
        return self.url() + f"&options=-csearch_path%3D{name}"

    def url(self, who: str = "line") -> str:
        return f"postgresql+psycopg://{who}@/postgres?host={self.directory}"

    def tell(self, command: str) -> None:
        """Runs a command of SQL."""
        with psycopg.connect(host=str(self.directory), user="line", dbname="postgres") as connection:
            connection.execute(command)


@pytest.fixture(scope="session")
def postgresql():
    """A running server. Its directory is not below pytest's, which is its owner's only."""
    with ExitStack() as undo:
        directory = Path(tempfile.mkdtemp(prefix="tpmfleet-pg-"))
        undo.callback(shutil.rmtree, directory)
        server = PostgreSql(directory)
        server.start()
        undo.callback(server.stop)
        yield server


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
