# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The public keys of a TPM, and the TPM to them."""

from __future__ import annotations

import pytest


@pytest.fixture
def primaries(software_tpm):
    """A TPM with both primary keys made: (esys, endorsement key and storage root key as (handle, TPM2B_PUBLIC))."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import templates
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import connect
    from tpm2_pytss.constants import ESYS_TR
    from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE

    with connect(software_tpm.tcti, 60) as esys:
        made = []
        for template, hierarchy in (
            (templates.ek_template(), ESYS_TR.ENDORSEMENT),
            (templates.srk_template(), ESYS_TR.OWNER),
        ):
            handle, public, *_rest = esys.create_primary(TPM2B_SENSITIVE_CREATE(), template, hierarchy)
            made.append((handle, bytes(public.marshal())))
        yield (esys, *made)


@pytest.fixture
def activated(primaries):
    """What the TPM with these two keys reads in a credential, given as TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.credential import activate_credential

    esys, (endorsement, _public), (storage, _storage_public) = primaries

    def activate(id_object, encrypted_secret):
        keys = {"endorsement_key": endorsement, "bound_to": storage}
        return activate_credential(esys, **keys, credential=id_object, secret=encrypted_secret)

    return activate
