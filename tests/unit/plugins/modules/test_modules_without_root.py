# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What takes root on a device says so before anything is tried."""

from __future__ import annotations

import importlib
import os

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client import control as client_control


class RefusedError(Exception):
    """What fail_json ends a module with."""


class Module:
    """In place of AnsibleModule: nothing may be asked of it but to fail."""

    def __init__(self, **_specification):
        self.params = {}
        self.check_mode = False

    def fail_json(self, msg):
        raise RefusedError(msg)


@pytest.mark.parametrize("name", ["dps_client", "dps_client_aziot", "dps_register", "software_tpm"])
def test_it_is_said_before_anything_is_tried(monkeypatch, name):
    module = importlib.import_module(f"ansible_collections.tpmfleet.azure_dps.plugins.modules.{name}")
    monkeypatch.setattr(module, "AnsibleModule", Module)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(RefusedError, match=r"takes root, and the task runs as a user \(ID 1000\): set become"):
        module.main()


@pytest.mark.parametrize(
    ("user", "err", "placed", "question"),
    [
        (0, "", False, "Was the client placed?"),
        (0, "", True, None),
        (1000, "", False, "Its files are root's: run with become."),
        (0, "Permission denied", False, "Its files are root's: run with become."),
    ],
)
def test_the_question_is_the_right_one(monkeypatch, user, err, placed, question):
    """A permission is no missing client."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os.path, "exists", lambda _path: placed)
    client = client_control.ClientControl(lambda _argv: (1, "", err))
    with pytest.raises(client_control.ControlError) as refused:
        client.assignment()
    assert (question or "status does not answer") in str(refused.value)
    assert ("Was the client placed?" in str(refused.value)) is (question == "Was the client placed?")
