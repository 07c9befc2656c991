# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs on devices is behind the wall: its results are held to its documentation, its secrets kept off disks."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest
import yaml
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import DeviceAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.failure import CONTROLLER_ACTIONS, DEVICE_MODULES
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.returned import DIFFERENCES, RETURNED
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.shape import Fields, ShapeError

COLLECTION = Path(__file__).resolve().parents[2]
MODULES = COLLECTION / "plugins" / "modules"
# The action returns what it judged, and not what the device said.
JUDGED = {"tpm_possession"}
# What it adds of its own.
FOUND_HERE = {
    ("tpm_ownership", "proven"),
    ("tpm_ownership", "key_version"),
    ("device_read", "record"),
    ("device_read", "proven"),
    ("device_read", "installed"),
    ("device_read", "later"),
    ("device_work", "order"),
    ("device_work", "record"),
    ("doctor_device", "findings"),
}


def assigned(module, name):
    """The text that the source of *module* gives to *name*."""
    for node in ast.parse((MODULES / f"{module}.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"{module} has no {name}")


def returned(module):
    """The RETURN documentation of *module*."""
    return yaml.safe_load(assigned(module, "RETURN"))


def wrong_of(documented):
    """A value that is not of the type that is *documented*."""
    return ["a list"] if documented["type"] != "list" else "text"


def hold(shape, documented, where):
    """Asserts that the *shape* of an object has the fields that are *documented*, of their types."""
    assert set(shape.fields) == set(documented), where
    for name, field in documented.items():
        place = f"{where}.{name}"
        with pytest.raises(ShapeError):
            shape.fields[name](wrong_of(field), place)
        if field["returned"] == "success":
            assert name in shape.required, f"{place} is documented as always there"
        sample = field.get("sample")
        if isinstance(sample, str) and sample.endswith("..."):
            continue
        if sample is not None and not (
            isinstance(sample, dict) and any(str(v).endswith("...") for v in sample.values())
        ):
            assert shape.fields[name](sample, place) == sample, place
        if "contains" in field and isinstance(shape.fields[name], Fields):
            hold(shape.fields[name], field["contains"], place)


@pytest.mark.parametrize("module", sorted(set(RETURNED) - JUDGED))
def test_a_shape_is_the_documentation(module):
    documented = {name: field for name, field in returned(module).items() if (module, name) not in FOUND_HERE}
    # Which an action judges, and tells nobody.
    shape = RETURNED[module]
    fields = {name: one for name, one in shape.fields.items() if name != "answer"}
    required = {name: fields.pop(name) for name in shape.required if name in fields}
    hold(Fields(required, fields), documented, module)


def on_devices():
    """The modules of ours whose action is behind the wall, by their actions."""
    found = {}
    for path in sorted((COLLECTION / "plugins" / "action").glob("*.py")):
        plugin = importlib.import_module(f"ansible_collections.tpmfleet.azure_dps.plugins.action.{path.stem}")
        if issubclass(plugin.ActionModule, DeviceAction):
            found[path.stem] = plugin.ActionModule
    return found


def test_every_module_of_a_device_is_behind_the_wall():
    """What talks to a TPM, or to the client, runs where both are."""
    talking = set()
    for path in sorted(MODULES.glob("*.py")):
        imported = {
            node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
        }
        beside_devices = ("module_utils.tpm", "module_utils.client", "module.client", "module.tpm")
        if any(one in name for name in imported for one in beside_devices):
            talking.add(path.stem)
    assert talking
    assert {action.MODULE for action in on_devices().values() if action.MODULE} == talking == set(RETURNED)
    assert set(DIFFERENCES) <= talking
    assert {f"tpmfleet.azure_dps.{name}" for name in on_devices()} == DEVICE_MODULES


def nodes_with_options(path):
    """Every node of the module at *path*, and of what it takes its options from."""
    tree = ast.parse(path.read_text())
    yield from ast.walk(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and "module_utils.module." in (node.module or ""):
            shared = COLLECTION / "plugins" / "module_utils" / "module" / f"{node.module.rpartition('.')[2]}.py"
            yield from ast.walk(ast.parse(shared.read_text()))


def test_every_secret_that_travels_to_a_device_is_kept_off_disks():
    """Every option that is marked no_log is one."""
    secrets = {}
    for action in filter(lambda one: one.MODULE, on_devices().values()):
        for node in nodes_with_options(MODULES / f"{action.MODULE}.py"):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values):
                    if isinstance(value, ast.Dict) and any(
                        getattr(name, "value", None) == "no_log" and getattr(said, "value", None) is True
                        for name, said in zip(value.keys, value.values)
                    ):
                        secrets.setdefault(action.MODULE, set()).add(key.value)
    assert {"dps_client", "tpm_ownership", "tpm_possession", "tpm_endorsement_key_info"} <= set(secrets)
    for action in on_devices().values():
        assert secrets.get(action.MODULE, set()) == set(action.SECRET_OPTIONS), action.MODULE


def tasks_of(path):
    """Every task in the file at *path*, out of its blocks, with the plays' own settings left out."""

    def flat(entries):
        for entry in entries or ():
            for part in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"):
                yield from flat(entry.get(part))
            if "block" not in entry and "hosts" not in entry and "ansible.builtin.import_playbook" not in entry:
                yield entry

    return list(flat(yaml.safe_load(path.read_text())))


def module_of(task):
    """The name of what a task runs."""
    (name,) = [key for key in task if "." in key]
    return name


def test_no_task_goes_from_device_to_device():
    """One that never answers would cost the rack its time once for each of its kind, and not once."""
    for path in (COLLECTION / "roles").glob("*/tasks/*.yml"):
        for task in tasks_of(path):
            delegate = str(task.get("delegate_to", "localhost"))
            assert delegate == "localhost", f"{path.parts[-3]}/{path.name}: {task.get('name')}"


# Whoever runs these runs the controller's own part of them alone.
ON_THE_CONTROLLER = {"ansible.builtin.meta"} | CONTROLLER_ACTIONS
# The lab's rack is where the controller is, and its playbooks, like those of lists, are for localhost.
OF_LOCALHOST = {
    "device_records_export.yml",
    "device_records_import.yml",
    "enrollments_apply.yml",
    "lab_down.yml",
    "lab_up.yml",
    "ledger_verify.yml",
    "maker_access.yml",
    "maker_access_revoke.yml",
    "story.yml",
}


@pytest.mark.parametrize(
    "path",
    [
        *sorted(path for path in (COLLECTION / "roles").glob("*/tasks/*.yml") if path.parts[-3] != "lab"),
        *sorted((COLLECTION / "playbooks").glob("*.yml")),
    ],
    ids=lambda path: "/".join(path.parts[-3:]),
)
def test_every_task_that_runs_on_a_device_is_behind_the_wall(path):
    if path.name in OF_LOCALHOST:
        assert all(play["hosts"] == "localhost" for play in yaml.safe_load(path.read_text()))
        return
    for task in tasks_of(path):
        name = module_of(task)
        if name in DEVICE_MODULES or name in ON_THE_CONTROLLER or name.rpartition(".")[2].startswith("import_"):
            continue
        here = task.get("delegate_to") == "localhost" or name == "tpmfleet.azure_dps.step_start"
        assert here, f"{path.name}: {task.get('name')}"
    for play in yaml.safe_load(path.read_text()) if path.parent.name == "playbooks" else ():
        assert play.get("gather_facts", False) is False, path.name


@pytest.mark.parametrize("action", sorted(on_devices()))
def test_no_part_of_an_action_hides_what_another_part_has(action):
    """The parts of an action know nothing of one another, and may call things alike."""
    made_of = [one for one in on_devices()[action].__mro__ if one.__module__.startswith("ansible_collections.tpmfleet")]
    for number, part in enumerate(made_of):
        for other in made_of[number + 1 :]:
            if not issubclass(part, other):
                alike = {name for name in vars(part) if name in vars(other) and not name.startswith("__")}
                # What each of them does on its way to the next.
                assert alike <= {"run", "work", "refusal", "ask", "_abc_impl"}, (part, other)
