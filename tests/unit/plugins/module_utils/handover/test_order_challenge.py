# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The challenge of a work order: its TPM answers it, nobody else does, and the owner needs to keep nothing for that."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.order_challenge import (
    OrderedProof,
    is_answered,
    order_challenge,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError, connect
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.endorsement_key import read_endorsement_key
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.possession import open_sealed
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.properties import read_properties
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.hierarchy_auth import derive_order_secret
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.possession import PossessionError

MASTER_KEY = "a master key of the owner, 0123456789abcdef"
MESSAGE = b'{"lockout_auth": "of this unit alone"}'


@pytest.fixture
def tpm(software_tpm):
    with connect(software_tpm.tcti, 60) as esys:
        key = read_endorsement_key(esys, properties=read_properties(esys), template="tcg", certificate=False)
        yield esys, key.public


def test_the_derivation_is_the_one_that_orders_were_written_with():
    """Golden: an order that is out has to be answered for by later releases."""
    name = "000b" + "ab" * 32
    assert derive_order_secret(MASTER_KEY, name, "WO-1").hex() == GOLDEN
    others = [
        derive_order_secret(MASTER_KEY, name, "WO-2"),
        derive_order_secret(MASTER_KEY, "000b" + "ac" * 32, "WO-1"),
        derive_order_secret(MASTER_KEY + "x", name, "WO-1"),
    ]
    assert GOLDEN not in [one.hex() for one in others] and len(set(others)) == 3


GOLDEN = "08b244dba9f209762e9175fbc42cba341ce6fea7cb93c982daaf88f1d947265f"


def test_its_tpm_opens_it_and_the_answer_is_known_from_the_master_key_alone(tpm):
    esys, public = tpm
    challenge, answer_sha256 = order_challenge(MASTER_KEY, "WO-1", public, MESSAGE)
    opened = open_sealed(esys, challenge, endorsement_key=public)
    assert opened.message == MESSAGE
    proof = OrderedProof(challenge.as_option(), answer_sha256)
    proof.check_answer(opened.answer.hex())
    assert is_answered(MASTER_KEY, "WO-1", public, proof.answer)
    assert not is_answered(MASTER_KEY, "WO-2", public, proof.answer)
    assert not is_answered(MASTER_KEY + "x", "WO-1", public, proof.answer)
    for name, value in proof.answer.items():
        for spoilt in (value[:-1] + ("0" if value[-1] != "0" else "1"), value[:-2], "", "zz", None, 7):
            assert not is_answered(MASTER_KEY, "WO-1", public, {**proof.answer, name: spoilt}), (name, spoilt)
    assert not is_answered(MASTER_KEY, "WO-1", public, None)


def test_another_tpm_opens_nothing(tpm, make_ek):
    esys, public = tpm
    another = base64.b64decode(make_ek(5))
    challenge, _answer = order_challenge(MASTER_KEY, "WO-1", another, MESSAGE)
    with pytest.raises(TpmError):
        open_sealed(esys, challenge, endorsement_key=another)
    with pytest.raises(TpmError):
        open_sealed(esys, challenge, endorsement_key=public)


def test_the_line_tells_a_wrong_answer_and_can_make_no_right_one(make_ek):
    public = base64.b64decode(make_ek(1))
    challenge, answer_sha256 = order_challenge(MASTER_KEY, "WO-1", public, MESSAGE)
    proof = OrderedProof(challenge.as_option(), answer_sha256)
    for wrong in (answer_sha256, "00" * 32, "", None, 7, "é" * 64, "ab"):
        with pytest.raises(PossessionError, match="is not that of the TPM that the order is for"):
            proof.check_answer(wrong)
    assert proof.answer == {}


def test_each_writing_draws_another_key_for_what_is_sealed(make_ek):
    """The secret is the same each time: under one nonce two messages would give each other away."""
    public = base64.b64decode(make_ek(1))
    both = [order_challenge(MASTER_KEY, "WO-1", public, MESSAGE)[0] for _time in range(2)]
    assert both[0].nonce != both[1].nonce and both[0].sealed != both[1].sealed


def test_a_challenge_that_is_none_is_told():
    with pytest.raises(PossessionError, match="no challenge for it that is one"):
        OrderedProof({"credential": "AAAA", "encrypted_secret": "", "nonce": "", "sealed": ""}, "00")
