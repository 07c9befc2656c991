# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a chip answers that is no swtpm: a script of response codes, delays, and what it tells of itself.

The script is an object of these parts, each of which may be left out; docs/lab.md describes it for people.

``answers``
    A list of rules, of which the first that fits answers in the TPM's place. ``code`` is the response code (a name of
    :data:`CODES`, with or without ``TPM_RC_``, or a number). ``command`` (a name of :data:`COMMANDS`, a number, or a
    list of them) and ``handle`` say which commands it fits, else it fits all. It lets ``after`` of those through, then
    answers ``times`` of them, for ever where that is left out, or only ``until`` that command comes, which succeeds.
``delays``
    The same with ``seconds`` instead of a code: the command is done that much later.
``properties``
    What TPM2_GetCapability tells of a TPM property (a name of :data:`PROPERTIES` or a number): a number, or null where
    it leaves the property out.
``handles``, ``algorithms``
    ``leave_out`` and ``add``: lists of what TPM2_GetCapability does not tell of, or tells of besides.
``page``
    How many entries TPM2_GetCapability tells at most in one answer.
``nv_reads``
    ``at_most``: TPM2_NV_Read of more bytes is refused, as by a chip with so large a buffer. ``cut_to``: it gives no
    more bytes than this, whatever was asked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

# Part 2, 6.5.2.
COMMANDS = {
    "EvictControl": 0x120,
    "Clear": 0x126,
    "HierarchyChangeAuth": 0x129,
    "NV_DefineSpace": 0x12A,
    "CreatePrimary": 0x131,
    "NV_Write": 0x137,
    "DictionaryAttackParameters": 0x13A,
    "SelfTest": 0x143,
    "Startup": 0x144,
    "ActivateCredential": 0x147,
    "NV_Read": 0x14E,
    "PolicySecret": 0x151,
    "Create": 0x153,
    "Import": 0x156,
    "Load": 0x157,
    "MakeCredential": 0x168,
    "ContextLoad": 0x161,
    "ContextSave": 0x162,
    "FlushContext": 0x165,
    "NV_ReadPublic": 0x169,
    "ReadPublic": 0x173,
    "StartAuthSession": 0x176,
    "GetCapability": 0x17A,
    "GetRandom": 0x17B,
    "GetTestResult": 0x17C,
    "HMAC_Start": 0x15B,
    "HMAC": 0x155,
}
# Part 2, 6.6.3; the format-one codes without the number of what they are about.
CODES = {
    "SUCCESS": 0x000,
    "ATTRIBUTES": 0x082,
    "VALUE": 0x084,
    "HIERARCHY": 0x085,
    "HANDLE": 0x08B,
    "AUTH_FAIL": 0x08E,
    "SIZE": 0x095,
    "INTEGRITY": 0x09F,
    "BAD_AUTH": 0x0A2,
    "INITIALIZE": 0x100,
    "FAILURE": 0x101,
    "DISABLED": 0x120,
    "REBOOT": 0x130,
    "AUTH_UNAVAILABLE": 0x12F,
    "COMMAND_CODE": 0x143,
    "NV_RANGE": 0x146,
    "NV_SIZE": 0x147,
    "NV_LOCKED": 0x148,
    "NV_AUTHORIZATION": 0x149,
    "NV_UNINITIALIZED": 0x14A,
    "NV_SPACE": 0x14B,
    "NEEDS_TEST": 0x153,
    "CONTEXT_GAP": 0x901,
    "OBJECT_MEMORY": 0x902,
    "SESSION_MEMORY": 0x903,
    "MEMORY": 0x904,
    "SESSION_HANDLES": 0x905,
    "OBJECT_HANDLES": 0x906,
    "LOCALITY": 0x907,
    "YIELDED": 0x908,
    "CANCELED": 0x909,
    "TESTING": 0x90A,
    "NV_RATE": 0x920,
    "LOCKOUT": 0x921,
    "RETRY": 0x922,
    "NV_UNAVAILABLE": 0x923,
}
# Part 2, 6.13.
PROPERTIES = {
    "FAMILY_INDICATOR": 0x100,
    "LEVEL": 0x101,
    "REVISION": 0x102,
    "DAY_OF_YEAR": 0x103,
    "YEAR": 0x104,
    "MANUFACTURER": 0x105,
    "VENDOR_STRING_1": 0x106,
    "VENDOR_STRING_2": 0x107,
    "VENDOR_STRING_3": 0x108,
    "VENDOR_STRING_4": 0x109,
    "FIRMWARE_VERSION_1": 0x10B,
    "FIRMWARE_VERSION_2": 0x10C,
    "INPUT_BUFFER": 0x10D,
    "NV_BUFFER_MAX": 0x12C,
    "PERMANENT": 0x200,
    "STARTUP_CLEAR": 0x201,
    "LOCKOUT_COUNTER": 0x20E,
    "MAX_AUTH_FAIL": 0x20F,
    "LOCKOUT_INTERVAL": 0x210,
    "LOCKOUT_RECOVERY": 0x211,
}

HEADER = struct.Struct(">HII")
_NO_SESSIONS = 0x8001
# TPM_RC_VALUE about the first parameter.
_WRONG_SIZE = 0x1C4
# What an entry of each list is packed as; TPM_CAP_ALGS, TPM_CAP_HANDLES, TPM_CAP_TPM_PROPERTIES (part 2, 6.12).
_ALGORITHMS, _HANDLES, _PROPERTIES = 0, 1, 6
_ENTRIES = {_ALGORITHMS: struct.Struct(">HI"), _HANDLES: struct.Struct(">I"), _PROPERTIES: struct.Struct(">II")}


class ScriptError(ValueError):
    """The script says nothing that a chip could do; the message says where."""


@dataclass
class _Rule:
    """An element of ``answers`` or ``delays``, with what it has done so far."""

    commands: frozenset[int]
    handle: int | None
    after: int
    times: int | None
    until: int | None
    code: int = 0
    seconds: float = 0.0
    fitted: int = 0
    over: bool = False

    def applies(self, command: bytes) -> bool:
        """Whether it answers this very command; counts it."""
        code = _code(command)
        if self.over or code == self.until or (self.commands and code not in self.commands):
            return False
        # The handles come first after the header, three at most.
        if self.handle is not None and struct.pack(">I", self.handle) not in (
            command[place : place + 4] for place in (10, 14, 18)
        ):
            return False
        self.fitted += 1
        return self.fitted > self.after and (self.times is None or self.fitted <= self.after + self.times)


@dataclass
class Answers:
    """A script that was read, and what of it was played: how a chip answers from its power-up on."""

    script: dict[str, Any]
    answers: list[_Rule] = field(init=False)
    delays: list[_Rule] = field(init=False)

    def __post_init__(self) -> None:
        known = {"answers", "delays", "properties", "handles", "algorithms", "page", "nv_reads"}
        if not isinstance(self.script, dict):
            raise ScriptError("a script is an object")
        _refuse_others(self.script, known, "the script")
        self.answers = [_rule(one, "code") for one in self.script.get("answers", [])]
        self.delays = [_rule(one, "seconds") for one in self.script.get("delays", [])]
        self._properties = {
            _number(name, PROPERTIES, "TPM_PT_", "property"): None if value is None else int(value)
            for name, value in self.script.get("properties", {}).items()
        }
        for name in ("handles", "algorithms"):
            _refuse_others(self.script.get(name, {}), {"leave_out", "add"}, name)
        self._lists = {
            capability: {
                kind: [_number(one, {}, "", name) for one in self.script.get(name, {}).get(kind, [])]
                for kind in ("leave_out", "add")
            }
            for capability, name in ((_HANDLES, "handles"), (_ALGORITHMS, "algorithms"))
        }
        self._page = self.script.get("page")
        self._nv_reads = self.script.get("nv_reads", {})
        _refuse_others(self._nv_reads, {"at_most", "cut_to"}, "nv_reads")

    def delay(self, command: bytes) -> float:
        """Seconds by which *command* is done later."""
        return sum(rule.seconds for rule in self.delays if rule.applies(command))

    def instead(self, command: bytes) -> bytes | None:
        """The answer to *command* in the TPM's place, None where the TPM answers it."""
        ended = [rule for rule in self.answers if rule.until == _code(command) and not rule.over]
        for rule in ended:
            rule.over = True
        if ended:
            return _coded(0)
        for rule in self.answers:
            if rule.applies(command):
                return _coded(rule.code)
        at_most = self._nv_reads.get("at_most")
        if at_most is not None and _code(command) == COMMANDS["NV_Read"] and _nv_read_size(command) > at_most:
            return _coded(_WRONG_SIZE)
        return None

    def as_asked(self, command: bytes) -> bytes:
        """*command* as the TPM is to see it."""
        cut_to = self._nv_reads.get("cut_to")
        if cut_to is not None and _code(command) == COMMANDS["NV_Read"] and _nv_read_size(command) > cut_to:
            return command[:-4] + struct.pack(">H", cut_to) + command[-2:]
        return command

    def retold(self, command: bytes, answer: bytes) -> bytes:
        """*answer* of the TPM to *command* as the chip gives it."""
        if _code(command) != COMMANDS["GetCapability"] or _code(answer) != 0:
            return answer
        capability, first, wanted = struct.unpack_from(">III", command, 10)
        entry = _ENTRIES.get(capability)
        if entry is None:
            return answer
        more = bool(answer[10])
        entries = list(entry.iter_unpack(answer[19:]))
        told = dict((values[0], values) for values in entries)
        # What it could tell of lies up to the last entry, or where that was the last of all, up to the group's end.
        last = max(told, default=first) if more else first | (0xFFFFFF if capability == _HANDLES else 0xFF)
        if capability == _PROPERTIES:
            changes: dict[int, tuple[int, ...] | None] = {
                number: None if value is None else (number, value) for number, value in self._properties.items()
            }
        else:
            lists = self._lists[capability]
            changes = {number: None for number in lists["leave_out"]}
            changes.update({number: (number, 0)[: len(entry.format) - 1] for number in lists["add"]})
        for number, values in changes.items():
            if first <= number <= last:
                told[number] = values  # type: ignore[assignment]
        kept = [values for _number_, values in sorted(told.items()) if values is not None]
        page = min(wanted, self._page or wanted)
        if len(kept) > page:
            kept, more = kept[:page], True
        body = struct.pack(">BII", more, capability, len(kept)) + b"".join(entry.pack(*values) for values in kept)
        return answer[:2] + struct.pack(">I", 10 + len(body)) + answer[6:10] + body


def slow_at_keys(seconds: float) -> dict[str, Any]:
    """The script of a chip that takes *seconds* longer to make a key, which can be minutes where swtpm takes 20 ms."""
    return {"delays": [{"command": ["CreatePrimary", "Create"], "seconds": seconds}]}


def _code(message: bytes) -> int:
    """The command code of a command, the response code of an answer."""
    return HEADER.unpack_from(message)[2]


def _coded(code: int) -> bytes:
    return HEADER.pack(_NO_SESSIONS, HEADER.size, code)


def _nv_read_size(command: bytes) -> int:
    # Its parameters, size and offset, are the last of the command.
    return struct.unpack(">H", command[-4:-2])[0]


def _rule(rule: dict[str, Any], does: str) -> _Rule:
    _refuse_others(rule, {"command", "handle", "after", "times", "until", does}, f"a rule of {does}")
    if does not in rule:
        raise ScriptError(f"a rule without {does}: {rule}")
    commands = rule.get("command", [])
    until = rule.get("until")
    return _Rule(
        commands=frozenset(_command(one) for one in (commands if isinstance(commands, list) else [commands])),
        handle=None if rule.get("handle") is None else _number(rule["handle"], {}, "", "handle"),
        after=int(rule.get("after", 0)),
        times=None if rule.get("times") is None else int(rule["times"]),
        until=None if until is None else _command(until),
        **{"code": _number(rule["code"], CODES, "TPM_RC_", "code")} if does == "code" else {},
        **{"seconds": float(rule["seconds"])} if does == "seconds" else {},
    )


def _command(name: Any) -> int:
    return _number(name, COMMANDS, "TPM2_", "command")


def _number(name: Any, names: dict[str, int], prefix: str, what: str) -> int:
    if isinstance(name, int):
        return name
    text = str(name)
    text = text[len(prefix) :] if prefix and text.startswith(prefix) else text
    if text in names:
        return names[text]
    try:
        return int(text, 0)
    except ValueError:
        raise ScriptError(f"no such {what}: {name}" + (f"; there are {', '.join(names)}" if names else "")) from None


def _refuse_others(given: Any, known: Iterable[str], where: str) -> None:
    if not isinstance(given, dict):
        raise ScriptError(f"{where} is no object: {given}")
    others = sorted(set(given) - set(known))
    if others:
        raise ScriptError(f"{where} has no {', '.join(others)}; there are {', '.join(sorted(known))}")
