# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which copy of the collection Ansible runs, which others lie in its path, and what shows a run to people.

Ansible takes the first copy in its path, so that an older one in front of it wins without a word.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from ..outside.files import FileError, read_file
from ..outside.strict_json import JsonError, parse
from ..outside.visible import visible
from .finding import ATTENTION, FAULT, OK, Finding, finding

NAME, LAB = "azure_dps", "azure_dps_lab"
LINE = "tpmfleet.azure_dps.line"
# Of a collection that was built or installed, and of its sources.
_MANIFEST, _SOURCES = "MANIFEST.json", "galaxy.yml"
_MOST_BYTES = 1 << 20
_VERSION_OF_SOURCES = re.compile(r"^version:\s*[\"']?([0-9A-Za-z.+-]{1,60})", re.MULTILINE)
# Those that write a line or more for each device and task, by the last part of their names.
_WORDY = frozenset(("debug", "default", "minimal", "oneline", "yaml"))
# As many lines as that nobody reads for each task.
_MANY = 20


def version_of(directory: str) -> str | None:
    """The version of the collection in *directory*; None where none lies there that says one."""
    try:
        manifest = parse(read_file(os.path.join(directory, _MANIFEST), most=_MOST_BYTES).decode(), most=_MOST_BYTES)
        return visible((manifest.get("collection_info") or {})["version"], most=60)
    except (FileError, JsonError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        pass
    try:
        sources = read_file(os.path.join(directory, _SOURCES), most=_MOST_BYTES).decode()
    except (FileError, UnicodeDecodeError):
        return None
    found = _VERSION_OF_SOURCES.search(sources)
    return found[1] if found else None


def copies(name: str, places: Iterable[str]) -> dict[str, str]:
    """Directory to version of each copy of the collection *name* below *places*, in their order, links followed."""
    found: dict[str, str] = {}
    for place in places:
        parts = (
            [place] if os.path.basename(place.rstrip("/")) == "ansible_collections" else [place, "ansible_collections"]
        )
        directory = os.path.realpath(os.path.join(*parts, "tpmfleet", name))
        version = version_of(directory)
        if version is not None:
            found.setdefault(directory, version)
    return found


def collection(used: str, places: Iterable[str]) -> Iterator[Finding]:
    """The copy in the directory *used*, which Ansible runs, against all that it would find in *places*."""
    places = [os.path.expanduser(one) for one in places]
    used = os.path.realpath(used)
    version = version_of(used)
    if version is None:
        yield finding(
            "collection",
            FAULT,
            "the collection says no version, so a part of it is missing",
            "Install it again: ansible-galaxy collection install tpmfleet.azure_dps --force",
            detail=used,
        )
        return
    others = {place: other for place, other in copies(NAME, places).items() if place != used}
    told = ", ".join(f"{other} in {place}" for place, other in others.items())
    if others:
        yield finding(
            "collection",
            ATTENTION,
            "there is more than one copy of the collection in Ansible's path",
            "Remove the ones that are not meant, or have ANSIBLE_COLLECTIONS_PATH name the one that is.",
            detail=f"{version} in {used} is used, and not {told}",
        )
    else:
        yield finding("collection", OK, "there is one copy of the collection", detail=f"{version} in {used}")
    for place, lab in list(copies(LAB, places).items())[:1]:
        if lab != version:
            yield finding(
                "collection",
                ATTENTION,
                "the lab is of another version than the collection",
                f"ansible-galaxy collection install tpmfleet.{LAB}:=={version} --force",
                detail=f"{lab} in {place}, and the collection is {version}",
            )


def output(callback: str | None, units: int | None) -> Iterator[Finding]:
    """Whether what shows a run can be read for so many *units*. *callback* is the one for stdout; null is not told."""
    if not callback:
        return
    shown = visible(callback, most=80)
    if callback.rpartition(".")[2] in _WORDY and (units or 0) >= _MANY:
        yield finding(
            "output",
            ATTENTION,
            "Ansible writes a line and more for each device and task, in which a failure is not seen",
            f"Set stdout_callback = {LINE} in [defaults] of ansible.cfg, or ANSIBLE_STDOUT_CALLBACK={LINE}.",
            detail=f"{shown}, for {units} units",
        )
    else:
        yield finding("output", OK, "the output fits the number of devices", detail=shown)
