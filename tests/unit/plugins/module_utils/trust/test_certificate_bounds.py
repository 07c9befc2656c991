# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nothing that is given as a certificate, a chain, a list or a store holds the station for more than 2 s or 100 MB.

Time is that of the process, so that a busy machine fails no test.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import time
import tracemalloc
import zipfile
from datetime import datetime, timezone
from functools import reduce
from random import Random

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import der
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust import root_state
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust import survey as survey_module
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.archives import read_sources
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.findings import TrustError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.limits import (
    MAXIMAL_NAMESAKES,
    MAXIMAL_REVOCATION_BYTES,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.names import object_identifier
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.revocation import read_revocation_lists
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.store import read_store
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
    """As many of a name as a store may have, of which each could have signed each other; none of them is a root."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = ("One", "Other")
    made = [tpm_maker.authority(names[at % 2], key, issuer=names[1 - at % 2], issuer_key=key) for at in range(200)]
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


WRONG_ALGORITHMS = {
    "none": b"\x30\x00",
    "no identifier": b"\x30\x02\x05\x00",
    "an empty identifier": b"\x30\x02\x06\x00",
    "one that is cut short": b"\x30\x03\x06\x09\x2a",
    "one without an end": tlv(0x30, tlv(6, LONG[:200], b"\x01")),
}


@pytest.mark.parametrize("algorithm", WRONG_ALGORITHMS.values(), ids=WRONG_ALGORITHMS)
def test_a_signature_of_no_algorithm_stops_its_own_certificate(tpm_maker, write_roots, rsa_keys, as_text, algorithm):
    def signed_by_nothing(certificate):
        fields = der.elements(changed(certificate, lambda f: [*f[:2], algorithm, *f[3:]])[4:])
        return base64.b64encode(tlv(0x30, fields[0].raw, algorithm, fields[2].raw)).decode()

    verifier = Verifier(Rules(roots=(write_roots(tpm_maker.root, tpm_maker.issuer),)))
    good = tpm_maker.certify(rsa_keys[0])
    assert [one.code for one in verifier.verify(signed_by_nothing(good)).problems] == ["unreadable"]
    beside = verifier.verify(as_text(good), chain=[signed_by_nothing(tpm_maker.issuer)])
    assert beside.trusted and [one.code for one in beside.remarks] == ["chain"]


def test_no_change_to_a_certificate_is_an_error_of_ours(tpm_maker, write_roots, rsa_keys, as_text):
    """Elements that are cut, doubled, emptied or of another kind, at every place in the structure."""
    verifier = Verifier(Rules(roots=(write_roots(tpm_maker.root, tpm_maker.issuer),)))
    good = tpm_maker.certify(rsa_keys[0])
    random = Random(14)
    codes = set()
    for data in (good.public_bytes(Encoding.DER), tpm_maker.issuer.public_bytes(Encoding.DER)):
        for _turn in range(120):
            mutant = base64.b64encode(mutated(data, random)).decode()
            verdict = verifier.verify(mutant)
            codes.update(one.code for one in verdict.problems)
            verifier.verify(as_text(good), chain=[mutant])
            str(verdict.as_result())
    assert {"unreadable", "signature"} < codes and len(codes) > 5


def mutated(data, random):
    """*data*, in DER, with one element somewhere in it made another; all around it are as long as they have to be."""
    found = der.elements(data)
    at = random.randrange(len(found))
    one = found[at]
    try:
        inner = der.elements(one.content) if one.tag in (0x30, 0x31, 0xA0, 0xA3) else []
    except der.DerError:
        inner = []
    if inner and random.random() < 0.85:
        new = tlv(one.tag, mutated(one.content, random))
    else:
        new = random.choice(
            [
                b"",
                one.raw * 2,
                tlv(one.tag),
                tlv(one.tag, one.content[:-1]),
                tlv(one.tag, bytes(random.randrange(256) for _octet in one.content[:40])),
                tlv(random.choice((1, 2, 3, 4, 5, 6, 0x0C, 0x17, 0x18, 0x1E, 0x30, 0x31, 0xA0, 0xA4)), one.content),
            ]
        )
    return b"".join(part.raw for part in found[:at]) + new + b"".join(part.raw for part in found[at + 1 :])


def test_more_authorities_of_one_name_than_a_maker_has_are_refused(tpm_maker, tmp_path, bounded):
    key = ec.generate_private_key(ec.SECP256R1())
    made = [tpm_maker.root, *(tpm_maker.authority("One", key) for _one in range(MAXIMAL_NAMESAKES + 1))]
    (tmp_path / "many.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in made))
    error = bounded(lambda: Verifier(Rules(roots=(str(tmp_path),))))
    assert isinstance(error, TrustError) and "100 certificates that are all called CN=One" in str(error)


def test_a_look_at_a_store_and_its_plan_end(tpm_maker, tmp_path, monkeypatch):
    """Where each of many could have signed each other, the look at them has an end, which is told."""
    monkeypatch.setattr(survey_module, "MAXIMAL_STORE_CHECKS", 30)
    monkeypatch.setattr(root_state, "MAXIMAL_STORE_CHECKS", 30)
    key, names = ec.generate_private_key(ec.SECP256R1()), ("One", "Other")
    ring = [tpm_maker.authority(names[at % 2], key, issuer=names[1 - at % 2], issuer_key=key) for at in range(20)]
    (tmp_path / "many.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in [tpm_maker.root, *ring]))
    store = read_store([str(tmp_path)])
    found = survey_module.survey(store, datetime.now(timezone.utc))["intermediates"]
    assert "too many authorities of one name" in found[-1]["why_no_root"]
    with pytest.raises(TrustError, match="so many intermediate certificates of the same names"):
        root_state.plan(store, list(store.roots), str(tmp_path / "store"), skip_others=False)


@pytest.mark.parametrize("text", ["-----BEGIN X509 CRL-----", "-----BEGIN X509 CRL-----\n-----END X509 CRL"])
def test_marks_of_lists_without_an_end_are_told_in_time(tmp_path, bounded, text):
    place = tmp_path / "marks.pem"
    place.write_text(text * (MAXIMAL_REVOCATION_BYTES // len(text)))
    error = bounded(lambda: read_revocation_lists([str(place)]))
    assert "is no certificate revocation list (it was cut short)" in str(error)


def test_a_list_that_was_cut_off_is_not_overlooked_beside_others(tmp_path):
    """Whom it revoked would pass."""
    pem = b"-----BEGIN X509 CRL-----\n" + base64.b64encode(crl(entries(5))) + b"\n-----END X509 CRL-----\n"
    (tmp_path / "a.pem").write_bytes(pem)
    (tmp_path / "b.pem").write_bytes(pem[:-30])
    with pytest.raises(TrustError, match=r"b.pem is no certificate revocation list \(it was cut short\)"):
        read_revocation_lists([str(tmp_path)])


def test_more_lists_than_there_are_issuers_are_refused(tmp_path, bounded):
    pem = b"-----BEGIN X509 CRL-----\n" + base64.b64encode(crl(entries(1))) + b"\n-----END X509 CRL-----\n"
    place = tmp_path / "many.pem"
    for count, words in ((51, "more than 50 certificate revocation lists of"), (20_000, "more than 1000")):
        place.write_bytes(pem * count)
        error = bounded(lambda: read_revocation_lists([str(place)]))
        assert isinstance(error, TrustError) and words in str(error)


def of_tar(*entries, end=b""):
    made = io.BytesIO()
    for name, kind, size, content in entries:
        header = tarfile.TarInfo(name)
        header.type, header.size = kind, size
        made.write(header.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512))
    return made.getvalue() + end


def below_zero():
    """With a size of -1,024, which brings Python back to the same entry (CVE-2025-8194)."""
    header = bytearray(of_tar(("x.pem", tarfile.REGTYPE, 0, b"")))
    header[124:136] = (-1024).to_bytes(12, "big", signed=True)
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(2048)


def of_zip(count):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("x.pem", b"x")
    content = made.getvalue()
    entry = content[content.index(b"PK\x01\x02") : content.index(b"PK\x05\x06")]
    end = bytearray(content[content.index(b"PK\x05\x06") :])
    end[12:16] = (len(entry) * count).to_bytes(4, "little")
    return content[: content.index(b"PK\x01\x02")] + entry * count + bytes(end)


HOSTILE_ARCHIVES = {
    "a name of 1 GB": lambda: gzip.compress(of_tar(("n", b"L", 1 << 30, b"")) + bytes(12 << 20)),
    "names without an end": lambda: gzip.compress(of_tar(*[("n", b"L", 1, b"n")] * 5000)),
    "a header of digits": lambda: of_tar(("n", b"x", 4 << 20, b"1" * (4 << 20))),
    "a size below zero": below_zero,
    "a sparse file": lambda: of_tar(("n", b"S", 0, b"")),
    "pieces without an end": lambda: gzip.compress(
        of_tar(("n", b"x", 44, b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n")) + b"1\n" * 7_000_000
    ),
    "50 MB of zeros": lambda: bz2.compress(bytes(50 << 20)),
    "50 MB of zeros in xz": lambda: lzma.compress(bytes(50 << 20), preset=0),
    "many small streams": lambda: gzip.compress(b"") * 200_000,
    "entries without an end": lambda: of_zip(200_000),
    "a file of 20 GB": lambda: None,
    "a broken stream": lambda: b"\x1f\x8b\x08\0\0\0\0\0\0\3" + b"\xff" * 100,
}


@pytest.mark.parametrize("make", HOSTILE_ARCHIVES.values(), ids=HOSTILE_ARCHIVES)
def test_no_archive_holds_the_station(tmp_path, bounded, make):
    content = make()
    place = tmp_path / "bomb.tar"
    with open(place, "wb") as file:
        file.write(content or b"PK\x03\x04")
        if content is None:
            file.truncate(20 << 30)
    del content
    error = bounded(lambda: read_sources([str(place)]))
    assert isinstance(error, TrustError) and f"The archive {place} " in str(error)


def test_a_cabinet_is_not_expanded_beyond_its_bound(tmp_path, bounded):
    """What it says of its files' sizes is added up before one of them is written."""
    place = tmp_path / "bomb.cab"
    files = b"".join(struct.pack("<LLHHHH", 3 << 20, 0, 0, 0, 0, 0) + b"%d.crt\0" % at for at in range(100))
    head = struct.pack("<4sLLLLLBBHHHHH", b"MSCF", 0, 0, 0, 44, 0, 3, 1, 1, 100, 0, 0, 0)
    data = struct.pack("<LHH", 0, 0, 0)
    folder = struct.pack("<LHH", 44 + len(files), 1, 0)
    whole = bytearray(head + folder + files + data)
    whole[8:12] = len(whole).to_bytes(4, "little")
    place.write_bytes(whole)
    error = bounded(lambda: read_sources([str(place)]))
    assert "it holds more than 10000 files or 16 MB" in str(error)


def test_what_lies_in_the_store_is_replaced_and_nothing_behind_it(tpm_maker, tmp_path):
    """A link to somewhere else, a file without an end, a FIFO where one of its own should be."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src/root.pem").write_bytes(tpm_maker.root.public_bytes(Encoding.PEM))
    outside, store = tmp_path / "outside", tmp_path / "store"
    outside.write_text("untouched")
    source = read_store([str(tmp_path / "src")])
    pins = list(source.roots)
    root_state.apply(root_state.plan(source, pins, str(store), skip_others=False), str(store))
    (root,) = store.rglob("*.crt")
    (root.parent / f".{root.name}.new").symlink_to(outside)
    root.unlink()
    root.symlink_to(outside)
    os.mkfifo(store / "pipe.pem")
    with open(store / "huge.crt", "wb") as file:
        file.truncate(20 << 30)
    made = root_state.plan(source, pins, str(store), skip_others=False)
    assert made.write == [str(root.relative_to(store))] and made.remove == ["huge.crt", "pipe.pem"]
    root_state.apply(made, str(store))
    assert outside.read_text() == "untouched" and not root.is_symlink()
    assert not root_state.plan(source, pins, str(store), skip_others=False).changed
    root.unlink()
    root.mkdir()
    with pytest.raises(TrustError, match=r"The store .* cannot be written: .*Mend that and run again"):
        root_state.apply(root_state.plan(source, pins, str(store), skip_others=False), str(store))
