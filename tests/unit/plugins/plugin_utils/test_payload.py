# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module comes to the same, sent by itself or by Ansible, and what it is sent with is all that it needs."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import secrets
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.runtime import basic, going_on
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils import payload as payloads
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import DeviceAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.payload import OptionsError, payload_of
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.returned import RETURNED
from tpm_rack.answers import COMMANDS

ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
PLUGINS = Path(payloads.__file__).resolve().parents[1]
DEVICE_PYTHON = "/usr/bin/python3"
MODULES = sorted(RETURNED)


def parts_of(module):
    """The parsed sources that are sent for *module*, the runtime's left out."""
    return [ast.parse(text) for name, text in payloads._sources(module).items()]


# What the runtime has


@pytest.mark.parametrize("module", MODULES)
def test_the_runtime_has_all_that_a_module_uses(module):
    for tree in parts_of(module):
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ansible."):
                assert node.module == "ansible.module_utils.basic"
                assert all(hasattr(basic, one.name) for one in node.names), ast.unparse(node)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "module":
                instance = ("params", "check_mode", "_diff", "no_log_values")
                assert node.attr in instance or hasattr(basic.AnsibleModule, node.attr), ast.unparse(node)


@pytest.mark.parametrize("module", MODULES)
def test_all_that_a_part_imports_of_this_collection_is_sent(module):
    sources = payloads._sources(module)
    for name, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ImportFrom) or (node.module or "").partition(".")[0] in sys.stdlib_module_names:
                continue
            package = name.split(".")[: -node.level] if node.level else []
            whole = ".".join([*package, *([node.module] if node.module else [])])
            if whole.startswith(payloads.PACKAGE):
                within = {f"{whole}.{one.name}" for one in node.names}
                assert whole in sources or within <= set(sources), f"{name}: {ast.unparse(node)}"


@pytest.mark.parametrize("module", MODULES)
def test_the_options_of_a_module_are_of_kinds_that_the_runtime_knows(module, monkeypatch):
    loaded = importlib.import_module(f"{payloads.PACKAGE}.modules.{module}")
    asked = {}

    def ask(**specification):
        asked.update(specification)
        raise SystemExit

    monkeypatch.setattr(loaded, "AnsibleModule", ask)
    with pytest.raises(SystemExit):
        loaded.main()
    assert set(asked) <= {"argument_spec", "required_if", "required_by", "supports_check_mode"}
    assert asked["supports_check_mode"] is True
    options = list(asked["argument_spec"].values())
    # Of an option in an option nobody has made a secret or a path so far.
    for option in options:
        inner = list(option.get("options", {}).values())
        assert not any("no_log" in one or one.get("type") == "path" for one in inner)
        for one in (option, *inner):
            assert set(one) <= {"type", "default", "choices", "elements", "options", "required", "no_log"}, option
            assert one["type"] in ("str", "int", "float", "bool", "dict", "list", "path")


def test_every_action_that_asks_a_device_has_its_payload_before_a_process_is_forked(monkeypatch):
    built = []
    monkeypatch.setattr(
        "ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action.payload_of", built.append
    )
    type("ActionModule", (DeviceAction,), {"MODULE": "tpm_info"})
    assert built == ["tpm_info"]


# The same either way

CERTAIN = {
    "info": {"tpm_info": {}},
    "info with what it has not": {"tpm_info": {"tctl": "x", "timeout": 5}},
    "info in no time": {"tpm_info": {"timeout": 0}},
    "info of nothing": {"tpm_info": {"tcti": "device:/nowhere/tpm0"}},
    "keys": {"tpm_endorsement_key_info": {"all_certificates": True, "timeout": "60"}},
    "a secret": {"tpm_endorsement_key_info": {"endorsement_auth": "swtpm", "template": "tcg"}},
    "a claim": {"tpm_ownership": {}, "check_mode": True},
    "a clear without its word": {"tpm_ownership": {"state": "cleared"}},
    "handles": {"tpm_ownership": {"remove_handles": "0x81000002,nowhere"}},
    "no client": {"dps_client": {"state": "absent"}, "check_mode": True, "diff": True},
    "a registration that is not unless": {"dps_register": {"unless_assigned_by": {"hubs": "a,b", "id": "x"}}},
}


