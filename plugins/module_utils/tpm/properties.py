# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a TPM tells of itself without any authorization (TPM2_GetCapability; TPM 2.0 part 2, 6.12 to 6.13, 8.6).

Chips leave properties out or tell what cannot be. Each has what then holds: see :func:`read_properties`.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from .virtual import is_software

_CAP_ALGS = 0
_CAP_HANDLES = 1
_CAP_TPM_PROPERTIES = 6

_PT_FIXED = 0x100
_PT_FAMILY_INDICATOR = 0x100
_PT_REVISION = 0x102
_PT_YEAR = 0x104
_PT_MANUFACTURER = 0x105
_PT_VENDOR_STRINGS = (0x106, 0x107, 0x108, 0x109)
_PT_FIRMWARE_VERSIONS = (0x10B, 0x10C)
_PT_NV_BUFFER_MAX = 0x12C
_PT_VARIABLE = 0x200
_PT_PERMANENT = 0x200
_PT_HR_LOADED_AVAIL = 0x204
_PT_HR_TRANSIENT_AVAIL = 0x207
_PT_HR_PERSISTENT_AVAIL = 0x209
_PT_LOCKOUT_COUNTER = 0x20E
_PT_MAX_AUTH_FAIL = 0x20F
_PT_LOCKOUT_INTERVAL = 0x210
_PT_LOCKOUT_RECOVERY = 0x211

_OWNER_AUTH_SET = 1 << 0
_ENDORSEMENT_AUTH_SET = 1 << 1
_LOCKOUT_AUTH_SET = 1 << 2
_DISABLE_CLEAR = 1 << 8
_IN_LOCKOUT = 1 << 9

# The smallest buffer of a TPM of the PC client profile, and the largest that the software stack has room for.
_NV_BUFFER_DEFAULT = 512
_NV_BUFFERS = range(64, 2049)
_YEARS = range(2011, 2100)
_REVISIONS = range(1, 1000)
_TPM_2_0 = "2.0"

PERSISTENT_HANDLES = (0x81000000, 0x81FFFFFF)
NV_INDICES = (0x01000000, 0x01FFFFFF)

_ALGORITHMS = {
    0x0001: "rsa",
    0x0004: "sha1",
    0x0006: "aes",
    0x000B: "sha256",
    0x000C: "sha384",
    0x000D: "sha512",
    0x0012: "sm3_256",
    0x0013: "sm4",
    0x0018: "ecdsa",
    0x0023: "ecc",
    0x0026: "camellia",
}


class Properties(NamedTuple):
    """The fixed properties of a chip and its changing state; times in seconds. None is what the chip does not tell."""

    manufacturer: str
    model: str
    firmware_version: str
    family: str
    revision: str | None
    year: int | None
    nv_buffer_max: int
    tells_authorizations: bool
    owner_auth_set: bool
    endorsement_auth_set: bool
    lockout_auth_set: bool
    clear_disabled: bool
    in_lockout: bool
    lockout_counter: int
    max_tries: int | None
    recovery_time: int | None
    lockout_recovery: int | None

    @property
    def tpm_type(self) -> str:
        """``software`` where the TPM is known to be made of software, else ``hardware`` (firmware TPMs among them)."""
        return "software" if is_software(self.manufacturer, self.model) else "hardware"

    def chip(self) -> dict[str, Any]:
        """What the device record keeps of the chip."""
        return {
            "manufacturer": self.manufacturer,
            "model": self.model,
            "firmware_version": self.firmware_version,
            "tpm_type": self.tpm_type,
        }

    def hierarchies(self) -> dict[str, bool]:
        """Which hierarchies have an authorization."""
        return {
            "owner_auth_set": self.owner_auth_set,
            "endorsement_auth_set": self.endorsement_auth_set,
            "lockout_auth_set": self.lockout_auth_set,
        }

    def dictionary_attack(self) -> dict[str, int | None]:
        """The parameters of the dictionary attack logic; TPM 2.0 part 1, 19.8."""
        return {
            "max_tries": self.max_tries,
            "recovery_time": self.recovery_time,
            "lockout_recovery": self.lockout_recovery,
        }


