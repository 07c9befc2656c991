# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The emulator as a program: serving, starting in the background, stopping.

Files of a state directory: ``emulator.json`` (where it is, while it runs), ``place.json`` (host and port, chosen once),
``ca.pem``, ``server.pem``, ``dps.sqlite``, ``policies.json`` (connection strings of the settings' policies),
``emulator.log``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from .app import make_app
from .certificates import CA_FILE, LOOPBACK_NAMES, issue_server_certificate, make_authority, write_private
from .resources import ATTACHED, GROUP
from .service import Service
from .settings import read_settings

ANNOUNCEMENT = "emulator.json"
PLACE = "place.json"
POLICIES = "policies.json"
LOG_FILE = "emulator.log"
# Below the range that Linux hands out for outgoing connections, so that none of those sits on the port at a restart.
PORTS = range(8443, 19999)
START_SECONDS = 30
STOP_SECONDS = 10


class DaemonError(Exception):
    """The emulator did not start or stop; the message says why."""


@dataclass(frozen=True)
class Access:
    """By what the service is reached, and where it listens; an empty address is the host's, as devices' is the host."""

    host: str
    port: int = 0
    address: str = ""
    device_host: str = ""

    @property
    def addresses(self) -> list[str]:
        """What it listens on."""
        if self.address:
            return [self.address]
        return ["127.0.0.1", "::1"] if self.host in LOOPBACK_NAMES else [self.host]

    @property
    def names(self) -> list[str]:
        """Names of its certificate besides the host."""
        return [self.device_host] if self.device_host not in ("", self.host) else []


def _bind(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        # At once, because two that are bound and do not listen yet may share a port.
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def _listen(addresses: list[str], port: int) -> list[socket.socket]:
    """Listening on every one of *addresses*; a machine without IPv6 does without."""
    listeners: list[socket.socket] = []
    for address in addresses:
        try:
            listeners.append(_bind(address, port))
        except OSError as error:
            if address == "::1" and listeners and error.errno != errno.EADDRINUSE:
                continue
            for listener in listeners:
                listener.close()
            raise DaemonError(f"cannot listen on {address} port {port}: {error.strerror}") from error
    return listeners


def _listen_somewhere(addresses: list[str]) -> tuple[list[socket.socket], int]:
    # At random, for another service that looks for a port should not come upon that of one which is down for a moment.
    for port in random.sample(PORTS, len(PORTS)):
        with contextlib.suppress(DaemonError):
            return _listen(addresses, port), port
    raise DaemonError("no free port")


def _place(state_dir: Path, host: str, port: int) -> tuple[str, int]:
    """Where this state directory's service was and stays; the first start decides."""
    kept = state_dir / PLACE
    if kept.exists():
        place = json.loads(kept.read_text())
        if host != place["host"] or port not in (0, place["port"]):
            raise DaemonError(
                f"the service of {state_dir} is at {place['host']}:{place['port']}; take another directory for another"
            )
        return place["host"], place["port"]
    return host, port


def _url_host(host: str, port: int) -> str:
    bracketed = f"[{host}]" if ":" in host else host
    return bracketed if port == 443 else f"{bracketed}:{port}"


def _digest(access: Access, settings: Path | None) -> str:
    """Of all that a service is started anew for where it changes."""
    parts = (access.address.encode(), access.device_host.encode(), settings.read_bytes() if settings else b"")
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


async def _serve(state_dir: Path, access: Access, settings: Path | None) -> None:
    read = read_settings(settings)
    host, port = _place(state_dir, access.host, access.port)
    listeners, port = (_listen(access.addresses, port), port) if port else _listen_somewhere(access.addresses)
    write_private(state_dir / PLACE, json.dumps({"host": host, "port": port}))
    make_authority(state_dir)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(issue_server_certificate(state_dir, host, more=access.names))
    where = _url_host(host, port)
    service = Service(state_dir, read, host=where.rsplit(":", 1)[0] if port != 443 else where, port=port, where=where)
    runner = web.AppRunner(make_app(service), access_log=None, shutdown_timeout=1)
    await runner.setup()
    for listener in listeners:
        await web.SockSite(runner, listener, ssl_context=context, backlog=1024).start()
    policies = {
        name: {"rights": rights, "connection_string": service.instance.connection_string(where, name)}
        for name, rights in read.policies.items()
    }
    write_private(state_dir / POLICIES, json.dumps(policies, indent=2) + "\n")
    announcement = {
        "endpoint": f"https://{where}",
        "device_endpoint": f"https://{_url_host(access.device_host or host, port)}",
        "id_scope": service.store.id_scope(),
        "connection_string": service.instance.connection_string(where),
        "ca_file": str(state_dir / CA_FILE),
        "pid": os.getpid(),
        "linked_hubs": service.instance.linked_hubs,
        "management": {
            "subscription_id": service.resources.subscription,
            "resource_group": GROUP,
            "instance": ATTACHED,
            "tenant": service.entra.tenant,
            "client_id": service.entra.owner,
            "secret": service.entra.secret(service.entra.owner),
        },
    }
    write_private(state_dir / "settings.sha256", _digest(access, settings))
    write_private(state_dir / ANNOUNCEMENT, json.dumps(announcement, indent=2) + "\n")
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        await ended.wait()
    finally:
        await runner.cleanup()
        (state_dir / ANNOUNCEMENT).unlink(missing_ok=True)


def serve(state_dir: Path, access: Access, settings: Path | None) -> None:
    """Serves until it is told to end (SIGTERM, SIGINT)."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DaemonError(f"a service of {state_dir} is running") from None
        asyncio.run(_serve(state_dir.resolve(), access, settings))


def running(state_dir: Path) -> dict | None:
    """What the service of *state_dir* announced, None where it does not run (also where it was killed)."""
    try:
        announcement = json.loads((state_dir / ANNOUNCEMENT).read_text())
        lock = (state_dir / "lock").open()
    except FileNotFoundError:
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return announcement
    return None


def start(state_dir: Path, access: Access, settings: Path | None) -> dict:
    """Starts it in the background and waits until it answers; starts it anew where the settings are others now."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    state_dir = state_dir.resolve()
    found = running(state_dir)
    if found is not None:
        if (state_dir / "settings.sha256").read_text() == _digest(access, settings):
            _place(state_dir, access.host, access.port)
            return {"changed": False, **found}
        stop(state_dir)
    (state_dir / ANNOUNCEMENT).unlink(missing_ok=True)
    command = [sys.executable, "-m", __package__, "serve", "--state-dir", str(state_dir)]
    command += ["--host", access.host, "--port", str(access.port)]
    command += ["--address", access.address, "--device-host", access.device_host]
    command += ["--settings", str(settings.resolve())] if settings else []
    path = [str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    with os.fdopen(os.open(state_dir / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = running(state_dir)
        if found is not None and found["pid"] == child.pid:
            return {"changed": True, **found}
        if found is not None and child.poll() is not None:
            # Somebody else started it at the same time.
            return {"changed": False, **found}
        if child.poll() is not None:
            tail = (state_dir / LOG_FILE).read_text(errors="replace").strip().splitlines()[-1:]
            raise DaemonError(f"the service ended at once: {''.join(tail)}")
        time.sleep(0.02)
    child.kill()
    raise DaemonError(f"the service did not answer in {START_SECONDS} seconds; see {state_dir / LOG_FILE}")


def stop(state_dir: Path) -> dict:
    """Ends it and waits until it has ended."""
    found = running(state_dir)
    if found is None:
        return {"changed": False}
    os.kill(found["pid"], signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while running(state_dir) is not None:
        if time.monotonic() > deadline:
            os.kill(found["pid"], signal.SIGKILL)
            break
        time.sleep(0.02)
    return {"changed": True}
