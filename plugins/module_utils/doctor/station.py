# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may be wrong with the station: its libraries, settings, ledger, key, roots, and what the service says to it.

Nothing is changed anywhere. What the credential may do is asked with an ID that no device has: the service looks at the
right first, so a 404 means that it is there (service documentation, "troubleshoot DPS": 401 and 403 are refusals).
"""

from __future__ import annotations

import importlib.metadata
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Callable
from urllib.request import getproxies, proxy_bypass

from ansible.module_utils.compat.version import LooseVersion

from ..dps.connection import open_service
from ..dps.errors import DpsError
from ..dps.service import AZURE_CORE_IMPORT_ERROR, Service
from ..ledger.database import (
    SQLALCHEMY_IMPORT_ERROR,
    Access,
    LedgerError,
    is_new,
    is_old,
    opened,
    schema_version,
)
from ..outside.visible import visible
from .finding import ATTENTION, FAULT, OK, UNKNOWN, Finding, finding

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)>=([0-9][0-9A-Za-z.]*)")
_LEAST_FORKS = 20
_CLOCK_ATTENTION, _CLOCK_FAULT = 60, 300


def libraries(requirements: Iterable[str]) -> Iterator[Finding]:
    """Each of *requirements* (``name>=version``) against what this Python has."""
    wrong = []
    for line in requirements:
        required = _REQUIREMENT.match(line.strip())
        if required is None:
            continue
        name, least = required.groups()
        try:
            there = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing, {least} is the least")
            continue
        if _is_older(there, least):
            wrong.append(f"{name} is {there}, {least} is the least")
    if wrong:
        yield finding(
            "libraries",
            FAULT,
            "libraries are missing or too old for this collection",
            "pip install -r requirements.txt, into the Python that runs Ansible.",
            detail="; ".join(wrong),
        )
    else:
        yield finding("libraries", OK, "the libraries are there")


def _is_older(there: str, least: str) -> bool:
    try:
        return bool(LooseVersion(there) < LooseVersion(least))
    except TypeError:
        # A number against a word, as in 2.0.rc1: nothing tells.
        return False


def settings(params: Mapping[str, Any]) -> Iterator[Finding]:
    """Ansible's settings, as far as *params* tell them (null is not told)."""
    before = "settings"
    wrong = []
    if params["facts_as_variables"]:
        wrong.append(
            finding(
                before,
                FAULT,
                "Ansible makes variables of facts, so that a device could change its step",
                "Set inject_facts_as_vars = false in [defaults] of ansible.cfg.",
            )
        )
    if params["forks"] is not None and params["forks"] < _LEAST_FORKS:
        wrong.append(
            finding(
                before,
                ATTENTION,
                "few devices are worked on at a time",
                "Set forks = 50 in [defaults] of ansible.cfg.",
                detail=f"{params['forks']} forks",
            )
        )
    yield from wrong or [finding(before, OK, "Ansible's settings fit")]


def ledger(place: str | None) -> Finding:
    """Whether the ledger at *place* can be read; one that is not there yet is no fault."""
    if not place:
        return finding("ledger", ATTENTION, "no ledger is set", "Set tpmfleet_ledger.")
    if SQLALCHEMY_IMPORT_ERROR is not None:
        return finding("ledger", UNKNOWN, "the ledger was not opened, for SQLAlchemy is missing")
    try:
        with opened(place, Access.READ) as connection:
            new = is_new(connection)
            version, old = schema_version(connection), is_old(connection)
    except LedgerError as error:
        return finding("ledger", FAULT, "the ledger cannot be used", "Do what the detail says.", detail=str(error))
    if new:
        return finding("ledger", OK, "there is no ledger yet, the first step makes it")
    if old:
        words = "the ledger has an older schema, and the next step that writes it brings it to the present one"
        return finding("ledger", OK, words, detail=f"schema version {version}")
    return finding("ledger", OK, "the ledger can be read", detail=f"schema version {version}")


def master_key(key: str | None, check: Callable[[str], object]) -> Finding:
    """Whether there is a master key that *check* takes, which else says why not in a ValueError. It is never shown."""
    if not key:
        return finding(
            "master_key", ATTENTION, "no master key is set, so that no ownership is claimed", "Set tpmfleet_master_key."
        )
    try:
        check(key)
    except ValueError as error:
        return finding(
            "master_key", FAULT, "the master key is not usable", "Do what the detail says.", detail=str(error)
        )
    return finding("master_key", OK, "there is a master key")


def proxy(host: str) -> str:
    """The proxy on the way to *host*, without a password; empty where there is none."""
    found = getproxies().get("https")
    if not found or proxy_bypass(host):
        return ""
    return found.rpartition("@")[2].rpartition("//")[2]


