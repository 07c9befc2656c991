# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prints a SAS token of the connection string in CONNECTION_STRING, good for an hour."""

import base64
import hashlib
import hmac
import os
import time
import urllib.parse

parts = dict(part.split("=", 1) for part in os.environ["CONNECTION_STRING"].split(";"))
resource, expiry = urllib.parse.quote(parts["HostName"], safe=""), int(time.time()) + 3600
digest = hmac.new(base64.b64decode(parts["SharedAccessKey"]), f"{resource}\n{expiry}".encode(), hashlib.sha256)
signature = urllib.parse.quote(base64.b64encode(digest.digest()).decode(), safe="")
print(f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={parts['SharedAccessKeyName']}")
