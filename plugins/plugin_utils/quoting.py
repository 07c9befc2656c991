# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which values of an inventory a refusal may quote: none that is a secret, or may be one in a wrong variable.

A value is quoted where the inventory has it in the clear, as a short word, number or path. What a vault or a template
makes is not, whatever it comes to. Nobody can see of a plain value whether its whole file was encrypted: in a run that
was given the password of a vault a text is quoted only where it is a slip of one of the choices.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from ansible import constants as C
from ansible import context
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.templated import is_to_be_made

UNSHOWN = "a value that is not shown (it may be secret)"
# Longer, or with what connection strings and tokens have between their parts, it is no slip of anything.
_WORD = re.compile(r"[^=;\n]{0,40}")
_PATH = re.compile(r"[/~.$][^=;\n]{0,300}")
_VAULTS = ("ask_vault_pass", "vault_ids", "vault_password_files")
# What ansible-core says of a value that it cannot take, after its name and what it could be.
_ANSIBLES_QUOTATION = re.compile(r"(, got|\. Got no match for|(?<=unable to convert to)( \w+)): .*", re.DOTALL)


def quoted(value: Any, raw: Any, choices: Iterable[object] = ()) -> str:
    """*value*, or that it is not shown; *raw* is what the inventory has for it, *choices* are what it can be."""
    texts = [one for one in (value if isinstance(value, (list, tuple)) else [value]) if _may_be_secret(one)]
    near = [str(one).lower() for one in choices]
    shown = not is_to_be_made(raw) and all(
        isinstance(one, str)
        and _WORD.fullmatch(one)
        and (not _has_vault() or not one or difflib.get_close_matches(one.lower(), near))
        for one in texts
    )
    return visible(repr(value) if isinstance(value, str) else value, most=80) if shown else UNSHOWN


def quoted_path(value: str, raw: Any) -> str:
    """The same of a *value* that should be a path; a template may make one of what is a path already."""
    encrypted = is_to_be_made(raw) and not isinstance(raw, str)
    if encrypted or "/" not in str(raw) or not _PATH.fullmatch(value):
        return UNSHOWN
    return visible(value, most=300)


def without_quotation(message: str) -> str:
    """What ansible-core's validation of arguments says, without the value that it quotes."""
    return _ANSIBLES_QUOTATION.sub(r"\2", message)


def _may_be_secret(value: Any) -> bool:
    return not isinstance(value, (bool, int, float, type(None)))


def _has_vault() -> bool:
    given = any(context.CLIARGS.get(name) for name in _VAULTS)
    return bool(given or C.DEFAULT_VAULT_PASSWORD_FILE or C.DEFAULT_VAULT_IDENTITY_LIST)
