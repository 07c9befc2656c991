# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of the DPS side share: keys without a TPM, the emulated service, and modules run in this process.

Imports are inside: other tests below this directory run under a device's own Python, which has none of it.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import struct

import pytest

EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")


@pytest.fixture(scope="session")
def make_ek():
    """The TPM2B_PUBLIC of an endorsement key that no TPM has, in base64; one for each *number*."""

    def make(number: int = 0, *, attributes: int = 0x000300B2, kind: int = 0x0001, change=lambda data: data) -> str:
        modulus = b"".join(hashlib.sha256(b"%d/%d" % (number, part)).digest() for part in range(8))
        area = struct.pack(">HHIH", kind, 0x000B, attributes, 32) + EK_POLICY
        area += struct.pack(">HHHHHIH", 0x0006, 128, 0x0043, 0x0010, 2048, 0, 256) + modulus
        return base64.b64encode(change(struct.pack(">H", len(area)) + area)).decode()

    return make


class Dps:
    """The emulated service, seen from the side: its control API, and plain calls."""

    def __init__(self, announcement: dict) -> None:
        import requests

        self.where = announcement
        self.session = requests.Session()
        self.session.verify = announcement["ca_file"]
        self.session.trust_env = False
        parts = dict(part.split("=", 1) for part in announcement["connection_string"].split(";"))
        self.host, self.key = parts["HostName"], parts["SharedAccessKey"]

    def control(self, method: str, what: str, body: object = None):
        answer = self.session.request(method, f"{self.where['endpoint']}/_emulator/{what}", json=body, timeout=20)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def settings(self, **changes: object) -> None:
        self.control("PUT", "settings", changes)

    def fault(self, **fault: object) -> None:
        self.control("POST", "faults", fault)

    def calls(self) -> dict[str, int]:
        """Calls of the service API since the last reset, by operation and whatever their answer."""
        found = self.control("GET", "stats")["calls"]
        return {name: sum(by_status.values()) for name, by_status in found.items()}

    def connection(self, **others: object) -> dict:
        """Options of a module."""
        return {"connection_string": self.where["connection_string"], "ca_file": self.where["ca_file"], **others}


@pytest.fixture
def dps(emulator, monkeypatch):
    """An empty service with its default settings, except that no quota is in the way."""
    monkeypatch.delenv("TPMFLEET_DPS_CONNECTION_STRING", raising=False)
    dps = Dps(emulator)
    before = dps.control("GET", "settings")
    dps.settings(throttle=False, poll_throttle=False)
    dps.control("DELETE", "stats")
    yield dps
    dps.control("DELETE", "faults")
    dps.settings(**{**before, "throttle": False})
    service = _open(dps)
    while page := next(service.pages(), []):
        for begin in range(0, len(page), 10):
            service.bulk("delete", [{"registrationId": one["registrationId"]} for one in page[begin : begin + 10]])
    service.close()
    dps.settings(**before)
    dps.control("DELETE", "quotas")


def _open(dps: Dps, **options: object):
    name = "ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps"
    service = importlib.import_module(f"{name}.service")
    credentials = importlib.import_module(f"{name}.credentials")
    access = credentials.parse_connection_string(dps.where["connection_string"])
    return service.Service(access, ca_file=dps.where["ca_file"], **options)


@pytest.fixture
def service(dps):
    """Our client of that service."""
    service = _open(dps, timeout=10, retry_budget=20)
    yield service
    service.close()


@pytest.fixture
def run_module(capsys):
    """Runs a module of the collection in this process; what it returned."""
    from ansible.module_utils.testing import patch_module_args

    def run(name: str, *, check: bool = False, diff: bool = False, **options: object) -> dict:
        module = importlib.import_module(f"ansible_collections.tpmfleet.azure_dps.plugins.modules.{name}")
        arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def no_sleep(monkeypatch):
    """Waits between tries are noted and not spent."""
    import time

    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept
