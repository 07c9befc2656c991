# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hub that this device is assigned to, asked whether it lets the device in.

Asked is for the list of the device's own modules, which takes nothing away and leaves nothing, and does not end the
connection of an application under the same device ID. Azure's IoT identity service asks the same with the same token,
and provisions again on 401, 403 and 404 (iot-identity-service, identity/aziot-cloud-client-async/src/hub/mod.rs).
"""

from __future__ import annotations

import urllib.parse
from typing import Any, Callable

from .clock import Clock
from .configuration import Configuration
from .errors import ClientError
from .sas import hub_audience
from .service import Answer, Service, told

API_VERSION = "2017-11-08-preview"
PORT = 443
REFUSALS = (401, 403, 404)


class Hub:
    """The hub of *assignment*."""

    def __init__(self, configuration: Configuration, clock: Clock, assignment: dict[str, Any]) -> None:
        self._clock = clock
        self._assignment = assignment
        host = assignment["assigned_hub"]
        self._service = Service(configuration, clock, host=host, port=PORT, api_version=API_VERSION)

    def refusal(self, token: Callable[[str], tuple[str, int]]) -> str | None:
        """What the hub said against this device, None where it lets it in.

        *token* makes one for an audience and tells its expiry in seconds since the epoch. :class:`ClientError` where
        there is no answer that says the one or the other.
        """
        try:
            answer, expiry = self._ask(token)
            # Its answer told the time, and by that the token had run out before it was made.
            if answer.status == 401 and expiry <= self._clock.now():
                answer, expiry = self._ask(token)
        finally:
            self._service.close()
        if answer.status in REFUSALS:
            return told(answer)
        if answer.status != 200:
            raise ClientError(f"the hub does not say whether it lets this device in ({told(answer)})")
        return None

    def _ask(self, token: Callable[[str], tuple[str, int]]) -> tuple[Answer, int]:
        """Answer, and the token's expiry."""
        authorization, expiry = token(hub_audience(self._assignment))
        path = "/devices/{}/modules".format(urllib.parse.quote(self._assignment["device_id"], safe=""))
        return self._service.call("GET", path, authorization=authorization), expiry
