# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A maker's list that is a directory: what else lies in it, and how much of it."""

from __future__ import annotations

import time

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger import certificate_files
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.certificate_files import CertificateFiles
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.lists.text_file import TextFile
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.files import FileError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust import list_signature
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.findings import TrustError
from cryptography.hazmat.primitives.serialization import Encoding


@pytest.fixture
def certificate(tpm_maker, rsa_keys):
    return tpm_maker.certify(rsa_keys[0]).public_bytes(Encoding.PEM)


def reasons(found):
    return {source: [reason for _field, reason in read.reasons] for source, read in found.items()}


def read_all(place):
    source = CertificateFiles(str(place))
    return {source.where(read.place): read for read in source.scan()}


def test_a_link_that_leads_out_of_the_directory_is_not_read(certificate, tmp_path):
    """What lies there is the station's: its keys, or a certificate that nobody sent."""
    (tmp_path / "station.pem").write_bytes(certificate)
    place = tmp_path / "shipment"
    (place / "inner").mkdir(parents=True)
    (place / "inner/a.pem").write_bytes(certificate)
    (place / "again.pem").symlink_to("inner/a.pem")
    (place / "out.pem").symlink_to("../station.pem")
    (place / "ring.pem").symlink_to("ring.pem")
    (place / "elsewhere").symlink_to(tmp_path)
    told = reasons(read_all(place))
    assert told.pop("out.pem") == ["is a link that leads out of the directory: put the file itself there"]
    assert "cannot be read" in told.pop("ring.pem")[0]
    assert told == {"again.pem": [], "inner/a.pem": []}


def test_authorities_that_lie_beside_many_certificates_are_written_once(certificate, tpm_maker, tmp_path):
    place = tmp_path / "shipment.pem"
    place.write_bytes((certificate + tpm_maker.issuer.public_bytes(Encoding.PEM)) * 3000)
    begun = time.process_time()
    found = read_all(place)
    assert time.process_time() - begun < 2
    assert len(found) == 3000
    assert {len(one.record["endorsement_key_certificate_chain"]) for one in found.values()} == {65}


def test_more_files_than_a_shipment_has_are_told(certificate, tmp_path, monkeypatch):
    monkeypatch.setattr(certificate_files, "_MOST_FILES", 3)
    for number in range(4):
        (tmp_path / f"{number}.pem").write_bytes(certificate)
    (told,) = reasons(read_all(tmp_path)).values()
    assert told == ["has more than 3 files: give them in several directories"]


def sparse(path, beginning):
    with open(path, "wb") as file:
        file.write(beginning)
        file.truncate(20 << 30)
    return str(path)


def test_a_list_in_another_encoding_without_an_end_is_refused_before_it_is_recoded(tmp_path):
    begun = time.process_time()
    with pytest.raises(FileError, match="is in UTF-16 and larger than 256 MB"):
        TextFile(sparse(tmp_path / "list.csv", b"\xff\xfea\0"))
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize("which", ["signature", "allowed_signers"])
def test_a_signature_without_an_end_is_given_to_no_program(tmp_path, which):
    (tmp_path / "list").write_text("{}\n")
    files = dict.fromkeys(("signature", "allowed_signers"), str(tmp_path / "list"))
    files[which] = sparse(tmp_path / "huge", b"-----BEGIN SSH SIGNATURE-----\n")
    with pytest.raises(TrustError, match="huge is larger than 1 MB"):
        list_signature.check_signature(str(tmp_path / "list"), **files, signer=None, namespace="file")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"ab  x\n", "Line 1 of .* is not as sha256sum writes it"),
        (b"0" * 64 + b"  x\n" + b"0" * 10_000, "The signed list of files .* is longer than"),
        ((b"0" * 64 + b"  x\n") * 20, "Line 15 of .* is one of too many"),
        (None, "The signed list of files .* is longer than"),
    ],
    ids=["no sum", "a long line", "too many", "no end"],
)
def test_signed_sums_have_a_bound(tmp_path, monkeypatch, content, told):
    monkeypatch.setattr(list_signature, "_MOST_SUMS", 1000)
    place = tmp_path / "SHA256SUMS"
    place.write_bytes(content) if content else sparse(place, b"")
    with pytest.raises(TrustError, match=told):
        list_signature.signed_sums(place)
