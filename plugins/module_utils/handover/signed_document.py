# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One file that has a document and the signature over it, so that neither is lost without the other.

It begins with the signature as ssh-keygen(1), -Y sign, writes it; all that follows is the document. Where the file is
encrypted the signature is inside: who may not read it does not learn who wrote it, and nobody can put his own signature
on what somebody else encrypted.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from ..outside.durable import replace_file
from ..outside.strict_json import JsonError, parse
from ..outside.visible import visible
from ..trust.findings import TrustError
from .signature import sign, signer_of, signing_key_of

_BEGIN = b"-----BEGIN SSH SIGNATURE-----\n"
_END = b"-----END SSH SIGNATURE-----\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# One of RSA with 16,384 bits has 6 kB.
_MOST_SIGNATURE = 16 << 10


def signed_document(document: bytes, key: str, *, namespace: str) -> bytes:
    """The file with *document* and the signature of the SSH key *key* over it. TrustError where that makes none."""
    return sign(document, key, namespace=namespace) + document


def document_bytes(value: Any) -> bytes:
    """The document that says *value*, the same whenever it is made."""
    return f"{json.dumps(value, indent=1, sort_keys=True)}\n".encode("ascii")


def of_version(document: Any, called: str, known: Collection[int]) -> Mapping[str, Any]:
    """*document*, which is what is *called* so, in a version that is *known* here.

    TrustError, as the end of a sentence about it, where it is another one, or none.
    """
    field = f"{called.replace(' ', '_')}_version"
    if not isinstance(document, Mapping) or field not in document:
        raise TrustError(f"is no {called}")
    version = document[field]
    if isinstance(version, bool) or not isinstance(version, int) or version not in known:
        version = visible(version, most=40)
        raise TrustError(f"is a {called} of version {version}, and {max(known)} is known here: update the collection")
    return document


def check_names(said: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """TrustError, as the end of a sentence about the document, where anything but what is *known* is *said* in it."""
    strange = [name for name in said if name not in known]
    if strange:
        raise TrustError(f"has {visible(strange[0], most=60)} in {where}, which is not known here")


def is_text(value: object, most: int) -> bool:
    """Whether *value* is a text of 1 to *most* characters."""
    return isinstance(value, str) and 0 < len(value) <= most


def parts_of(content: bytes) -> tuple[bytes, bytes]:
    """(The signature, the document) in *content*. TrustError, as the end of a sentence about it, where it has none."""
    if content.startswith((_BYTE_ORDER_MARK, _BEGIN.replace(b"\n", b"\r\n"))):
        raise TrustError(
            "has other line ends or another beginning than what was signed, as mail and editors make them: have it "
            "sent inside an archive"
        )
    end = content.find(_END, 0, _MOST_SIGNATURE)
    if not content.startswith(_BEGIN) or end < 0:
        raise TrustError("does not begin with a signature: it is another file, or was cut or edited")
    return content[: end + len(_END)], content[end + len(_END) :]


def checked_document(
    content: bytes, *, allowed_signers: str, signer: str | None, namespace: str, most: int
) -> tuple[Any, str]:
    """(The JSON document in *content*, who signed it), of which nothing was looked at before the signature was good.

    TrustError, as the end of a sentence about the file, where it is none of somebody whose signature counts.
    """
    signature, document = parts_of(content)
    name = signer_of(document, signature, allowed_signers=allowed_signers, signer=signer, namespace=namespace)
    return _parsed(document, most), name


def document_and_key(content: bytes, *, namespace: str, most: int) -> tuple[Any, str]:
    """(The JSON document in *content*, the fingerprint of the key that signed it), whosever that is.

    For who learns of the document alone whose key counts. TrustError, as the end of a sentence about the file.
    """
    signature, document = parts_of(content)
    key = signing_key_of(document, signature, namespace=namespace)
    if key is None:
        raise TrustError("has no signature that is good over what it says")
    return _parsed(document, most), key


def place(path: str, content: bytes) -> None:
    """Has *content* at *path*, for its owner alone. TrustError where it cannot be written."""
    try:
        replace_file(path, content, 0o600)
    except OSError as error:
        raise TrustError(f"{visible(path)} could not be written: {error.strerror}. Run again to complete it.") from None


def _parsed(document: bytes, most: int) -> Any:
    try:
        return parse(document, most=most)
    except JsonError as error:
        raise TrustError(str(error)) from None
