# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device's half of the proof of possession, on software TPMs; the challenges are tpm2-pytss' own."""

from __future__ import annotations

import secrets

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import known_object, templates
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.certificates import RSA_NONCE
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.challenge import NONCE_BYTES, Challenge
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError, connect
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.credential import activate_credential
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.endorsement_key import read_endorsement_key
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.possession import answer_challenge
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.properties import read_properties
from tpm2_pytss.constants import ESYS_TR
from tpm2_pytss.types import TPM2B_PUBLIC, TPM2B_SENSITIVE_CREATE
from tpm2_pytss.utils import make_credential

OWNER = "owner-authorization-of-32-bytes."
ENDORSEMENT = "endorsement-authorization-of-32."
SECRET = secrets.token_bytes(32)


def claim(tpm, **auths):
    """Persists both keys in *tpm* and sets authorizations, by hierarchy; its endorsement and storage root key."""
    keys = []
    with connect(tpm.tcti, 60) as esys:
        for template, hierarchy, persistent in (
            (templates.ek_template(), ESYS_TR.ENDORSEMENT, templates.EK_HANDLE),
            (templates.srk_template(), ESYS_TR.OWNER, templates.SRK_HANDLE),
        ):
            handle, public, *_rest = esys.create_primary(TPM2B_SENSITIVE_CREATE(), template, hierarchy)
            esys.evict_control(ESYS_TR.OWNER, handle, persistent)
            esys.flush_context(handle)
            keys.append(bytes(public.marshal()))
        for hierarchy, auth in auths.items():
            esys.hierarchy_change_auth(getattr(ESYS_TR, hierarchy.upper()), auth)
    return tuple(keys)


def made_from(tpm, template, hierarchy):
    """The primary key of *template*, which is not persisted."""
    with connect(tpm.tcti, 60) as esys:
        _handle, public, *_rest = esys.create_primary(TPM2B_SENSITIVE_CREATE(), template, hierarchy)
    return bytes(public.marshal())


def fresh_keys(tpm, template="tcg"):
    """The keys that a claim would persist in *tpm*."""
    storage = made_from(tpm, templates.srk_template(), ESYS_TR.OWNER)
    return made_from(tpm, templates.ek_template(template), ESYS_TR.ENDORSEMENT), storage


def challenge_for(endorsement_key, storage_root_key):
    """SECRET for the TPM with both."""
    public = TPM2B_PUBLIC.unmarshal(endorsement_key)[0]
    credential, secret = make_credential(public, SECRET, TPM2B_PUBLIC.unmarshal(storage_root_key)[0].get_name())
    return Challenge(bytes(credential.marshal()), bytes(secret.marshal()), secrets.token_bytes(NONCE_BYTES))


def answer_of(tpm, keys, *, challenge=None, **options):
    """What the device half says on *tpm*, asked about *keys*."""
    challenge = challenge or challenge_for(*keys)
    with connect(options.pop("tcti", tpm.tcti), 60) as esys:
        said = answer_challenge(esys, challenge, endorsement_key=keys[0], storage_root_key=keys[1], **options)
    assert said["changed"] is False
    return said, challenge


def assert_proven(said, challenge, keys):
    """The answer is that of who read SECRET."""
    names = [templates.name_of(key) for key in keys]
    expected = challenge.answer(SECRET, endorsement_key_name=names[0], bound_to_name=names[1])
    assert said["answer"] == expected.hex()


def test_a_claimed_tpm_answers_and_nothing_in_it_changes(chip, tools):
    keys = claim(chip, owner=OWNER, lockout="lockout")
    before = tools.state()
    said, challenge = answer_of(chip, keys)
    assert_proven(said, challenge, keys)
    assert said["in_lockout"] is False
    assert tools.state() == before


def test_no_answer_without_a_storage_root_key(chip):
    with pytest.raises(TpmError, match="no storage root key at 0x81000001.*tpm_ownership persists it"):
        answer_of(chip, fresh_keys(chip))


@pytest.mark.parametrize("template", ["tcg", "sdk"])
def test_in_check_mode_a_fresh_tpm_answers_with_the_keys_that_a_claim_would_persist(chip, tools, template):
    keys = fresh_keys(chip, template)
    before = tools.state()
    said, challenge = answer_of(chip, keys, check_mode=True)
    assert_proven(said, challenge, keys)
    assert tools.state() == before


def test_in_check_mode_the_answer_is_planned_where_it_would_take_the_owner(chip, tools):
    keys = fresh_keys(chip)
    tools("tpm2_changeauth", "-c", "owner", OWNER)
    said, _challenge = answer_of(chip, keys, check_mode=True)
    assert said["answer"] is None
    with pytest.raises(TpmError, match="no storage root key"):
        answer_of(chip, keys)


