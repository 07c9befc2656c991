# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/errors.md explains what the code says: a message has its entry or is on a list, an entry has its messages."""

from __future__ import annotations

import ast
import functools
import re
import types
from pathlib import Path

import pytest
import yaml
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.credentials import SharedAccessKey
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.service import _refusal
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps_management.resource_manager import ResourceManager
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import (
    ENTRIES,
    PAGE,
    entry_of,
    explained,
    parted,
)
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.choices import wrong_values
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.failure import failure_of

COLLECTION = Path(__file__).resolve().parents[2]
PLUGINS = COLLECTION / "plugins"

# What becomes the message of a task as it is, or with the name of the device before it.
TOLD = {
    *("AnsibleActionFail", "AnsibleFilterError", "AnsibleParserError", "AziotError", "ControlError", "DamagedRecord"),
    *("DpsError", "EndorsementAuthNeededError", "InstallationError", "LabelError", "LedgerError", "MalformedError"),
    *("EndedError", "MasterKeyError", "PageError", "PlacementError", "SelectionError", "SoftwareTpmError", "TpmError"),
    "TrustError",
}
# What is a part of another message, which says what it is about and has the entry.
PARTS = {
    *("CertificateError", "Conflict", "DerError", "EndorsementKeyError", "FileError", "JsonError", "KeyFormError"),
    *(
        "LibraryError",
        "NoAnswerError",
        "NoRecord",
        "NotForThisKeyError",
        "NotOrderedError",
        "OptionsError",
        "OutOfTime",
        "PossessionError",
        "PublicAreaError",
    ),
    *("RefusedAnswer", "ShapeError", "SignatureUnknownError", "Unfit", "Unusable"),
    *("WrongClaimError", "_NoElement", "_NoGroup", "_NoKey", "_NoRow", "_NotReadError", "_Wrong"),
    # Of Python and of libraries, which are caught where they are raised.
    *(
        "AnsibleError",
        "AssertionError",
        "AttributeError",
        "ConnectionAbortedError",
        "RuntimeError",
        "ServiceRequestError",
        "ServiceResponseError",
    ),
    *("SystemExit", "TimeoutError", "ValueError", "_LeftAloneError"),
}
# Functions that make a failed result of a sentence.
MAKERS = {"fail_json", "failure", "_given_up"}
# Where the reasons of verdicts are made, as sentences about a device that begin so.
REASONS = ("module_utils/ledger/judgement.py", "module_utils/ledger/key_claims.py", "module_utils/trust/policy.py")
BEGINNINGS = re.compile(r"(its? |the ledger |what is said )")
# Where the reasons of a certificate that is not trusted are made.
TRUST = "module_utils/trust/"
# Where else sentences are returned or yielded that messages are made of.
SAID = (
    *("action/step_start.py", "module_utils/ledger/database.py", "plugin_utils/choices.py"),
    *("module_utils/handover/ordered_units.py", "module_utils/handover/report_intake.py"),
    *("plugin_utils/ordered_unit.py", "module_utils/ledger/ordered.py", "plugin_utils/device_action.py"),
    *("plugin_utils/failure.py", "plugin_utils/identities.py", "plugin_utils/runtime_action.py"),
    *("plugin_utils/service_settings.py", "plugin_utils/start_checks.py"),
)
# Messages that are known by what is filled in, of which the page quotes one each.
FILLED_IN = {
    "Could not …: … answered …: …": "the service's answer, by its status",
    "…, after … tries within retry_budget … s.": "the last try's",
    "… is not there, which …": "a program that opens what makers send",
    "… was not done within … s.": "the same program",
    "its outcome is no object": "a part of: what is said of it is no record",
}
# What is told of a file or a document, to stand behind its name.
END_OF_A_SENTENCE = re.compile(r"(cannot|does|has|is|says|was) ")
FILLED = "…"
# So many words of its own has a message that is not another one's with something around it.
LEAST_WORDS = 3


