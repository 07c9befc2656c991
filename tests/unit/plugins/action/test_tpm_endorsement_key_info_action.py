# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The endorsement authorization goes to a device that cannot do without, and to no other."""

from __future__ import annotations

import types

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.action.tpm_endorsement_key_info import ActionModule

NEEDS = {"failed": True, "msg": "none was given", "needs": "endorsement_auth"}
FAILED = {"failed": True, "msg": "another fault"}
READ = {"changed": False, "endorsement_key": {}}


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


def test_a_device_that_can_do_without_is_sent_none(work):
    result, sent = work({"template": "tcg", "endorsement_auth": "secret"}, READ)
    assert (result, sent) == (READ, [("tpm_endorsement_key_info", {"template": "tcg"})])


def test_a_device_that_needs_it_is_sent_it(work):
    given = {"template": "tcg", "endorsement_auth": "secret"}
    result, sent = work(given, NEEDS, READ)
    assert (result, [arguments for _module, arguments in sent]) == (READ, [{"template": "tcg"}, given])


@pytest.mark.parametrize(("given", "said"), [({}, NEEDS), ({"endorsement_auth": "secret"}, FAILED)])
def test_what_it_would_not_help_is_the_failure(work, given, said):
    result, sent = work(given, said)
    assert (result, len(sent)) == (said, 1)