def test_a_module_comes_to_the_same_by_itself_and_by_ansible(software_tpm, tmp_path):
    tasks = []
    for number, task in enumerate(CERTAIN.values()):
        (name,) = [key for key in task if key in RETURNED]
        options = dict(task[name])
        if name.startswith("tpm_"):
            options.setdefault("tcti", software_tpm.tcti)
        others = {key: value for key, value in task.items() if key != name}
        run = {f"tpmfleet.azure_dps.{name}": options, "register": f"said_{number}", "ignore_errors": True}
        tasks.append({**run, "throttle": 1, **others})
    said = "[" + ", ".join(f"said_{number}" for number in range(len(tasks))) + "]"
    tasks.append({"ansible.builtin.debug": {"msg": f"{{{{ {said} | to_json | kept('{tmp_path}/' ~ way) }}}}"}})
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    device = {"ansible_connection": "local", "ansible_python_interpreter": DEVICE_PYTHON}
    ways = {"itself": True, "ansible": False}
    hosts = {way: {**device, "way": way, "ansible_pipelining": pipelining} for way, pipelining in ways.items()}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    done = subprocess.run(
        [str(ANSIBLE_PLAYBOOK), "--inventory", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"), "-vvv"],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    # The two went different ways: a file of its own is what only Ansible's has.
    assert "AnsiballZ_tpm_info.py" in done.stdout
    assert re.search(r"^<itself> EXEC /bin/sh -c '?/usr/bin/python3( &&|$)", done.stdout, re.MULTILINE), done.stdout
    itself, ansible = (
        json.loads((tmp_path / way).read_text().replace(f"{way}: ", "HOST: ")) for way in ("itself", "ansible")
    )
    for name, mine, theirs in zip(CERTAIN, itself, ansible, strict=True):
        # Of an exception that a library raised, Ansible's tells where in its own files, which are not there.
        for one in (mine, theirs):
            one.pop("exception", None)
        assert mine == theirs, name
    assert {True, False} == {one["failed"] for one in itself}


# What is sent


def test_options_that_are_wrong_are_told_in_ansibles_words_and_nothing_is_sent():
    with pytest.raises(
        OptionsError, match=r"^Unsupported parameters for \(tpmfleet.azure_dps.tpm_info\) module: a. Sup"
    ):
        payload_of("tpm_info").program({"a": 1})
    with pytest.raises(OptionsError, match="value of template must be one of: auto, tcg, sdk, nv$"):
        payload_of("tpm_endorsement_key_info").program({"template": "x"})


def run(program, **environment):
    """What a device's Python makes of a *program*: (exit code, the result, all it printed)."""
    done = subprocess.run(
        [DEVICE_PYTHON],
        input=program,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env={"PATH": os.environ["PATH"], **environment},
    )
    return done.returncode, json.loads(done.stdout), done.stdout.decode()


def test_a_path_is_one_of_the_device(tmp_path):
    program = payload_of("software_tpm").program(
        {"unit": "x", "family": "none", "state_dir": "$PLACE/of-the-tpm"}, check_mode=True
    )
    assert b'"$PLACE/of-the-tpm"' in program
    _code, said, _printed = run(program, PLACE=str(tmp_path))
    assert "directory" in said["changes"]


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """The program of a module whose main has the given body; ``text`` and ``secret`` are its options."""

    def make(body, **given):
        (tmp_path / "modules").mkdir(exist_ok=True)
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        (tmp_path / "modules" / "made_up.py").write_text(
            "from ansible.module_utils.basic import AnsibleModule\n\n\ndef main():\n"
            '    spec = {"text": {"type": "str"}, "secret": {"type": "dict", "no_log": True}}\n'
            f"    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)\n{lines}"
        )
        package = "ansible_collections.tpmfleet.azure_dps.plugins.modules.made_up"
        spec = importlib.util.spec_from_file_location(package, tmp_path / "modules" / "made_up.py")
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        monkeypatch.setitem(sys.modules, package, loaded)
        # What is remembered of another module of that name is not this one's.
        monkeypatch.setattr(payloads, "_source", payloads._source.__wrapped__)
        monkeypatch.setattr(payloads, "_path", lambda name: tmp_path.joinpath(*name.split(".")).with_suffix(".py"))
        arguments = {"text": "a text", "secret": {"auth": "of-the-owner", "longer": "of-the-owner-too", "pin": 4711}}
        return payloads.Payload("made_up").program(arguments, **given)

    return make


def test_a_slow_chip_makes_each_key_once_and_no_secret_is_left_meanwhile(software_tpm):
    software_tpm.stop()
    software_tpm.answer_by({"delays": [{"command": "CreatePrimary", "seconds": going_on.PATIENCE + 1}]})
    software_tpm.start()
    options = {"tcti": software_tpm.tcti, "storage_root_key": True, "endorsement_auth": "of-the-endorsement"}
    name = secrets.token_hex(16)
    left = Path(going_on.DIRECTORY) / name

    def call(*, ends):
        goes_on = {"name": name, "ends": ends, "seconds": 60}
        return run(payload_of("device_read").program(options, goes_on=goes_on))

    code, said, _printed = call(ends=True)
    assert (code, said) == (going_on.STILL_AT_WORK_CODE, going_on.STILL_AT_WORK)
    holders = []
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            holders += [descriptor.parents[1]] if os.readlink(descriptor) == str(left) else []
    (process,) = holders
    assert b"of-the-endorsement" not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    code, said, printed = call(ends=False)
    assert code == 0 and said["endorsement_key"] and set(said["kept_keys"]) >= {"endorsement_key", "storage_root_key"}
    assert "of-the-endorsement" not in printed and not left.exists()
    assert software_tpm.commands.count(COMMANDS["CreatePrimary"]) == 2


def test_what_is_secret_is_in_nothing_that_a_module_says(made_up):
    code, said, printed = run(
        made_up(
            "module.warn('It is of-the-owner-too.')\n"
            "module.no_log_values.add('found')\n"
            "module.exit_json(whole=module.params['secret']['auth'], number=47110, list=[('was found', True)],\n"
            "                 text=module.params['text'], params=module.params)"
        )
    )
    assert code == 0
    assert said["whole"] == said["number"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    assert (said["list"], said["warnings"], said["text"]) == ([["was ********", True]], ["It is ********."], "a text")
    assert "of-the-owner" not in printed and "4711" not in printed


@pytest.mark.parametrize("body", ["raise ValueError(f\"of {module.params['secret']['auth']}\")", "pass"])
def test_a_module_that_crashes_says_where_and_no_secret(made_up, body):
    code, said, printed = run(made_up(body))
    words = "RuntimeError: it returned without a result" if body == "pass" else "ValueError: of ********"
    assert (code, said["failed"], said["msg"]) == (1, True, f"The module crashed: {words}")
    assert body == "pass" or 'made_up.py", line 7, in main\n    raise ValueError' in said["exception"]
    assert "of-the-owner" not in printed


def test_a_command_is_not_waited_for_longer_than_it_runs(made_up):
    begin = time.monotonic()
    _code, said, _printed = run(
        made_up(
            "found = module.run_command(['/bin/sh', '-c', 'sleep 60 & echo out; echo $PLACE >&2; exit 3'])\n"
            "away = module.run_command(['$PLACE/nothing'])\n"
            "module.exit_json(found=found)"
        ),
        PLACE="/here",
    )
    assert time.monotonic() - begin < 30
    assert said["msg"] == "Error executing command: [Errno 2] No such file or directory: '/here/nothing'"
    assert (said["rc"], said["failed"]) == (2, True)


def test_a_trace_of_a_module_is_in_the_log_without_its_secrets(monkeypatch):
    logged = []
    syslog = importlib.import_module("syslog")
    monkeypatch.setattr(syslog, "syslog", lambda _level, words: logged.append(words))
    given = {"params": {"url": "http://a:b@c/", "auth": "hidden\0", "other": "is hidden\0"}, "secrets": set()}
    for name, value in {**given, "name": "x", "log_info": "by me:"}.items():
        monkeypatch.setattr(basic.Given, name, value)
    spec = {"url": {"type": "str"}, "auth": {"type": "str", "no_log": True}, "other": {"type": "str"}}
    basic.AnsibleModule(argument_spec=spec)
    assert logged == ["by me: Invoked with url=http://a:********@c/ auth=NOT_LOGGING_PARAMETER other=is ********"]
    monkeypatch.setattr(basic.Given, "no_log", True)
    basic.AnsibleModule(argument_spec=spec)
    assert len(logged) == 1
