# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A batch whose endorsement key certificates are judged: who may go on under which policy, and what is remembered."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module import ledger as module_ledger
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.verification import Verifier

SOFTWARE = {"2.23.133.2.1": "id:00001014", "2.23.133.2.2": "swtpm", "2.23.133.2.3": "id:20191023"}


@pytest.fixture
def ledger(tmp_path):
    return str(tmp_path / "ledger.sqlite")


@pytest.fixture
def judge(run_module, ledger, tpm_maker, write_roots):
    """Judges records, under ``required`` unless told otherwise."""

    def run(*records, check=False, **options):
        options = {"ek_certificate_policy": "required", **options}
        if options["ek_certificate_policy"] != "ignored":
            options.setdefault("ek_certificate_roots", [write_roots(tpm_maker.root, tpm_maker.issuer)])
        return run_module(
            "device_records", check=check, ledger=ledger, step="tpm_install", records=list(records), **options
        )

    return run


@pytest.fixture
def record(rsa_keys, ek_public, as_text):
    """A record of a device, with a certificate if there is one."""

    def make(number=0, certificate=None, *, host="unit-1", **fields):
        key = ek_public(rsa_keys[number])
        digest = hashlib.sha256(base64.b64decode(key)).hexdigest()
        made = {"host": host, "endorsement_key": key, "endorsement_key_sha256": digest, **fields}
        if certificate is not None:
            made["endorsement_key_certificate"] = certificate if isinstance(certificate, str) else as_text(certificate)
        return made

    return make


@pytest.fixture
def listed(run_module, ledger, tmp_path):
    """Takes keys in as a maker's list."""

    def take_in(*entries):
        path = tmp_path / "list.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in entries))
        assert run_module("ek_list", ledger=ledger, src=str(path), maker="M", batch="1")["added"] == len(entries)

    return take_in


def of(result, host="unit-1"):
    return result["verdicts"][host]


def test_a_trusted_certificate_lets_a_device_on_and_is_remembered(judge, record, tpm_maker, rsa_keys):
    certificate = tpm_maker.certify(rsa_keys[0])
    predicted = judge(record(0, certificate), check=True)
    result = judge(record(0, certificate))
    assert predicted == result and result["changed"]
    assert of(result)["accepted"] and of(result)["remarks"] == []
    assert of(result)["record"]["certified_tpm"] == {
        "maker": "Infineon",
        "manufacturer": "IFX",
        "model": "SLB9670",
        "firmware_version": "7.85",
        "software": False,
        "root": "CN=Test Maker Root",
        "certificate_sha256": hashlib.sha256(
            base64.b64decode(record(0, certificate)["endorsement_key_certificate"])
        ).hexdigest(),
    }
    again = judge(record(0, certificate))
    assert not again["changed"] and of(again)["state"] == "verified"


def test_a_chain_in_the_tpm_helps_and_is_remembered(judge, record, tpm_maker, rsa_keys, as_text, write_roots):
    roots = [write_roots(tpm_maker.root, directory="root only")]
    certificate = tpm_maker.certify(rsa_keys[0])
    alone = judge(record(0, certificate), ek_certificate_roots=roots)
    assert "add the certificate of CN=Test Maker Issuer" in of(alone)["reasons"][0]
    chain = [as_text(tpm_maker.issuer)]
    helped = judge(record(0, certificate, endorsement_key_certificate_chain=chain), ek_certificate_roots=roots)
    assert of(helped)["accepted"] and of(helped)["record"]["endorsement_key_certificate_chain"] == chain
    # The owner authorization that a claim sets may be what shuts it, or nobody has the device at hand.
    for later in (record(0, certificate), record(0)):
        again = of(judge(later, ek_certificate_roots=roots))
        assert again["accepted"] and again["record"]["endorsement_key_certificate_chain"] == chain, again["reasons"]


def test_a_certificate_that_was_half_written_is_made_up_for_by_the_recorded_one_or_the_lists(
    judge, record, tpm_maker, rsa_keys, listed
):
    good = record(0, tpm_maker.certify(rsa_keys[0]))["endorsement_key_certificate"]
    half = base64.b64encode(base64.b64decode(good)[:500].ljust(900, b"\xff")).decode()
    assert "is no X.509 certificate" in of(judge(record(0, half)))["reasons"][0]
    listed({"endorsement_key": record(0)["endorsement_key"], "endorsement_key_certificate": good})
    by_list = of(judge(record(0, half)))
    assert by_list["accepted"] and "as it is in the TPM, is no X.509 certificate" in by_list["remarks"][0]
    assert of(judge(record(0, good)))["record"]["endorsement_key_certificate"] == good
    for policy in ("required", "ignored", "required"):
        again = of(judge(record(0, half), ek_certificate_policy=policy))
        assert again["accepted"] and again["record"]["endorsement_key_certificate"] == good, again


