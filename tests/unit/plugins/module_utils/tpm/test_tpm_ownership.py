# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ownership against a TPM, its outcome read with tpm2-tools: claimed, refused, resumed, released."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import templates
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError, connect
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.ownership import Ownership
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.ownership_wish import (
    CLAIMED_DICTIONARY_ATTACK,
    Wish,
    checked_auth,
)
from tpm2_pytss.constants import ESYS_TR
from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE

OWNER = "owner-authorization-of-32-bytes."
LOCKOUT = "lockout-authorization-32-bytes.."
ENDORSEMENT = "endorsement"
AUTHS = {"owner_auth": OWNER.encode(), "lockout_auth": LOCKOUT.encode()}
CLAIM = Wish(state="claimed", dictionary_attack=CLAIMED_DICTIONARY_ATTACK, **AUTHS)
# As a stock SDK client needs it.
CLAIM_FOR_SDK = CLAIM._replace(owner_auth=None)
RELEASE = Wish(
    state="released",
    remove_persistent_keys=True,
    dictionary_attack={"max_tries": 3, "recovery_time": 1000, "lockout_recovery": 1000},
    **AUTHS,
)
BOTH_KEYS = "- 0x81000001\n- 0x81010001\n"


def stop_after(tpm, wish, count):
    """Runs until the power goes after *count* steps, and tells how many there were to take."""
    with connect(tpm.tcti, 30) as esys:
        ownership = Ownership(esys, wish)
        planned = len(ownership.steps)
        ownership.steps = ownership.steps[:count]
        ownership.apply()
    tpm.power_cycle()
    return planned


def assert_claimed(tools):
    """As tpm2-tools see it."""
    state = tools.capability("properties-variable")
    for fact in (
        "ownerAuthSet:              1",
        "endorsementAuthSet:        0",
        "lockoutAuthSet:            1",
        "inLockout:                 0",
        "TPM2_PT_LOCKOUT_COUNTER: 0x0",
        "TPM2_PT_MAX_AUTH_FAIL: 0x20",
        "TPM2_PT_LOCKOUT_INTERVAL: 0x258",
        "TPM2_PT_LOCKOUT_RECOVERY: 0x15180",
    ):
        assert fact in state
    assert tools.capability("handles-persistent") == BOTH_KEYS
    tools.opens("owner", OWNER)
    tools.opens("lockout", LOCKOUT)


def test_a_claim(chip, tools, own):
    result = own(chip, CLAIM)
    assert result["changed"]
    assert result["actions"] == [
        "persist the endorsement key at 0x81010001",
        "persist the storage root key at 0x81000001",
        "set the dictionary attack parameters to 32 tries, 600 s recovery, 86400 s lockout recovery",
        "set the owner authorization",
        "set the lockout authorization",
    ]
    assert_claimed(tools)
    assert result["lockout_auth_proven"]
    assert result["tpm"] == {
        "manufacturer": "IBM",
        "model": "SWTPM",
        "firmware_version": result["tpm"]["firmware_version"],
        "tpm_type": "software",
    }


def test_the_keys_returned_are_those_that_tpm2_tools_find(chip, tools, tmp_path, own):
    result = own(chip, CLAIM)
    for handle, key in ((0x81010001, result["endorsement_key"]), (0x81000001, result["storage_root_key"])):
        tools("tpm2_readpublic", "-c", f"0x{handle:08x}", "-o", tmp_path / "public", "-n", tmp_path / "name")
        assert base64.b64decode(key["public"]) == (tmp_path / "public").read_bytes()
        assert bytes.fromhex(key["name"]) == (tmp_path / "name").read_bytes()
        assert (key["handle"], key["persisted"]) == (f"0x{handle:08x}", True)


def test_check_mode_tells_what_a_run_does_and_changes_nothing(chip, tools, own):
    before = tools.state()
    planned = own(chip, CLAIM, check_mode=True)
    assert tools.state() == before
    assert own(chip, CLAIM) == planned
    before = tools.state()
    planned = own(chip, RELEASE, check_mode=True)
    assert tools.state() == before
    assert own(chip, RELEASE) == planned


def test_the_second_run_changes_nothing(chip, tools, own):
    first = own(chip, CLAIM)
    before = tools.state()
    second = own(chip, CLAIM)
    assert (second["changed"], second["actions"]) == (False, [])
    assert second["diff"]["before"] == second["diff"]["after"] == first["diff"]["after"]
    assert tools.state() == before


def test_a_difference_tells_no_secret(chip, own):
    result = own(chip, CLAIM)
    assert result["diff"]["before"]["owner_auth"] == "none"
    assert result["diff"]["after"] == {
        "owner_auth": "given",
        "endorsement_auth": "none",
        "lockout_auth": "given",
        "max_tries": 32,
        "recovery_time": 600,
        "lockout_recovery": 86400,
        "persistent_keys": ["0x81000001", "0x81010001"],
        "recorded_key_version": None,
    }
    assert OWNER not in str(result)
    assert LOCKOUT not in str(result)


