# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An EK list that is written here is taken by ek_list as it is, and what is wrong with its TPMs is told before that."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding


@pytest.fixture
def tpms(tpm_maker, rsa_keys, ek_public):
    import base64

    records = []
    for number, key in zip((10, 2), rsa_keys):
        certificate = base64.b64encode(tpm_maker.certify(key).public_bytes(Encoding.DER)).decode()
        record = {"host": f"slot{number}", "endorsement_key": ek_public(key), "tpm_model": "Model X"}
        records.append({**record, "endorsement_key_certificate": certificate, "exceptions": ["software_tpm"]})
    return records


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "maker"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path


@pytest.fixture
def export(run_module, tmp_path):
    def run(tpms, name="list.jsonl", **options):
        given = {"maker": "Test Maker", "batch": "2026-11", "tray": "T-1", "dest": str(tmp_path / name)}
        return run_module("ek_export", tpms=tpms, **{**given, **options})

    return run


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("with_chain", [False, True])
def test_it_is_taken_in_as_it_is_with_its_signature(
    export, run_module, tpms, key, tmp_path, tpm_maker, form, with_chain
):
    if with_chain:
        chain = base64.b64encode(tpm_maker.root.public_bytes(Encoding.DER)).decode()
        tpms = [{**one, "endorsement_key_certificate_chain": [chain]} for one in tpms]
    done = export(tpms, f"list.{form}", format=form, signing_key=str(key))
    assert done["changed"] and done["total"] == 2, done
    allowed = tmp_path / "allowed"
    allowed.write_text(f"maker@example.org {key.with_suffix('.pub').read_text()}")
    taken = run_module(
        "ek_list",
        ledger=str(tmp_path / "ledger.sqlite"),
        src=str(tmp_path / f"list.{form}"),
        signature=done["signature"],
        allowed_signers=str(allowed),
    )
    assert taken.get("added") == 2 and taken["signed_by"] == "maker@example.org", taken
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.ek_list import ListedKeys

    with opened(str(tmp_path / "ledger.sqlite"), Access.READ) as connection:
        digests = [hashlib.sha256(base64.b64decode(one["endorsement_key"])).hexdigest() for one in tpms]
        entries = ListedKeys(connection).entries(digests)
    for digest, one in zip(digests, tpms):
        entry = entries[digest]
        assert (entry["maker"], entry["batch"], entry["tray"]) == ("Test Maker", "2026-11", "T-1")
        assert entry["position"] == one["host"] and entry["tpm_model"] == "Model X"
        assert entry["endorsement_key_certificate"] == one["endorsement_key_certificate"]
        assert entry.get("endorsement_key_certificate_chain") == one.get("endorsement_key_certificate_chain")
        assert "exceptions" not in entry


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_the_same_tpms_give_the_same_bytes_and_keep_their_signature(export, tpms, key, tmp_path, form):
    where = tmp_path / f"list.{form}"
    planned = export(tpms, where.name, format=form, signing_key=str(key), check=True)
    assert planned["changed"] and not where.exists()
    export(tpms, where.name, format=form, signing_key=str(key))
    before = where.read_bytes(), (tmp_path / f"{where.name}.sig").stat().st_mtime_ns
    assert planned["diff"]["after"].encode() == before[0]
    again = export(tpms[::-1], where.name, format=form, signing_key=str(key))
    assert not again["changed"]
    assert (where.read_bytes(), (tmp_path / f"{where.name}.sig").stat().st_mtime_ns) == before
    assert before[0].index(b"slot2") < before[0].index(b"slot10")


@pytest.mark.parametrize("damage", ["content", "signature", "key", "gone"])
def test_a_signature_that_is_not_this_keys_over_this_list_is_made_again(export, tpms, key, tmp_path, damage):
    export(tpms, signing_key=str(key))
    where, signature = tmp_path / "list.jsonl", tmp_path / "list.jsonl.sig"
    good = signature.read_bytes()
    if damage == "content":
        export(tpms[:1])
    elif damage == "signature":
        signature.write_bytes(b"none")
    elif damage == "gone":
        signature.unlink()
    else:
        other = tmp_path / "other"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
        with where.open("rb") as stream:
            command = ["ssh-keygen", "-Y", "sign", "-f", other, "-n", "file"]
            signature.write_bytes(subprocess.run(command, stdin=stream, capture_output=True, check=True).stdout)
    assert export(tpms, signing_key=str(key), check=True)["changed"]
    assert export(tpms, signing_key=str(key))["changed"]
    # Ed25519 has one signature for one text.
    assert signature.read_bytes() == good
    assert not export(tpms, signing_key=str(key))["changed"]


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda one, two: [one, two, {**one, "host": "slot3"}], "slot3 have the same endorsement_key_sha256"),
        (lambda one, two: [one, {**two, "host": one["host"]}], "the same position"),
        (lambda one, two: [{**one, "tpm_serial_number": "1"}, {**two, "tpm_serial_number": "1"}], "tpm_serial_number"),
        (lambda one, two: [one, {**two, "endorsement_key_certificate": None}], "has no endorsement key certificate"),
        (
            lambda one, two: [one, {**two, "endorsement_key_certificate": one["endorsement_key_certificate"]}],
            "another key",
        ),
        (lambda one, two: [one, {**two, "endorsement_key": "AAAA"}], "endorsement_key"),
        (lambda one, two: [one, {**two, "endorsement_key": None, "endorsement_key_certificate": None}], "slot2"),
        (lambda one, two: [], "no TPM to list"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(export, tpms, key, tmp_path, spoil, words):
    result = export(spoil(*tpms), signing_key=str(key))
    assert result["failed"] and any(words in one for one in result["problems"]), result
    assert not list(tmp_path.glob("list.*"))


def test_a_tpm_without_a_certificate_is_listed_where_that_is_wanted(export, tpms):
    bare = {name: value for name, value in tpms[0].items() if name != "endorsement_key_certificate"}
    result = export([bare, tpms[1]], certificates="preferred")
    assert result["total"] == 2 and result["uncertified"] == ["T-1 slot10"] and result["warnings"]


def test_a_key_with_a_passphrase_ends_it_in_words_and_nothing_is_written(export, tpms, key, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "a passphrase", "-f", key], check=True)
    result = export(tpms, signing_key=str(key))
    assert result["failed"] and "passphrase" in result["msg"] and "ssh-add" in result["msg"]
    assert not list(tmp_path.glob("list.*"))


def test_a_ledger_is_listed_without_those_that_were_decommissioned(run_module, tpms, tmp_path):
    ledger = str(tmp_path / "ledger.sqlite")
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices

    with opened(ledger, Access.WRITE) as connection:
        devices = Devices(connection)
        gone = {"decommission": {"begun": "2026-11-01T00:00:00Z"}}
        for record in (tpms[0], {**tpms[1], **gone}, {"host": "slot7"}):
            devices.save(None, {"record_version": 1, **record})
        devices.write()
    result = run_module("ek_export", ledger=ledger, dest=str(tmp_path / "list.jsonl"))
    assert result.get("total") == 1 and "slot10" in (tmp_path / "list.jsonl").read_text(), result


def test_a_ledgers_list_has_the_certificate_that_only_the_makers_list_has(run_module, export, tpms, tmp_path):
    """Of units that were put on a work order by that list, and that nobody has read yet."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices

    ledger, first = str(tmp_path / "ledger.sqlite"), tmp_path / "list.jsonl"
    export(tpms, first.name)
    run_module("ek_list", ledger=ledger, src=str(first))
    with opened(ledger, Access.WRITE) as connection:
        devices = Devices(connection)
        for one in tpms:
            digest = hashlib.sha256(base64.b64decode(one["endorsement_key"])).hexdigest()
            known = {name: said for name, said in one.items() if name != "endorsement_key_certificate"}
            devices.save(None, {"record_version": 1, **known, "endorsement_key_sha256": digest})
        devices.write()
    result = run_module("ek_export", ledger=ledger, dest=str(tmp_path / "again.jsonl"))
    assert result.get("total") == 2 and result["uncertified"] == [], result
    both = [[json.loads(line) for line in path.read_text().splitlines()] for path in (first, tmp_path / "again.jsonl")]
    first, again = ([one["endorsement_key_certificate"] for one in some] for some in both)
    assert sorted(first) == sorted(again) and all(first)


def test_a_list_made_with_tpm2_tools_and_ssh_keygen_alone_is_taken_in(run_module, software_tpm, lab_ca, key, tmp_path):
    """The commands of the guide, as they stand there."""
    guide = (Path(__file__).resolve().parents[4] / "docs/lists.md").read_text()
    section = guide.split("### With tpm2-tools and ssh-keygen alone")[1]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    key.rename(tmp_path / "shipping")
    for commands in blocks:
        done = subprocess.run(
            ["bash", "-euc", commands],
            cwd=tmp_path,
            env={**os.environ, "TPM2TOOLS_TCTI": software_tpm.tcti},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
    allowed = tmp_path / "allowed"
    allowed.write_text(f"maker@example.org {key.with_suffix('.pub').read_text()}")
    taken = run_module(
        "ek_list",
        ledger=str(tmp_path / "ledger.sqlite"),
        src=str(tmp_path / "ek-list.jsonl"),
        signature=str(tmp_path / "ek-list.jsonl.sig"),
        allowed_signers=str(allowed),
        ek_certificate_roots=[str(file) for file in lab_ca.ca_certificates],
    )
    assert taken.get("added") == 1 and taken["signed_by"] == "maker@example.org", taken


@pytest.mark.parametrize("from_ledger", [False, True])
def test_a_disk_that_takes_no_list_is_told_in_words(export, run_module, tpms, tmp_path, monkeypatch, from_ledger):
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices
    from ansible_collections.tpmfleet.azure_dps.plugins.modules import ek_export

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ek_export, "replace_file", full)
    ledger = str(tmp_path / "ledger.sqlite")
    with opened(ledger, Access.WRITE) as connection:
        devices = Devices(connection)
        devices.save(None, {"record_version": 1, **tpms[0]})
        devices.write()
    dest = str(tmp_path / "list.jsonl")
    result = run_module("ek_export", ledger=ledger, dest=dest) if from_ledger else export(tpms)
    assert result["failed"] and "could not be written: No space left" in result["msg"] and "exception" not in result
