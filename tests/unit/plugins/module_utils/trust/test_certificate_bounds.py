# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nothing that is given as a certificate, a chain, a list or a store holds the station for more than 2 s or 100 MB.

Time is that of the process, so that a busy machine fails no test.
"""

from __future__ import annotations

import base64
import os
import time
import tracemalloc
from functools import reduce

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import der
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.findings import TrustError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.limits import MAXIMAL_REVOCATION_BYTES
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.names import object_identifier
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.revocation import read_revocation_lists
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.verification import Rules, Verifier
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

SECONDS, BYTES = 2.0, 100_000_000


@pytest.fixture
def bounded():
    """What a function gives, or the TrustError that it ends with; twice, for its time and for its memory.

    Memory may be measured of a *part* of the work, its *share*, as to measure takes twenty times as long.
    """

    def run(function, *, part=None, share=1.0, fixed=0):
        begun = time.process_time()
        result = caught(function)
        taken = time.process_time() - begun
        assert taken < SECONDS, f"it took {taken:.1f} s"
        tracemalloc.start()
        try:
            caught(part or function)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < BYTES * share + fixed, f"it took {peak / 1e6:.0f} MB"
        return result

    def caught(function):
        try:
            return function()
        except TrustError as error:
            return error

    return run


def tlv(tag, *parts):
    content = b"".join(parts)
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (bytes([size]) if size < 128 else bytes([0x80 | len(octets)]) + octets) + content


def changed(certificate, change):
    """*certificate* with other fields in its signed part; its signature is none any more."""
    tbs, algorithm, bits = der.elements(der.element(certificate.public_bytes(Encoding.DER)).content)
    fields = change([one.raw for one in der.elements(tbs.content)])
    return tlv(0x30, tlv(0x30, *fields), algorithm.raw, bits.raw)


def with_extension(certificate, oid, value):
    def change(fields):
        listed = der.element(der.element(fields[-1]).content).content
        return [*fields[:-1], tlv(0xA3, tlv(0x30, listed, tlv(0x30, oid, tlv(0x04, value))))]

    return changed(certificate, change)


def rsa_info(bits, exponent):
    modulus = b"\x7f" + b"\xff" * (bits // 8 - 1)
    key = tlv(0x30, tlv(2, modulus), tlv(2, exponent))
    return tlv(0x30, tlv(0x30, bytes.fromhex("06092a864886f70d010101"), b"\x05\x00"), tlv(3, b"\0", key))


LONG = b"\x83" * 1_000_000
HOSTILE = {
    "an object identifier of 1 MB": lambda one: with_extension(one, tlv(6, LONG, b"\x01"), b"\x05\x00"),
    "an object identifier of 30 kB": lambda one: with_extension(one, tlv(6, LONG[:30_000], b"\x01"), b"\x05\x00"),
    "a keyUsage of 5 MB": lambda one: with_extension(one, b"\x06\x03\x55\x1d\x0f", tlv(3, b"\0", b"\xff" * 5_000_000)),
    "a keyUsage of 30 kB": lambda one: with_extension(one, b"\x06\x03\x55\x1d\x0f", tlv(3, b"\0", b"\xff" * 30_000)),
    "a huge modulus": lambda one: changed(one, lambda f: [*f[:6], rsa_info(200_000, b"\x03"), *f[7:]]),
    "a huge exponent": lambda one: changed(one, lambda f: [*f[:6], rsa_info(4096, b"\x7f" * 20_000), *f[7:]]),
    "a huge serial number": lambda one: changed(one, lambda f: [f[0], tlv(2, b"\x7f" * 30_000), *f[2:]]),
    "a huge version": lambda one: changed(one, lambda f: [tlv(0xA0, tlv(2, b"\x7f" * 30_000)), *f[1:]]),
    "a name of many parts": lambda one: changed(
        one, lambda f: [*f[:5], tlv(0x30, tlv(0x31, tlv(0x30, b"\x06\x03\x55\x04\x03", b"\x0c\x01x")) * 1500), *f[6:]]
    ),
    "many extensions": lambda one: changed(
        one, lambda f: [*f[:-1], tlv(0xA3, tlv(0x30, tlv(0x30, b"\x06\x01\x2a\x01\x01\xff\x04\x00") * 2500))]
    ),
    "elements in elements": lambda _one: reduce(lambda inner, _level: tlv(0x30, inner), range(4000), b""),
    "empty elements in a row": lambda _one: b"\x30\x00" * 300_000,
    "nothing but zeros": lambda _one: bytes(700_000),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_no_certificate_holds_the_station(tpm_maker, write_roots, rsa_keys, bounded, make):
    text = base64.b64encode(make(tpm_maker.certify(rsa_keys[0]))).decode()
    verifier = Verifier(Rules(roots=(write_roots(tpm_maker.root, tpm_maker.issuer),)))
    verdict = bounded(lambda: verifier.verify(text, chain=[text] * 100))
    assert not verdict.trusted
    assert len(str(verdict.as_result())) < 20_000


@pytest.mark.parametrize("text", ["[" * 900_000, "-----BEGIN " * 90_000, "%3D" * 300_000, "A" * 5_000_000])
def test_no_text_holds_the_station(tpm_maker, write_roots, bounded, text):
    verifier = Verifier(Rules(roots=(write_roots(tpm_maker.root),)))
    assert [one.code for one in bounded(lambda: verifier.verify(text)).problems] == ["unreadable"]


def test_what_is_too_large_is_told_in_words():
    with pytest.raises(der.DerError, match="has an object identifier of 1000001 bytes"):
        object_identifier(der.element(tlv(6, LONG, b"\x01")))


def test_many_authorities_of_one_name_in_a_ring_hold_nobody(tpm_maker, write_roots, rsa_keys, as_text, bounded):
    """Each could have signed each, and none leads to a root."""
    keys = [ec.generate_private_key(ec.SECP521R1()) for _key in range(3)]
    ring = [
        tpm_maker.authority(f"Ring {number % 2}", key, issuer=f"Ring {1 - number % 2}", issuer_key=other)
        for number in range(7)
        for key in keys
        for other in keys
    ]
    certificate = tpm_maker.certify(rsa_keys[0], issuer="Ring 0", issuer_key=keys[0])
    roots = (write_roots(tpm_maker.root, *ring),)
    chain = [as_text(one) for one in ring]
    verdict = bounded(lambda: Verifier(Rules(roots=roots)).verify(as_text(certificate), chain=chain))
    assert not verdict.trusted


def test_a_store_of_authorities_of_one_name_holds_nobody(tpm_maker, tmp_path, rsa_keys, as_text, bounded):
    """As many as a store may have, of which each could have signed each other; none of them is a root."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = ("One", "Other")
    made = [tpm_maker.authority(names[at % 2], key, issuer=names[1 - at % 2], issuer_key=key) for at in range(800)]
    bundle = b"".join(one.public_bytes(Encoding.PEM) for one in [tpm_maker.root, *made])
    (tmp_path / "many.pem").write_bytes(bundle)
    verifier = Verifier(Rules(roots=(str(tmp_path / "many.pem"),)))
    certificate = as_text(tpm_maker.certify(rsa_keys[0], issuer="One", issuer_key=key))
    assert not bounded(lambda: verifier.verify(certificate)).trusted


def test_a_chain_is_looked_at_to_its_bound_and_said_so(tpm_maker, write_roots, rsa_keys, as_text, bounded):
    verifier = Verifier(Rules(roots=(write_roots(tpm_maker.root),)))
    chain = [as_text(tpm_maker.root)] * 10_000
    verdict = bounded(lambda: verifier.verify(as_text(tpm_maker.certify(rsa_keys[0])), chain=chain))
    assert "a chain of more than 64 certificates" in verdict.remarks[0].message


def crl(entries):
    moment, algorithm = tlv(0x17, b"250101000000Z"), tlv(0x30, bytes.fromhex("06082a8648ce3d040302"))
    signed = tlv(0x30, tlv(2, b"\1"), algorithm, tlv(0x30), moment, moment, tlv(0x30, entries))
    return tlv(0x30, signed, algorithm, tlv(3, b"\0none"))


def entries(count):
    moment = tlv(0x17, b"250101000000Z")
    return b"".join(tlv(0x30, tlv(2, (at + (1 << 20)).to_bytes(3, "big")), moment) for at in range(count))


def test_a_long_list_is_read_in_time_and_a_longer_one_refused(tmp_path, bounded):
    listed = tmp_path / "long.crl"
    listed.write_bytes(crl(entries(MAXIMAL_REVOCATION_BYTES // 22 - 10)))
    part = tmp_path / "a-twentieth.crl"
    part.write_bytes(crl(entries(MAXIMAL_REVOCATION_BYTES // 22 // 20)))
    (found,) = bounded(
        lambda: read_revocation_lists([str(listed)]),
        part=lambda: read_revocation_lists([str(part)]),
        share=1 / 20,
        fixed=MAXIMAL_REVOCATION_BYTES,
    )
    assert len(found.entries[found.issuer.key]) == MAXIMAL_REVOCATION_BYTES // 22 - 10
    part.unlink()
    (tmp_path / "more.crl").write_bytes(crl(entries(100)))
    error = bounded(lambda: read_revocation_lists([str(tmp_path)]), part=lambda: None)
    assert isinstance(error, TrustError) and "all lists together may have 6 MB" in str(error)


def test_a_list_that_is_cut_or_hostile_is_told(tmp_path, bounded):
    good = crl(entries(5))
    for number, data in enumerate((good[:-40], crl(b"\x30\x00"), crl(b"\x30\x84\xff\xff\xff\xff"), crl(LONG))):
        place = tmp_path / f"{number}.crl"
        place.write_bytes(data)
        assert "is no certificate revocation list" in str(
            bounded(lambda place=place: read_revocation_lists([str(place)]))
        )


def test_no_store_holds_the_station(tpm_maker, tmp_path, bounded):
    """FIFOs, devices, links in a ring, a huge file and more certificates than anybody has."""
    root = tpm_maker.root.public_bytes(Encoding.PEM)
    place = tmp_path / "roots"
    place.mkdir()
    (place / "root.pem").write_bytes(root)
    os.mkfifo(place / "pipe.pem")
    (place / "endless.pem").symlink_to("/dev/zero")
    (place / "ring.pem").symlink_to("ring.pem")
    (place / "around").symlink_to(place)
    with open(place / "huge.der", "wb") as file:
        file.truncate(20 << 30)
    verifier = bounded(lambda: Verifier(Rules(roots=(str(place),))))
    (note,) = verifier.notes
    assert "4 files were not used" in note
    for words in (
        "pipe.pem is a FIFO",
        "endless.pem is a device",
        "huge.der is larger than",
        "ring.pem cannot be read",
    ):
        assert words in note
    many = tmp_path / "many.pem"
    many.write_bytes(root * 5000)
    error = bounded(lambda: Verifier(Rules(roots=(str(many),))))
    assert "There are more than 4096 certificates" in str(error) or "is larger than" in str(error)


def test_the_largest_store_is_read_in_time(tpm_maker, tmp_path, bounded):
    key = ec.generate_private_key(ec.SECP256R1())
    for number in range(60):
        one = tpm_maker.authority(f"Issuer {number}", key).public_bytes(Encoding.PEM)
        (tmp_path / f"{number}.pem").write_bytes(one * 25)
    (tmp_path / "root.pem").write_bytes(tpm_maker.root.public_bytes(Encoding.PEM))
    assert bounded(lambda: Verifier(Rules(roots=(str(tmp_path),)))).notes == []
