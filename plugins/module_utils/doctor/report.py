# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was found on many devices, folded by cause, so that 200 of them with one fault are one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..outside.visible import visible, visible_few
from .finding import ATTENTION, FAULT, OK, UNKNOWN, VERDICTS, Finding, finding

_LONGEST_DETAIL = 200
STATION = "the station"


def findings_in(result: Mapping[str, Any]) -> list[Finding]:
    """The findings in the registered *result* of a look, which may have failed or not come about."""
    if result.get("unreachable"):
        return [
            finding(
                "connection",
                FAULT,
                "the device cannot be reached",
                "Look whether it is switched on and on the network, and log in by hand: ssh -v HOST",
                detail=visible(str(result.get("msg", "")), most=_LONGEST_DETAIL),
            )
        ]
    if isinstance(result.get("findings"), list):
        return list(result["findings"])
    return [
        finding(
            "answer",
            FAULT,
            "the look failed",
            "Do what the detail says.",
            detail=visible(str(result.get("msg", "no reason was given")), most=_LONGEST_DETAIL),
        )
    ]


def worst(findings: list[Finding]) -> str:
    """The verdict over all of them."""
    return min((one["verdict"] for one in findings), key=VERDICTS.index, default=UNKNOWN)


def report(station: list[Finding], devices: Mapping[str, list[Finding]]) -> dict[str, Any]:
    """``lines`` for people, ``counts`` by verdict, why each of the ``bad`` hosts has a fault, and all by host."""
    verdicts = {host: worst(findings) for host, findings in devices.items()}
    counts = {verdict: sum(one == verdict for one in verdicts.values()) for verdict in VERDICTS}
    causes = _folded({STATION: station, **devices})
    head = f"DOCTOR: {counts[OK]} of {len(devices)} devices are well, {counts[FAULT]} with a fault"
    if station:
        head += f"; the station is {'well' if worst(station) == OK else 'not well'}"
    return {
        "lines": [head, *map(_line, causes)],
        "counts": counts,
        "causes": causes,
        "bad": {host: _why(findings) for host, findings in devices.items() if verdicts[host] == FAULT},
        "station": {
            "verdict": worst(station) if station else UNKNOWN,
            "why": _why(station),
            "findings": station,
        },
        "devices": {host: {"verdict": verdicts[host], "findings": findings} for host, findings in devices.items()},
    }


def _why(findings: list[Finding]) -> str:
    return "; ".join(one["cause"] for one in findings if one["verdict"] == FAULT)


def _folded(found: Mapping[str, list[Finding]]) -> list[dict[str, Any]]:
    """What is not well, each cause once with the hosts that have it: the worst first, then what most have."""
    causes: dict[tuple[str, ...], dict[str, Any]] = {}
    for host, findings in found.items():
        for one in findings:
            if one["verdict"] == OK:
                continue
            key = (one["verdict"], one["check"], one["cause"], one["mend"])
            entry = causes.setdefault(key, {**one, "hosts": []})
            entry["hosts"].append(host)
    return sorted(causes.values(), key=lambda one: (VERDICTS.index(one["verdict"]), -len(one["hosts"]), one["check"]))


def _line(cause: Mapping[str, Any]) -> str:
    hosts = cause["hosts"]
    detail = f" ({'such as: ' if len(hosts) > 1 else ''}{cause['detail']})" if cause["detail"] else ""
    word = {FAULT: "FAULT", ATTENTION: "ATTENTION", UNKNOWN: "UNKNOWN"}[cause["verdict"]]
    mend = f" {cause['mend']}" if cause["mend"] else ""
    return f"{word} {visible_few(hosts)}: {cause['check']}: {cause['cause']}{detail}.{mend}"
