# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shared access signatures, signed by a key that never leaves the TPM."""

from __future__ import annotations

import base64
import urllib.parse
from typing import Callable, Optional


def make_token(
    resource: str, *, expiry: int, sign: Callable[[bytes], bytes], key_name: Optional[str] = None
) -> str:
    """``SharedAccessSignature sr=…&sig=…&se=…``; *expiry* in seconds since the epoch."""
    encoded = urllib.parse.quote(resource, safe="")
    signature = sign("{0}\n{1}".format(encoded, expiry).encode())
    sig = urllib.parse.quote(base64.b64encode(signature).decode(), safe="")
    token = "SharedAccessSignature sr={0}&sig={1}&se={2}".format(encoded, sig, expiry)
    return token + ("&skn={0}".format(key_name) if key_name else "")