def test_a_stock_client_finds_the_enrolled_key_although_its_own_template_makes_another(chip, own):
    """As the Node SDK does it: the persistent handle first, else a key of its own template."""
    with connect(chip.tcti) as esys:
        its_own = esys.create_primary(TPM2B_SENSITIVE_CREATE(), templates.ek_template("sdk"), ESYS_TR.ENDORSEMENT)[1]
    enrolled = own(chip, CLAIM_FOR_SDK)["endorsement_key"]["public"]
    chip.power_cycle()
    with connect(chip.tcti) as esys:
        found = esys.read_public(esys.tr_from_tpmpublic(0x81010001))[0]
    assert base64.b64encode(bytes(found.marshal())).decode() == enrolled
    assert bytes(found.marshal()) != bytes(its_own.marshal())


def test_a_claim_for_a_stock_client_leaves_the_owner_empty(chip, tools, own):
    result = own(chip, CLAIM_FOR_SDK)
    assert result["hierarchies"] == {"owner_auth_set": False, "endorsement_auth_set": False, "lockout_auth_set": True}
    assert own(chip, CLAIM_FOR_SDK)["authorizations"] == {"owner": "none", "endorsement": "none", "lockout": "unproven"}
    # What such a client does with an empty owner authorization.
    tools("tpm2_evictcontrol", "-C", "o", "-c", "0x81000001", "0x81000001")
    assert own(chip, CLAIM_FOR_SDK)["actions"] == ["persist the storage root key at 0x81000001"]
    assert not own(chip, CLAIM_FOR_SDK)["changed"]
    tools.opens("lockout", LOCKOUT)


def test_a_tpm_without_certificate_is_claimed(uncertified, tool_for, own):
    assert own(uncertified, CLAIM)["endorsement_key"]["template"] == "tcg"
    assert_claimed(tool_for(uncertified))
    assert own(uncertified, CLAIM)["changed"] is False


def test_an_endorsement_authorization_can_be_set_too(chip, tools, own):
    wish = CLAIM._replace(endorsement_auth=ENDORSEMENT.encode())
    assert "set the endorsement authorization" in own(chip, wish)["actions"]
    assert own(chip, wish)["changed"] is False
    tools.opens("endorsement", ENDORSEMENT)
    with pytest.raises(TpmError, match="endorsement_auth is not the endorsement authorization"):
        own(chip, wish._replace(endorsement_auth=b"guess"))
    assert own(chip, RELEASE._replace(endorsement_auth=ENDORSEMENT.encode()))["hierarchies"] == {
        "owner_auth_set": False,
        "endorsement_auth_set": False,
        "lockout_auth_set": False,
    }


# Power cuts


@pytest.mark.parametrize("count", range(6))
@pytest.mark.parametrize("wish", [CLAIM, CLAIM_FOR_SDK], ids=["fleet", "sdk"])
def test_a_claim_cut_off_anywhere_is_completed_by_the_next_run(chip, tools, wish, count, own):
    planned = stop_after(chip, wish, count)
    result = own(chip, wish)
    assert len(result["actions"]) == max(planned - count, 0)
    if wish is CLAIM:
        assert_claimed(tools)
    assert own(chip, wish)["changed"] is False


@pytest.mark.parametrize("count", range(7))
def test_a_release_cut_off_anywhere_is_completed_by_the_next_run(chip, tools, count, own):
    as_new = tools.state()
    own(chip, CLAIM)
    planned = stop_after(chip, RELEASE, count)
    assert len(own(chip, RELEASE)["actions"]) == max(planned - count, 0)
    assert [text for text in tools.state() if "TPM2_PT_PERMANENT" not in text] == [
        text for text in as_new if "TPM2_PT_PERMANENT" not in text
    ]
    assert own(chip, CLAIM)["changed"]


def test_a_released_tpm_is_as_new(chip, tools, own):
    as_new = tools.state()
    own(chip, CLAIM)
    result = own(chip, RELEASE)
    assert result["storage_root_key"] is None
    assert result["endorsement_key"]["persisted"] is False
    assert tools.state() == as_new
    assert own(chip, RELEASE)["changed"] is False
    own(chip, CLAIM)
    assert_claimed(tools)


def test_a_release_keeps_the_keys_unless_asked(chip, tools, own):
    own(chip, CLAIM)
    result = own(chip, RELEASE._replace(remove_persistent_keys=False))
    assert tools.capability("handles-persistent") == BOTH_KEYS
    assert result["storage_root_key"]["persisted"] is True


