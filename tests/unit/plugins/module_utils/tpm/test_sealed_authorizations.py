# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is sealed to an endorsement key, on software TPMs: the one that holds the key reads it, and nobody else does."""

from __future__ import annotations

import secrets
from collections import Counter

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import known_object, templates
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.challenge import NONCE_BYTES, Challenge
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError, connect
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.endorsement_key import EndorsementAuthNeededError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.ownership import bring_about
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.ownership_wish import Wish
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.possession import answer_challenge, open_sealed
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.sealed_authorizations import (
    as_message,
    from_message,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.possession import sealed_to_storage_root_key
from tpm2_pytss.constants import ESYS_TR
from tpm2_pytss.types import TPM2B_NAME, TPM2B_PUBLIC, TPM2B_SENSITIVE_CREATE
from tpm2_pytss.utils import make_credential

AUTHS = {"owner_auth": "owner-authorization-of-32-bytes.", "lockout_auth": "lockout-authorization-32-bytes.."}
MESSAGE = as_message(AUTHS)
SECRET = secrets.token_bytes(32)
ENDORSEMENT = b"endorsement-authorization-of-32."


def endorsement_key(tpm, template="tcg", persist=False):
    """The endorsement key of *tpm*, made from *template*."""
    with connect(tpm.tcti, 60) as esys:
        handle, public, *_rest = esys.create_primary(
            TPM2B_SENSITIVE_CREATE(), templates.ek_template(template), ESYS_TR.ENDORSEMENT
        )
        if persist:
            esys.evict_control(ESYS_TR.OWNER, handle, templates.EK_HANDLE)
    return bytes(public.marshal())


def sealed_to(key, message=MESSAGE):
    """*message*, by the credential of tpm2-pytss, which is no code of ours."""
    public = TPM2B_PUBLIC.unmarshal(key)[0]
    credential, secret = make_credential(public, SECRET, TPM2B_NAME(known_object.NAME))
    challenge = Challenge(bytes(credential.marshal()), bytes(secret.marshal()), secrets.token_bytes(NONCE_BYTES))
    return challenge.with_sealed(SECRET, message)


def opened_by(tpm, challenge, key, **options):
    with connect(tpm.tcti, 60) as esys:
        return open_sealed(esys, challenge, endorsement_key=key, **options)


def test_the_name_of_the_known_object_is_what_tpms_call_it(chip):
    assert bytes(TPM2B_PUBLIC.unmarshal(known_object.PUBLIC)[0].get_name()) == known_object.NAME
    with connect(chip.tcti, 60) as esys, known_object.loaded(esys) as handle:
        _area, name, _qualified_name = esys.read_public(handle)
    assert bytes(name) == known_object.NAME


@pytest.mark.parametrize("persist", [True, False])
@pytest.mark.parametrize("template", ["tcg", "sdk"])
def test_the_tpm_that_holds_the_key_reads_what_is_sealed_and_nothing_in_it_changes(chip, tools, template, persist):
    key = endorsement_key(chip, template, persist)
    before, challenge = tools.state(), sealed_to(key)
    found = opened_by(chip, challenge, key)
    assert {name: auth for name, auth in from_message(found.message).items() if auth} == AUTHS
    names = {"endorsement_key_name": templates.name_of(key), "bound_to_name": known_object.NAME}
    assert found.answer == challenge.answer(SECRET, **names)
    assert tools.state() == before


def test_another_tpm_reads_nothing(chip, uncertified):
    """Neither as its module is, nor in the hands of one who has it ask its own key."""
    key, own = endorsement_key(chip), endorsement_key(uncertified)
    with pytest.raises(TpmError, match="does not hold the endorsement key that it reports"):
        opened_by(uncertified, sealed_to(key), key)
    with pytest.raises(TpmError, match="could not open the challenge.*does not hold the endorsement key"):
        opened_by(uncertified, sealed_to(key), own)


def test_no_authorization_is_in_what_is_sent():
    challenge = Challenge(b"\0\1x", b"\0\1y", bytes(NONCE_BYTES)).with_sealed(SECRET, MESSAGE)
    for auth in AUTHS.values():
        assert auth.encode()[:8] not in b"".join(challenge)


@pytest.mark.parametrize("part", ["credential", "encrypted_secret", "nonce", "sealed"])
def test_what_was_changed_on_the_way_is_not_believed(chip, part):
    key = endorsement_key(chip, persist=True)
    challenge = sealed_to(key)
    whole = getattr(challenge, part)
    changed = challenge._replace(**{part: whole[:-1] + bytes([whole[-1] ^ 1])})
    with pytest.raises(TpmError, match="could not open the challenge|was changed on its way"):
        opened_by(chip, changed, key)


def test_a_message_of_another_challenge_is_not_taken_for_its_own(chip):
    key = endorsement_key(chip, persist=True)
    with pytest.raises(TpmError, match="was changed on its way"):
        opened_by(chip, sealed_to(key)._replace(sealed=sealed_to(key, b"{}").sealed), key)


def test_a_tpm_in_lockout_opens_it(chip, tools, tmp_path):
    key = endorsement_key(chip, persist=True)
    tools.lock_out(tmp_path)
    assert opened_by(chip, sealed_to(key), key).message == MESSAGE


def test_a_tpm_with_an_endorsement_authorization_needs_it_and_each_that_it_may_have_is_tried(chip):
    key = endorsement_key(chip, persist=True)
    with connect(chip.tcti, 60) as esys:
        esys.hierarchy_change_auth(ESYS_TR.ENDORSEMENT, ENDORSEMENT)
    with pytest.raises(EndorsementAuthNeededError, match="none was given"):
        opened_by(chip, sealed_to(key), key)
    with pytest.raises(TpmError, match="endorsement authorization of this TPM is another one"):
        opened_by(chip, sealed_to(key), key, endorsement_auths=[b"guess"])
    found = opened_by(chip, sealed_to(key), key, endorsement_auths=[b"guess", ENDORSEMENT])
    assert found.message == MESSAGE


def storage_root_key(tpm):
    """The storage root key of *tpm*, persisted."""
    with connect(tpm.tcti, 60) as esys:
        handle, public, *_rest = esys.create_primary(TPM2B_SENSITIVE_CREATE(), templates.srk_template(), ESYS_TR.OWNER)
        esys.evict_control(ESYS_TR.OWNER, handle, templates.SRK_HANDLE)
    return bytes(public.marshal())


def endorsed(tpm):
    """Both keys of *tpm*, persisted, with an authorization of the endorsement hierarchy."""
    keys = endorsement_key(tpm, persist=True), storage_root_key(tpm)
    with connect(tpm.tcti, 60) as esys:
        esys.hierarchy_change_auth(ESYS_TR.ENDORSEMENT, ENDORSEMENT)
    return keys


@pytest.mark.parametrize("option", ["endorsement_auth", "previous_endorsement_auth"])
def test_what_is_sealed_to_a_storage_root_key_is_opened_by_its_tpm_alone(chip, uncertified, tools, option):
    key, storage = endorsed(chip)
    auths = {"endorsement_auth": "a guess", option: ENDORSEMENT.decode()}
    sealed = sealed_to_storage_root_key(storage, as_message(auths))
    assert ENDORSEMENT not in b"".join(sealed)
    before = tools.state()
    assert opened_by(chip, sealed_to(key), key, sealed_auths=sealed).message == MESSAGE
    assert tools.state() == before
    other, _storage = endorsed(uncertified)
    with pytest.raises(TpmError, match="came sealed to the storage root key that is on record.* could not open it"):
        opened_by(uncertified, sealed_to(other), other, sealed_auths=sealed)


def test_a_removed_storage_root_key_is_told(chip):
    key, storage = endorsed(chip)
    sealed = sealed_to_storage_root_key(storage, as_message({"endorsement_auth": ENDORSEMENT.decode()}))
    with connect(chip.tcti, 60) as esys:
        esys.evict_control(ESYS_TR.OWNER, esys.tr_from_tpmpublic(templates.SRK_HANDLE), templates.SRK_HANDLE)
    with pytest.raises(TpmError, match="nothing is at 0x81000001.*set tpmfleet_endorsement_auth_before_proof"):
        opened_by(chip, sealed_to(key), key, sealed_auths=sealed)


def test_what_a_tpm_has_no_use_for_is_not_opened(chip):
    """One that was cleared holds another storage root key, and has no authorization."""
    key = endorsement_key(chip, persist=True)
    unreadable = Challenge(b"\0\1x", b"\0\1y", bytes(NONCE_BYTES), b"z")
    assert opened_by(chip, sealed_to(key), key, sealed_auths=unreadable).message == MESSAGE


def test_a_key_that_stands_in_the_place_of_the_endorsement_key_hinders_nobody_who_replaces_it(chip, tools, tmp_path):
    key = endorsement_key(chip)
    tools.put(templates.EK_HANDLE, tmp_path, "-C", "o", "-G", "rsa2048")
    with pytest.raises(TpmError, match="is no RSA-2048 endorsement key"):
        opened_by(chip, sealed_to(key), key)
    assert opened_by(chip, sealed_to(key), key, replacing=True).message


def test_possession_is_proven_without_a_storage_root_key_too(chip, tools):
    key = endorsement_key(chip)
    before, challenge = tools.state(), sealed_to(key)
    with connect(chip.tcti, 60) as esys:
        said = answer_challenge(esys, challenge, endorsement_key=key)
    names = {"endorsement_key_name": templates.name_of(key), "bound_to_name": known_object.NAME}
    assert said["answer"] == challenge.answer(SECRET, **names).hex()
    assert tools.state() == before


def test_a_claim_makes_each_key_once_and_opens_what_is_sealed_at_the_cost_of_two_commands(chip, monkeypatch):
    """A chip can take minutes for a key."""
    key = endorsement_key(chip)
    done = Counter()
    with connect(chip.tcti, 60) as esys:
        whole = type(esys).__getattr__

        def counted(self, name):
            done[name] += 1
            return whole(self, name)

        monkeypatch.setattr(type(esys), "__getattr__", counted)
        found = open_sealed(esys, sealed_to(key), endorsement_key=key)
        auths = {name: auth.encode() for name, auth in from_message(found.message).items() if auth}
        wish = Wish(state="claimed", endorsement_key_sha256=found.endorsement_key.sha256, **auths)
        result = bring_about(esys, wish, check_mode=False, held=found.endorsement_key)
    assert (done["create_primary"], done["activate_credential"], done["load_external"]) == (2, 1, 1)
    assert result["authorizations"] == {"owner": "given", "endorsement": "none", "lockout": "given"}
