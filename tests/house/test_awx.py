# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/examples/awx.yml sets up what docs/awx.md says, with arguments that the modules of awx.awx document.

The playbook is run. In the place of each module is an action, which costs no process, that takes what the module's
documentation says, as tests/house/awx_modules.json has it, by Ansible's own check of arguments, and notes what it was
given.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

COLLECTION = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
GUIDE = COLLECTION / "docs" / "awx.md"
EXAMPLE = COLLECTION / "docs" / "examples" / "awx.yml"
TABLE = json.loads(Path(__file__).with_name("awx_modules.json").read_text())
STEPS = ["ek_intake", "tpm_install", "software_install", "warehouse", "field_activation"]
STAND_IN = """\
import json
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        _checked, arguments = self.validate_argument_spec(json.loads({specification!r}))
        given = {{name: value for name, value in arguments.items() if value is not None}}
        with open({calls!r}, "a") as calls:
            calls.write(json.dumps([{name!r}, given]) + "\\n")
        return {{"changed": True, "id": 1}}
"""
SECRETS = {
    "awx_device_ssh_key": "the key of the devices",
    "awx_ledger_url": "postgresql+psycopg://line:pw@db.example/line",
    "awx_dps_connection_string": "HostName=a.example;SharedAccessKeyName=writer;SharedAccessKey=a",
    "awx_dps_reading_connection_string": "HostName=a.example;SharedAccessKeyName=reader;SharedAccessKey=b",
    "awx_master_key": "0123456789abcdefghijklmnopqrstuvwxyzABCD",
}


def arguments(options: dict) -> dict:
    """Options as an argument specification; no value of a documentation is a secret here."""
    found = {}
    for name, option in options.items():
        found[name] = {**option, "no_log": False}
        if "options" in option:
            found[name]["options"] = arguments(option["options"])
    return found


