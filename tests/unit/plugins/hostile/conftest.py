# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything here that talks to the service or to the resource manager, run in this process against a hostile one."""

from __future__ import annotations

import base64
import importlib.util
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_PROGRAM = Path(__file__).resolve().parents[3] / "hostile_service.py"
SUBSCRIPTION = "5d3f1e0c-52a1-4c0b-9f57-f1c2a6a1a9c4"
TENANT = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(scope="session")
def hostile_module():
    specification = importlib.util.spec_from_file_location("hostile_service", _PROGRAM)
    module = importlib.util.module_from_spec(specification)
    # Where dataclasses look for the module of their class.
    import sys

    sys.modules["hostile_service"] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def _servers(hostile_module, tmp_path_factory):
    both = [hostile_module.HostileService(tmp_path_factory.mktemp("hostile")) for _side in range(2)]
    yield both
    for one in both:
        one.close()


@pytest.fixture
def hostile(_servers, monkeypatch):
    """The service that is asked."""
    for name in ("SUBSCRIPTION_ID", "TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "AUTHORITY_HOST"):
        monkeypatch.delenv(f"AZURE_{name}", raising=False)
    monkeypatch.delenv("TPMFLEET_DPS_CONNECTION_STRING", raising=False)
    _servers[0].asked.clear()
    yield _servers[0]
    _servers[0].hang_up()


@pytest.fixture
def elsewhere(_servers):
    """Another host, which nothing is to be asked of."""
    _servers[1].asked.clear()
    return _servers[1]


@dataclass
class Outcome:
    """What a module, or the inventory, came to: *words* where it failed, *result* where it did not."""

    words: str | None
    result: dict
    seconds: float
    asked: list = field(default_factory=list)


@pytest.fixture
def run_one(hostile, run_module, tmp_path, make_ek) -> Callable[..., Outcome]:
    """Runs one of USERS against the hostile service, and holds it to what every failure owes to whoever reads it."""

    def run(user: str, *, timeout: int = 2, retry_budget: int = 2, check: bool = False, **more) -> Outcome:
        name, options = USERS[user]
        options = {key: value(make_ek, tmp_path) if callable(value) else value for key, value in options.items()}
        if name in MANAGEMENT:
            connection = {
                "subscription_id": SUBSCRIPTION,
                "resource_group": "fleet",
                "tenant": TENANT,
                "client_id": "c",
                "secret": "the-secret-of-the-application",
                "authority_host": hostile.url,
                "resource_manager": hostile.url,
                "operation_timeout": retry_budget,
            }
        else:
            key = base64.b64encode(b"k" * 32).decode()
            connection = {
                "connection_string": f"HostName={hostile.host};SharedAccessKeyName=p;SharedAccessKey={key}",
                "retry_budget": retry_budget,
            }
        connection |= {"ca_file": str(hostile.ca_file), "timeout": timeout}
        begun = time.monotonic()
        if name == "inventory":
            groups = more.pop("groups_of_another", ())
            found = _inventory({**connection, **options, **more}, groups)
        else:
            found = run_module(name, check=check, **{**connection, **options, **more})
        seconds = time.monotonic() - begun
        if not found.get("failed"):
            return Outcome(None, found, seconds, list(hostile.asked))
        words = found["msg"]
        assert "exception" not in found and "Traceback" not in words, found
        assert words.isprintable() and 20 < len(words) < 6000, words
        assert "SharedAccessSignature" not in words and "the-secret" not in words and "Bearer" not in words, words
        return Outcome(words, found, seconds, list(hostile.asked))

    return run


def _inventory(options: dict, groups: tuple[str, ...] = ()) -> dict:
    """The plugin by itself: Ansible's loader of collections would change how everything else here is imported.

    *groups* are those of another source.
    """
    import yaml
    from ansible.errors import AnsibleParserError
    from ansible.inventory.data import InventoryData
    from ansible.parsing.dataloader import DataLoader
    from ansible_collections.tpmfleet.azure_dps.plugins.inventory import dps

    defaults = {name: one.get("default") for name, one in yaml.safe_load(dps.DOCUMENTATION)["options"].items()}
    of_fragments = {name: one.get("default") for name, one in dps.connection_options().items()}
    of_fragments["progress_interval"] = 10
    of_ansible = {"strict": False, "compose": {}, "groups": {}, "keyed_groups": [], "cache": False}

    class Plugin(dps.InventoryModule):
        _load_name = _original_path = dps.InventoryModule.NAME

        def warn(self, text):
            warned.append(text)

        def _read_config_data(self, path):
            self._options = {"use_extra_vars": False, "leading_separator": True}
            self._options.update(**of_fragments | of_ansible | defaults | options)

    inventory = InventoryData()
    for group in groups:
        inventory.add_group(group)
    warned = []
    try:
        Plugin().parse(inventory, DataLoader(), "hostile.dps.yml")
    except AnsibleParserError as error:
        return {"failed": True, "msg": str(error)}
    return {
        "hosts": {name: host.get_vars() for name, host in inventory.hosts.items()},
        "groups": {name: sorted(host.name for host in group.hosts) for name, group in inventory.groups.items()},
        "warned": " ".join(warned),
    }


def _unit(number: int):
    return lambda make_ek, _path: make_ek(number)


def _records(make_ek, _path):
    return [{"registration_id": f"unit-{number}", "endorsement_key": make_ek(number)} for number in range(3)]


# Who talks to the service, by a name of its own: (module, options).
USERS: dict[str, tuple[str, dict]] = {
    "dps_enrollment": ("dps_enrollment", {"registration_id": "unit-0", "endorsement_key": _unit(0)}),
    "dps_enrollment absent": ("dps_enrollment", {"registration_id": "unit-0", "state": "absent"}),
    "dps_enrollments": ("dps_enrollments", {"enrollments": _records}),
    "dps_enrollments exact": ("dps_enrollments", {"enrollments": _records, "state": "exact"}),
    "dps_enrollment_info": ("dps_enrollment_info", {"registration_ids": ["unit-0"]}),
    "dps_enrollment_info all": ("dps_enrollment_info", {}),
    "dps_disenrollment": ("dps_disenrollment", {"enrollments": _records}),
    "dps_registration": ("dps_registration", {"registration_ids": ["unit-0"]}),
    "dps_registration_info": ("dps_registration_info", {"registration_ids": ["unit-0"]}),
    "inventory": ("inventory", {}),
    "dps_instance": ("dps_instance", {"instance": "fleet", "units": 2}),
    "dps_instance absent": ("dps_instance", {"instance": "fleet", "state": "absent"}),
    "dps_instance_info": ("dps_instance_info", {"instance": "fleet"}),
    "dps_instance_info all": ("dps_instance_info", {}),
    "dps_linked_hub": ("dps_linked_hub", {"instance": "fleet", "hub": "h.azure-devices.net", "allocation_weight": 3}),
    "dps_access_policy": ("dps_access_policy", {"instance": "fleet", "name": "maker", "rights": ["EnrollmentRead"]}),
    "dps_access_policy_info": ("dps_access_policy_info", {"instance": "fleet", "with_keys": True}),
    "dps_access_token": (
        "dps_access_token",
        {"instance": "fleet", "policy": "maker", "path": lambda _make_ek, path: str(path / "token")},
    ),
}
MANAGEMENT = {
    name for name, _options in USERS.values() if name.startswith(("dps_instance", "dps_linked", "dps_access"))
}


def pytest_generate_tests(metafunc):
    """A test that has ``user``, ``service_user`` or ``manager_user`` is run for each of them."""
    for name, wanted in (("user", (True, False)), ("service_user", (False,)), ("manager_user", (True,))):
        if name in metafunc.fixturenames:
            users = [user for user, (module, _options) in USERS.items() if (module in MANAGEMENT) in wanted]
            metafunc.parametrize(name, users)


@pytest.fixture
def documents_of():
    """The kinds of documents that a user reads."""

    def kinds(user):
        if USERS[user][0] in MANAGEMENT:
            return ("instance", "policy", "discovery", "token")
        return ("enrollment", "registration", "bulk", "refusal")

    return kinds


@pytest.fixture
def honest(hostile_module, make_ek):
    """The script of a service that answers as the real ones do; ``documents`` are the ones it has, by what they are."""
    Reply = hostile_module.Reply

    class Honest:
        def __init__(self) -> None:
            self.documents = {
                "enrollment": {
                    "registrationId": "unit-0",
                    "deviceId": "pump-0",
                    "attestation": {"type": "tpm", "tpm": {"endorsementKey": make_ek(0)}},
                    "capabilities": {"iotEdge": False},
                    "initialTwin": {"tags": {"a": "b"}, "properties": {"desired": {}}},
                    "provisioningStatus": "enabled",
                    "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": True},
                    "allocationPolicy": "hashed",
                    "iotHubs": ["h.azure-devices.net"],
                    "optionalDeviceInformation": {"x": 1},
                    "etag": '"e-1"',
                    "createdDateTimeUtc": "2026-01-01T00:00:00.0000000Z",
                    "lastUpdatedDateTimeUtc": "2026-01-01T00:00:00.0000000Z",
                },
                "registration": {
                    "registrationId": "unit-0",
                    "status": "assigned",
                    "substatus": "initialAssignment",
                    "assignedHub": "h.azure-devices.net",
                    "deviceId": "pump-0",
                    "errorCode": None,
                    "errorMessage": "",
                    "createdDateTimeUtc": "2026-01-01T00:00:00.0000000Z",
                    "lastUpdatedDateTimeUtc": "2026-01-01T00:00:00.0000000Z",
                    "etag": '"r-1"',
                },
                "bulk": {"isSuccessful": True, "errors": []},
                "refusal": {"errorCode": 404201, "trackingId": "t", "message": "not there", "info": {}},
                "discovery": {
                    "token_endpoint": f"https://HOST/{TENANT}/oauth2/v2.0/token",
                    "authorization_endpoint": f"https://HOST/{TENANT}/oauth2/v2.0/authorize",
                    "issuer": f"https://HOST/{TENANT}/v2.0",
                },
                "token": {"token_type": "Bearer", "expires_in": 3600, "access_token": "a-token"},
                "instance": {
                    "id": f"/subscriptions/{SUBSCRIPTION}/x",
                    "name": "fleet",
                    "type": "Microsoft.Devices/provisioningServices",
                    "location": "westeurope",
                    "tags": {"a": "b"},
                    "etag": "AAAA",
                    "resourcegroup": "fleet",
                    "subscriptionid": SUBSCRIPTION,
                    "sku": {"name": "S1", "tier": "Standard", "capacity": 1},
                    "properties": {
                        "state": "Active",
                        "provisioningState": "Succeeded",
                        "idScope": "0ne00000001",
                        "serviceOperationsHostName": "fleet.azure-devices-provisioning.net",
                        "deviceProvisioningHostName": "global.azure-devices-provisioning.net",
                        "allocationPolicy": "Hashed",
                        "iotHubs": [
                            {
                                "name": "h.azure-devices.net",
                                "connectionString": "HostName=h;SharedAccessKeyName=p;SharedAccessKey=****",
                                "location": "westeurope",
                                "allocationWeight": 1,
                            }
                        ],
                    },
                },
                "policy": {
                    "keyName": "maker",
                    "primaryKey": base64.b64encode(b"p" * 32).decode(),
                    "secondaryKey": base64.b64encode(b"s" * 32).decode(),
                    "rights": "EnrollmentRead, RegistrationStatusRead",
                },
            }
            self.there = True

        def __call__(self, request):
            path, method = request.path, request.method
            if "openid-configuration" in path:
                return Reply(
                    body=json.loads(json.dumps(self.documents["discovery"]).replace("HOST", request.headers["host"]))
                )
            if path.endswith("/token"):
                return Reply(body=self.documents["token"])
            if path.endswith("/listkeys"):
                return Reply(body={"value": [self.documents["policy"]]})
            if path.endswith("/fleet") and path.startswith("/subscriptions"):
                return Reply(204) if method == "DELETE" else Reply(body=self.documents["instance"])
            if path.startswith("/subscriptions"):
                return Reply(body={"value": [self.documents["instance"]]})
            if path == "/enrollments/query":
                return Reply(body=[self.documents["enrollment"]])
            if path == "/enrollments":
                return Reply(body=self.documents["bulk"])
            kind = "enrollment" if path.startswith("/enrollments/") else "registration"
            if not self.there or not path.endswith("/unit-0"):
                return Reply(404, self.documents["refusal"])
            return Reply(204) if method == "DELETE" else Reply(body=self.documents[kind])

    return Honest()
