# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is told to set something can: what an advice names exists, on the line too, and reaches the task that gave it."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path

import yaml
from ansible_collections.tpmfleet.azure_dps.plugins.doc_fragments import tpm

COLLECTION = Path(__file__).resolve().parents[2]
TPM_ROOM = sorted((COLLECTION / "plugins/module_utils/tpm").glob("*.py"))
TPM_MODULES = ("tpm_endorsement_key_info", "tpm_ownership", "tpm_possession")
# Options whose name is a word that sentences use for other things.
WORDS = {"state", "template", "timeout", "challenge", "endorsement_key", "storage_root_key"}
HINT = "hint"
# Names in sentences that are not ours: Ansible's variables, settings and keywords, a maker's tool, a statement of SQL.
OTHERS = {
    "ansible_become",
    "ansible_become_password",
    "ansible_host",
    "ansible_port",
    "https_proxy",
    "inject_facts_as_vars",
    "lock_timeout",
    "no_log",
    "no_proxy",
    "schema_version",
    "tpm_device_provision",
}


def texts(node):
    """The text of an expression; what is filled in is left out."""
    parts = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return "".join(parts)


def hints():
    """(Place, text) of every advice of the TPM's side."""
    for path in TPM_ROOM:
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or not getattr(call.func, "id", "").endswith("Error"):
                continue
            given = [one.value for one in call.keywords if one.arg == HINT] + call.args[2:3]
            for advice in given:
                yield f"{path.name}:{call.lineno}", texts(advice)


def options(module):
    """The options of a module, as its documentation names them."""
    tree = ast.parse((COLLECTION / f"plugins/modules/{module}.py").read_text())
    [text] = [
        one.value.value
        for one in tree.body
        if isinstance(one, ast.Assign) and getattr(one.targets[0], "id", "") == "DOCUMENTATION"
    ]
    said = yaml.safe_load(text)
    found = set(said.get("options", ()))
    for fragment in said["extends_documentation_fragment"]:
        name, _dot, part = fragment.removeprefix("tpmfleet.azure_dps.").partition(".")
        if name == "tpm":
            found |= set(yaml.safe_load(getattr(tpm.ModuleDocFragment, (part or "documentation").upper()))["options"])
    return found


def role_files(kind):
    return sorted(COLLECTION.glob(f"roles/*/{kind}/*.yml"))


def defaults():
    """Name to text of every default and every variable of a role."""
    found = {}
    for path in role_files("defaults") + role_files("vars"):
        found.update({name: str(value) for name, value in (yaml.safe_load(path.read_text()) or {}).items()})
    return found


def tasks(node):
    """Every task in what a task file holds."""
    for one in node if isinstance(node, list) else []:
        yield one
        for inner in ("block", "rescue", "always"):
            yield from tasks(one.get(inner))


# Those that have the module of another name run.
RUN_BY = {"tpm_endorsement_key_info": "device_read"}


def calls(module):
    """The arguments of each task of the roles that calls *module*."""
    for path in role_files("tasks"):
        for task in tasks(yaml.safe_load(path.read_text())):
            for name in (module, RUN_BY.get(module, module)):
                if f"tpmfleet.azure_dps.{name}" in task:
                    yield path.parents[1].name, task[f"tpmfleet.azure_dps.{name}"] or task["args"]
                    break


def variables_in(text, known, seen=()):
    """The names that a template reads, and those that their defaults read."""
    for name in re.findall(r"\b[a-z_]\w+\b", str(text)):
        if name.startswith("tpmfleet_") or (name.startswith("ownership_") and name not in known):
            yield name
        elif name in known and name not in seen:
            yield name
            yield from variables_in(known[name], known, (*seen, name))


def read_by_the_line():
    """Every variable that a role, a playbook or a plugin reads."""
    found = set(defaults())
    places = [*COLLECTION.glob("roles/**/*.yml"), *COLLECTION.glob("playbooks/*.yml")]
    text = "\n".join(path.read_text() for path in places)
    found |= set(re.findall(r"\btpmfleet_[a-z0-9_]+\b(?=[^a-z0-9_])", re.sub(r"(?m)^\s*#.*$", "", text)))
    for path in COLLECTION.glob("plugins/*/*.py"):
        found |= set(re.findall(r"""["'](tpmfleet_[a-z0-9_]+)["']""", path.read_text()))
    # Options of a role that has no default for them.
    for path in role_files("meta"):
        specs = (yaml.safe_load(path.read_text()) or {}).get("argument_specs") or {}
        found |= {name for spec in specs.values() for name in spec.get("options") or {}}
    return found


def test_there_is_advice_to_look_at():
    assert len(list(hints())) > 30


def test_every_option_in_an_advice_comes_with_its_variable_of_the_line():
    known = read_by_the_line()
    all_options = set().union(*map(options, TPM_MODULES)) - WORDS
    for place, advice in hints():
        named = {one for one in all_options if re.search(rf"\b{one}\b", advice)}
        if not named:
            continue
        line = set(re.findall(r"\b(?:tpmfleet|ownership|endorsement_key|possession)_\w+\b", advice)) & known
        assert line, f"{place} advises to set {', '.join(sorted(named))} and names no variable of the line: {advice}"


