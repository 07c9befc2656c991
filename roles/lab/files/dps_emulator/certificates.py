# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's own certification authority and the service's certificate.

Both carry what strict verifiers ask for (RFC 5280: basic constraints and key usage critical, key identifiers), so that
OpenSSL in strict mode, Node and Python's newest default context accept the service with the CA's file alone.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_FILE = "ca.pem"
CA_KEY_FILE = "ca-key.pem"
SERVER_FILE = "server.pem"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
CA_DAYS = 3650
SERVER_DAYS = 397
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def write_private(path: Path, content: bytes | str) -> None:
    """Writes a file that only its owner can ever read, whole or not at all."""
    data = content.encode() if isinstance(content, str) else content
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)
    draft.replace(path)


def _usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in wanted for usage in _USAGES})


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _alternative_names(host: str, more: Sequence[str]) -> list[x509.GeneralName]:
    names = [host, *more]
    names += [name for name in LOOPBACK_NAMES if host in LOOPBACK_NAMES and name != host]
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def make_authority(state_dir: Path) -> None:
    """Makes the authority once; it stays the same for the life of the state directory."""
    if (state_dir / CA_KEY_FILE).exists() and (state_dir / CA_FILE).exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"Emulated DPS lab authority {x509.random_serial_number():x}"[:60])
    certificate = (
        _builder(subject, subject, key.public_key(), CA_DAYS)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_private(state_dir / CA_KEY_FILE, _pem_key(key))
    write_private(state_dir / CA_FILE, certificate.public_bytes(serialization.Encoding.PEM))
    # The authority's certificate is for everybody, its key is not.
    (state_dir / CA_FILE).chmod(0o644)


def issue_server_certificate(state_dir: Path, host: str, *, file: str = SERVER_FILE, more: Sequence[str] = ()) -> Path:
    """A new certificate for *host* and *more* names at each start (certificate and key in one file); its path."""
    authority_key = serialization.load_pem_private_key((state_dir / CA_KEY_FILE).read_bytes(), None)
    authority = x509.load_pem_x509_certificate((state_dir / CA_FILE).read_bytes())
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_name(host[:60]), authority.subject, key.public_key(), SERVER_DAYS)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternative_names(host, more)), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    path = state_dir / file
    write_private(path, certificate.public_bytes(serialization.Encoding.PEM) + _pem_key(key))
    return path
