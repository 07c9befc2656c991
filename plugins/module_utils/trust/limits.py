# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How large what comes from outside may be, so that nothing that a device or a file brings holds the station.

Each is a multiple of the largest that makers are known to write. What is larger is refused in words and not looked at
any further.
"""

from __future__ import annotations

from ..outside.visible import visible

# A certificate in DER, and a text with one or several. The largest of a maker known here has 2 kB.
MAXIMAL_CERTIFICATE_BYTES = 32 << 10
MAXIMAL_TEXT = 1 << 20
# What comes with one certificate to reach a root. The TPM has 256 NV indices for it, and makers use four.
MAXIMAL_CHAIN = 64
# One file of certificates, and the certificates of a whole store.
MAXIMAL_FILE_BYTES = 4 << 20
MAXIMAL_FILE_CERTIFICATES = 20_000
MAXIMAL_STORE_FILES = 10_000
MAXIMAL_STORE_CERTIFICATES = 4096
# Authorities of one name in a store. Makers have two or three, of keys that took each other's place.
MAXIMAL_NAMESAKES = 100
# Signatures that are checked to find out where all the intermediates of a store lead to.
MAXIMAL_STORE_CHECKS = 20_000
# All revocation lists together: some 150,000 entries. Their number, and that of those of one issuer.
MAXIMAL_REVOCATION_BYTES = 6 << 20
MAXIMAL_REVOCATION_LISTS = 1000
MAXIMAL_REVOCATION_LISTS_OF_ONE = 50
MAXIMAL_RSA_BITS = 8192
MAXIMAL_EXPONENT_BITS = 64
MAXIMAL_IDENTIFIER_BYTES = 64
MAXIMAL_SERIAL_BYTES = 64
MAXIMAL_KEY_IDENTIFIER_BYTES = 64
MAXIMAL_KEY_USAGE_BYTES = 8
MAXIMAL_NUMBER_BYTES = 4
# What is told of a name, of an address, and of a list of either.
MAXIMAL_NAME_TOLD = 300
MAXIMAL_TOLD = 5


def shortened(text: object) -> str:
    """*text* as it may stand in a message: without what could act on a terminal, and not longer than can be read."""
    return visible(text, most=MAXIMAL_NAME_TOLD)