def constants(tree):
    """Texts by the names that a module gives them."""
    return {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def text_of(node, named):
    """The text of an expression, with what is filled in left out; None for one without a text of its own."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else FILLED
    if isinstance(node, ast.JoinedStr):
        parts = (one if isinstance(one, ast.Constant) else one.value for one in node.values)
        return "".join(text_of(one, named) or FILLED for one in parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (text_of(node.left, named) or FILLED) + (text_of(node.right, named) or FILLED)
    if isinstance(node, ast.IfExp):
        return text_of(node.body, named) or text_of(node.orelse, named)
    if isinstance(node, ast.Name) and node.id in named:
        return text_of(named[node.id], {})
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        found = text_of(node.func.value, named)
        return found and re.sub(r"\{[^{}]*\}", FILLED, found)
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "explained":
        return text_of(node.args[0], named)
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "missing_required_lib":
        return f"Failed to import the required Python library ({text_of(node.args[0], named) or FILLED})"
    return None


def name_of(function):
    return getattr(function, "id", getattr(function, "attr", ""))


def calls(tree):
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def trees():
    """(Path below plugins, tree, texts by name) of each file of the plugins; names of the others' are known too."""
    found = [(str(path.relative_to(PLUGINS)), ast.parse(path.read_text())) for path in sorted(PLUGINS.rglob("*.py"))]
    everywhere = {name: one for _path, tree in found for name, one in constants(tree).items() if name.isupper()}
    return [(path, tree, {**everywhere, **constants(tree)}) for path, tree in found]


def told_in(path, tree, named):
    """(Line, message) for each sentence of a file that becomes the message of a task, filled in with nothing."""
    for call in calls(tree):
        name = name_of(call.func)
        given = [one.value for one in call.keywords if one.arg == "msg"]
        if name in TOLD | MAKERS and not (name == "failure" and path.startswith("module_utils/module/")):
            given = given or call.args[:1]
            hint = [one.value for one in call.keywords if one.arg == "hint"] + call.args[2:3]
            given += hint if name.endswith("Error") else []
            yield call.lineno, " ".join(filter(None, (text_of(one, named) for one in given)))
        elif name in ("Finding", "DerError") and path.startswith(TRUST) and len(call.args) == 2:
            yield call.lineno, f"its endorsement key certificate {text_of(call.args[1], named) or FILLED}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            if any(isinstance(key, ast.Constant) and key.value == "skipped" for key in node.keys):
                continue
            said = zip(node.keys, node.values, strict=True)
            yield from (
                (node.lineno, text_of(value, named) or "")
                for key, value in said
                if isinstance(key, ast.Constant) and key.value == "msg"
            )
    if path in REASONS:
        yield from ((line, told) for line, told in texts(tree, named) if BEGINNINGS.match(told))


def texts(tree, named):
    """(Line, text) of each text, whole where parts of it are filled in."""
    parts = {id(one) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for one in ast.walk(node)}
    parts -= {id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)}
    # What documents the code is told to nobody.
    parts |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in parts:
            yield node.lineno, text_of(node, named) or ""


def words_of(told):
    """Its own words, without what is said at the end of many."""
    return re.findall(r"[A-Za-z]{2,}", re.sub(r"No(thing|body)( was| is)?( changed| written)?\.|msg", "", told))


@functools.cache
def messages():
    """(Place, message) for all of the plugins."""
    return [
        (f"{path}:{line}", told)
        for path, tree, named in trees()
        for line, told in told_in(path, tree, named)
        if len(words_of(told)) >= LEAST_WORDS and not END_OF_A_SENTENCE.match(told)
    ]


def also_said():
    """Sentences that messages are made of, which need no entry by themselves."""
    for path, tree, named in trees():
        for call in calls(tree):
            if name_of(call.func) in PARTS and call.args:
                yield text_of(call.args[0], named) or ""
        if path in SAID:
            yield from (told for _line, told in texts(tree, named) if len(words_of(told)) > LEAST_WORDS)
    for path in COLLECTION.glob("roles/*/tasks/*.yml"):
        for task in tasks(yaml.safe_load(path.read_text())):
            for text in (task.get("vars") or {}).values():
                yield from re.findall(r"'([^']*)'", str(text))
    for path in COLLECTION.glob("roles/*/vars/main.yml"):
        for name, refusals in (yaml.safe_load(path.read_text()) or {}).items():
            if name.endswith(("_refusals", "_wrong")) and isinstance(refusals, list):
                yield from (FILLED.join(re.findall(r'"([^"]*)"', one)) for one in refusals)


