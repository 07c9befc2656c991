# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A maker's list in each of its forms, with every line that can be bad, and with its signature."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

SHIPMENT = {"maker": "Test Maker", "batch": "2026-11"}


@pytest.fixture
def ledger(tmp_path):
    return str(tmp_path / "ledger.sqlite")


@pytest.fixture
def take_in(run_module, ledger):
    def run(src, **options):
        return run_module("ek_list", ledger=ledger, src=str(src), **{**SHIPMENT, **options})

    return run


@pytest.fixture
def lines(tmp_path):
    def write(*records, name="list.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(one) + "\n" for one in records))
        return path

    return write


@pytest.fixture
def certificates(tmp_path, tpm_maker, rsa_keys):
    """A directory with the certificates of two TPMs."""
    place = tmp_path / "certificates"
    place.mkdir()
    first, second = (tpm_maker.certify(key) for key in rsa_keys)
    (place / "unit-1.der").write_bytes(first.public_bytes(Encoding.DER) + bytes(100))
    (place / "unit-2.pem").write_bytes(second.public_bytes(Encoding.PEM))
    (place / "README.txt").write_text("two units")
    return place


def told(result):
    assert result["failed"] and not result.get("changed")
    return {one["where"]: f"{one['field']} {one['reason']}".strip() for one in result["problems"]}


# Lines.


def test_json_lines_and_csv_with_named_columns_say_the_same(take_in, lines, make_ek, tmp_path):
    keys = [make_ek(number) for number in range(3)]
    first = take_in(lines(*({"endorsement_key": key} for key in keys)), maker="Test Maker")
    assert (first["changed"], first["total"], first["added"], first["signed_by"]) == (True, 3, 3, None)
    path = tmp_path / "list.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["TPM_SERIAL", "EK_PUB"], *([f"S{at}", key] for at, key in enumerate(keys))])
    columns = {"endorsement_key": "EK_PUB", "tpm_serial_number": "TPM_SERIAL"}
    again = take_in(path, columns=columns)
    assert (again["changed"], again["total"], again["added"]) == (False, 3, 0)


def test_every_bad_line_is_told_and_nothing_is_taken_in(take_in, lines, make_ek, ledger):
    good = make_ek(1)
    path = lines(
        {"endorsement_key": good},
        {"endorsement_key": "?"},
        {"endorsement_key": make_ek(2, kind=0x0023)},
        ["no object"],
        {"endorsement_key": good},
        {"endorsement_key": make_ek(3), "endorsement_key_sha256": "00" * 32},
    )
    with path.open("a") as file:
        file.write('{"endorsement_key": ')
    result = take_in(path)
    found = told(result)
    assert list(found) == ["line 2", "line 3", "line 4", "line 5", "line 6", "line 7"]
    assert found["line 2"] == (
        "endorsement_key is in no form that is known: neither base64 nor base64url, hexadecimal or PEM"
    )
    assert "is ECC" in found["line 3"]
    assert found["line 5"] == "endorsement_key is also that of line 1: no two TPMs have one endorsement key"
    assert "cut short" in found["line 7"]
    assert "6 of 7 lines of" in result["msg"] and "line 2: endorsement_key is in no form" in result["msg"]
    assert take_in(lines({"endorsement_key": good}))["added"] == 1


def test_a_key_of_another_shipment_is_refused(take_in, lines, make_ek):
    path = lines({"endorsement_key": make_ek(1)})
    assert take_in(path)["added"] == 1
    assert "was listed before, in batch '2026-11' of 'Test Maker'" in told(take_in(path, batch="2026-12"))["line 1"]


def test_check_mode_predicts_and_writes_nothing(run_module, ledger, certificates):
    options = {"ledger": ledger, "src": str(certificates), **SHIPMENT}
    predicted = run_module("ek_list", check=True, **options)
    assert not Path(ledger).exists()
    assert predicted == run_module("ek_list", **options)
    assert run_module("ek_list", check=True, **options)["changed"] is False


# Certificates.


def test_a_directory_of_certificates_is_a_list_of_keys(take_in, certificates, run_module, ledger, rsa_keys, ek_public):
    result = take_in(certificates)
    assert (result["total"], result["added"], result["passed_over"], result["remarks"]) == (2, 2, 0, [])
    records = [{"host": f"unit-{at}", "endorsement_key": ek_public(key)} for at, key in enumerate(rsa_keys)]
    records = [{**one, "endorsement_key_sha256": sha256_of(one["endorsement_key"])} for one in records]
    judged = run_module("device_records", ledger=ledger, step="tpm_install", records=records, ek_list_policy="required")
    assert all(one["accepted"] for one in judged["verdicts"].values()), judged
    assert take_in(certificates)["changed"] is False


def sha256_of(text):
    return hashlib.sha256(base64.b64decode(text)).hexdigest()


def test_certificates_are_verified_where_there_are_roots(take_in, certificates, tpm_maker, other_maker, write_roots):
    good = [write_roots(tpm_maker.root, tpm_maker.issuer)]
    wrong = [write_roots(other_maker.root, directory="wrong")]
    found = told(take_in(certificates, ek_certificate_roots=wrong))
    assert list(found) == ["unit-1.der", "unit-2.pem"]
    assert "leads to an issuer that is not there: add the certificate of CN=Test Maker Issuer" in found["unit-1.der"]
    assert take_in(certificates, ek_certificate_roots=good)["added"] == 2


def test_every_bad_file_is_told_by_its_name(take_in, certificates, tpm_maker, rsa_keys):
    (certificates / "sub").mkdir()
    (certificates / "sub" / "unit-3.bin").write_bytes(b"\x30\x82" + b"\xa5" * 100)
    (certificates / "twin.der").write_bytes(tpm_maker.certify(rsa_keys[0]).public_bytes(Encoding.DER))
    (certificates / "notes.txt").write_text("these are the certificates")
    (certificates / ".hidden").write_text("an editor's")
    result = take_in(certificates)
    found = told(result)
    assert sorted(found) == ["notes.txt", "sub/unit-3.bin", "unit-1.der"]
    assert found["unit-1.der"] == "endorsement_key is also that of twin.der: no two TPMs have one endorsement key"
    assert "is no X.509 certificate" in found["sub/unit-3.bin"]
    assert "3 of 5 certificates of" in result["msg"]


def test_certificates_in_one_file_are_counted(take_in, tmp_path, tpm_maker, rsa_keys):
    parts = [tpm_maker.certify(rsa_keys[at]) for at in (0, 1, 0)]
    bundle = tmp_path / "all.pem"
    bundle.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in parts))
    found = told(take_in(bundle))
    assert found == {"all.pem (3)": "endorsement_key is also that of all.pem (1): no two TPMs have one endorsement key"}
    binary = tmp_path / "all.der"
    binary.write_bytes(b"".join(one.public_bytes(Encoding.DER) for one in parts[:2]))
    assert take_in(binary)["added"] == 2