def test_a_certificate_that_is_there_and_could_not_be_read_is_not_called_none(judge, record):
    why = "the one at 0x01c00002 in its NV memory could not be read: it is locked"
    for policy, words in (("required", "and this line requires one"), ("preferred", "and no list of its TPM's maker")):
        (reason,) = of(judge(record(0, endorsement_key_certificate_missing=why), ek_certificate_policy=policy))[
            "reasons"
        ]
        assert reason.startswith(f"it has no endorsement key certificate ({why}), {words}")
    (reason,) = of(judge(record(0)))["reasons"]
    assert reason.startswith("it has no endorsement key certificate, and this line")


def test_the_chain_of_a_tpm_that_was_replaced_is_not_that_of_the_new_one(
    judge, record, tpm_maker, rsa_keys, as_text, write_roots
):
    roots = [write_roots(tpm_maker.root, directory="root only")]
    chain = [as_text(tpm_maker.issuer)]
    first = record(0, tpm_maker.certify(rsa_keys[0]), endorsement_key_certificate_chain=chain)
    assert of(judge(first, ek_certificate_roots=roots))["accepted"]
    new = record(1, tpm_maker.certify(rsa_keys[1]), exceptions=["tpm_replacement"])
    refused = of(judge(new, ek_certificate_roots=roots))
    assert "to an issuer that is not there" in refused["reasons"][0]
    listed = of(judge({**new, "endorsement_key_certificate_chain": chain}, ek_certificate_roots=roots))
    assert listed["accepted"] and listed["record"]["endorsement_key_certificate_chain"] == chain


def test_each_device_of_a_batch_has_its_own_verdict(judge, record, tpm_maker, other_maker, rsa_keys):
    good = tpm_maker.certify(rsa_keys[0])
    result = judge(
        record(0, good, host="good"),
        record(1, good, host="another TPM's", endorsement_key_certificate_about="another"),
    )
    assert of(result, "good")["accepted"]
    (reason,) = of(result, "another TPM's")["reasons"]
    assert reason == (
        "its endorsement key certificate is about another key than the TPM's endorsement key: another TPM's"
    )
    stopped = of(result, "another TPM's")
    assert (stopped["state"], "certified_tpm" in stopped["record"]) == ("stopped", False)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ("tcg", "about this TPM's key of template 'tcg'.*is of template 'sdk'.*_template to 'tcg'"),
        ("nv", "about this TPM's key of template 'nv'.*tpmfleet_replace_persistent_keys"),
        ("unusable", r"template that its maker left in NV memory \(0x01c00004\).*tpmfleet_ek_certificate_policy"),
        ("another", "another TPM's$"),
        ("unknown", "another TPM's, or another key of this one"),
        (None, "another TPM's, or another key of this one"),
    ],
)
def test_a_certificate_of_another_key_is_told_by_what_it_is_about(judge, record, tpm_maker, rsa_keys, about, words):
    fields = {"endorsement_key_certificate_about": about, "endorsement_key_template": "sdk"}
    result = judge(record(1, tpm_maker.certify(rsa_keys[0]), **fields))
    (reason,) = of(result)["reasons"]
    assert re.search(words, reason), reason
    assert "endorsement_key_certificate_about" not in of(result)["record"]


def test_a_tpm_whose_certificate_cannot_be_read_any_more_has_the_recorded_one(judge, record, tpm_maker, rsa_keys):
    """The owner authorization that a claim sets may be what shuts it."""
    assert of(judge(record(0, tpm_maker.certify(rsa_keys[0])), ek_certificate_policy="required"))["accepted"]
    again = of(judge(record(0), ek_certificate_policy="required"))
    assert again["accepted"], again["reasons"]
    assert again["record"]["certified_tpm"]


BAD = {
    "forged": (lambda maker, other, key: other.certify(key), "leads to an issuer that is not there"),
    "expired": (lambda maker, other, key: maker.certify(key, days=(-9, -1)), "is valid until"),
    "for something else": (
        lambda maker, other, key: maker.certify(key, purposes=None),
        "is not for an endorsement key",
    ),
    "garbled": (lambda maker, other, key: base64.b64encode(b"\xa5" * 99).decode(), "is no X.509 certificate"),
}


