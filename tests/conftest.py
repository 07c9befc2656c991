# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests share: software TPMs, keys without one, the emulated service, and modules run in this process.

Imports are inside the fixtures: the TPM tests also run under a device's own Python, which has none of it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, unquote, urlencode

import pytest

COLLECTION = Path(__file__).resolve().parents[1]
LAB_PROGRAMS = COLLECTION / "roles" / "lab" / "files"
sys.path.insert(0, str(LAB_PROGRAMS))
# Tests read Ansible's own output, with the summary at its end; what people see has tests of its own.
os.environ["ANSIBLE_STDOUT_CALLBACK"] = "ansible.builtin.default"
os.environ["ANSIBLE_FILTER_PLUGINS"] = str(COLLECTION / "tests" / "filter_plugins")
# What the first is for is said there; the other has the collection, for programs that a test starts.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(COLLECTION / "tests" / "bytecode"), str(COLLECTION.parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
)
EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")


def _tool(name):
    """The module *name* of this directory, which is no package."""
    path = Path(__file__).with_name(f"{name}.py")
    specification = importlib.util.spec_from_file_location(f"tpmfleet_test_{name}", path)
    tool = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = tool
    specification.loader.exec_module(tool)
    return tool


def pytest_configure():
    """Nothing that the session starts outlives it."""
    _tool("reaper").watch_over_this_session()


@pytest.fixture(scope="session")
def clients_at_rest():
    """Within it no field client of some devices of a rack is at work; see ``clients_at_rest.py``."""
    return _tool("clients_at_rest").clients_at_rest


@pytest.fixture(scope="session")
def power_cut():
    """The tool ``power_cut.py``: what a program does to the disk, and what a cut power may leave of it."""
    return _tool("power_cut")


@pytest.fixture(scope="session")
def searching():
    """The tool ``searching.py``: whether a secret is in a file, in a process list, or in what was printed."""
    return _tool("searching")


@pytest.fixture(scope="session")
def relay():
    """The tool ``relay.py``: ports that stand before servers, somewhere else and as far away as is wanted."""
    return _tool("relay").Relay


@pytest.fixture(scope="session")
def worker_machine():
    """The tool ``worker_machine.py``: machines with a network and files of their own."""
    return _tool("worker_machine").WorkerMachine


@pytest.fixture(scope="session")
def postgresql():
    """A running server. Its directory is not below pytest's, which is its owner's only."""
    with ExitStack() as undo:
        directory = Path(tempfile.mkdtemp(prefix="tpmfleet-pg-"))
        undo.callback(shutil.rmtree, directory)
        server = _tool("postgresql").PostgreSql(directory)
        server.start()
        undo.callback(server.stop)
        yield server


@pytest.fixture(scope="session")
def lab_ca(tmp_path_factory):
    """The authority that certifies the endorsement keys of this session's software TPMs."""
    from tpm_rack.authority import Authority

    return Authority(tmp_path_factory.mktemp("tpm-maker"))


@pytest.fixture(scope="session")
def manufactured_state(lab_ca, tmp_path_factory):
    """The state directory of one new TPM with EK certificates; a test copies it, because making one takes a second."""
    from tpm_rack.software_tpm import SoftwareTpm

    state = tmp_path_factory.mktemp("manufactured") / "tpm"
    SoftwareTpm(state).manufacture(authority=lab_ca)
    return state


@pytest.fixture
def software_tpm(manufactured_state, tmp_path):
    """A running TPM, as it comes from its maker."""
    from tpm_rack.software_tpm import SoftwareTpm

    state = tmp_path / "tpm"
    shutil.copytree(manufactured_state, state)
    tpm = SoftwareTpm(state)
    tpm.start()
    yield tpm
    tpm.stop()


