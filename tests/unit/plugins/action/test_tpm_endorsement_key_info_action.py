# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The endorsement authorization goes to a device that cannot do without, and to no other."""

from __future__ import annotations

import base64
import types

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.action.tpm_endorsement_key_info import ActionModule
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.derived import derived_from_endorsement_key

NEEDS = {"failed": True, "msg": "none was given", "needs": "endorsement_auth"}
FAILED = {"failed": True, "msg": "another fault"}


@pytest.fixture
def read(make_ek):
    """What the module returns, with what the action computes of a key on this side."""
    public = make_ek(1)
    derived = derived_from_endorsement_key(base64.b64decode(public))
    return {"changed": False, "endorsement_key": {"public": public, **derived, "certificate_matches": None}}


@pytest.fixture
def work():
    """What the task returns, and the arguments that it sent each time, where the device answers so."""

    def run(given, *said):
        answers, sent = list(said), []
        action = ActionModule.__new__(ActionModule)
        action._task = types.SimpleNamespace(args=given)

        def run_module(module, arguments, task_vars):
            sent.append((module, arguments))
            return answers.pop(0)

        action.run_module = run_module
        return action.work({}), sent

    return run


def test_a_device_that_can_do_without_is_sent_none(work, read):
    result, sent = work({"template": "tcg", "endorsement_auth": "secret"}, read)
    assert (result, sent) == (read, [("tpm_endorsement_key_info", {"template": "tcg"})])


def test_a_device_that_needs_it_is_sent_none_before_it_has_proven_anything(work):
    result, sent = work({"template": "tcg", "endorsement_auth": "secret"}, NEEDS)
    assert "set tpmfleet_endorsement_auth_before_proof" in result["msg"]
    assert sent == [("tpm_endorsement_key_info", {"template": "tcg"})]


def test_a_device_that_is_known_to_be_the_right_one_is_sent_it(work, read):
    given = {"template": "tcg", "endorsement_auth": "secret", "endorsement_auth_before_proof": True}
    without = {name: value for name, value in given.items() if name != "endorsement_auth"}
    result, sent = work(given, NEEDS, read)
    assert (result, [arguments for _module, arguments in sent]) == (read, [without, given])


@pytest.mark.parametrize(("given", "said"), [({}, NEEDS), ({"endorsement_auth": "secret"}, FAILED)])
def test_what_it_would_not_help_is_the_failure(work, given, said):
    result, sent = work(given, said)
    assert (result, len(sent)) == ({**said, "libraries_missing": False}, 1)