def played(directory: Path, *command: str) -> tuple[subprocess.CompletedProcess, list]:
    """What ``ansible-playbook`` with *command* printed, and the calls of modules in their order."""
    calls = directory / "calls"
    calls.write_text("")
    actions = directory / "ansible_collections" / "awx" / "awx" / "plugins" / "action"
    actions.mkdir(parents=True, exist_ok=True)
    for name, options in TABLE["modules"].items():
        specification = json.dumps(arguments(options))
        (actions / f"{name}.py").write_text(STAND_IN.format(specification=specification, calls=str(calls), name=name))
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(directory), "ANSIBLE_LOCALHOST_WARNING": "0"}
    environment["ANSIBLE_INVENTORY_UNPARSED_WARNING"] = "0"
    done = subprocess.run(
        [str(TOOLS / "ansible-playbook"), *command],
        cwd=directory,
        env={name: value for name, value in {**os.environ, **environment}.items() if name != "ANSIBLE_CONFIG"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done, [tuple(json.loads(line)) for line in calls.read_text().splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("awx")
    (directory / "secrets.yml").write_text(yaml.safe_dump(SECRETS))
    (directory / "line.yml").write_text(yaml.safe_dump({"awx_repository": "https://git.example.com/mine.git"}))
    (directory / "awx.yml").write_text(EXAMPLE.read_text())
    # As the guide has it, but for the password, which is asked for.
    [command] = re.findall(r"^\$ ansible-playbook (.*) --ask-vault-pass$", GUIDE.read_text(), re.MULTILINE)
    done, calls = played(directory, *command.split())
    assert done.returncode == 0, done.stdout
    return done.stdout, calls


def of(calls, module):
    return {given["name"]: given for name, given in calls if name == module}


def test_arguments_are_what_the_modules_document(run):
    """And a wrong one would be refused: another name, another choice, one that is missing."""
    assert {name for name, _given in run[1]} == set(TABLE["modules"])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("job_slice_count:", "slices:"),
        ("scm_type: git", "scm_type: cvs"),
        ("        credential_type:", "        kind:"),
        ("- identifier: warehouse", "- named: warehouse"),
        ("related:", "next:"),
    ],
)
def test_another_argument_is_refused(tmp_path, right, wrong):
    playbook = tmp_path / "awx.yml"
    playbook.write_text(EXAMPLE.read_text().replace(right, wrong))
    done, _calls = played(tmp_path, str(playbook))
    assert done.returncode != 0
    assert any(said in done.stdout for said in ("Unsupported parameters", "value of", "missing required")), done.stdout


def test_what_is_named_was_made_before(run):
    """Each project, inventory, credential, container and job template is there when something names it."""
    _printed, calls = run
    made = {"credential_type": {"Machine"}}
    names = {"project": "project", "inventory": "inventory", "execution_environment": "execution_environment"}
    names |= {"default_environment": "execution_environment", "source_project": "project"}
    names |= {"organization": "organization", "credential_type": "credential_type"}
    seen = 0
    for module, given in calls:
        for option, kind in names.items():
            if isinstance(given.get(option), str) and option != module:
                assert given[option] in made[kind], (module, given["name"], option)
                seen += 1
        assert set(given.get("credentials", [])) <= made.get("credential", set())
        for node in given.get("workflow_nodes", []):
            assert node["unified_job_template"]["name"] in made["job_template"]
        made.setdefault(module, set()).add(given["name"])
    assert seen > 30


def test_a_job_has_the_secrets_of_its_step_and_no_others(run):
    """Its variables are those that the step takes, and a credential of a kind comes once, as AWX wants it."""
    calls = run[1]
    types, credentials = of(calls, "credential_type"), of(calls, "credential")
    variables = {"Machine": set(), **{name: set(one["injectors"]["extra_vars"]) for name, one in types.items()}}
    documented = (COLLECTION / "docs" / "variables.md").read_text()
    assert all(f"`{name}`" in documented for names in variables.values() for name in names)
    for one in types.values():
        fields = {field["id"] for field in one["inputs"]["fields"]}
        assert all(
            said.strip("{} ") in fields and said.startswith("{{ ") for said in one["injectors"]["extra_vars"].values()
        )
    given = {}
    for name, job in of(calls, "job_template").items():
        kinds = [credentials[credential]["credential_type"] for credential in job["credentials"]]
        assert len(set(kinds)) == len(kinds), name
        given[Path(job["playbook"]).stem] = set().union(*(variables[kind] for kind in kinds))
        plays = yaml.safe_load((COLLECTION / "playbooks" / job["playbook"]).read_text())
        assert ("Machine" in kinds) is any(play.get("become") for play in plays), name
    ledger, service = {"tpmfleet_ledger"}, {"tpmfleet_dps_connection_string"}
    key = {"tpmfleet_master_key", "tpmfleet_key_version"}
    assert given == {
        "ek_intake": ledger,
        "tpm_install": ledger | service,
        "software_install": ledger | service | key,
        "warehouse": ledger | service | key,
        "field_activation": ledger | service,
        "ledger_verify": ledger,
    }
    # Who only watches cannot write.
    assert "reads" in " ".join(of(calls, "job_template")["Step 5, watch the first power-up"]["credentials"])


def test_the_guide_has_the_same_jobs(run):
    """With the same credentials and slices, and a repository with a playbook for each."""
    rows = [line.strip("| ").split(" | ") for line in GUIDE.read_text().splitlines() if line.startswith("| ")][2:]
    jobs = of(run[1], "job_template")
    told = {name: (slices.strip("`").replace("awx_slices", "4"), credentials) for name, slices, credentials in rows}
    assert told == {name: (str(job["job_slice_count"]), ", ".join(job["credentials"])) for name, job in jobs.items()}


def test_the_repository_of_the_guide_has_the_playbooks(run, guide, tmp_path):
    guide("awx.md", "The line's repository", until="The container", cwd=tmp_path)
    playbooks = sorted(path.name for path in tmp_path.glob("*.yml"))
    assert {job["playbook"] for job in of(run[1], "job_template").values()} < set(playbooks)
    command = [str(TOOLS / "ansible-playbook"), "--syntax-check", "-i", "devices,", *playbooks]
    done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_is_global_is_one_job_and_what_is_of_devices_is_sliced(run):
    slices = {Path(job["playbook"]).stem: job["job_slice_count"] for job in of(run[1], "job_template").values()}
    assert slices == {"ek_intake": 1, **dict.fromkeys(STEPS[1:], 4), "ledger_verify": 1}


def test_the_workflow_goes_over_the_steps_in_their_order(run):
    [workflow] = of(run[1], "workflow_job_template").values()
    jobs = of(run[1], "job_template")
    nodes = {node["identifier"]: node for node in workflow["workflow_nodes"]}
    for identifier, node in nodes.items():
        assert jobs[node["unified_job_template"]["name"]]["playbook"] == f"{identifier}.yml"
    order, kinds = [workflow["workflow_nodes"][0]["identifier"]], []
    while related := nodes[order[-1]].get("related"):
        [(kind, [after])] = [(kind, after) for kind, after in related.items() if after]
        kinds.append(kind)
        order.append(after["identifier"])
    assert order == [*STEPS, "ledger_verify"] and len(nodes) == len(order)
    assert kinds == ["success_nodes", *["always_nodes"] * 4]


def test_no_secret_is_told(run):
    assert [secret for secret in SECRETS.values() if secret in run[0]] == []
    [machine] = [one for one in of(run[1], "credential").values() if one["credential_type"] == "Machine"]
    assert machine["inputs"]["ssh_key_data"] == SECRETS["awx_device_ssh_key"]


def test_it_is_linted():
    """With the others, which wants a stand-in for each of its modules."""
    settings = yaml.safe_load((COLLECTION / ".ansible-lint").read_text())
    assert sorted(settings["mock_modules"]) == sorted(f"awx.awx.{name}" for name in TABLE["modules"])
    assert not [path for path in settings["exclude_paths"] if str(EXAMPLE.relative_to(COLLECTION)).startswith(path)]
