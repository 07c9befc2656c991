# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who gets in: who shows a shared access signature for ``{hub}/devices/{device}``, or for the hub, by the device's key.

Over MQTT (Microsoft documentation, "Communicate with an IoT hub using the MQTT protocol") the client ID is the device
ID, the user name ``{hub}/{device}/?api-version=…`` and the password the signature; over HTTPS it is the header
``Authorization``.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import sqlite3
import time
from pathlib import Path
from urllib.parse import unquote

SCHEME = "SharedAccessSignature "


class Refused(Exception):
    """The device is not let in; the message says why, for the log."""


class Unknown(Refused):
    """No hub has such a device."""


def read_hub_key(database: Path, device_id: str) -> tuple[str, bytes]:
    """(hub, key) of an assigned device."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        row = opened.execute("SELECT hub, key FROM hub_keys WHERE device_id = ?", (device_id,)).fetchone()
    if row is None:
        raise Unknown(f"{device_id} is no device of any hub")
    return row


def admit_mqtt(database: Path, *, client_id: str, user_name: str, password: str) -> None:
    """Lets a device in, or raises :class:`Refused`."""
    hub = admit(database, device_id=client_id, token=password)
    if user_name.split("/")[:2] != [hub, client_id]:
        raise Refused(f"the user name is not {hub}/{client_id}/?api-version=…")


def admit(database: Path, *, device_id: str, token: str) -> str:
    """Lets a device in and returns its hub, or raises :class:`Refused`."""
    hub, key = read_hub_key(database, device_id)
    if not token.startswith(SCHEME):
        raise Refused("there is no shared access signature")
    fields = dict(part.partition("=")[::2] for part in token[len(SCHEME) :].split("&"))
    if not {"sr", "sig", "se"} <= set(fields) or not fields["se"].isdigit():
        raise Refused("the signature needs sr, sig and se")
    if int(fields["se"]) <= time.time():
        raise Refused("the signature has expired")
    resource = f"{hub}/devices/{device_id}"
    if unquote(fields["sr"]) not in (resource, hub):
        raise Refused(f"the signature is not for {resource}")
    signed = hmac.digest(key, f"{fields['sr']}\n{fields['se']}".encode(), hashlib.sha256)
    if not hmac.compare_digest(base64.b64encode(signed).decode(), unquote(fields["sig"])):
        raise Refused("the signature is by another key")
    return hub
