# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values of the inventory that no step can work with, told before it begins, with what there is to choose from.

What a variable may be is written once: in the argument specification of the role whose default takes it up. A step is
its role and all roles that it composes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible_few
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.quoting import quoted

_COMPOSED = re.compile(r"^\s+name: tpmfleet\.azure_dps\.(\w+)$", re.MULTILINE)
# A default that hands the variable on as it is, or a default of its own.
_HANDED_ON = re.compile(r"\{\{\s*(tpmfleet_\w+)\s*(\|\s*default\(.*\)\s*)?\}\}", re.DOTALL)
_VARIABLE = re.compile(r"\btpmfleet_\w+")
_OURS, _ALMOST = "tpmfleet_", 0.85
_OF_THE_HOST = re.compile(r"\b(ansible_\w+|inventory_hostname\w*|group_names|hostvars|lookup|query)\b")
# Of these zero is no time and no version.
_FROM_ONE = re.compile(r"_(timeout|budget|key_version)$")
_STEPS_TO_CHOOSE = {"type": "str", "choices": ["tpm_install", "software_install"]}
# What no argument specification says, since the roles make something else of it.
_OTHERS: dict[str, dict[str, Any]] = {
    "tpmfleet_enroll_at": _STEPS_TO_CHOOSE,
    "tpmfleet_claim_ownership_at": _STEPS_TO_CHOOSE,
    "tpmfleet_production": {"type": "bool"},
    "tpmfleet_replace_tpm": {"type": "bool"},
    "tpmfleet_recommission": {"type": "bool"},
    "tpmfleet_software_tpm_allowed": {"type": "bool"},
    "tpmfleet_connection_timeout": {"type": "int"},
}
_FORMS = {
    "tpmfleet_dps_id_scope": (re.compile(r"0[a-z]{2}[0-9A-Za-z]{2,}"), "an ID scope, such as 0ne00000000"),
    "tpmfleet_previous_dps_id_scope": (re.compile(r"(0[a-z]{2}[0-9A-Za-z]{2,})?"), "an ID scope, such as 0ne00000000"),
}


def variables_of(role: Path) -> dict[str, list[dict[str, Any]]]:
    """The inventory's variables that the step of *role*, a directory, takes up, each with its specifications."""
    found: dict[str, list[dict[str, Any]]] = {name: [one] for name, one in _OTHERS.items()}
    for directory in composed(role):
        defaults = _read(directory / "defaults" / "main.yml")
        for name, option in specification(directory).items():
            handed_on = _HANDED_ON.fullmatch(str(defaults.get(name, "")).strip())
            if handed_on and not option.get("no_log"):
                found.setdefault(handed_on[1], []).append(option)
    for name in _FORMS:
        found.setdefault(name, [])
    return found


def switches_of(role: Path) -> dict[str, tuple[str, set[str]]]:
    """The options of *role*, a directory, that are yes or no: the default, and the inventory's variables in it.

    One whose default looks at anything else is not among them.
    """
    found = {}
    defaults = _read(role / "defaults" / "main.yml")
    for name, option in specification(role).items():
        default = str(defaults.get(name, ""))
        if option.get("type") == "bool" and not _OF_THE_HOST.search(default):
            found[name] = (default, set(_VARIABLE.findall(default)))
    return found


def is_off(value: Any) -> bool:
    """Whether a switch with *value* is off; one that is neither yes nor no is not."""
    return _is_boolean(value) and not boolean(value)


def specification(role: Path) -> dict[str, dict[str, Any]]:
    """The options of *role*, a directory, as its argument specification has them."""
    specified = _read(role / "meta" / "argument_specs.yml")
    return ((specified.get("argument_specs") or {}).get("main") or {}).get("options") or {}


