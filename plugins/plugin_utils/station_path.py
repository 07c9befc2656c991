# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a relative path of a file on this station begins: where the command was given.

Ansible runs local modules in the directory of the playbook, which for a playbook of an installed collection is inside
of it, and looks files up beside roles. Only the process of the command itself, and the workers that it forks, still
stand where the command was given; actions, filters and callbacks run in these.
"""

from __future__ import annotations

import os
import re

# A relative file: an absolute one has a fourth slash.
_SQLITE = re.compile(r"(?P<kind>sqlite(\+\w+)?:///)(?P<file>(?!/|:memory:|file:).+)")


def from_here(path: object, name: str = "path") -> str:
    """*path*, absolute. ValueError where it is empty, or no path; *name* is what it is called in the message."""
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"{name} has to be a path, and is {type(path).__name__}.")
    text = str(path)
    if not text.strip():
        raise ValueError(f"{name} is empty, which is no path. Name a file, or leave {name} out.")
    if "\0" in text:
        raise ValueError(f"{name} has a NUL character in it, which no path can have.")
    # What a module expands itself, in the environment of whom it runs as.
    return text if text.startswith(("~", "$")) else os.path.abspath(text)


def ledger_from_here(ledger: object, name: str) -> str:
    """*ledger*, a path or an SQLAlchemy URL, with the path of an SQLite file absolute. ValueError as of a path."""
    found = _SQLITE.fullmatch(str(ledger)) if isinstance(ledger, str) else None
    if found:
        return found["kind"] + from_here(found["file"], name)
    return ledger if isinstance(ledger, str) and "://" in ledger else from_here(ledger, name)