def service(params: Mapping[str, Any]) -> list[Finding]:
    """What the service says to the credential in *params*."""
    if AZURE_CORE_IMPORT_ERROR is not None:
        return [finding("dps", UNKNOWN, "the service was not asked, for azure-core or requests is missing")]
    if not any(params[name] for name in ("connection_string", "sas_token", "host")):
        return [
            finding(
                "dps",
                ATTENTION,
                "no DPS is set",
                "Set tpmfleet_dps_connection_string, or tpmfleet_dps_host for Entra ID.",
            )
        ]
    try:
        opened_service = open_service(dict(params))
    except DpsError as error:
        return [finding("dps", FAULT, "the credential cannot be used", "Do what the detail says.", detail=str(error))]
    try:
        return list(_asked(opened_service))
    finally:
        opened_service.close()


def _asked(dps: Service) -> Iterator[Finding]:
    nobody = f"tpmfleet-doctor-{secrets.token_hex(16)}"
    # The last has an ETag that none has besides, so that it removes nothing whatever there is.
    calls: dict[str, Callable[[], object]] = {
        "EnrollmentRead": lambda: dps.enrollment(nobody),
        "RegistrationStatusRead": lambda: dps.registration(nobody),
        "EnrollmentWrite": lambda: dps.delete_enrollment(nobody, etag=f'"{nobody}"'),
    }
    may: list[str] = []
    refused: dict[str, DpsError] = {}
    for right, call in calls.items():
        try:
            call()
            may.append(right)
        except DpsError as error:
            if error.status not in (401, 403):
                yield from _out_of_reach(dps, error)
                yield from _clock(dps)
                return
            refused[right] = error
    way = proxy(dps.host.partition(":")[0])
    yield finding("dps", OK, "the service answers", detail=f"{dps.host}{' by the proxy ' + way if way else ''}")
    if not may:
        yield finding(
            "rights",
            FAULT,
            "the service refuses the credential",
            "Look at the policy's name and key, and whether this machine's address is let in.",
            detail=str(refused["EnrollmentRead"]),
        )
    elif refused:
        yield finding(
            "rights",
            ATTENTION,
            f"the credential may not do all that steps need: it lacks {' and '.join(refused)}",
            'Give its policy the right, if the steps that this station does need it; see "What each step needs".',
            detail=f"it has {' and '.join(may)}",
        )
    else:
        yield finding("rights", OK, "the credential may do what steps need", detail=", ".join(may))
    yield _quota(dps.quota_left)
    yield from _clock(dps)


def _quota(left: Mapping[str, str]) -> Finding:
    """What is *left* of the quota, by the headers that tell it."""
    if not left:
        return finding("quota", OK, "the service does not tell what is left of its quota")
    detail = ", ".join(f"{visible(name, most=80)}: {visible(value, most=40)}" for name, value in left.items())
    if any(value.strip() == "0" for value in left.values()):
        return finding(
            "quota",
            ATTENTION,
            "nothing is left of the service's quota at the moment",
            "Run again in a minute, or have other stations use a smaller quota_share.",
            detail=detail,
        )
    return finding("quota", OK, "something is left of the service's quota", detail=detail)


def _out_of_reach(dps: Service, error: DpsError) -> Iterator[Finding]:
    if error.status == 429:
        yield finding(
            "quota",
            ATTENTION,
            "the service's quota is used up at the moment",
            "Run again in a minute, or have other stations use a smaller quota_share.",
            detail=str(error),
        )
        return
    way = proxy(dps.host.partition(":")[0])
    yield finding(
        "dps",
        FAULT,
        "the service cannot be reached by the proxy of this machine" if way else "the service cannot be reached",
        "Look at https_proxy and no_proxy first, then at what the detail says." if way else "Do what the detail says.",
        detail=f"{'proxy ' + way + ': ' if way else ''}{error}",
    )


def _clock(dps: Service) -> Iterator[Finding]:
    """This machine's clock against the service's, which says its own to the second."""
    if dps.date is None:
        return
    try:
        told = parsedate_to_datetime(dps.date)
        ahead = time.time() - told.replace(tzinfo=told.tzinfo or timezone.utc).timestamp()
    except (ValueError, TypeError, OverflowError):
        yield finding("clock", UNKNOWN, "the service tells no time that can be read")
        return
    off = abs(ahead)
    detail = (
        f"{off:,.0f} s {'ahead' if ahead > 0 else 'behind'}, it is {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC here"
    )
    if off < _CLOCK_ATTENTION:
        yield finding("clock", OK, "the clock is the service's")
        return
    yield finding(
        "clock",
        FAULT if off >= _CLOCK_FAULT else ATTENTION,
        "the station's clock is not the service's, which refuses tokens of another time",
        "timedatectl set-ntp true",
        detail=detail,
    )