@pytest.mark.parametrize("template", ["tcg", "sdk"])
def test_an_endorsement_key_that_is_not_persistent_is_made_from_its_template(chip, tools, template):
    keys = fresh_keys(chip, template)
    with connect(chip.tcti, 60) as esys:
        handle, *_rest = esys.create_primary(TPM2B_SENSITIVE_CREATE(), templates.srk_template(), ESYS_TR.OWNER)
        esys.evict_control(ESYS_TR.OWNER, handle, templates.SRK_HANDLE)
    before = tools.state()
    said, challenge = answer_of(chip, keys)
    assert_proven(said, challenge, keys)
    assert tools.state() == before


def test_another_tpm_is_told_by_its_endorsement_key(chip, uncertified):
    keys = claim(chip)
    other_endorsement, _storage = claim(uncertified)
    with pytest.raises(TpmError, match="endorsement key of this TPM has the name .* Another TPM answers"):
        answer_of(chip, (other_endorsement, keys[1]))


def test_another_storage_root_key_is_told(chip, uncertified):
    endorsement, _storage = claim(chip)
    _endorsement, other_storage = claim(uncertified)
    with pytest.raises(TpmError, match="storage root key of this TPM has the name .* cleared in between"):
        answer_of(chip, (endorsement, other_storage))


def test_a_challenge_for_another_tpm_is_not_opened(chip, uncertified):
    """What a man in the middle gets who hides from the code on the device whose challenge it is."""
    keys, others = claim(chip), claim(uncertified)
    for made_for in (others, (others[0], keys[1]), (keys[0], others[1])):
        with pytest.raises(TpmError, match="could not open the challenge .*changed on the way, or made for another"):
            answer_of(chip, keys, challenge=challenge_for(*made_for))


def test_a_challenge_that_was_changed_on_the_way_is_not_opened(chip):
    keys = claim(chip)
    challenge = challenge_for(*keys)
    at = len(challenge.credential) - 1
    changed = challenge.credential[:at] + bytes([challenge.credential[at] ^ 1])
    with pytest.raises(TpmError, match="could not open the challenge"):
        answer_of(chip, keys, challenge=challenge._replace(credential=changed))


NOT_HELD = "does not hold the endorsement key"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("FAILURE", "is in failure mode .code 0x101.*Power-cycle"),
        ("INITIALIZE", "has not been started"),
        ("REBOOT", "has to be started anew"),
        ("NEEDS_TEST", "has not tested itself"),
        # For these the library waits itself, up to the end of our patience.
        ("RETRY", "stayed busy .code 0x922.*Run it again later|did not answer within 1 s"),
        ("YIELDED", "stayed busy|did not answer within 1 s"),
        ("TESTING", "did not finish testing itself|did not answer within 1 s"),
        ("NV_RATE", "limits how often"),
        ("CANCELED", "was canceled"),
        ("LOCKOUT", "in dictionary attack lockout"),
        ("MEMORY", "out of memory"),
        ("OBJECT_MEMORY", "no room for another key"),
        ("SESSION_MEMORY", "no room for another session"),
        # About a handle, and about a session: of no value that it was given.
        (0x184, "is out of range"),
        (0x99F, "made for another key"),
    ],
)
def test_a_tpm_in_trouble_is_not_told_for_one_without_the_key(chip, answers, code, words):
    keys = claim(chip)
    challenge = challenge_for(*keys)
    answers(chip, answers=[{"command": "ActivateCredential", "code": code}])
    with connect(chip.tcti, 1) as esys, pytest.raises(TpmError, match=words) as told:
        answer_challenge(esys, challenge, endorsement_key=keys[0], storage_root_key=keys[1])
    assert NOT_HELD not in str(told.value)


@pytest.mark.parametrize("code", [0x1DF, 0x2C4, "SIZE"])
def test_what_says_that_the_key_is_another_is_told_so(chip, answers, code):
    keys = claim(chip)
    answers(chip, answers=[{"command": "ActivateCredential", "code": code}])
    with pytest.raises(TpmError, match=NOT_HELD):
        answer_of(chip, keys)


def test_failure_mode_is_told_by_what_the_tpm_does_with_its_own_key(chip, uncertified, answers):
    """libtpms says TPM_RC_FAILURE of a padding that is not right too."""
    keys, others = claim(chip), claim(uncertified)
    # One that passes is no answer at all.
    answers(chip, answers=[{"command": "ActivateCredential", "code": "FAILURE", "times": 1}])
    assert_proven(*answer_of(chip, keys), keys)
    with pytest.raises(TpmError, match=NOT_HELD):
        answer_of(chip, keys, challenge=challenge_for(*others))
    # Begins with the challenge, and stays.
    answers(chip, answers=[{"command": "PolicySecret", "code": "FAILURE", "after": 1}])
    with pytest.raises(TpmError, match="failure mode") as told:
        answer_of(chip, keys, challenge=challenge_for(*others))
    assert NOT_HELD not in str(told.value)