def tasks(node):
    for one in node if isinstance(node, list) else []:
        if isinstance(one, dict):
            yield one
            for inner in ("block", "rescue", "always", "tasks"):
                yield from tasks(one.get(inner))


@functools.cache
def of_yaml():
    """(Place, message) for each message that a task of a role or a playbook fails with."""
    found = []
    for path in [*COLLECTION.glob("roles/*/tasks/*.yml"), *COLLECTION.glob("playbooks/*.yml")]:
        if "lab" in path.parts or path.name.startswith("lab_"):
            continue
        for task in tasks(yaml.safe_load(path.read_text())):
            for action, option in (("fail", "msg"), ("assert", "fail_msg")):
                told = (task.get(f"ansible.builtin.{action}") or {}).get(option)
                if told:
                    found.append((f"{path.relative_to(COLLECTION)}: {task['name']}", told))
    return found


@functools.cache
def page():
    """Entry to (what it says, the messages that it quotes), as the page has them."""
    text = (COLLECTION / "docs" / PAGE).read_text()
    found = {}
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        head, _line, body = part.partition("\n")
        body = re.split(r"^## ", body, flags=re.MULTILINE)[0]
        found[head.strip()] = (body, [line[4:].strip() for line in body.splitlines() if line.startswith("    ")])
    return found


def test_every_kind_of_error_is_a_message_or_a_part_of_one():
    raised = {
        name_of(node.exc.func)
        for _path, tree, _named in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    }
    kinds = {name for name in raised if name.lstrip("_")[:1].isupper()}
    assert not TOLD & PARTS
    assert kinds - TOLD - PARTS == set(), "is it a message, or a part of one?"
    assert (TOLD | PARTS) - kinds == set(), "on a list and never raised"


def test_every_message_has_an_entry_or_is_on_the_list():
    assert len(messages()) > 300
    without = [(place, told) for place, told in messages() if entry_of(told) is None]
    assert [one for one in without if one[1] not in FILLED_IN] == []
    assert set(FILLED_IN) <= {told for _place, told in without}, "on the list, and not said or explained"


def test_every_message_of_a_task_ends_with_its_entry_or_has_it_made():
    """What is the same each time has its end written, the right one; what is filled in goes through a filter."""
    for place, told in of_yaml():
        words, entry = parted(told)
        if "{{" in told and not entry:
            assert re.search(r"\| tpmfleet\.azure_dps\.explained\b", told), f"{place}: {told}"
        else:
            assert entry and entry == entry_of(words), f"{place} should end with {explained(words)[len(words) :]}"


def test_an_entry_that_is_named_anywhere_is_on_the_page():
    places = [*PLUGINS.rglob("*.py"), *COLLECTION.glob("docs/**/*.md"), COLLECTION / "README.md"]
    places += [*COLLECTION.glob("roles/*/*/*.yml"), *COLLECTION.glob("playbooks/*.yml")]
    named = {name for path in places for name in re.findall(r"\berrors\.md#([\w-]+)", path.read_text())}
    assert len(named) > 8 and named - set(page()) <= {"NAME"}