@pytest.fixture(scope="session")
def emulator(tmp_path_factory):
    """The emulated service, running: what its emulator.json says, and ``state_dir``."""
    state_dir = tmp_path_factory.mktemp("emulator")
    program = [sys.executable, "-m", "dps_emulator"]
    environment = {**os.environ, "PYTHONPATH": str(LAB_PROGRAMS)}
    where = ["--state-dir", str(state_dir)]
    subprocess.run([*program, "start", *where, "--host", "localhost", "--port", "0"], env=environment, check=True)
    yield {**json.loads((state_dir / "emulator.json").read_text()), "state_dir": state_dir}
    subprocess.run([*program, "stop", *where], env=environment, check=True)


@pytest.fixture(scope="session")
def ek_of_modulus():
    """The TPM2B_PUBLIC of an RSA endorsement key with a modulus of 256 bytes, in base64."""

    def make(modulus: bytes, *, attributes: int = 0x000300B2, kind: int = 0x0001, change=lambda data: data) -> str:
        area = struct.pack(">HHIH", kind, 0x000B, attributes, 32) + EK_POLICY
        area += struct.pack(">HHHHHIH", 0x0006, 128, 0x0043, 0x0010, 2048, 0, 256) + modulus
        return base64.b64encode(change(struct.pack(">H", len(area)) + area)).decode()

    return make


@pytest.fixture(scope="session")
def make_ek(ek_of_modulus):
    """An endorsement key that no TPM has; one for each *number*, and wrong where the others say so."""

    def make(number: int = 0, **wrong: object) -> str:
        modulus = bytearray(b"".join(hashlib.sha256(b"%d/%d" % (number, part)).digest() for part in range(8)))
        modulus[0] |= 0x80
        modulus[-1] |= 1
        return ek_of_modulus(bytes(modulus), **wrong)

    return make


@pytest.fixture(scope="session")
def record_schema():
    """What holds a device record against its published schema."""
    import jsonschema
    import referencing

    schemas = [json.loads(path.read_text()) for path in sorted((COLLECTION / "meta").glob("*.schema.json"))]
    registry = referencing.Registry().with_resources(
        (schema["$id"], referencing.Resource.from_contents(schema)) for schema in schemas
    )
    [record] = [schema for schema in schemas if schema["$id"].endswith("/device-record.schema.json")]
    return jsonschema.Draft202012Validator(record, registry=registry)