@pytest.mark.parametrize(("make", "words"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("policy", ["required", "preferred", "ignored"])
def test_a_bad_certificate_stops_unless_it_is_ignored(
    judge, record, listed, tpm_maker, other_maker, rsa_keys, make, words, policy
):
    listed({"endorsement_key": record()["endorsement_key"]})
    result = judge(record(0, make(tpm_maker, other_maker, rsa_keys[0])), ek_certificate_policy=policy)
    assert of(result)["accepted"] is (policy == "ignored")
    assert all(words in one for one in of(result)["reasons"])


def test_a_device_without_certificate_goes_on_only_where_the_maker_lists_its_key(judge, record, listed):
    unlisted = of(judge(record(), ek_certificate_policy="preferred"))
    assert "it has no endorsement key certificate, and no list of its TPM's maker has its key" in unlisted["reasons"][0]
    listed({"endorsement_key": record()["endorsement_key"]})
    assert of(judge(record(), ek_certificate_policy="preferred"))["accepted"]
    required = of(judge(record()))
    assert "and this line requires one" in required["reasons"][0]


def test_a_certificate_on_the_makers_list_serves_where_the_tpm_has_none(judge, record, listed, tpm_maker, rsa_keys):
    with_certificate = record(0, tpm_maker.certify(rsa_keys[0]))
    listed({name: with_certificate[name] for name in ("endorsement_key", "endorsement_key_certificate")})
    verdict = of(judge(record()))
    assert verdict["accepted"] and verdict["record"]["certified_tpm"]["model"] == "SLB9670"


def test_a_software_tpm_is_flagged_by_its_certificate_whatever_it_says_of_itself(judge, record, tpm_maker, rsa_keys):
    software = tpm_maker.certify(rsa_keys[0], tpm=SOFTWARE)
    (reason,) = of(judge(record(0, software, tpm_type="hardware")))["reasons"]
    assert reason.startswith("it has a software TPM, says its endorsement key certificate, which is refused")
    assert "tpmfleet_software_tpm_allowed on this very host allows it" in reason
    allowed = of(judge(record(0, software, exceptions=["software_tpm"])))
    assert allowed["accepted"] and allowed["record"]["certified_tpm"]["software"]


@pytest.mark.parametrize(
    ("manufacturer", "model"), [("GOOG", "vTPM"), ("VMW", "VMware TPM2"), ("AMZN", "NitroTPM"), ("MSFT", "xCG fTPM")]
)
def test_a_virtual_tpm_without_a_certificate_is_flagged_by_what_the_chip_says(judge, record, manufacturer, model):
    said = {"tpm_type": "hardware", "tpm_manufacturer": manufacturer, "tpm_model": model}
    (reason,) = of(judge(record(0, None, **said), ek_certificate_policy="ignored"))["reasons"]
    assert reason.startswith(f"it has a software TPM, as it calls itself {manufacturer} {model}")
    assert "tpmfleet_software_tpm_allowed on this very host allows it" in reason
    assert of(judge(record(0, None, **said, exceptions=["software_tpm"]), ek_certificate_policy="ignored"))["accepted"]


def test_a_firmware_tpm_of_microsofts_code_is_told_from_a_simulator_by_its_certificate(
    judge, record, tpm_maker, rsa_keys
):
    """As on boards whose maker builds OP-TEE's firmware TPM and certifies its keys."""
    said = {"tpm_type": "software", "tpm_manufacturer": "MSFT", "tpm_model": "xCG fTPM"}
    (reason,) = of(judge(record(0, **said), ek_certificate_policy="ignored"))["reasons"]
    assert "what tells a firmware TPM from it is a trusted certificate" in reason
    assert of(judge(record(0, tpm_maker.certify(rsa_keys[0]), **said)))["accepted"]
    # Later steps report what they did, and judge no certificate again.
    assert of(judge(record(0, **said), ek_certificate_policy="ignored"))["accepted"]
    virtual = tpm_maker.certify(
        rsa_keys[1], tpm={**SOFTWARE, "2.23.133.2.1": "id:4D534654", "2.23.133.2.2": "xCG fTPM"}
    )
    assert not of(judge(record(1, virtual, host="unit-2", **said)), "unit-2")["accepted"]


def test_a_certificate_has_to_last_until_the_device_is_shipped(judge, record, tpm_maker, rsa_keys):
    certificate = tpm_maker.certify(rsa_keys[0])
    assert of(judge(record(0, certificate), ship_date="2027-03-31"))["accepted"]
    reasons = of(judge(record(0, certificate), ship_date="2099-03-31"))["reasons"]
    assert (
        "its endorsement key certificate is valid until 20" in reasons[0]
        and "not at 2099-03-31T23:59:59Z" in reasons[0]
    )


def test_a_remark_is_warned_of_once_for_the_batch(judge, record, tpm_maker, rsa_keys):
    records = [record(at, tpm_maker.certify(rsa_keys[at], purposes=None), host=f"unit-{at}") for at in (0, 1)]
    result = judge(*records, ek_certificate_tolerated=["extended_key_usage"])
    assert all(of(result, f"unit-{at}")["accepted"] for at in (0, 1))
    assert "(tolerated)" in of(result, "unit-1")["remarks"][0]
    # The other one says that the ledger is new.
    warning, _new = result["warnings"]
    assert "2 of 2 devices have remarks. unit-0: its endorsement key certificate is not for an" in str(warning)


def test_what_was_only_done_to_a_device_asks_for_no_certificate(judge, record, tpm_maker, rsa_keys):
    judge(record(0, tpm_maker.certify(rsa_keys[0])))
    verdict = of(judge({"host": "unit-1", "outcome": {"ownership": "done"}}, ek_certificate_policy="preferred"))
    assert verdict["accepted"] and verdict["record"]["certified_tpm"]["maker"] == "Infineon"


def test_a_certificate_that_comes_after_the_judgement_takes_no_trusted_ones_place(judge, record, tpm_maker, rsa_keys):
    """What is written when the work is done is asked for no certificate, and may have been read again since."""
    trusted = record(0, tpm_maker.certify(rsa_keys[0]))
    judge(trusted)
    other = record(0, tpm_maker.certify(rsa_keys[1]), outcome={"ownership": "done"})
    verdict = of(judge(other, ek_certificate_policy="ignored"))
    assert verdict["accepted"] and "is not the one that was trusted" in verdict["remarks"][0]
    assert verdict["record"]["endorsement_key_certificate"] == trusted["endorsement_key_certificate"]
    # Where it is looked at, it is judged for what it is.
    assert "is about another key" in of(judge(other))["reasons"][0]


def test_a_device_that_says_no_key_has_no_trusted_one(judge, record, tpm_maker, rsa_keys):
    judge(record(0, tpm_maker.certify(rsa_keys[0])))
    assert of(judge({"host": "unit-1"}, ek_certificate_policy="required"))["reasons"] == [
        "it says no endorsement key, and one that is trusted is required"
    ]


def test_a_device_that_sends_nonsense_stops_nobody_else(judge, record, tpm_maker, rsa_keys):
    good = tpm_maker.certify(rsa_keys[1])
    nonsense = [
        {"endorsement_key_certificate": ["a list"]},
        {"endorsement_key_certificate": 7},
        {"endorsement_key_certificate": "\u00e9"},
        {"endorsement_key_certificate_chain": 7},
        {"endorsement_key_certificate_chain": [None, {"a": "b"}]},
        {"endorsement_key": ["a list"]},
        {"endorsement_key": "AA=="},
    ]
    for one in nonsense:
        bad = {**record(0, tpm_maker.certify(rsa_keys[0]), host="bad"), **one}
        result = judge(bad, record(1, good, host="good"))
        assert of(result, "good")["accepted"]
        assert of(result, "bad")["reasons"] or of(result, "bad")["remarks"], one


def test_a_policy_without_roots_is_refused(judge, record):
    result = judge(record(), ek_certificate_policy="preferred", ek_certificate_roots=[])
    assert result["failed"] and "set ek_certificate_roots" in result["msg"]


def test_certificates_are_verified_before_other_stations_have_to_wait(
    judge, record, tpm_maker, other_maker, rsa_keys, monkeypatch
):
    """Whatever a rack's certificates take, the ledger is not held for that long; the second time neither."""
    done = []
    verify, opened = Verifier._verify, module_ledger.opened
    monkeypatch.setattr(Verifier, "_verify", lambda *asked: (done.append("verified"), verify(*asked))[1])
    monkeypatch.setattr(
        module_ledger, "opened", lambda *asked, **how: (done.append("opened"), opened(*asked, **how))[1]
    )
    rack = [
        record(0, tpm_maker.certify(rsa_keys[0]), host="unit-0", endorsement_key_certificate_chain=["AAAA"]),
        record(1, other_maker.certify(rsa_keys[1]), host="unit-1"),
    ]
    for _time in range(2):
        done.clear()
        result = judge(*rack)
        assert [of(result, f"unit-{number}")["accepted"] for number in range(2)] == [True, False]
        assert done == ["verified", "verified", "opened"]
