# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shared access signatures, signed by a key that never leaves the TPM."""

from __future__ import annotations

import base64
import urllib.parse
from typing import Any, Callable


def hub_audience(assignment: dict[str, Any]) -> str:
    """What a token is for that lets the assigned device into its hub."""
    return "{}/devices/{}".format(assignment["assigned_hub"], assignment["device_id"])


def make_token(resource: str, *, expiry: int, sign: Callable[[bytes], bytes], key_name: str | None = None) -> str:
    """``SharedAccessSignature sr=…&sig=…&se=…``; *expiry* in seconds since the epoch."""
    encoded = urllib.parse.quote(resource, safe="")
    signature = sign(f"{encoded}\n{expiry}".encode())
    sig = urllib.parse.quote(base64.b64encode(signature).decode(), safe="")
    token = f"SharedAccessSignature sr={encoded}&sig={sig}&se={expiry}"
    return token + (f"&skn={key_name}" if key_name else "")