class Dps:
    """The emulated service, seen from the side: its control API, and plain calls that share no code with ours."""

    def __init__(self, announcement: dict) -> None:
        import requests

        self.where = announcement
        self.session = requests.Session()
        self.session.verify = announcement["ca_file"]
        self.session.trust_env = False
        parts = dict(part.split("=", 1) for part in announcement["connection_string"].split(";"))
        self.host, self.key = parts["HostName"], parts["SharedAccessKey"]
        self.policy = parts["SharedAccessKeyName"]

    def control(self, method: str, what: str, body: object = None):
        answer = self.session.request(method, f"{self.where['endpoint']}/_emulator/{what}", json=body, timeout=20)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def settings(self, **changes: object) -> None:
        self.control("PUT", "settings", changes)

    def fault(self, **fault: object) -> None:
        self.control("POST", "faults", fault)

    def calls(self) -> dict[str, int]:
        """Calls of the service API since the last reset, by operation and whatever their answer."""
        found = self.control("GET", "stats")["calls"]
        return {name: sum(by_status.values()) for name, by_status in found.items()}

    def call(self, method: str, path: str, body: object = None):
        """The service API: the answer's JSON."""
        resource, expiry = quote(self.host, safe=""), int(time.time()) + 600
        digest = hmac.digest(base64.b64decode(self.key), f"{resource}\n{expiry}".encode(), hashlib.sha256)
        token = {"sr": self.host, "sig": base64.b64encode(digest).decode(), "se": expiry, "skn": self.policy}
        answer = self.session.request(
            method,
            self.where["endpoint"] + path,
            json=body,
            params={"api-version": "2021-10-01"},
            headers={"Authorization": "SharedAccessSignature " + urlencode(token)},
            timeout=30,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def enroll(self, registration_id: str, tpm, **fields: object) -> None:
        """Enrolls a device with the endorsement key that the maker of its software TPM wrote down."""
        key = json.loads((tpm.state_dir / "maker.json").read_text())["endorsement_key"]
        attestation = {"type": "tpm", "tpm": {"endorsementKey": base64.b64encode(bytes.fromhex(key)).decode()}}
        enrollment = {"registrationId": registration_id, "attestation": attestation, **fields}
        self.call("PUT", f"/enrollments/{registration_id}", enrollment)

    def hub_accepts(self, token: str, device_id: str) -> bool:
        """Whether the hub that the service chose would let this token in: signed by the key it handed out last."""
        fields = dict(part.split("=", 1) for part in token.removeprefix("SharedAccessSignature ").split("&"))
        known = self.control("GET", f"hub_keys/{device_id}")
        digest = hmac.digest(base64.b64decode(known["key"]), f"{fields['sr']}\n{fields['se']}".encode(), hashlib.sha256)
        signed = base64.b64decode(unquote(fields["sig"])) == digest
        audience = f"{known['hub']}/devices/{device_id}"
        return signed and unquote(fields["sr"]) == audience and int(fields["se"]) > time.time()

    def connection(self, **others: object) -> dict:
        """Options of a module."""
        return {"connection_string": self.where["connection_string"], "ca_file": self.where["ca_file"], **others}


@pytest.fixture(scope="session")
def plain_dps(emulator):
    """The service as it is, for tests that do not share what is in it."""
    return Dps(emulator)


@pytest.fixture(scope="session")
def dps_at():
    """Makes a :class:`Dps` of what the emulator.json in a state directory says."""
    return lambda state_dir: Dps(json.loads((state_dir / "emulator.json").read_text()))


@pytest.fixture
def dps(emulator, monkeypatch):
    """An empty service with its default settings, except that no quota is in the way."""
    monkeypatch.delenv("TPMFLEET_DPS_CONNECTION_STRING", raising=False)
    dps = Dps(emulator)
    before = dps.control("GET", "settings")
    dps.settings(throttle=False, poll_throttle=False)
    _empty(dps)
    dps.control("DELETE", "stats")
    yield dps
    dps.control("DELETE", "faults")
    dps.settings(**{**before, "throttle": False})
    _empty(dps)
    dps.settings(**before)
    dps.control("DELETE", "quotas")


def _empty(dps: Dps) -> None:
    """Removes every enrollment, also those of a test that used the service without this fixture."""
    service = _open(dps)
    while page := next(service.pages(), []):
        for begin in range(0, len(page), 10):
            service.bulk("delete", [{"registrationId": one["registrationId"]} for one in page[begin : begin + 10]])
    service.close()


def _open(dps: Dps, **options: object):
    name = "ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps"
    service = importlib.import_module(f"{name}.service")
    credentials = importlib.import_module(f"{name}.credentials")
    access = credentials.parse_connection_string(dps.where["connection_string"])
    return service.Service(access, ca_file=dps.where["ca_file"], **options)


@pytest.fixture
def service(dps):
    """Our client of that service."""
    service = _open(dps, timeout=10, retry_budget=20)
    yield service
    service.close()


@pytest.fixture
def run_module(capsys, monkeypatch):
    """Runs a module of the collection in this process; what it returned."""
    from ansible import module_utils
    from ansible.module_utils.common import warnings
    from ansible_collections.tpmfleet.azure_dps.tests.module_arguments import module_arguments

    # Another test may have made this process a controller, where a warning goes to the screen and not into the result.
    if hasattr(getattr(module_utils, "_internal", None), "is_controller"):
        monkeypatch.setattr(module_utils._internal, "is_controller", False)

    def run(name: str, /, *, check: bool = False, diff: bool = False, **options: object) -> dict:
        module = importlib.import_module(f"ansible_collections.tpmfleet.azure_dps.plugins.modules.{name}")
        arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
        # A module is a process of its own, which knows nothing of another one's warnings.
        warnings._global_warnings.clear()
        with module_arguments(arguments), pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out)

    return run


