# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a device printed when it was asked to run a module, read as the claim that it is.

Of it comes what the module documents, in the shape that it documents, or a failure that says in words what did not fit.
Whatever Ansible would act on by its name (facts, hosts, groups, settings of the connection, ...) is in neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.files import told_size
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.strict_json import JsonError, parse
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible

from .shape import Fields, Shape, ShapeError, flag, lines, number, one_of, or_null, text, words

# The whole of what a module prints. A TPM with certificates in all of its NV memory comes to a quarter of it.
MOST_BYTES = 256 << 10
MOST_OUTPUT_LINES = 20

# Of a failure, whatever the module.
_FAILURE = {
    "msg": words(4000),
    "tpm_rc": or_null(text(18, "0x[0-9a-f]{1,16}", of="a response code")),
    # An option without which it cannot be done, see the action of tpm_endorsement_key_info.
    "needs": one_of("endorsement_auth"),
    # To a challenge, where what came after it failed.
    "answer": text(1024),
    "rc": number(1 << 31, least=-(1 << 31)),
    "stdout": lines(MOST_OUTPUT_LINES),
    "stderr": lines(MOST_OUTPUT_LINES),
    "module_stdout": lines(MOST_OUTPUT_LINES),
    "module_stderr": lines(MOST_OUTPUT_LINES),
}
_TRACEBACK = lines(60)
_WARNING = words(500)
_MOST_WARNINGS = 20
_FIRST_BRACE = re.compile(r"^[ \t]*\{", re.MULTILINE)


class NoAnswerError(Exception):
    """What was printed is no answer of the module's; the message is a sentence about the device without its end."""


def read_answer(printed: str, shape: Fields, difference: Shape | None) -> dict[str, Any]:
    """The result that is in what a module *printed*: its fields of *shape* or of a failure, and what each may have.

    Besides those it has ``changed``, ``failed`` where true, ``warnings`` and ``deprecations`` where there are any, and
    a ``diff`` of the shape *difference* where one is given and the module made one. Raises NoAnswerError where it is no
    JSON object, and ShapeError where it is one that no module of ours returns.
    """
    said = _parsed(printed)
    failed = flag(said.get("failed", False), "failed")
    result: dict[str, Any] = {"changed": flag(said.get("changed", False), "changed")}
    if failed:
        result = {**result, "failed": True, "msg": "The module failed, and gave no reason."}
        result.update((name, each(said[name], name)) for name, each in _FAILURE.items() if said.get(name) is not None)
        result.update(_exception(said.get("exception")))
    else:
        result.update(shape(said))
        if difference is not None and said.get("diff"):
            result["diff"] = difference(said["diff"], "diff")
    result.update(_warnings(said))
    return result


def _parsed(printed: str) -> dict[str, Any]:
    if len(printed) > MOST_BYTES:
        raise ShapeError(f"it has {told_size(len(printed))}, and {told_size(MOST_BYTES)} are more than it can have")
    # Login scripts and the like print beside a module, before it and after it.
    begin = _FIRST_BRACE.search(printed)
    end = printed.rfind("}")
    if begin is None or end < begin.end():
        raise NoAnswerError("gave no answer that a module gives")
    try:
        said = parse(printed[begin.end() - 1 : end + 1], most=MOST_BYTES)
    except JsonError as error:
        raise NoAnswerError(f"gave an answer that {error}") from None
    return said


def _exception(said: Any) -> dict[str, Any]:
    """A traceback, which core 2.19 wraps."""
    if isinstance(said, Mapping):
        event = said.get("event")
        said = event.get("formatted_traceback") if isinstance(event, Mapping) else None
    return {"exception": _TRACEBACK(said, "exception")} if isinstance(said, str) and said.strip() else {}


def _warnings(said: Mapping[str, Any]) -> dict[str, Any]:
    warnings = _told(said, "warnings")
    deprecations = [{"msg": one} for one in _told(said, "deprecations")]
    return {name: found for name, found in (("warnings", warnings), ("deprecations", deprecations)) if found}


def _told(said: Mapping[str, Any], name: str) -> list[str]:
    """The messages among *said*: plain, in an object, or as core 2.19 wraps them."""
    messages = said.get(name) or []
    if not isinstance(messages, list):
        raise ShapeError(f"{name} is not a list")
    if len(messages) > _MOST_WARNINGS:
        raise ShapeError(f"{name} has {len(messages):,} entries, {_MOST_WARNINGS} are the most")
    return [_WARNING(_message(one), f"{name}[{place}]") for place, one in enumerate(messages)]


def _message(one: Any) -> Any:
    if isinstance(one, Mapping) and isinstance(one.get("event"), Mapping):
        one = one["event"]
    return one.get("msg") if isinstance(one, Mapping) else one


def shown_output(printed: Mapping[str, Any]) -> dict[str, Any]:
    """What was printed where a module's answer was expected, for who looks for the cause."""
    return {
        "module_stdout": _FAILURE["module_stdout"](str(printed.get("stdout") or ""), "stdout"),
        "module_stderr": _FAILURE["module_stderr"](str(printed.get("stderr") or ""), "stderr"),
        "rc": int(printed.get("rc") or 0),
    }


def last_words(printed: Mapping[str, Any]) -> str:
    """The last line of what was printed, for a message; standard error first, as causes are told there."""
    for stream in ("stderr", "stdout"):
        found = [line for line in str(printed.get(stream) or "")[-4000:].splitlines() if line.strip()]
        if found:
            return visible(found[-1].strip(), most=120)
    return ""