def test_a_release_removes_the_keys_that_are_named(chip, tools, own, tmp_path):
    """Such as the hub's, which a DPS client persisted; one that is not there is passed over."""
    own(chip, CLAIM)
    tools("tpm2_createprimary", "-C", "o", "-P", OWNER, "-G", "ecc", "-c", tmp_path / "key")
    tools("tpm2_evictcontrol", "-C", "o", "-P", OWNER, "-c", tmp_path / "key", "0x81000100")
    tools("tpm2_flushcontext", "-t")
    wish = RELEASE._replace(remove_handles=(0x81000100, 0x81000101, 0x81000100, 0x81000001))
    planned = own(chip, wish, check_mode=True)
    result = own(chip, wish)
    assert planned == result and result["actions"].count("remove the key at 0x81000100") == 1
    assert tools.capability("handles-persistent") == ""
    assert own(chip, wish)["changed"] is False


# Strangers


@pytest.mark.parametrize("owned", [("owner", "lockout"), ("owner",), ("lockout",), ("endorsement",)])
@pytest.mark.parametrize("wish", [CLAIM, RELEASE, CLAIM_FOR_SDK], ids=["claim", "release", "claim-for-sdk"])
def test_a_strangers_tpm_is_left_alone(chip, tools, owned, wish, own):
    for hierarchy in owned:
        tools("tpm2_changeauth", "-c", hierarchy, "a-stranger's")
    before = tools.state()
    with pytest.raises(TpmError, match="othing was changed") as caught:
        own(chip, wish)
    assert all(hierarchy in str(caught.value) for hierarchy in owned)
    assert tools.state() == before
    # The lockout hierarchy was not tried, or it would be disabled now.
    for hierarchy in owned:
        tools.opens(hierarchy, "a-stranger's")


def test_a_lockout_authorization_that_nothing_proves_is_tried_only_if_trusted(chip, tools, own):
    own(chip, CLAIM_FOR_SDK)
    release = RELEASE._replace(owner_auth=None)
    with pytest.raises(TpmError, match="would be a guess.*for 1 day.*lockout_auth_trusted"):
        own(chip, release)
    assert own(chip, release._replace(lockout_auth_trusted=True))["changed"]
    assert "lockoutAuthSet:            0" in tools.capability("properties-variable")


def test_a_trusted_lockout_authorization_that_is_wrong_changes_nothing_else(chip, tools, own):
    own(chip, CLAIM_FOR_SDK)
    before = tools.state()
    wish = CLAIM._replace(lockout_auth=b"wrong", lockout_auth_trusted=True)
    wish = wish._replace(dictionary_attack={**CLAIMED_DICTIONARY_ATTACK, "max_tries": 10})
    with pytest.raises(TpmError, match="lockout_auth is not the lockout authorization.*for 1 day"):
        own(chip, wish)
    assert tools.state() == before
    with pytest.raises(TpmError, match="because a wrong lockout authorization was tried before"):
        own(chip, wish._replace(lockout_auth=LOCKOUT.encode()))


def test_no_lockout_authorization_is_tried_in_check_mode(chip, tools, own):
    own(chip, CLAIM_FOR_SDK)
    wish = RELEASE._replace(owner_auth=None, lockout_auth=b"wrong", lockout_auth_trusted=True)
    assert own(chip, wish, check_mode=True)["changed"]
    tools.opens("lockout", LOCKOUT)


def test_another_tpm_than_expected_is_refused_before_any_change(chip, tools, own):
    expected = own(chip, CLAIM, check_mode=True)["endorsement_key"]["sha256"]
    before = tools.state()
    with pytest.raises(TpmError, match="expected was 00.*nothing was changed.*Another TPM"):
        own(chip, CLAIM._replace(endorsement_key_sha256="00" * 32))
    assert tools.state() == before
    assert own(chip, CLAIM._replace(endorsement_key_sha256=expected.upper()))["changed"]


@pytest.mark.parametrize("wish", [CLAIM, RELEASE], ids=["claim", "release"])
def test_a_tpm_in_lockout_is_told_with_the_time_it_takes(chip, tools, tmp_path, wish, own):
    tools.lock_out(tmp_path)
    before = tools.state()
    words = "lockout: 3 failed tries, 3 are allowed. Nothing was changed. .*one try each 16.7 minutes"
    with pytest.raises(TpmError, match=words):
        own(chip, wish)
    assert tools.state() == before


# What else can be in the way


