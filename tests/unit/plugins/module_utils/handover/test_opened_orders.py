# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A work order at the line: taken where it is for this line, of its customer and in force, refused else, in words."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import datetime, timezone

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover import work_order
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.age_file import (
    Reader,
    checked_recipients,
    encrypted,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.opened_orders import (
    EndedError,
    Trusted,
    opened_orders,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.signature import fingerprint
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.signed_document import signed_document
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.findings import TrustError

MASTER_KEY = "a master key of the owner, 0123456789abcdef"
NOW = datetime(2026, 11, 26, 12, tzinfo=timezone.utc)


@pytest.fixture
def line(tmp_path, make_ek, ssh_key, allowed):
    """A line, its customer, somebody else, and what they do."""

    class Line:
        owner, other, key, another = (ssh_key(name) for name in ("owner", "other", "line", "another"))

        def __init__(self):
            self.allowed = allowed(self.owner)
            self.path = tmp_path / "order.age"

        @staticmethod
        def recipient(key):
            return checked_recipients([key.with_suffix(".pub").read_text()])[0]

        def document(
            self, *, number="WO-1", units=(1, 2), expires="2027-01-01T00:00:00Z", recipients=None, report_signers=()
        ):
            terms = work_order.Terms(
                number=number,
                owner="Example Devices",
                expires=expires,
                key_version=1,
                recipients=recipients or [self.recipient(self.key)],
                install={
                    "client": "builtin",
                    "profile": "fleet",
                    "id_scope": "0ne00000A1B",
                    "global_endpoint": "https://dps.example",
                },
                report_signers=report_signers,
            )
            records = [
                {"serial_number": f"TF-{one}", "registration_id": f"unit-{one}", "endorsement_key": make_ek(one)}
                for one in units
            ]
            return work_order.document_of(terms, records, MASTER_KEY, written="2026-11-24T12:00:00Z")

        def write(self, document, *, signed_by=None, to=None, path=None, namespace=work_order.NAMESPACE):
            whole = signed_document(document, str(signed_by or self.owner), namespace=namespace)
            path = path or self.path
            path.write_bytes(encrypted(whole, [self.recipient(to or self.key)]))
            return path

        def open(self, *paths, key=None, signer=None, revocations=(), now=NOW, signing_key=None):
            trusted = Trusted(str(self.allowed), signer)
            paths = [str(one) for one in paths or (self.path,)]
            return opened_orders(
                paths,
                key=str(key or self.key),
                trusted=trusted,
                revocations=[*map(str, revocations)],
                now=now,
                signing_key=signing_key and str(signing_key),
            )

        def refused(self, *paths, **options):
            with pytest.raises(TrustError) as error:
                self.open(*paths, **options)
            assert "\x1b" not in str(error.value)
            return str(error.value)

    return Line()


def test_an_order_is_read_as_it_was_written(line, make_ek):
    line.write(line.document())
    [opened] = line.open()
    assert opened.signed_by == "owner@example.org" and opened.order.terms.number == "WO-1"
    assert [one["serial_number"] for one in opened.order.units.values()] == ["TF-1", "TF-2"]
    assert [one["endorsement_key"] for one in opened.order.units.values()] == [make_ek(1), make_ek(2)]
    assert line.open(signer="owner@example.org")


@pytest.mark.parametrize("kind", [("-t", "rsa", "-b", "2048"), ("-t", "rsa", "-b", "2048", "-m", "PEM"), "age"])
def test_other_keys_of_the_line(line, ssh_key, tmp_path, kind):
    if kind == "age":
        import pyrage

        identity = pyrage.x25519.Identity.generate()
        key = tmp_path / "age-key"
        key.write_text(f"# created: today\n# public key: {identity.to_public()}\n{identity}\n")
        recipient = str(identity.to_public())
    else:
        key = ssh_key("rsa", *kind)
        recipient = line.recipient(key)
    whole = signed_document(line.document(recipients=[recipient]), str(line.owner), namespace=work_order.NAMESPACE)
    line.path.write_bytes(encrypted(whole, [recipient]))
    assert line.open(key=key)


def test_an_order_says_whose_key_signs_the_report(line):
    """One of before that was said is read all the same."""
    line.write(line.document())
    assert list(line.open()[0].order.terms.report_signers) == []
    signers = [fingerprint(str(key)) for key in (line.key, line.another)]
    line.write(line.document(report_signers=signers))
    assert line.open()[0].order.terms.report_signers == signers
    for wrong in ([], ["SHA256:short"], [7], "SHA256:" + "A" * 43):
        line.write(other(line.document(report_signers=signers), put("report_signers", value=wrong)))
        assert "does not say whose key signs the report" in line.refused()


def test_a_line_whose_report_would_be_refused_learns_it_before_it_works(line, tmp_path):
    """Also where the order has ended: the report on what was done would be refused as well."""
    signers = [fingerprint(str(line.another)), "SHA256:" + "A" * 43]
    line.write(line.document(report_signers=signers))
    for more in ({}, {"now": datetime(2030, 1, 1, tzinfo=timezone.utc)}):
        told = line.refused(signing_key=line.key, **more)
        assert all(one in told for one in (*signers, fingerprint(str(line.key)), "No device was touched")), told
    public = line.another.with_suffix(".pub")
    assert line.open(signing_key=line.another) and line.open(signing_key=public) and line.open()
    assert "is no SSH key" in line.refused(signing_key=tmp_path / "none")
    # One of before orders said it is looked at by its owner's file of signers alone.
    line.write(line.document())
    assert line.open(signing_key=line.key)


def test_an_order_for_two_lines_is_read_by_both(line):
    recipients = [line.recipient(line.key), line.recipient(line.another)]
    whole = signed_document(line.document(recipients=recipients), str(line.owner), namespace=work_order.NAMESPACE)
    line.path.write_bytes(encrypted(whole, recipients))
    assert line.open() and line.open(key=line.another)


def test_an_order_for_somebody_else_cannot_be_read(line):
    line.write(line.document(), to=line.another)
    assert "was encrypted to somebody else" in line.refused()


def test_an_order_that_another_line_passed_on_is_refused(line):
    """He could decrypt it, and encrypts it to this line with the owner's signature."""
    line.write(line.document(recipients=[line.recipient(line.another)]))
    assert "was written for somebody else, who passed it on" in line.refused()


def test_an_order_that_somebody_else_signed_is_refused(line, allowed):
    line.write(line.document(), signed_by=line.other)
    assert "has no signature of anybody in" in line.refused()
    line.allowed = allowed(line.owner, line.other)
    assert line.open()[0].signed_by == "other@example.org"
    assert "and not that of owner@example.org" in line.refused(signer="owner@example.org")


def test_a_signature_that_was_made_for_something_else_is_refused(line):
    line.write(line.document(), namespace="file")
    assert "has no signature that is good" in line.refused()


def test_an_expired_order_is_refused(line):
    line.write(line.document(expires="2026-11-26T12:00:00Z"))
    assert "expired on 2026-11-26T12:00:00Z" in line.refused()
    with pytest.raises(EndedError) as ended:
        line.open()
    # It is still reported on.
    assert [one.order.terms.number for one in ended.value.opened] == ["WO-1"]
    assert line.open(now=datetime(2026, 11, 26, 11, 59, tzinfo=timezone.utc))


def revoke(line, path, *, number="WO-1", signed_by=None, namespace=work_order.REVOCATION_NAMESPACE):
    notice = work_order.revocation_of(number, at="2026-11-25T12:00:00Z")
    path.write_bytes(signed_document(notice, str(signed_by or line.owner), namespace=namespace))
    return path


def test_a_revoked_order_is_refused_by_the_notice_beside_it_or_elsewhere(line, tmp_path):
    line.write(line.document())
    revoke(line, tmp_path / "order.age.revoked")
    assert "was revoked by its owner" in line.refused()
    (tmp_path / "order.age.revoked").rename(tmp_path / "notice")
    assert line.open()
    assert "was revoked by its owner" in line.refused(revocations=[tmp_path / "notice"])
    assert line.open(revocations=[revoke(line, tmp_path / "notice", number="WO-2")])


def test_a_notice_counts_that_was_renamed_or_whose_order_was(line, tmp_path):
    line.write(line.document())
    notice = revoke(line, tmp_path / "from the owner.revoked")
    assert "was revoked by its owner" in line.refused()
    line.path.rename(tmp_path / "today.age")
    assert "was revoked by its owner" in line.refused(tmp_path / "today.age")
    notice.write_bytes(notice.read_bytes()[:-5] + notice.read_bytes()[-5:].replace(b"}", b" }"))
    assert "The revocation" in line.refused(tmp_path / "today.age")
    revoke(line, notice, number="WO-2")
    (tmp_path / "junk.revoked").write_bytes(b"junk")
    (tmp_path / "directory.revoked").mkdir()
    assert line.open(tmp_path / "today.age")


def test_nobody_revokes_the_order_of_somebody_else(line, tmp_path, allowed):
    line.allowed = allowed(line.owner, line.other)
    line.write(line.document())
    assert line.open(revocations=[revoke(line, tmp_path / "notice", signed_by=line.other)])


@pytest.mark.parametrize("spoil", ["cut", "edited", "stranger", "order", "none"])
def test_a_notice_that_is_none_does_not_let_the_order_pass(line, tmp_path, spoil):
    line.write(line.document())
    notice = revoke(line, tmp_path / "order.age.revoked")
    if spoil == "cut":
        notice.write_bytes(notice.read_bytes()[:100])
    elif spoil == "edited":
        notice.write_bytes(notice.read_bytes().replace(b"WO-1", b"WO-2"))
    elif spoil == "stranger":
        revoke(line, notice, signed_by=line.other)
    elif spoil == "order":
        notice.write_bytes(signed_document(line.document(), str(line.owner), namespace=work_order.REVOCATION_NAMESPACE))
    else:
        notice.write_bytes(b"")
    assert "The revocation" in line.refused() and "No device was touched" in line.refused()


def test_every_changed_byte_of_the_file_is_noticed(line):
    line.write(line.document())
    content = line.path.read_bytes()
    # All of the head, and places all through the rest.
    for at in [*range(0, 400), *range(400, len(content), 211), len(content) - 1]:
        spoilt = bytearray(content)
        spoilt[at] ^= 1
        line.path.write_bytes(spoilt)
        assert "No device was touched" in line.refused(), at
    for size in (0, 10, 200, len(content) // 2, len(content) - 1):
        line.path.write_bytes(content[:size])
        assert "No device was touched" in line.refused(), size


def test_what_is_changed_inside_the_encryption_is_noticed(line):
    """By who can read it and has no key of the owner's."""
    whole = signed_document(line.document(), str(line.owner), namespace=work_order.NAMESPACE)
    for spoilt in (
        whole.replace(b"TF-1", b"TF-9"),
        whole.replace(b"2027-01-01", b"2037-01-01"),
        whole[: whole.index(b"-----END")],
        whole[whole.index(b"{") :],
        whole[:-1],
        whole + b"\n",
        b"\n" + whole,
        whole.replace(b"-----END SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----\n\n", 1),
        b"",
    ):
        assert spoilt != whole
        line.path.write_bytes(encrypted(spoilt, [line.recipient(line.key)]))
        assert "No device was touched" in line.refused()


def other(document, change):
    value = json.loads(document)
    change(value)
    return json.dumps(value).encode()


def put(*path, value):
    def change(document):
        for name in path[:-1]:
            document = document[name]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put("work_order_version", value=3), "of version 3"),
        (put("work_order_version", value=2), "does not say whose key signs the report"),
        (put("report_signers", value=["SHA256:" + "A" * 43]), "has report_signers in the work order"),
        (put("work_order_version", value=True), "of version True"),
        (lambda one: one.pop("work_order_version"), "is no work order"),
        (put("count", value=3), "as many units as it says"),
        (put("count", value=True), "says no count"),
        (put("units", value=[]), "as many units as it says"),
        (lambda one: one["units"].pop(), "as many units as it says"),
        (lambda one: one.update(units=[one["units"][0]] * 2), "is wrong"),
        (put("number", value="../../etc"), "says no number"),
        (put("owner", value=""), "says no owner"),
        (put("owner", value=7), "says no owner"),
        (put("expires", value="never"), "says no expires"),
        (put("key_version", value=0), "says no key_version"),
        (put("key_version", value=True), "says no key_version"),
        (put("recipients", value="age1"), "whom it is for"),
        (put("recipients", value=[7]), "whom it is for"),
        (put("install", value=None), "what is to be installed"),
        (put("install", "client", value="rootkit"), "a client or an ownership profile"),
        (put("install", "run", value="rm -rf /"), "has run in install"),
        (put("surprise", value="\x1b[2J"), "has surprise"),
        (put("units", 0, value=7), "is wrong"),
        (put("units", 0, "endorsement_key", value="AAAA"), "is wrong"),
        (put("units", 0, "endorsement_key", value=None), "is wrong"),
        (put("units", 0, "registration_id", value=None), "without a registration ID"),
        (put("units", 0, "serial_number", value="TF-2"), "have the same serial_number"),
        (put("units", 0, "serial_number", value=["TF-2"]), "says no serial_number"),
        (put("units", 0, "challenge", value=None), "without a challenge"),
        (put("units", 0, "challenge", "nonce", value=1), "says no nonce"),
        (put("units", 0, "answer_sha256", value="0"), "says no answer_sha256"),
        (put("units", 0, "owner_auth", value="x"), "has owner_auth in a unit"),
    ],
)
def test_what_the_owner_signed_is_looked_at_all_the_same(line, change, told):
    line.write(other(line.document(), change))
    assert told in line.refused()


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b'{"a":1,"a":2}', b"[" * 100000, b"\xff", b'"\\ud800"'])
def test_what_is_no_json_is_told(line, text):
    line.write(text)
    assert "No device was touched" in line.refused()


