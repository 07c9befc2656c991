# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What firms hand to one another is signed by a key in a file, an agent or a token, and the other firm takes it."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "4321"
MASTER_KEY = "a master key of the owner, 0123456789abcdef"
ORDER = {"number": "WO-1", "owner": "Example Devices", "expires": "2037-01-01", "id_scope": "0ne00000A1B"}


@contextlib.contextmanager
def agent(directory, monkeypatch):
    """An SSH agent for this process, and for no longer."""
    socket = str(directory / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        while not os.path.exists(socket):
            assert process.poll() is None
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        yield
    finally:
        process.terminate()
        process.wait()


def made_token(directory, monkeypatch):
    """The public half of a key in a token of PKCS#11, whose private half is in no file."""
    (directory / "tokens").mkdir()
    (directory / "softhsm2.conf").write_text(f"directories.tokendir = {directory}/tokens\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(directory / "softhsm2.conf"))
    key = directory / "imported.pem"
    public = directory / "token.pub"
    token = ["--token", "line", "--label", "line", "--id", "01", "--pin", PIN]
    for command in (
        ["softhsm2-util", "--init-token", "--free", "--label", "line", "--so-pin", "1234", "--pin", PIN],
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key],
        ["softhsm2-util", "--import", key, *token],
    ):
        subprocess.run(command, check=True, capture_output=True)
    key.unlink()
    public.write_bytes(subprocess.run(["ssh-keygen", "-D", MODULE], check=True, capture_output=True).stdout)
    return public


@pytest.fixture(params=["file", "agent", "token"])
def signing_key(request, tmp_path, monkeypatch, ssh_key):
    """What signing_key names, and the public half for the other side."""
    if request.param == "file":
        key = ssh_key("line")
        yield key, key.with_suffix(".pub")
        return
    public = made_token(tmp_path, monkeypatch) if request.param == "token" else None
    with agent(tmp_path, monkeypatch):
        if public is None:
            key = ssh_key("line")
            subprocess.run(["ssh-add", "-q", key], check=True)
            key.unlink()
            public = key.with_suffix(".pub")
        else:
            asked = tmp_path / "pin"
            asked.write_text(f"#!/bin/sh\necho {PIN}\n")
            asked.chmod(0o700)
            environment = {**os.environ, "SSH_ASKPASS": str(asked), "SSH_ASKPASS_REQUIRE": "force"}
            add = ["ssh-add", "-q", "-s", MODULE]
            subprocess.run(add, check=True, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
            asked.unlink()
        yield public, public


@pytest.fixture
def signed(signing_key, tmp_path, run_module):
    """Runs a module that signs, once and again; the second time nothing is signed anew."""
    key, public = signing_key
    allowed = tmp_path / "allowed"
    allowed.write_text(f"line@example.org {public.read_text()}")

    def run(module, **options):
        done = run_module(module, signing_key=str(key), **options)
        assert done.get("changed"), done
        again = run_module(module, signing_key=str(key), **options)
        assert not again.get("changed") and not again.get("failed"), again
        return done

    run.allowed, run.public = str(allowed), public.read_text()
    return run


@pytest.fixture
def ledger(tmp_path, run_module, make_ek):
    record = {"host": "slot1", "serial_number": "TF-1", "registration_id": "unit-1", "endorsement_key": make_ek(1)}
    path = str(tmp_path / "ledger.sqlite")
    taken = run_module("device_records", ledger=path, step="tpm_install", records=[record])
    assert taken["changed"], taken
    return path


def test_a_makers_list(signed, run_module, tpm_maker, rsa_keys, ek_public, tmp_path):
    certificate = base64.b64encode(tpm_maker.certify(rsa_keys[0]).public_bytes(Encoding.DER)).decode()
    tpm = {"host": "slot1", "endorsement_key": ek_public(rsa_keys[0]), "endorsement_key_certificate": certificate}
    dest = str(tmp_path / "list.jsonl")
    done = signed("ek_export", tpms=[tpm], maker="Test Maker", batch="1", tray="1", dest=dest)
    about = {"src": dest, "signature": done["signature"], "allowed_signers": signed.allowed}
    taken = run_module("ek_list", ledger=str(tmp_path / "owners.sqlite"), **about)
    assert taken.get("signed_by") == "line@example.org", taken


def test_records(signed, run_module, ledger, tmp_path):
    dest = str(tmp_path / "records.jsonl")
    signed("device_records_export", ledger=ledger, dest=dest)
    about = {"src": dest, "signature": f"{dest}.sig", "allowed_signers": signed.allowed}
    taken = run_module("device_records_import", ledger=str(tmp_path / "next.sqlite"), **about)
    assert taken.get("signed_by") == "line@example.org", taken


def test_an_order_and_its_revocation(signed, run_module, ledger, tmp_path, ssh_key):
    """The line has its key in a file, which files are encrypted to."""
    line = ssh_key("reader")
    dest = str(tmp_path / "order.age")
    about = {**ORDER, "ledger": ledger, "dest": dest, "master_key": MASTER_KEY}
    about["recipients"] = [line.with_suffix(".pub").read_text()]
    signed("work_order", **about)
    look = {"orders": [dest], "decryption_key": str(line), "allowed_signers": signed.allowed}
    assert run_module("work_order_units", **look)["orders"][0]["signed_by"] == "line@example.org"
    signed("work_order", **about, state="revoked")
    assert "was revoked by its owner" in run_module("work_order_units", **look)["msg"]


def test_a_report(signed, signing_key, run_module, ledger, tmp_path, ssh_key, make_ek, allowed):
    order = {"ledger": ledger, "dest": str(tmp_path / "order.age"), "master_key": MASTER_KEY}
    reader, owner = ssh_key("reader"), ssh_key("owner")
    keys = {"recipients": [reader.with_suffix(".pub").read_text()], "signing_key": str(owner)}
    assert run_module("work_order", **ORDER, **order, **keys, report_signers=[signed.public])["changed"]
    look = {"orders": [order["dest"]], "decryption_key": str(reader)}
    look["allowed_signers"] = str(allowed(owner, file="customers"))
    assert run_module("work_order_units", **look, signing_key=str(signing_key[0])).get("orders")
    refused = run_module("work_order_units", **look, signing_key=str(reader))
    assert "whose report its owner would refuse" in refused["msg"] and "orders" not in refused
    journal = str(tmp_path / "journal.sqlite")
    failed = {"reason": "it is off", "order": "WO-1", "customer": "owner", "endorsement_key": make_ek(1)}
    run_module("device_records", ledger=journal, step="software_install", records=[{"host": "slot1", "failed": failed}])
    signed("work_report_export", ledger=journal, numbers=["WO-1"], dest=str(tmp_path))
    about = {"src": str(tmp_path / "WO-1.report"), "allowed_signers": signed.allowed, "master_key": MASTER_KEY}
    taken = run_module("work_report_import", ledger=ledger, id_scope=ORDER["id_scope"], **about)
    assert taken.get("signed_by") == "line@example.org" and taken["failed_units"], taken