def test_the_ecc_keys_of_the_same_tpms_are_passed_over_and_counted(take_in, certificates, tpm_maker):
    ecc = tpm_maker.certify(ec.generate_private_key(ec.SECP256R1()).public_key())
    (certificates / "unit-1-ecc.der").write_bytes(ecc.public_bytes(Encoding.DER))
    result = take_in(certificates)
    assert (result["total"], result["added"], result["passed_over"]) == (3, 2, 1)
    assert result["remarks"][0]["where"] == "unit-1-ecc.der"
    assert "is passed over: it is about an ECC key of 256 bits" in result["remarks"][0]["reason"]


def test_a_line_may_have_its_certificate_which_has_to_be_its_own(
    take_in, lines, tpm_maker, rsa_keys, ek_public, as_text
):
    certificate = as_text(tpm_maker.certify(rsa_keys[0]))
    swapped = lines(
        {"endorsement_key": ek_public(rsa_keys[1]), "endorsement_key_certificate": certificate},
        {"endorsement_key_certificate": "?"},
    )
    assert told(take_in(swapped)) == {
        "line 1": "endorsement_key_certificate is about another key than the endorsement key beside it",
        "line 2": "endorsement_key_certificate is neither base64 of DER nor PEM",
    }
    assert take_in(lines({"endorsement_key_certificate": certificate}))["added"] == 1


def test_a_certificate_that_comes_later_is_added_to_its_key(take_in, lines, tpm_maker, rsa_keys, ek_public, as_text):
    key = ek_public(rsa_keys[0])
    assert take_in(lines({"endorsement_key": key}))["added"] == 1
    later = lines({"endorsement_key": key, "endorsement_key_certificate": as_text(tpm_maker.certify(rsa_keys[0]))})
    result = take_in(later)
    assert (result["changed"], result["added"], result["certified"]) == (True, 0, 1)
    assert take_in(later)["changed"] is False


# Signatures.


@pytest.fixture
def sign(tmp_path):
    """Signs a file as a maker does; returns the options that name the signature and whose it should be."""

    def run(path, *, name="maker", namespace="file", options="", allowed=True):
        Path(f"{path}.sig").unlink(missing_ok=True)
        key = tmp_path / f"{name}-key"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", namespace, str(path)], check=True)
        signers = tmp_path / "signers"
        kind, public = (tmp_path / f"{name}-key.pub").read_text().split()[:2]
        if allowed:
            signers.write_text(f"{name}@tpm.example {options} {kind} {public}\n")
        return {"signature": f"{path}.sig", "allowed_signers": str(signers)}

    return run


