# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A key that was made for one call is there for the next one, on the TPM that made it, until that is reset."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import connect
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.endorsement_key import read_endorsement_key
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.kept_keys import KeptKeys, keep, taken_up
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.properties import read_properties
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.storage_root_key import told_storage_root_key


def read(tpm):
    """What one call keeps of the TPM's keys, and the two keys as TPM2B_PUBLIC."""
    with connect(tpm.tcti, 60) as esys:
        properties = read_properties(esys)
        endorsement = read_endorsement_key(esys, properties=properties, certificate=False)
        storage = told_storage_root_key(esys, properties)
        keys = {"endorsement_key": endorsement.public, "storage_root_key": storage.public}
        return keep(esys, endorsement, storage), keys


def test_the_next_call_has_both_keys_and_makes_none(chip):
    kept, keys = read(chip)
    with connect(chip.tcti, 60) as esys:
        held = taken_up(esys, kept, **keys)
        assert (held.endorsement_key.public, held.storage_root_key.public) == tuple(keys.values())
        assert held.endorsement_key.template == "tcg"
        for key in held:
            area, _name, _qualified_name = esys.read_public(key.esys_handle)
            assert (bytes(area.marshal()), key.persisted) == (key.public, False)


def test_what_another_tpm_kept_is_not_taken(chip, uncertified):
    kept, keys = read(chip)
    with connect(uncertified.tcti, 60) as esys:
        assert taken_up(esys, kept, **keys) == KeptKeys()


@pytest.mark.parametrize("context", ["", "AA==", "no base64", base64.b64encode(bytes(2000)).decode()])
def test_what_is_no_context_is_not_taken(chip, context):
    _kept, keys = read(chip)
    with connect(chip.tcti, 60) as esys:
        assert taken_up(esys, {"endorsement_key": context, "storage_root_key": context}, **keys) == KeptKeys()


def test_another_key_than_was_judged_is_not_taken(chip):
    kept, keys = read(chip)
    with connect(chip.tcti, 60) as esys:
        crossed = {**kept, "endorsement_key": kept["storage_root_key"]}
        assert taken_up(esys, crossed, **keys).endorsement_key is None


def test_nothing_kept_is_nothing_taken(chip):
    _kept, keys = read(chip)
    with connect(chip.tcti, 60) as esys:
        assert taken_up(esys, None, **keys) == KeptKeys()
