# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Endorsement keys as tools print them: tpm2_readpublic and tpm2_print, tpm_device_provision, PEM, and bare files.

What tpm2-tools print looks like YAML and is not read as YAML: to that, a modulus of digits is a number, and one with an
e in it is one with an exponent. Here every value is the text that stands there.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import struct
from collections.abc import Iterator
from typing import Any

from ..dps.endorsement_key import EndorsementKeyError, check_endorsement_key, decode_endorsement_key
from ..dps.key_forms import MOST_CHARACTERS, KeyFormError, public_area_of
from ..outside.visible import visible
from .reader import Reasons

# A file of these; a list of more keys is one of records.
MOST_BYTES = 1 << 23
_MOST_KEYS = 20_000
_READPUBLIC = re.compile(r"^(?:name|qualified name|name-alg):", re.MULTILINE)
_PROVISION = re.compile(r"^[ \t]*(registration id|endorsement key)\s*:(.*)$", re.IGNORECASE | re.MULTILINE)
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----[^-]*-----END \1-----")
_BARE = re.compile(r"[A-Za-z0-9+/=_:%-]{300,}")
_LINE = re.compile(r"[^\r\n]+")
_VALUE = re.compile(r"\S[^\r\n]*")
_SAID_BESIDE = ("registration_id", "device_id", "serial_number", "tpm_serial_number", "maker", "batch")
_DIGESTS = {0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
_TPM2_FIELDS = (
    "type",
    "name-alg",
    "attributes",
    "scheme",
    "sym-alg",
    "sym-mode",
    "sym-keybits",
    "bits",
    "exponent",
    "rsa",
)
_PROVISION_FIELDS = {"registration id": "registration_id", "endorsement key": "endorsement_key"}

Found = Iterator["tuple[Any, Reasons]"]


def is_tool_output(head: bytes) -> bool:
    """Whether a file that begins with *head* looks like one of these."""
    if _is_binary(head):
        return head[:1] == b"\x30" or head[:1] in (b"\x00", b"\x01", b"\x02")
    text = head.decode("utf-8", errors="replace").lstrip("\ufeff")
    if "-----BEGIN " in text or _READPUBLIC.search(text) or _PROVISION.search(text):
        return True
    return _BARE.fullmatch(text.split(None, 1)[0] if text.strip() else "") is not None


def keys_in(content: bytes) -> list[tuple[Any, Reasons]]:
    """(A record with an endorsement key or None, what is wrong with it), for each key in a file's *content*."""
    if _is_binary(content):
        return [_of_bytes(content)]
    text = content.decode("utf-8", errors="replace").lstrip("\ufeff")
    if "-----BEGIN " in text:
        found: Found = (({"endorsement_key": one[0]}, []) for one in _PEM.finditer(text))
    elif _READPUBLIC.search(text):
        found = (_of_tpm2_tools(block) for block in _blocks(text))
    elif _PROVISION.search(text):
        found = _of_device_provision(text)
    else:
        found = (({"endorsement_key": line}, []) for line in _lines(text) if line.strip())
    keys = list(itertools.islice(found, _MOST_KEYS))
    if next(found, None) is not None:
        keys.append((None, [("", f"is one of more than {_MOST_KEYS:,}: make a list of records of them")]))
    return keys or [(None, [("", "has no endorsement key in any form that is known")])]


def _lines(text: str) -> Iterator[str]:
    """The lines that are not empty, one at a time."""
    return (line[0] for line in _LINE.finditer(text))


def _is_binary(content: bytes) -> bool:
    return b"\x00" in content[:512] or content[:2] == b"\x30\x82"


def _of_bytes(content: bytes) -> tuple[Any, Reasons]:
    # A modulus in hexadecimal and the DER of one are texts of records for all that read on.
    try:
        check_endorsement_key(public_area_of(content))
    except KeyFormError:
        # It wants a template, which is asked for where the record is read.
        return {"endorsement_key": content.hex()} if len(content) * 2 <= MOST_CHARACTERS else None, []
    except EndorsementKeyError as error:
        return None, [("", str(error))]
    return {"endorsement_key": base64.b64encode(public_area_of(content)).decode("ascii")}, []


def _blocks(text: str) -> Iterator[dict[str, str]]:
    """The keys in what tpm2-tools printed, each as a mapping of its names: ``type`` has what ``raw`` below it says."""
    block: dict[str, str] = {}
    above = ""
    for line in _lines(text):
        name, colon, value = (part.strip() for part in line.partition(":"))
        top = not line[:1].isspace()
        if line.strip() == "---" or (colon and top and name in block):
            if block:
                yield block
            block, above = {}, ""
        if not colon:
            continue
        value = value.strip("\"'")
        if top:
            above = name
            block[name] = value
        elif name == "raw" and above:
            block[above] = value
    if block:
        yield block


def _of_tpm2_tools(block: dict[str, str]) -> tuple[Any, Reasons]:
    said = {name: block[name] for name in _SAID_BESIDE if block.get(name)}
    try:
        area = _public_area(block)
    except _NoKey as error:
        return None, [("", str(error))]
    algorithm = _number(block, "name-alg")
    digest = hashlib.new(_DIGESTS[algorithm], area).hexdigest()
    if block.get("name") and block["name"].lower() != f"{algorithm:04x}{digest}":
        return None, [("name", "is not the name of the key that is printed with it: something of it was changed")]
    key = struct.pack(">H", len(area)) + area
    return {**said, "endorsement_key": base64.b64encode(key).decode("ascii")}, []


class _NoKey(Exception):
    """Why something is no printed key, as the end of a sentence about it."""


def _public_area(block: dict[str, str]) -> bytes:
    """The TPMT_PUBLIC of an RSA key that tpm2-tools printed."""
    if block.get("type") not in (None, "0x1"):
        raise _NoKey(f"is a key of the type {visible(block['type'], most=20)}; the service takes RSA only (0x1)")
    missing = [name for name in _TPM2_FIELDS if not block.get(name)]
    if missing:
        raise _NoKey(f"has no {', '.join(missing)}: is it the whole output of tpm2_readpublic or tpm2_print?")
    if _number(block, "name-alg") not in _DIGESTS:
        raise _NoKey("has a name algorithm that is not known")
    policy = _hexadecimal(block, "authorization policy") if block.get("authorization policy") else b""
    modulus = _hexadecimal(block, "rsa")
    exponent = _number(block, "exponent")
    symmetric = [_number(block, name) for name in ("sym-alg", "sym-keybits", "sym-mode")]
    try:
        return (
            struct.pack(">HHI", _number(block, "type"), _number(block, "name-alg"), _number(block, "attributes"))
            + struct.pack(">H", len(policy))
            + policy
            + struct.pack(">HHH", *symmetric)
            + struct.pack(">HH", _number(block, "scheme"), _number(block, "bits"))
            # In a TPM's own words the usual one is 0.
            + struct.pack(">I", 0 if exponent == 65537 else exponent)
            + struct.pack(">H", len(modulus))
            + modulus
        )
    except struct.error:
        raise _NoKey("has a number that is too large for its place in a key") from None


def _number(block: dict[str, str], name: str) -> int:
    try:
        return int(block[name][:20], 0)
    except ValueError:
        raise _NoKey(f"has for {name} what is no number") from None


def _hexadecimal(block: dict[str, str], name: str) -> bytes:
    try:
        return bytes.fromhex(block[name])
    except ValueError:
        raise _NoKey(f"has for {name} what is not hexadecimal") from None


def _of_device_provision(text: str) -> Found:
    """The tool prints two labels, and each value on the line after its label; others print it behind the label."""
    record: dict[str, str] = {}
    for label in _PROVISION.finditer(text):
        name = _PROVISION_FIELDS[label[1].lower()]
        if name in record:
            yield _provisioned(record)
            record = {}
        below = _VALUE.search(text, label.end())
        record[name] = label[2].strip() or (below[0].strip() if below and not _PROVISION.match(below[0]) else "")
    yield _provisioned(record)


def _provisioned(record: dict[str, str]) -> tuple[Any, Reasons]:
    try:
        decode_endorsement_key(record.get("endorsement_key"), "tcg")
    except EndorsementKeyError as error:
        return None, [("endorsement_key", f"{error}: is it the whole output of tpm_device_provision?")]
    return record, []