class Azure:
    """The emulated resource manager, seen from the side: plain calls with a token of the owner's application."""

    def __init__(self, dps: Dps) -> None:
        self.where = dps.where["management"]
        self.endpoint = dps.where["endpoint"]
        self.dps = dps
        form = {"grant_type": "client_credentials", "scope": f"{self.endpoint}/.default"}
        form |= {"client_id": self.where["client_id"], "client_secret": self.where["secret"]}
        tenant = self.where["tenant"]
        answer = dps.session.post(f"{self.endpoint}/{tenant}/oauth2/v2.0/token", data=form, timeout=20)
        self._authorization = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, instance: str, rest: str = "", body: object = None, *, check: bool = True):
        """A call about an instance; what it answered."""
        group = f"{self.endpoint}/subscriptions/{self.where['subscription_id']}/resourceGroups/lab"
        path = f"{group}/providers/Microsoft.Devices/provisioningServices/{instance}{rest}".rstrip("/")
        answer = self.dps.session.request(
            method,
            path,
            params={"api-version": "2026-11-01"},
            json=body,
            headers={"Authorization": self._authorization},
            timeout=20,
        )
        if check:
            answer.raise_for_status()
        return answer.json()

    def change(self, instance: str, change) -> None:
        """What somebody else does: *change* alters the document with its policies."""
        document = self.call("GET", instance)
        document["properties"]["authorizationPolicies"] = self.call("POST", instance, "/listkeys")["value"]
        change(document)
        self.call("PUT", instance, body={name: document[name] for name in ("location", "tags", "sku", "properties")})

    def options(self, **others: object) -> dict:
        """Options of a module."""
        own = ("subscription_id", "resource_group", "instance", "tenant", "client_id", "secret")
        connection = {name: self.where[name] for name in own}
        reached = {"authority_host": self.endpoint, "resource_manager": self.endpoint}
        return {**connection, **reached, "ca_file": self.dps.where["ca_file"], **others}


@pytest.fixture
def azure(dps, monkeypatch):
    """The resource manager, whose changes take no time, and the running service's resource as it was afterwards."""
    for name in ("SUBSCRIPTION_ID", "TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "AUTHORITY_HOST"):
        monkeypatch.delenv(f"AZURE_{name}", raising=False)
    dps.settings(management_seconds=0.0)
    azure = Azure(dps)
    attached = azure.where["instance"]
    before = azure.call("GET", attached)
    policies = azure.call("POST", attached, "/listkeys")["value"]
    yield azure
    dps.settings(management_seconds=0.0)
    for one in azure.call("GET", "")["value"]:
        if one["name"] != attached:
            azure.call("DELETE", one["name"])
    before["properties"]["authorizationPolicies"] = policies
    before.pop("etag")
    azure.call("PUT", attached, body=before)


@pytest.fixture(scope="session")
def guide():
    """Does what a guide of docs/ says, from the heading *since* on, in *cwd*; what its commands printed.

    A block after "`NAME`:" is the file of that name; the lines of a console block are commands, of one shell.
    """

    def follow(name: str, since: str, *, cwd: Path, until: str = "\0", **environment: str) -> str:
        text = (COLLECTION / "docs" / name).read_text().split(f"# {since}\n", 1)[1].split(f"# {until}\n", 1)[0]
        script = ["set -e"]
        for file, kind, block in re.findall(r"(?:`(\S+)`:\n\n)?```(\w+)\n(.*?)```", text, re.DOTALL):
            if file:
                (cwd / file).write_text(block)
            elif kind == "console":
                script += [line.removeprefix("$ ") for line in block.splitlines()]
        bash = ["bash", "-c", "\n".join(script)]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with_path = {**os.environ, "PATH": path, "ANSIBLE_NOCOLOR": "1", **environment}
        for name_of_ours in ("ANSIBLE_CONFIG", "PYTHONPATH"):
            if name_of_ours not in environment:
                with_path.pop(name_of_ours, None)
        done = subprocess.run(
            bash, cwd=cwd, env=with_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return follow


@pytest.fixture
def no_sleep(monkeypatch):
    """Waits between tries are noted and not spent."""
    import time

    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept
