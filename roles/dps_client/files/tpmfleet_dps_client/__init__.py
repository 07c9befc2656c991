# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tpmfleet-dps-client: brings a device with a TPM to its IoT hub, with nobody there.

Registers with the Azure Device Provisioning Service by TPM attestation and keeps what it was assigned. Python 3.9 and
tpm2-pytss are all it needs; the package ``tpm`` is the collection's own, packed in when the program is built.
"""

from __future__ import annotations

VERSION = "0.1.0"
# Seconds since the epoch at which this version was released: any clock that shows less is wrong.
RELEASED = 1795478400.0  # 2026-11-24