def test_every_entry_is_on_the_page_and_every_entry_of_the_page_is_said():
    assert list(page()) == sorted(page(), key=list(page()).index) and set(page()) == set(ENTRIES)
    said = {entry_of(told) for _place, told in [*messages(), *of_yaml()]} | {entry_of(told) for told in also_said()}
    made = {entry_of(told) for told in made_for_real()}
    assert set(ENTRIES) - said - made == set(), "explained, and nobody says it"


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_quotes_its_message_and_says_what_to_do_and_which_units_to_pull(entry):
    body, quoted = page()[entry]
    assert quoted, "quotes no message"
    for one in quoted:
        assert entry_of(one) == entry, f"'{one}' is explained by {entry_of(one)}"
    assert re.search(r"^\*\*Do:\*\* \S", body, re.MULTILINE), "does not say what to do"
    assert re.search(r"^\*\*Units:\*\* \S", body, re.MULTILINE), "does not say what becomes of the units"
    for name in re.findall(r"\]\(([\w-]+\.md)", body):
        assert (COLLECTION / "docs" / name).exists(), name


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_message_with_its_end_fits_a_terminal_and_is_taken_apart_again(entry):
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", entry)
    end = f" ({PAGE}#{entry})"
    # Half of a line of 80 is left for the cause.
    assert len(end) <= 44
    words = page()[entry][1][0]
    assert explained(words) == words + end and explained(words + end) == words + end
    assert parted(words + end) == (words, entry)


def made_for_real():
    """Messages as the code makes them, of those that no text in it has whole."""
    for status in (400, 401, 403, 404, 409, 412, 429, 500, 503):
        answer = types.SimpleNamespace(status_code=status, content=b"", reason="said so", headers={})
        access = SharedAccessKey("fleet.azure-devices-provisioning.net", "station", b"key")
        yield str(_refusal("read enrollment pump-1", access, answer, False))
    for told in (
        "root@192.0.2.7: Permission denied (publickey).",
        "Host key verification failed.",
        "ssh: Could not resolve hostname rack1-slot07: Name or service not known",
        "Missing sudo password",
        "Connection refused",
    ):
        failed = {"msg": f"Failed to connect to the host via ssh: {told}", "unreachable": True}
        yield failure_of(failed, types.SimpleNamespace(vars={}), "rack1-slot07", unreachable=True).reason
    undefined = {"msg": "The task includes an option with an undefined variable. 'tpmfleet_ledger' is undefined"}
    task = types.SimpleNamespace(
        vars={}, action="tpmfleet.azure_dps.device_records", resolved_action=None, run_once=True
    )
    yield failure_of(undefined, task, "rack1-slot07").reason
    refused = types.SimpleNamespace(status_code=403, content=b"", headers={})
    error = types.SimpleNamespace(response=refused, message="said so")
    yield str(ResourceManager._refusal(None, "read the DPS instance fleet-dps", error))
    for told in wrong_values(COLLECTION / "roles/ownership", {"tpmfleet_ownership_profile": {"rack1-slot03": "SDK"}}):
        yield told[1]
    crashed = {"msg": "MODULE FAILURE: No start of json char found", "module_stderr": "Traceback …\nMemoryError"}
    yield failure_of(
        crashed, types.SimpleNamespace(**{**vars(task), "action": "tpmfleet.azure_dps.tpm_info"}), "x"
    ).reason


def forms():
    """An expression for each message and for each that ends where a sentence or clause of it does."""
    said = [told for _place, told in messages()] + list(also_said())
    said += [re.sub(r"\{\{.*?\}\}|\{%.*?%\}", FILLED, told, flags=re.DOTALL) for _place, told in of_yaml()]
    # What is put together of texts, and of what is filled in between them.
    said += [FILLED.join([*re.findall(r"'([^']*)'", told), ""]) for _place, told in of_yaml() if " ~ " in told]
    said += [parted(told)[0] for told in made_for_real()]
    found = set()
    for told in said:
        ends = [place.end() for place in re.finditer(r"[.;:,?](?= |$)|$", told)]
        for end in ends:
            words = told[:end].rstrip(";:,")
            if len(words_of(words)) >= LEAST_WORDS or end == len(told):
                found.add(".+".join(re.escape(one) for one in words.split(FILLED)))
    return found


def test_a_quoted_message_is_one_that_is_said():
    expressions = [re.compile(rf"(\S+: )?{one}\.?") for one in forms() if re.search(r"[A-Za-z]{3}", one)]
    unsaid = [
        one
        for _body, quoted in page().values()
        for one in quoted
        if not any(expression.fullmatch(one) for expression in expressions)
    ]
    assert unsaid == []
