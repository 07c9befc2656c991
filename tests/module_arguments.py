# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The arguments of a module that a test runs in its own process: before 2.19 ansible-core has nothing for that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from ansible.module_utils import basic
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.in_worker import PROFILE, encoded


@contextlib.contextmanager
def module_arguments(arguments: dict[str, Any]) -> Iterator[None]:
    """A module that is run meanwhile has *arguments*."""
    with contextlib.ExitStack() as patched:
        patched.enter_context(mock.patch.object(basic, "_ANSIBLE_ARGS", encoded({"ANSIBLE_MODULE_ARGS": arguments})))
        if PROFILE:
            patched.enter_context(mock.patch.object(basic, "_ANSIBLE_PROFILE", PROFILE[0]))
        yield