@pytest.mark.parametrize(
    ("handle", "options", "words"),
    [
        (templates.EK_HANDLE, ("-C", "e", "-G", "ecc256"), "endorsement key: it is a key of another type"),
        (templates.EK_HANDLE, ("-C", "o", "-G", "rsa2048"), "endorsement key: its properties"),
        (templates.SRK_HANDLE, ("-C", "o", "-G", "ecc256"), "storage root key: it is a key of another type"),
        (templates.SRK_HANDLE, ("-C", "o", "-G", "rsa2048"), "storage root key: its properties"),
    ],
)
def test_another_key_in_the_way_is_refused_or_replaced_if_wished(chip, tools, tmp_path, handle, options, words, own):
    tools.put(handle, tmp_path, *options)
    before = tools.state()
    with pytest.raises(TpmError, match=f"0x{handle:08x} is no RSA-2048 {words}.*replace_persistent_keys"):
        own(chip, CLAIM)
    assert tools.state() == before
    wish = CLAIM._replace(replace_persistent_keys=True)
    planned = own(chip, wish, check_mode=True)
    assert tools.state() == before
    result = own(chip, wish)
    assert result == planned
    assert result["actions"][0].startswith(f"remove the key at 0x{handle:08x}")
    assert_claimed(tools)


def test_a_replacement_cut_off_is_completed(chip, tools, tmp_path, own):
    tools.put(templates.SRK_HANDLE, tmp_path, "-C", "o", "-G", "ecc256")
    wish = CLAIM._replace(replace_persistent_keys=True)
    stop_after(chip, wish, 1)
    own(chip, wish)
    assert_claimed(tools)


def test_a_release_leaves_foreign_keys_alone(chip, tools, tmp_path, own):
    tools.put(templates.EK_HANDLE, tmp_path, "-C", "e", "-G", "ecc256")
    assert own(chip, RELEASE)["changed"] is False
    assert tools.capability("handles-persistent") == "- 0x81010001\n"


def test_a_persisted_key_of_the_other_template_is_refused_or_replaced_if_wished(chip, tools, own):
    own(chip, CLAIM._replace(template="sdk"))
    assert own(chip, CLAIM)["endorsement_key"]["template"] == "sdk"
    with pytest.raises(TpmError, match="is of template 'sdk', not of 'tcg'"):
        own(chip, CLAIM._replace(template="tcg"))
    result = own(chip, CLAIM._replace(template="tcg", replace_persistent_keys=True))
    assert result["actions"] == [
        "remove the key at 0x81010001 (it is of template 'sdk')",
        "persist the endorsement key at 0x81010001",
    ]
    assert result["endorsement_key"]["certificate_matches"] is True
    assert_claimed(tools)


def test_fewer_tries_than_were_used_up_are_refused(chip, tools, tmp_path, own):
    own(chip, CLAIM)
    context = tmp_path / "protected.ctx"
    tools("tpm2_createprimary", "-C", "n", "-c", context, "-p", "right")
    for _guess in range(2):
        tools("tpm2_flushcontext", "-t")
        wrong = ("tpm2_create", "-C", context, "-P", "wrong", "-u", tmp_path / "u", "-r", tmp_path / "r")
        tools(*wrong, fails=True)
    tools("tpm2_flushcontext", "-t")
    with pytest.raises(TpmError, match="counts 2 failed tries.*would lock it at once"):
        own(chip, CLAIM._replace(dictionary_attack={**CLAIMED_DICTIONARY_ATTACK, "max_tries": 2}))


def test_dictionary_attack_parameters_follow_the_wish(chip, tools, own):
    own(chip, CLAIM)
    result = own(chip, CLAIM._replace(dictionary_attack={**CLAIMED_DICTIONARY_ATTACK, "max_tries": 10}))
    assert len(result["actions"]) == 1
    assert "TPM2_PT_MAX_AUTH_FAIL: 0xA" in tools.capability("properties-variable")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "owner_auth is empty"),
        ("x" * 33, "33 bytes long; a TPM takes 32"),
        ("ä" * 17, "34 bytes long"),
        ("trailing\x00", "holds a zero byte"),
        ("in\x00side", "holds a zero byte"),
    ],
)
def test_an_authorization_that_would_be_cut_is_refused(value, words):
    with pytest.raises(TpmError, match=words):
        checked_auth("owner_auth", value)


def test_an_authorization_is_taken_as_it_is():
    assert checked_auth("owner_auth", None) is None
    assert checked_auth("owner_auth", OWNER) == OWNER.encode()


def counting(function, name, calls):
    """*function*, noting *name* in *calls* each time."""

    def counted(*args):
        calls.append(name)
        return function(*args)

    return counted


def test_no_key_is_made_twice(chip, monkeypatch, own):
    """Each can take minutes."""
    made = []
    monkeypatch.setattr(templates, "as_pytss", counting(templates.as_pytss, "key", made))
    own(chip, CLAIM)
    assert len(made) == 2
    own(chip, CLAIM)
    assert len(made) == 2