def test_every_variable_in_a_message_exists():
    known = read_by_the_line()
    for path in [*COLLECTION.glob("plugins/**/*.py"), *role_files("tasks"), *role_files("vars")]:
        for name in re.findall(r"\btpmfleet_[a-z0-9]\w*[a-z0-9]\b(?!\.|\*|/|')", path.read_text()):
            # The program and package of the client, and variables that users name (enrollment_settings).
            if not name.startswith(("tpmfleet_dps_client", "tpmfleet_azure", "tpmfleet_enrollment_")):
                assert name in known, f"{path.relative_to(COLLECTION)} names {name}, which nothing reads"


def names_in(document):
    """Every key and every value of a document, as YAML or JSON holds it, and what its sentences mark as one."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield str(name)
            yield from names_in(value)
    elif isinstance(document, list):
        for one in document:
            yield from names_in(one)
    elif isinstance(document, str):
        yield document
        yield from re.findall(r"\b[VOCR]\(([a-z_0-9]+)\)", document)


def documents():
    """What a user can look up: the documentation of plugins, and the schemas of what they read and write."""
    for path in COLLECTION.glob("plugins/*/*.py"):
        for one in ast.parse(path.read_text()).body:
            text = one.value.value if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant) else None
            if isinstance(text, str) and "description:" in text:
                yield from yaml.safe_load_all(text)
        for one in ast.walk(ast.parse(path.read_text())) if path.parent.name == "doc_fragments" else ():
            if isinstance(one, ast.Constant) and isinstance(one.value, str) and "options:" in one.value:
                yield yaml.safe_load(one.value)
    for path in COLLECTION.glob("meta/*.json"):
        yield json.loads(path.read_text())


def messages():
    """(Place, text) of every sentence in the plugins: texts with a space, and no documentation."""
    for path in sorted(COLLECTION.glob("plugins/**/*.py")):
        tree = ast.parse(path.read_text())
        documentation = {
            id(one.value)
            for node in ast.walk(tree)
            for one in (node.body if isinstance(getattr(node, "body", None), list) else [])
            if isinstance(one, ast.Expr)
        }
        for one in ast.walk(tree):
            text = one.value if isinstance(one, ast.Constant) and id(one) not in documentation else None
            if isinstance(text, str) and " " in text and "\n" not in text:
                yield f"{path.relative_to(COLLECTION)}:{one.lineno}", text


def test_every_name_in_a_message_is_of_something_that_exists():
    """An option, a variable, a field, a module, a role, a playbook; of others' it is Ansible's, or a program."""
    known = {name for document in documents() for name in names_in(document)} | read_by_the_line()
    known |= {path.stem for path in [*COLLECTION.glob("plugins/*/*.py"), *COLLECTION.glob("playbooks/*.yml")]}
    known |= {path.name for path in COLLECTION.glob("roles/*")}
    found = set()
    for place, text in messages():
        for name in re.findall(r"(?<![\w/.{-])[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?![\w({=])", text):
            if name.startswith(("tpm2_", "swtpm_")) or name in OTHERS:
                found.add(name)
                continue
            assert name in known, f"{place} names {name}, which is nothing: {text}"
    programs = {name for name in found if name.startswith(("tpm2_", "swtpm_"))}
    assert programs and all(map(shutil.which, programs)), programs


def test_what_is_advised_reaches_the_task_that_advises_it():
    """A step that prints the advice has the variable in the arguments of its task."""
    known = defaults()
    reach = {
        "tpm_endorsement_key_info": {
            "tpmfleet_tcti",
            "tpmfleet_tpm_timeout",
            "tpmfleet_endorsement_auth",
            "tpmfleet_endorsement_key_template",
            "tpmfleet_replace_persistent_keys",
        },
        "tpm_ownership": {
            "tpmfleet_tcti",
            "tpmfleet_tpm_timeout",
            "tpmfleet_endorsement_auth",
            "tpmfleet_key_version",
            "tpmfleet_previous_key_version",
            "tpmfleet_replace_persistent_keys",
            "ownership_lockout_auth_trusted",
            "ownership_max_tries",
        },
        "tpm_possession": {"tpmfleet_tcti", "tpmfleet_tpm_timeout", "tpmfleet_endorsement_auth"},
    }
    for module, wanted in reach.items():
        roles = {"tpm_endorsement_key_info": "endorsement_key", "tpm_ownership": "ownership"}
        found = [one for role, one in calls(module) if role == roles.get(module, "possession")]
        assert found, module
        for arguments in found:
            read = set(variables_in(arguments, known))
            assert wanted <= read, (module, sorted(wanted - read))


def rows():
    """Variable to the modules that it reaches, as the table of the docs says."""
    text = (COLLECTION / "docs/chips-and-makers.md").read_text()
    table = text.partition("| Variable |")[2].partition("\n\n")[0]
    head, _line, *body = ("| Variable |" + table).splitlines()
    modules = [one.strip(" `") for one in head.strip("|").split("|")][1:]
    for line in body:
        name, *marks = [one.strip(" `") for one in line.strip("|").split("|")]
        yield name, {module for module, mark in zip(modules, marks, strict=True) if mark != "-"}, set(modules)


def test_the_table_says_which_authorization_reaches_which_task():
    known = defaults()
    table = list(rows())
    assert len(table) >= 5
    for name, reached, modules in table:
        for module in modules:
            found = any(name in set(variables_in(arguments, known)) for _role, arguments in calls(module))
            assert found == (module in reached), f"{name} reaches {module}: {found}"