def read_properties(esys: Any) -> Properties:
    """The properties of the TPM behind *esys*.

    What then holds where one is left out or says what cannot be: the family is 2.0, as the TPM answered a command of
    it; revision, year and the dictionary attack parameters are unknown; texts and versions are empty or zero; reads of
    NV memory are of 512 bytes; the lockout counter is 0 unless the TPM is in lockout. Without TPM_PT_PERMANENT nothing
    tells which authorizations are set: that none is may be taken for so in reading, not in changing anything.
    """
    fixed = _properties(esys, _PT_FIXED)
    state = _properties(esys, _PT_VARIABLE)
    permanent = state.get(_PT_PERMANENT, 0)
    in_lockout = bool(permanent & _IN_LOCKOUT)
    # With none allowed it would be in lockout (part 1, 19.8.3).
    max_tries = state.get(_PT_MAX_AUTH_FAIL) or (0 if in_lockout else None)
    revision = fixed.get(_PT_REVISION, 0)
    year = fixed.get(_PT_YEAR, 0)
    nv_buffer = fixed.get(_PT_NV_BUFFER_MAX, 0)
    return Properties(
        manufacturer=_text(fixed.get(_PT_MANUFACTURER, 0)),
        model=" ".join("".join(_text(fixed.get(part, 0)) for part in _PT_VENDOR_STRINGS).split()),
        firmware_version=_version([fixed.get(part, 0) for part in _PT_FIRMWARE_VERSIONS]),
        family=_text(fixed.get(_PT_FAMILY_INDICATOR, 0)) or _TPM_2_0,
        revision="{}.{:02d}".format(*divmod(revision, 100)) if revision in _REVISIONS else None,
        year=year if year in _YEARS else None,
        nv_buffer_max=nv_buffer if nv_buffer in _NV_BUFFERS else _NV_BUFFER_DEFAULT,
        tells_authorizations=_PT_PERMANENT in state,
        owner_auth_set=bool(permanent & _OWNER_AUTH_SET),
        endorsement_auth_set=bool(permanent & _ENDORSEMENT_AUTH_SET),
        lockout_auth_set=bool(permanent & _LOCKOUT_AUTH_SET),
        clear_disabled=bool(permanent & _DISABLE_CLEAR),
        in_lockout=in_lockout,
        lockout_counter=_failed_tries(state.get(_PT_LOCKOUT_COUNTER, 0), max_tries, in_lockout),
        max_tries=max_tries,
        recovery_time=state.get(_PT_LOCKOUT_INTERVAL),
        lockout_recovery=state.get(_PT_LOCKOUT_RECOVERY),
    )


def read_room(esys: Any) -> dict[str, int | None]:
    """How many more keys and sessions fit into the TPM at least; None is what it does not tell."""
    state = _properties(esys, _PT_VARIABLE)
    return {
        "transient": state.get(_PT_HR_TRANSIENT_AVAIL),
        "sessions": state.get(_PT_HR_LOADED_AVAIL),
        "persistent": state.get(_PT_HR_PERSISTENT_AVAIL),
    }


def _failed_tries(counter: int, max_tries: int | None, in_lockout: bool) -> int:
    """A TPM that counts as many tries as it allows is in lockout (part 1, 19.8.3); one that is not cannot count so."""
    return 0 if not in_lockout and max_tries and counter >= max_tries else counter


def read_handles(esys: Any, first: int, last: int) -> list[int]:
    """The handles of *first* to *last* that exist."""
    found: list[int] = []
    more = True
    while more and first <= last:
        more, data = esys.get_capability(capability=_CAP_HANDLES, prop=first, property_count=64)
        page = [handle for handle in map(int, data.data.handles) if handle >= first]
        if not page:
            break
        found += [handle for handle in page if handle <= last]
        first = max(page) + 1
    return found


def read_algorithms(esys: Any) -> list[str]:
    """The algorithms of note that the TPM has."""
    found: set[int] = set()
    first, more = 0, True
    while more:
        more, data = esys.get_capability(capability=_CAP_ALGS, prop=first, property_count=128)
        page = {int(one.alg) for one in data.data.algorithms if int(one.alg) >= first}
        if not page:
            break
        found |= page
        first = max(page) + 1
    return sorted(_ALGORITHMS[one] for one in found if one in _ALGORITHMS)


def seconds_in_words(seconds: int) -> str:
    """*seconds* as people say them."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = round(seconds / size, 1)
            return "{:g} {}{}".format(count, unit, "" if count == 1 else "s")
    return "{} second{}".format(seconds, "" if seconds == 1 else "s")


def _properties(esys: Any, first: int) -> dict[int, int]:
    """The properties of the group that *first* begins; TPMs answer in pages of a size of their own."""
    found: dict[int, int] = {}
    last = first + 0xFF
    more = True
    while more and first <= last:
        more, data = esys.get_capability(capability=_CAP_TPM_PROPERTIES, prop=first, property_count=64)
        page = {int(one.property): int(one.value) for one in data.data.tpmProperties if int(one.property) >= first}
        if not page:
            break
        found.update(page)
        first = max(page) + 1
    return found


def _text(value: int) -> str:
    return "".join(chr(byte) for byte in struct.pack(">I", value) if 32 <= byte < 127).strip()


def _version(parts: list[int]) -> str:
    """Two 32-bit words as four 16-bit numbers, as the EK certificates and the makers' notes have them."""
    return ".".join(str(number) for part in parts for number in (part >> 16, part & 0xFFFF))