def test_a_good_signature_is_told(take_in, lines, make_ek, sign):
    path = lines({"endorsement_key": make_ek(1)})
    result = take_in(path, **sign(path), signer="maker@tpm.example")
    assert (result["added"], result["signed_by"]) == (1, "maker@tpm.example")


def test_a_list_that_was_changed_is_refused_before_it_is_read(take_in, lines, make_ek, sign, ledger):
    path = lines({"endorsement_key": make_ek(1)})
    options = sign(path)
    lines({"endorsement_key": make_ek(2)})
    result = take_in(path, **options)
    assert result["failed"] and "is no good signature of anybody in" in result["msg"]
    assert "Do not take in this list" in result["msg"]
    assert take_in(path)["added"] == 1


def test_whose_signature_it_is_counts(take_in, lines, make_ek, sign):
    path = lines({"endorsement_key": make_ek(1)})
    sign(path)
    by_nobody = take_in(path, **sign(path, name="thief", allowed=False))
    assert "is no good signature of anybody in" in by_nobody["msg"]
    by_another = take_in(path, **sign(path, name="thief"), signer="maker@tpm.example")
    assert "is no good signature of maker@tpm.example over" in by_another["msg"]
    assert "it is the signature of thief@tpm.example" in by_another["msg"]


@pytest.mark.parametrize(
    "signing", [{"namespace": "git"}, {"options": 'valid-before="20200101"'}, {"options": 'namespaces="git"'}]
)
def test_what_a_signature_is_for_and_when_counts(take_in, lines, make_ek, sign, signing):
    path = lines({"endorsement_key": make_ek(1)})
    assert "is no good signature" in take_in(path, **sign(path, **signing))["msg"]


def test_a_signature_that_is_asked_for_has_to_be_there(take_in, lines, make_ek, sign, tmp_path):
    path = lines({"endorsement_key": make_ek(1)})
    options = sign(path)
    unsigned = take_in(path, allowed_signers=options["allowed_signers"])
    assert "has no signature, and allowed_signers asks for one" in unsigned["msg"]
    assert ".sig behind the name" in unsigned["msg"]
    gone = take_in(path, **{**options, "signature": str(tmp_path / "gone.sig")})
    assert "The signature" in gone["msg"] and "is not there" in gone["msg"]
    assert "missing" in take_in(path, signature=options["signature"])["msg"]


def test_a_directory_is_signed_by_its_sums(take_in, certificates, sign):
    sums = certificates / "SHA256SUMS"

    def resum():
        names = sorted(one.name for one in certificates.iterdir() if one.name.startswith("unit"))
        done = subprocess.run(["sha256sum", *names], cwd=certificates, check=True, stdout=subprocess.PIPE)
        sums.write_bytes(done.stdout)
        return sign(sums)

    options = resum()
    assert take_in(certificates, **options)["signed_by"] == "maker@tpm.example"
    (certificates / "unit-3.der").write_bytes((certificates / "unit-1.der").read_bytes())
    (certificates / "unit-1.der").write_bytes((certificates / "unit-2.pem").read_bytes())
    (certificates / "unit-2.pem").unlink()
    assert told(take_in(certificates, **options)) == {
        "unit-1.der": "was changed since it was signed",
        "unit-2.pem": "is in the signed list of files and is not there",
        "unit-3.der": "is not in the signed list of files",
    }
    sums.write_text("nonsense\n")
    assert "Line 1 of" in take_in(certificates, **sign(sums))["msg"]