def test_a_key_that_cannot_be_made_again_is_not_told_for_one_that_is_not_held(uncertified, tool_for, tmp_path):
    """It is of the maker's nonce, which was read when the key was."""
    tools = tool_for(uncertified)
    (tmp_path / "nonce").write_bytes(b"nonce-of-the-maker")
    reads = "ownerwrite|ownerread|authread|no_da|read_stclear"
    tools("tpm2_nvdefine", "-C", "o", "-s", "18", "-a", reads, f"0x{RSA_NONCE:08x}")
    tools("tpm2_nvwrite", "-C", "o", "-i", tmp_path / "nonce", f"0x{RSA_NONCE:08x}")
    with connect(uncertified.tcti, 60) as esys:
        key = read_endorsement_key(esys, properties=read_properties(esys), template="nv").public
    challenge = challenge_for(key, known_object.PUBLIC)
    with connect(uncertified.tcti, 60) as esys:
        assert answer_challenge(esys, challenge, endorsement_key=key)["answer"]
    tools("tpm2_nvreadlock", "-C", "o", f"0x{RSA_NONCE:08x}")
    with connect(uncertified.tcti, 60) as esys, pytest.raises(TpmError, match="0x01c00003: it is locked") as told:
        answer_challenge(esys, challenge, endorsement_key=key)
    assert NOT_HELD not in str(told.value)


def test_a_tpm_takes_no_foreign_storage_root_key_for_its_own(chip, uncertified):
    """Its public part alone can be loaded into any TPM, under its true name; that is not enough for the credential."""
    endorsement, _storage = claim(chip)
    _endorsement, other_storage = claim(uncertified)
    challenge = challenge_for(endorsement, other_storage)
    with connect(chip.tcti, 60) as esys:
        loaded = esys.load_external(TPM2B_PUBLIC.unmarshal(other_storage)[0], hierarchy=ESYS_TR.NULL)
        with pytest.raises(TpmError, match="authorization cannot be used that way") as refused:
            activate_credential(
                esys,
                endorsement_key=esys.tr_from_tpmpublic(templates.EK_HANDLE),
                bound_to=loaded,
                credential=challenge.credential,
                secret=challenge.encrypted_secret,
            )
        assert refused.value.code == 0x12F  # TPM_RC_AUTH_UNAVAILABLE


def test_an_endorsement_authorization_is_needed_and_has_to_be_right(chip):
    keys = claim(chip, endorsement=ENDORSEMENT)
    with pytest.raises(TpmError, match="has an authorization, and none was given.*set endorsement_auth"):
        answer_of(chip, keys)
    with pytest.raises(TpmError, match="endorsement authorization of this TPM is another one"):
        answer_of(chip, keys, endorsement_auths=[b"guess"])
    said, challenge = answer_of(chip, keys, endorsement_auths=[ENDORSEMENT.encode()])
    assert_proven(said, challenge, keys)


def test_an_endorsement_authorization_is_not_seen_on_the_bus(chip, tmp_path, monkeypatch):
    keys = claim(chip, endorsement=ENDORSEMENT)
    recording = tmp_path / "bus.pcap"
    monkeypatch.setenv("TCTI_PCAP_FILE", str(recording))
    said, challenge = answer_of(chip, keys, tcti=f"pcap:{chip.tcti}", endorsement_auths=[ENDORSEMENT.encode()])
    assert_proven(said, challenge, keys)
    seen = recording.read_bytes()
    # What is sent in the clear is found there, so that the test does not look in the wrong place.
    assert challenge.credential in seen
    assert ENDORSEMENT.encode() not in seen


def test_lockout_is_told_and_is_in_the_way_of_no_answer(chip, tools, tmp_path):
    keys = claim(chip)
    tools.lock_out(tmp_path)
    said, challenge = answer_of(chip, keys)
    assert_proven(said, challenge, keys)
    assert said["in_lockout"] is True


GOOD = Challenge(b"\0\1x", b"\0\1y", bytes(NONCE_BYTES)).as_option()


def test_a_challenge_survives_its_travel():
    assert Challenge.from_option(GOOD).as_option() == GOOD


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"credential": None}, "missing"),
        ({"credential": "?"}, "not base64"),
        ({"credential": ""}, "cut short"),
        ({"encrypted_secret": "AAA="}, "cut short"),
        ({"encrypted_secret": "AAJ5"}, "cut short"),
        ({"nonce": "AAAA"}, "nonce of the challenge is 3 bytes long, not 32"),
    ],
)
def test_a_malformed_challenge_is_told(change, words):
    with pytest.raises(ValueError, match=words):
        Challenge.from_option({**GOOD, **change})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("?", "key is not base64"),
        ("", "key is not a whole TPM2B_PUBLIC"),
        ("AAUAAQ==", "key is not a whole TPM2B_PUBLIC"),
    ],
)
def test_what_is_no_public_area_is_told(text, words):
    with pytest.raises(ValueError, match=words):
        templates.decode_public(text, "key")