def wrong_values(
    role: Path, values: Mapping[str, Mapping[str, Any]], raw: Callable[[str, str], Any] | None = None
) -> list[tuple[str, str]]:
    """(a variable, what is wrong with it, in words) for each value in *values*, which are by variable and host.

    *raw* tells what the inventory has for a variable and host, where that is not the value itself.
    """
    told: list[tuple[str, str]] = []
    batch = {host for of_hosts in values.values() for host in of_hosts}
    for name, specifications in variables_of(role).items():
        wrong: dict[str, list[str]] = {}
        option = _together(specifications)
        for host, value in values.get(name, {}).items():
            reason = _fault(name, value, option)
            if reason:
                shown = quoted(value, value if raw is None else raw(name, host), option.get("choices") or ())
                wrong.setdefault(f"{name} is {shown}, {reason}", []).append(host)
        told += [(name, f"{words}{for_whom(hosts, batch)}.") for words, hosts in wrong.items()]
    return told


def misspelt(roles: Path, batch: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A warning for each variable of *batch* that nobody reads, where its name is almost that of one.

    What is said by it, such as that a list is required, is else nowhere said. *roles* are those of this collection.
    """
    said: dict[str, list[str]] = {}
    for host, own in batch.items():
        for name in own:
            if name.startswith(_OURS):
                said.setdefault(name, []).append(host)
    if not said:
        return []
    here = roles.parent
    files = [*roles.glob("*/*/*.yml"), *here.glob("playbooks/*.yml"), *here.glob("plugins/plugin_utils/*.py")]
    known = set().union(*(_VARIABLE.findall(path.read_text(encoding="utf-8")) for path in files))
    told = []
    for name in sorted(said.keys() - known):
        near = difflib.get_close_matches(name, known, n=1, cutoff=_ALMOST)
        if near and not name.startswith(f"{near[0]}_"):
            told.append(f"No step reads {name}{for_whom(said[name], batch)}. Is {near[0]} meant?")
    return told


def composed(role: Path) -> list[Path]:
    """The directories of *role* and of the roles that it composes."""
    found = [role]
    for directory in found:
        for tasks in sorted((directory / "tasks").glob("*.yml")):
            others = (role.parent / name for name in _COMPOSED.findall(tasks.read_text(encoding="utf-8")))
            found += [one for one in dict.fromkeys(others) if one not in found and one.is_dir()]
    return found


def _together(specifications: list[dict[str, Any]]) -> dict[str, Any]:
    """What all of *specifications* allow."""
    choices = [one["choices"] for one in specifications if one.get("choices")]
    common = [one for one in choices[0] if all(one in others for others in choices)] if choices else None
    return {**(specifications[0] if specifications else {}), "choices": common}


def _read(path: Path) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader) or {}


def _fault(name: str, value: Any, option: Mapping[str, Any]) -> str | None:
    """What is wrong with *value*, as the end of a sentence; None for one that can be."""
    form = _FORMS.get(name)
    if form and not (isinstance(value, str) and form[0].fullmatch(value)):
        return f"which is not {form[1]}"
    kind = option.get("type")
    if kind == "bool" and not _is_boolean(value):
        return "which is neither true nor false"
    # No previous version is 0.
    lowest = 1 if _FROM_ONE.search(name) and name != "tpmfleet_previous_key_version" else 0
    if kind in ("int", "float") and not _is_number(value, kind, lowest):
        return f"which is no {'whole ' if kind == 'int' else ''}number of {lowest} or more"
    choices = option.get("choices")
    if not choices:
        return None
    given = value if isinstance(value, (list, tuple)) else [value]
    unknown = [one for one in given if one not in choices]
    return f"which is none of {', '.join(map(str, choices))}" if unknown else None


def _is_boolean(value: Any) -> bool:
    try:
        boolean(value, strict=True)
    except TypeError:
        return False
    return True


def _is_number(value: Any, kind: str, lowest: int) -> bool:
    if isinstance(value, bool):
        return False
    try:
        number = float(str(value)) if kind == "float" else int(str(value))
    except ValueError:
        return False
    return lowest <= number < float("inf")


def for_whom(hosts: Collection[str], batch: Collection[str]) -> str:
    """The *hosts* that something is said of, where those are not all of several."""
    return "" if set(hosts) == set(batch) and len(batch) > 1 else f" (for {visible_few(hosts)})"