def test_two_orders_that_share_a_number_or_a_unit_are_refused(line, tmp_path):
    first = line.write(line.document())
    same = line.write(line.document(units=(3,)), path=tmp_path / "same.age")
    assert "are both the work order WO-1" in line.refused(first, same)
    shared = line.write(line.document(number="WO-2", units=(2, 3)), path=tmp_path / "shared.age")
    assert "are for the same unit TF-2" in line.refused(first, shared)
    good = line.write(line.document(number="WO-2", units=(3, 4)), path=tmp_path / "good.age")
    assert [one.order.terms.number for one in line.open(first, good)] == ["WO-1", "WO-2"]


@pytest.mark.parametrize("what", ["directory", "nothing", "passphrase", "public", "empty"])
def test_a_key_of_the_line_that_is_none_is_told(line, tmp_path, what):
    line.write(line.document())
    key = tmp_path / "bad"
    if what == "directory":
        key.mkdir()
    elif what == "passphrase":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", key], check=True)
    elif what == "public":
        shutil.copy(line.key.with_suffix(".pub"), key)
    elif what == "empty":
        key.write_bytes(b"")
    told = line.refused(key=key)
    assert "is no private key" in told or "is not there" in told or "is a directory" in told
    assert "secret" not in told


def test_a_file_of_signers_that_is_none_lets_nothing_pass(line, tmp_path):
    line.write(line.document())
    for path in (tmp_path / "nothing", tmp_path):
        line.allowed = path
        assert "cannot be checked" in line.refused()
    line.allowed = tmp_path / "junk"
    line.allowed.write_text("junk")
    assert "has no signature" in line.refused()


def test_a_reader_knows_what_others_encrypt_to(line):
    assert Reader(str(line.key)).recipient == line.recipient(line.key)


def test_recipients_are_told_apart_however_they_are_written(line):
    keys = [one.with_suffix(".pub").read_text() for one in (line.key, line.another)]
    wanted = [line.recipient(one) for one in (line.key, line.another)]
    assert checked_recipients([f" \n{keys[0]}", f"\t{keys[1]}"]) == wanted == checked_recipients(["".join(keys)])
    age = "age127yw6jf6wxe822r6yremaeh9xkzjr83qzqvvs23s2842a24ntd7qfulk2y"
    assert checked_recipients([age.upper()]) == [age]
    with pytest.raises(TrustError, match="is no recipient"):
        checked_recipients([keys[0], " "])
