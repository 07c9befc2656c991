# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stock SDK client makes an endorsement key of its own where none is persistent, and is refused with it in the field.

So a claim persists the one that was enrolled, and the same client then registers with that.
"""

from __future__ import annotations

import base64

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import templates
from tpm2_pytss import ESAPI, TCTILdr
from tpm2_pytss.constants import ESYS_TR
from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE

ENDORSEMENT_KEY, STORAGE_ROOT_KEY = 0x81010001, 0x81000001
UNIT = "unit-of-a-stock-client"


@pytest.fixture
def enrolled(dps, software_tpm, run_module):
    """A fresh TPM, and the endorsement key that step 2 reads and enrolls."""
    key = run_module("tpm_endorsement_key_info", tcti=software_tpm.tcti, template="tcg")["endorsement_key"]
    assert (key["template"], key["persisted"]) == ("tcg", False)
    made = run_module(
        "dps_enrollment", **dps.connection(registration_id=UNIT, endorsement_key=key["public"], state="present")
    )
    assert made["changed"]
    return key


def stock_keys(tcti):
    """What npm's azure-iot-security-tpm finds, or else makes and persists with an empty owner authorization."""
    own = {
        ENDORSEMENT_KEY: (ESYS_TR.ENDORSEMENT, templates.ek_template("sdk")),
        STORAGE_ROOT_KEY: (ESYS_TR.OWNER, templates.srk_template()),
    }
    keys = {}
    with ESAPI(TCTILdr(*tcti.split(":", 1))) as tpm:
        _more, there = tpm.get_capability(1, 0x81000000, 254)
        there = {int(handle) for handle in there.data.handles}
        for handle, (hierarchy, template) in own.items():
            if handle not in there:
                made, *_rest = tpm.create_primary(TPM2B_SENSITIVE_CREATE(), template, hierarchy)
                tpm.evict_control(ESYS_TR.OWNER, made, handle)
                tpm.flush_context(made)
            public, _name, _qualified = tpm.read_public(tpm.tr_from_tpmpublic(handle))
            keys[handle] = base64.b64encode(bytes(public.marshal())).decode()
    return keys


def register(dps, keys):
    """Its first request, which the service answers with a challenge or a refusal."""
    return dps.session.put(
        f"{dps.where['endpoint']}/{dps.where['id_scope']}/registrations/{UNIT}/register",
        params={"api-version": "2019-03-31"},
        json={
            "registrationId": UNIT,
            "tpm": {"endorsementKey": keys[ENDORSEMENT_KEY], "storageRootKey": keys[STORAGE_ROOT_KEY]},
        },
        timeout=20,
    )


def test_without_the_enrolled_key_in_its_place_a_stock_client_is_refused(dps, software_tpm, enrolled):
    keys = stock_keys(software_tpm.tcti)
    assert keys[ENDORSEMENT_KEY] != enrolled["public"]
    answer = register(dps, keys)
    assert answer.status_code == 401
    assert "authenticationKey" not in answer.json()


def test_a_claim_puts_the_enrolled_key_where_a_stock_client_finds_it(dps, software_tpm, enrolled, run_module):
    claim = run_module(
        "tpm_ownership",
        state="claimed",
        tcti=software_tpm.tcti,
        endorsement_key_sha256=enrolled["sha256"],
        lockout_auth="h92lUbdwcz8hqvopMVc6CmAYW9jmGVek",
    )
    assert claim["changed"], claim
    software_tpm.power_cycle()
    keys = stock_keys(software_tpm.tcti)
    assert keys[ENDORSEMENT_KEY] == enrolled["public"]
    answer = register(dps, keys)
    assert answer.status_code == 401
    assert answer.json()["authenticationKey"]
    assert answer.json()["keyName"] == "registration"
