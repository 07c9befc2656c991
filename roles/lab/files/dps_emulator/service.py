# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The emulated service as one object: what every request handler needs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from aiohttp import web

from .auth import ServiceAuthorization
from .enrollments import Enrollments
from .entra import Entra
from .faults import Faults
from .instance import Instance
from .registrations import Registrations
from .resources import Resources
from .settings import Settings
from .store import HubKey, Store
from .throttle import Throttle

DATABASE = "dps.sqlite"


class Service:
    """All parts of one emulated service, on the database of *state_dir*; *where* it is, with a port but for 443."""

    def __init__(self, state_dir: Path, settings: Settings, *, host: str, port: int, where: str) -> None:
        self.settings = settings
        self.store = Store(state_dir / DATABASE)
        self.instance = Instance()
        self.resources = Resources(self.store, settings, self.instance, where=where)
        self.entra = Entra(self.store, settings, endpoint=f"https://{where}")
        self.enrollments = Enrollments(self.store, settings, self.instance)
        self.registrations = Registrations(self.store, settings, self.instance)
        self.authorization = ServiceAuthorization(self.instance, self.entra, settings, host=host, port=port)
        self.throttle = Throttle(settings)
        self.faults = Faults()
        self.calls: Counter[tuple[str, int]] = Counter()

    def hub_key_for(self, device_id: str) -> HubKey | None:
        """For a hub front: the key that the device's tokens must be signed with, and the hub that it belongs to."""
        return self.store.hub_key_for(device_id)


SERVICE = web.AppKey("service", Service)
