# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A message about a file names the option that the file came by, so that the summary can name the variable."""

from __future__ import annotations

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import LedgerError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.failure_kind import option_of

PARAMS = {
    "ledger": "/var/lib/ledger.sqlite",
    "roots": ["/etc/roots", "/etc/more-roots"],
    "crls": ["/etc/roots/crls"],
    "policy": "required",
    "one": "/srv/same",
    "other": "/srv/same",
    "tolerated": [],
    "count": 3,
}


@pytest.mark.parametrize(
    ("message", "option"),
    [
        ("There is no /etc/more-roots, which should hold trusted certificates.", "roots"),
        ("There is no /etc/roots/crls, which should hold revocation lists.", "crls"),
        ("The directory /etc/roots has no trusted certificates.", "roots"),
        ("/srv/same cannot be read.", None),
        ("There is nothing to verify certificates to: required.", None),
        ("", None),
    ],
)
def test_the_option_of_a_file(message, option):
    assert option_of(ValueError(message), PARAMS) == option


def test_what_an_error_says_of_the_option_goes_before_the_files_that_it_names():
    error = LedgerError("filters.step has '/etc/roots'.", option="filters")
    assert option_of(error, PARAMS) == "filters"
