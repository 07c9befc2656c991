# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The PostgreSQL that ledgers of several stations are in."""

from __future__ import annotations

import itertools
import os
import pwd
import subprocess
from pathlib import Path

import psycopg


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

    @property
    def socket(self) -> str:
        """Where it is reached."""
        return f"{self.directory}/.s.PGSQL.5432"

    def ledger(self) -> str:
        """The URL of a new and empty part of the database."""
        name = f"ledger{next(self._names)}"
        self.tell(f"CREATE SCHEMA {name}")
        return self.url() + f"&options=-csearch_path%3D{name}"

    def url(self, who: str = "line") -> str:
        return f"postgresql+psycopg://{who}@/postgres?host={self.directory}"

    def tell(self, command: str, *, autocommit: bool = False) -> None:
        """Runs a command of SQL; such as VACUUM with *autocommit*."""
        where = {"host": str(self.directory), "user": "line", "dbname": "postgres"}
        with psycopg.connect(**where, autocommit=autocommit) as connection:
            connection.execute(command)
