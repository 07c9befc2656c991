# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Templates and names against a TPM, which computes both by itself."""

from __future__ import annotations

import json

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import templates
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import connect
from tpm2_pytss.constants import ESYS_TR
from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE


@pytest.mark.parametrize(
    ("template", "hierarchy", "hierarchy_handle"),
    [
        (templates.ek_public_template("tcg"), ESYS_TR.ENDORSEMENT, templates.RH_ENDORSEMENT),
        (templates.ek_public_template("sdk"), ESYS_TR.ENDORSEMENT, templates.RH_ENDORSEMENT),
        (templates.srk_public_template(), ESYS_TR.OWNER, templates.RH_OWNER),
    ],
)
def test_a_key_made_from_a_template_is_recognised_and_named_as_the_tpm_does(
    chip, template, hierarchy, hierarchy_handle
):
    with connect(chip.tcti) as esys:
        handle = esys.create_primary(TPM2B_SENSITIVE_CREATE(), templates.as_pytss(template), hierarchy)[0]
        area, name, qualified_name = esys.read_public(handle)
    public = bytes(area.marshal())
    assert templates.is_made_from(public, template)
    assert templates.name_of(public) == bytes(name)
    assert templates.qualified_name(hierarchy_handle, bytes(name)) == bytes(qualified_name)
    assert templates.rsa_modulus(public) == int.from_bytes(bytes(area.publicArea.unique.rsa), "big")


def test_the_tcg_template_makes_the_key_that_the_maker_lists(chip):
    with connect(chip.tcti) as esys:
        public = esys.create_primary(TPM2B_SENSITIVE_CREATE(), templates.ek_template(), ESYS_TR.ENDORSEMENT)[1]
    listed = json.loads((chip.state_dir / "maker.json").read_text())["endorsement_key"]
    assert bytes(public.marshal()).hex() == listed


def test_keys_of_another_kind_are_not_recognised():
    endorsement, storage = templates.ek_public_template(), templates.srk_public_template()
    made = endorsement[:-258] + b"\x01\x00" + bytes(256)
    assert templates.is_made_from(made, endorsement)
    assert not templates.is_made_from(made, storage)
    assert not templates.is_made_from(made[:-1], endorsement)
    assert not templates.is_made_from(b"", endorsement)


def test_the_registration_id_is_the_stock_clients():
    # SHA-256 of "abc" is known from FIPS 180-4; the rest is RFC 4648.
    assert templates.registration_id(b"abc") == "xj4bnp4pahh6uqkbidpf3lrceoyagyndsylxvhfucd7wd4qacwwq"
