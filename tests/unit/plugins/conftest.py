# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of the controller's side share: certificates without a TPM, and a registration that a TPM makes.

Imports are inside: other tests below this directory run under a device's own Python, which has none of it.
"""

from __future__ import annotations

import base64
import time
from urllib.parse import quote

import pytest


class TpmMaker:
    """A maker of TPMs: a root, an issuing authority below it, and the certificates that a test asks for.

    Everything it makes can be made wrong by the arguments of the methods; certificates are objects of cryptography.
    """

    # id:49465800, the vendor ID IFX.
    TPM = {"2.23.133.2.1": "id:49465800", "2.23.133.2.2": "SLB9670", "2.23.133.2.3": "id:00070055"}

    def __init__(self, name: str = "Test Maker") -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self.name = name
        self.root_key, self.issuer_key = (ec.generate_private_key(ec.SECP384R1()) for _key in range(2))
        self.root = self.authority(f"{name} Root", self.root_key)
        self.issuer = self.authority(f"{name} Issuer", self.issuer_key)

    @staticmethod
    def named(name: str):
        from cryptography import x509

        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else [])

    def authority(
        self,
        name: str,
        key,
        *,
        issuer: str | None = None,
        issuer_key=None,
        ca=True,
        path_length=None,
        usage=("key_cert_sign", "crl_sign"),
        purposes=(),
        more=(),
        **others,
    ):
        """The certificate of an authority; the root's own where its name is the root's, else signed by the root."""
        from cryptography import x509

        extensions = [(x509.BasicConstraints(ca, path_length), True)]
        extensions += [(self.key_usage(*usage), True)] if usage else []
        extensions += [(self.purposes(*purposes), True)] if purposes else []
        extensions += more
        if not issuer:
            issuer = f"{self.name} Root"
        issuer_key = issuer_key or self.root_key
        return self.sign(name, key.public_key(), issuer, issuer_key, extensions, identify=True, **others)

    @staticmethod
    def purposes(*purposes: str):
        from cryptography import x509

        return x509.ExtendedKeyUsage([x509.ObjectIdentifier(one) for one in purposes])

    @staticmethod
    def key_usage(*usages: str):
        from cryptography import x509

        names = (
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
        return x509.KeyUsage(**{name: name in usages for name in names})

    def sign(
        self,
        subject,
        public_key,
        issuer,
        issuer_key,
        extensions,
        *,
        identify=False,
        days=(-1, 3650),
        serial=None,
        digest="SHA256",
        url=None,
    ):
        """A certificate with *extensions*, pairs of extension and whether it is critical; *days* are from now."""
        import datetime

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.named(subject))
            .issuer_name(self.named(issuer))
            .public_key(public_key)
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
        )
        if identify:
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
        if url:
            location = x509.UniformResourceIdentifier(url)
            description = x509.AccessDescription(x509.AuthorityInformationAccessOID.CA_ISSUERS, location)
            builder = builder.add_extension(x509.AuthorityInformationAccess([description]), False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(issuer_key, getattr(hashes, digest)())

    def certify(
        self,
        public_key,
        *,
        subject="",
        tpm=None,
        purposes=("2.23.133.8.1",),
        usage=None,
        constraints=(False,),
        constraints_critical=True,
        more=(),
        specification=("2.0", 0, 138),
        issuer=None,
        issuer_key=None,
        **others,
    ):
        """An endorsement key certificate; each part is left out where its argument is None."""
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import rsa

        if usage is None:
            usage = ("key_encipherment",) if isinstance(public_key, rsa.RSAPublicKey) else ("key_agreement",)
        extensions = [(self.key_usage(*usage), True)] if usage else []
        if constraints:
            extensions.append((x509.BasicConstraints(*constraints, None), constraints_critical))
        if purposes:
            extensions.append((self.purposes(*purposes), False))
        attributes = self.TPM if tpm is None else tpm
        if attributes:
            parts = [x509.NameAttribute(x509.ObjectIdentifier(kind), value) for kind, value in attributes.items()]
            names = x509.SubjectAlternativeName([x509.DirectoryName(x509.Name(parts))])
            extensions.append((names, not subject))
        if specification:
            extensions.append((self.tpm_specification(*specification), False))
        extensions += more
        issuer = issuer or f"{self.name} Issuer"
        return self.sign(subject, public_key, issuer, issuer_key or self.issuer_key, extensions, **others)

    @staticmethod
    def tpm_specification(family: str, level: int, revision: int):
        """subjectDirectoryAttributes with the TPM's specification (TCG EK Credential Profile, 3.2)."""
        from cryptography import x509

        numbers = bytes([2, 1, level, 2, 2, revision >> 8, revision & 0xFF])
        inner = bytes([12, len(family)]) + family.encode() + numbers
        value = b"\x06\x05\x67\x81\x05\x02\x10\x31" + bytes([len(inner) + 2, 0x30, len(inner)]) + inner
        value = bytes([0x30, len(value) + 2, 0x30, len(value)]) + value
        return x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.9"), value)

    def revoke(self, *certificates, issuer=None, issuer_key=None, days=(-1, 30), more=()):
        """The revocation list of the issuer, with *certificates* on it, in DER."""
        import datetime

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.serialization import Encoding

        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.named(issuer or f"{self.name} Issuer"))
        builder = builder.last_update(now + datetime.timedelta(days=days[0]))
        builder = builder.next_update(now + datetime.timedelta(days=days[1]))
        for extension, critical in more:
            builder = builder.add_extension(extension, critical)
        for certificate in certificates:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now)
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), False)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(issuer_key or self.issuer_key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.fixture(scope="session")
def tpm_maker():
    """A maker whose TPMs are genuine."""
    return TpmMaker()


@pytest.fixture(scope="session")
def other_maker():
    """Somebody who calls himself by the same names, and has other keys."""
    return TpmMaker()


@pytest.fixture(scope="session")
def rsa_keys():
    """The public keys of two endorsement keys."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    return [rsa.generate_private_key(65537, 2048).public_key() for _key in range(2)]


@pytest.fixture(scope="session")
def ek_public(ek_of_modulus):
    """The TPM2B_PUBLIC, in base64, of an RSA public key in a TPM that made it from the TCG's template."""
    return lambda public_key: ek_of_modulus(public_key.public_numbers().n.to_bytes(256, "big"))


@pytest.fixture(scope="session")
def as_text():
    """A certificate of cryptography as modules take it: DER in base64."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return lambda certificate: base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


@pytest.fixture
def write_roots(tmp_path):
    """Writes certificates as a directory of roots, each in its own PEM file; returns its path."""
    from cryptography.hazmat.primitives.serialization import Encoding

    def write(*certificates, below: str = ".", directory: str = "roots") -> str:
        place = tmp_path / directory / below
        place.mkdir(parents=True, exist_ok=True)
        for certificate in certificates:
            (place / f"{certificate.serial_number:x}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        return str(tmp_path / directory)

    return write


@pytest.fixture
def register(dps, software_tpm):
    """(The endorsement key of a TPM; a function that registers it under an ID, in these tests' own words)."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import credential, templates
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import connect
    from tpm2_pytss.constants import ESYS_TR
    from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE

    with connect(software_tpm.tcti, 60) as esys:
        ek, ek_public, *_rest = esys.create_primary(
            TPM2B_SENSITIVE_CREATE(), templates.ek_template(), ESYS_TR.ENDORSEMENT
        )
        srk, srk_public, *_rest = esys.create_primary(TPM2B_SENSITIVE_CREATE(), templates.srk_template(), ESYS_TR.OWNER)
        keys = {
            "endorsementKey": base64.b64encode(ek_public.marshal()).decode(),
            "storageRootKey": base64.b64encode(srk_public.marshal()).decode(),
        }

        def run(registration_id):
            scope = dps.where["id_scope"]
            url = f"{dps.where['endpoint']}/{scope}/registrations/{registration_id}"
            version = {"api-version": "2019-03-31"}
            body = {"registrationId": registration_id, "tpm": keys}
            challenge = dps.session.put(f"{url}/register", json=body, params=version, timeout=20)
            assert challenge.status_code == 401, challenge.text
            blob = base64.b64decode(challenge.json()["authenticationKey"])
            key = credential.import_key(esys, endorsement_key=ek, storage_root_key=srk, blob=blob)
            resource = quote(f"{scope}/registrations/{registration_id}", safe="")
            expiry = int(time.time()) + 600
            signed = f"{resource}\n{expiry}".encode()
            signature = base64.b64encode(credential.sign(esys, storage_root_key=srk, key=key, data=signed))
            token = f"SharedAccessSignature sr={resource}&sig={quote(signature, safe='')}&se={expiry}&skn=registration"
            headers = {"Authorization": token}
            answer = dps.session.put(f"{url}/register", json=body, params=version, headers=headers, timeout=20)
            assert answer.status_code == 202, answer.text

        yield keys["endorsementKey"], run
        esys.flush_context(ek)
        esys.flush_context(srk)


@pytest.fixture
def ssh_key(tmp_path):
    """Makes an SSH key of that name, and returns its path."""
    import subprocess

    def make(name: str, *options: str):
        path = tmp_path / name
        kind = options or ("-t", "ed25519")
        subprocess.run(["ssh-keygen", "-q", *kind, "-N", "", "-C", f"{name}@test", "-f", path], check=True)
        return path

    return make


@pytest.fixture
def allowed(tmp_path):
    """Writes a file of allowed signers for those keys, by name, and returns its path."""

    def write(*keys, file: str = "allowed"):
        path = tmp_path / file
        path.write_text("".join(f"{key.name}@example.org {key.with_suffix('.pub').read_text()}" for key in keys))
        return path

    return write
