# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another program that uses a machine's TPM all the time: makes a key of the null hierarchy, holds it, lets it go."""

from __future__ import annotations

import os
import struct
import time

# TPM2_CreatePrimary (part 3, 24.1) with an empty password, for a storage key on P-256 (part 2, 12.2.4).
PASSWORD = struct.pack(">IIHBH", 9, 0x40000009, 0, 0, 0)
PUBLIC = bytes.fromhex("0023000b0003007200000006008000430010000300100000" + "0000")
BODY = struct.pack(">I", 0x40000007) + PASSWORD + bytes.fromhex("000400000000")
BODY += struct.pack(">H", len(PUBLIC)) + PUBLIC + bytes(6)
COMMAND = struct.pack(">HII", 0x8002, 10 + len(BODY), 0x131) + BODY

while True:
    tpm = os.open("/dev/tpmrm0", os.O_RDWR)
    os.write(tpm, COMMAND)
    code = struct.unpack_from(">HII", os.read(tpm, 4096))[2]
    if code:
        raise SystemExit(f"TPM2_CreatePrimary failed with {code:#x}")
    time.sleep(0.2)
    os.close(tpm)