def test_a_missing_ssh_keygen_is_named(take_in, lines, make_ek, sign, monkeypatch):
    path = lines({"endorsement_key": make_ek(1)})
    options = sign(path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert "install openssh-client" in take_in(path, **options)["msg"]


# Files that are not what they should be, and large ones.


@pytest.fixture
def csv_file(tmp_path):
    def write(content):
        path = tmp_path / "list.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_a_byte_order_mark_and_the_line_ends_of_other_systems_are_no_obstacle(take_in, csv_file, lines, make_ek):
    assert take_in(csv_file(b"\xef\xbb\xbfendorsement_key,n\r\n" + make_ek(1).encode() + b",1\r\n"))["added"] == 1
    path = lines({"endorsement_key": make_ek(2)})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert take_in(path)["added"] == 1


@pytest.mark.parametrize(
    ("head", "columns", "words"),
    [
        (
            "SERIAL,N",
            {"endorsement_key": "EK_PUB"},
            "has no column EK_PUB. Its columns are SERIAL, N (by the delimiter comma).",
        ),
        (
            "SERIAL,N",
            {},
            "has no column endorsement_key or endorsement_key_certificate. Its columns are SERIAL, N (by the",
        ),
        ("KEY;N", {}, "Its columns are KEY, N (by the delimiter semicolon)."),
        ("EK,EK", {"endorsement_key": "EK"}, "has more than one column endorsement_key."),
        ("EK,endorsement_key", {"endorsement_key": "EK"}, "has more than one column endorsement_key."),
        ('"EK', {}, "has a first line that is no row of CSV"),
    ],
)
def test_a_head_that_does_not_name_the_columns_is_told(take_in, csv_file, make_ek, head, columns, words):
    result = take_in(csv_file(f"{head}\n{make_ek(1)},1\n"), columns=columns)
    assert result["failed"]
    assert words in result["msg"]


def test_a_column_that_is_called_by_a_number(take_in, csv_file, make_ek):
    assert take_in(csv_file(f"1,2\n{make_ek(1)},x\n"), columns={"endorsement_key": 1})["added"] == 1


def test_rows_that_are_none_are_told_by_their_line(take_in, csv_file, make_ek):
    keys = [make_ek(number) for number in range(4)]
    path = csv_file(f'endorsement_key,n\n{keys[0]},1\n{keys[1]}\n{keys[2]},"two\nlines"\n"{keys[3]}"x,4\n,\n"{keys[0]}')
    found = told(take_in(path))
    assert found["line 3"] == "has 1 cells, the first line names 2 columns"
    assert found["line 6"].startswith("is no row of CSV (',' expected after '\"')")
    assert found["line 8"] == (
        "is no row of CSV (unexpected end of data): a quote is not closed, or the file was cut short"
    )
    assert len(found) == 3


def test_a_quote_that_is_never_closed_does_not_swallow_the_list(take_in, csv_file, make_ek):
    path = csv_file('endorsement_key\n"' + "".join(f"{make_ek(number)}\n" for number in range(400)))
    found = told(take_in(path))
    assert "field larger than field limit" in found["line 2"]


@pytest.mark.parametrize(("name", "content"), [("list.csv", ""), ("list.csv", "endorsement_key\n"), ("list.jsonl", "")])
def test_an_empty_list_is_told(take_in, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    result = take_in(tmp_path / name)
    assert result["failed"]
    assert "is empty" in result["msg"]


def test_a_list_that_is_not_there_is_told(take_in, tmp_path):
    result = take_in(tmp_path / "gone.csv")
    assert f"The EK list {tmp_path}/gone.csv is not there." in result["msg"]


def test_a_hundred_thousand_lines_are_streamed(tmp_path, ek_of_modulus, ledger):
    """In a process of its own, whose peak of memory is its own."""
    path = tmp_path / "list.jsonl"
    total = 100_000
    # The head of an endorsement key is the same in all of them; base64 of its first 54 bytes, then of a modulus.
    head = ek_of_modulus(bytes(256))[:72]
    rest = ek_of_modulus(b"\xa5" * 256)[72:]
    with path.open("w") as file:
        for number in range(total):
            distinct = base64.b64encode(number.to_bytes(6, "big")).decode()
            file.write(json.dumps({"endorsement_key": head + rest[:40] + distinct + rest[48:], "n": number}) + "\n")
    options = {**SHIPMENT, "src": str(path), "ledger": ledger, "_ansible_remote_tmp": str(tmp_path)}
    program = (
        "import importlib, sys, time\n"
        "def peak():\n"
        "    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "module = importlib.import_module('ansible_collections.tpmfleet.azure_dps.plugins.modules.ek_list')\n"
        "from ansible_collections.tpmfleet.azure_dps.tests.module_arguments import module_arguments\n"
        f"with module_arguments({options!r}):\n"
        "    before = peak()\n"
        "    try:\n"
        "        module.main()\n"
        "    finally:\n"
        "        print(peak() - before, time.process_time(), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["total"], result["added"]) == (total, total)
    kilobytes, seconds = map(float, done.stderr.split())
    # The file has 46 MB; what has to stay are the keys' digests and their lines.
    assert kilobytes < 40_000
    assert seconds < 30


def test_how_far_it_is_is_in_the_file_for_who_watches(take_in, lines, make_ek, tmp_path):
    good = [{"endorsement_key": make_ek(number)} for number in range(3)]
    progress = tmp_path / "progress.json"
    assert take_in(lines(*good), progress_file=str(progress))["added"] == 3
    state = json.loads(progress.read_text())
    assert (state["phase"], state["total"]) == ("read", None)
    told_of = take_in(lines(*good), progress_file=str(tmp_path / "nowhere" / "progress.json"))
    assert told_of["failed"] and "does not exist where the task runs" in told_of["msg"]
