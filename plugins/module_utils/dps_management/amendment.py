# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A change of a part of an instance, made so that nobody else's change is lost.

Azure has linked hubs and access policies inside of the instance's one document, so every change writes all of it back.
What is written is made from what was read and goes under its ETag. Where the ETag has changed by then, it is read and
made anew.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..dps.errors import DpsError
from .resource_manager import TRIES, ResourceManager, is_at_rest

Document = dict[str, Any]


@dataclass(frozen=True)
class Amendment:
    """An instance before and after. In check mode *after* is what would be written."""

    before: Document
    after: Document
    changed: bool


def amend_instance(
    manager: ResourceManager,
    name: str,
    amend: Callable[[Document], Document],
    *,
    check_mode: bool,
    with_policies: bool = False,
) -> Amendment | None:
    """Makes of the instance *name* what *amend* makes of its document; None where there is no such instance.

    *with_policies* has ``properties.authorizationPolicies``, with the keys, in both documents. *amend* may be asked
    again about a newer document, and has to make the same wish come true then.
    """
    first: Document | None = None
    for _try in range(TRIES):
        before = _read(manager, name, with_policies)
        if before is None:
            return None
        after = amend(copy.deepcopy(before))
        attempted = first is not None
        first = first or before
        if after == before:
            # As wanted, maybe by an earlier try whose answer was lost.
            return Amendment(first, before, attempted)
        if check_mode:
            return Amendment(before, after, True)
        try:
            written = manager.replace(name, after, etag=_etag(before))
        except DpsError as error:
            if not _is_passing(manager, name, error):
                raise
            continue
        if with_policies:
            written["properties"]["authorizationPolicies"] = manager.access_policies(name)
        return Amendment(before, written, True)
    raise DpsError(
        f"The DPS instance {name} was changed by others {TRIES} times while this change was made.",
        status=412,
        hint="Run again when they are done.",
    )


def _etag(document: Document) -> str:
    if not document.get("etag"):
        raise DpsError(
            f"Azure tells no ETag of the DPS instance {document['name']} ({document['properties'].get('state')}).",
            hint="Nothing was written, since it could overwrite somebody else's change.",
        )
    return document["etag"]


def _read(manager: ResourceManager, name: str, with_policies: bool) -> Document | None:
    found = manager.settled(name)
    if found is not None and with_policies:
        found["properties"]["authorizationPolicies"] = manager.access_policies(name)
    return found


def _is_passing(manager: ResourceManager, name: str, error: DpsError) -> bool:
    """Whether a refusal is one that a newer document, or the end of another change, may do away with."""
    if error.status == 412:
        return True
    if error.status != 409:
        return False
    found = manager.instance(name)
    return found is not None and not is_at_rest(found)
