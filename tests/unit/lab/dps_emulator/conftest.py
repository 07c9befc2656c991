# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients written for these tests alone: the service API by plain HTTP, a device by TPM commands."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from tpm2_pytss import ESAPI, TCTILdr
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_SE, TPMA_OBJECT
from tpm2_pytss.types import (
    TPM2B_DATA,
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_PUBLIC_KEY_RSA,
    TPM2B_SENSITIVE_CREATE,
    TPMT_PUBLIC,
    TPMT_SYM_DEF,
    TPMT_SYM_DEF_OBJECT,
)

PROGRAMS = Path(__file__).resolve().parents[4] / "roles" / "lab" / "files"
EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
RESTRICTED_STORAGE = TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT | TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT
SERVICE_VERSION = {"api-version": "2021-10-01"}


def sign(resource: str, key: bytes, policy: str, expiry: int | None = None, *, lower: bool = False) -> str:
    """A shared access signature; *lower* writes the escapes in lower case."""
    encoded = quote(resource, safe="")
    encoded = encoded.lower() if lower else encoded
    expiry = int(time.time()) + 3600 if expiry is None else expiry
    signature = base64.b64encode(hmac.new(key, f"{encoded}\n{expiry}".encode(), hashlib.sha256).digest()).decode()
    return f"SharedAccessSignature sr={encoded}&sig={quote(signature, safe='')}&se={expiry}&skn={policy}"


class Client:
    """The emulator as its clients see it: *authorization* goes with each service API call."""

    def __init__(self, announcement: dict) -> None:
        self.where = announcement
        parts = dict(part.split("=", 1) for part in announcement["connection_string"].split(";"))
        self.host, self.key = parts["HostName"], base64.b64decode(parts["SharedAccessKey"])
        self.session = requests.Session()
        self.session.verify = announcement["ca_file"]
        self.session.trust_env = False
        self.authorization = sign(self.host, self.key, "provisioningserviceowner")

    def call(self, method: str, path: str, body: object = None, **headers: str) -> requests.Response:
        """A service API call; ``If_Match="x"`` is the header If-Match."""
        sent = {"Authorization": self.authorization, **{name.replace("_", "-"): v for name, v in headers.items()}}
        url = self.where["endpoint"] + path
        return self.session.request(method, url, json=body, headers=sent, params=SERVICE_VERSION, timeout=20)

    def put(self, enrollment: dict, **headers: str) -> requests.Response:
        """One enrollment, to its own path."""
        return self.call("PUT", f"/enrollments/{enrollment['registrationId']}", enrollment, **headers)

    def control(self, method: str, what: str, body: object = None) -> requests.Response:
        """The control API."""
        answer = self.session.request(method, f"{self.where['endpoint']}/_emulator/{what}", json=body, timeout=20)
        answer.raise_for_status()
        return answer

    def settings(self, **changes: object) -> None:
        """Changes settings."""
        self.control("PUT", "settings", changes)


class Device:
    """A device: its TPM and its way to register, step by step, so that a test can go wrong at each."""

    def __init__(self, tpm: ESAPI, client: Client) -> None:
        self.tpm, self.client = tpm, client
        self.endorsement, ek_public = self._primary(ESYS_TR.ENDORSEMENT, EK_POLICY, bytes(256))
        self.storage, srk_public = self._primary(ESYS_TR.OWNER, b"", b"")
        self.endorsement_key = base64.b64encode(ek_public.marshal()).decode()
        self.storage_root_key = base64.b64encode(srk_public.marshal()).decode()
        self.registration_id = "device-1"
        self.scope = client.where["id_scope"]
        self.key = None

    def _primary(self, hierarchy: ESYS_TR, policy: bytes, unique: bytes):
        how = TPMA_OBJECT.ADMINWITHPOLICY if policy else TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.NODA
        area = TPMT_PUBLIC(
            type=TPM2_ALG.RSA,
            nameAlg=TPM2_ALG.SHA256,
            objectAttributes=RESTRICTED_STORAGE | TPMA_OBJECT.SENSITIVEDATAORIGIN | how,
            authPolicy=policy,
        )
        area.parameters.rsaDetail.symmetric.algorithm = TPM2_ALG.AES
        area.parameters.rsaDetail.symmetric.keyBits.aes = 128
        area.parameters.rsaDetail.symmetric.mode.aes = TPM2_ALG.CFB
        area.parameters.rsaDetail.scheme.scheme = TPM2_ALG.NULL
        area.parameters.rsaDetail.keyBits = 2048
        area.parameters.rsaDetail.exponent = 0
        area.unique.rsa = TPM2B_PUBLIC_KEY_RSA(buffer=unique)
        handle, public, *_rest = self.tpm.create_primary(
            TPM2B_SENSITIVE_CREATE(), TPM2B_PUBLIC(publicArea=area), hierarchy
        )
        return handle, public

    def other_endorsement_key(self) -> str:
        """Another key of the same kind: the one of the template with the empty unique field."""
        handle, public = self._primary(ESYS_TR.ENDORSEMENT, EK_POLICY, b"")
        self.tpm.flush_context(handle)
        return base64.b64encode(public.marshal()).decode()

    def enrollment(self, **fields: object) -> dict:
        """The enrollment that fits."""
        attestation = {"type": "tpm", "tpm": {"endorsementKey": self.endorsement_key}}
        return {"registrationId": self.registration_id, "attestation": attestation, **fields}

    def body(self, **fields: object) -> dict:
        """The registration request with the keys."""
        keys = {"endorsementKey": self.endorsement_key, "storageRootKey": self.storage_root_key}
        return {"registrationId": self.registration_id, "tpm": keys, **fields}

    def call(self, method: str, rest: str, body: object = None, token: str = "", version: str = "2019-03-31"):
        """A device API call."""
        url = f"{self.client.where['endpoint']}/{self.scope}/registrations/{self.registration_id}{rest}"
        headers = {"Authorization": token} if token else {}
        return self.client.session.request(
            method, url, json=body, headers=headers, params={"api-version": version}, timeout=20
        )

    def challenge(self, **fields: object) -> requests.Response:
        """The first request."""
        return self.call("PUT", "/register", self.body(**fields))

    def activate(self, blob: str) -> None:
        """Takes the key in *blob* (base64) into the TPM."""
        rest = base64.b64decode(blob)
        parts = []
        kinds = (
            TPM2B_ID_OBJECT,
            TPM2B_ENCRYPTED_SECRET,
            TPM2B_PRIVATE,
            TPM2B_ENCRYPTED_SECRET,
            TPM2B_PUBLIC,
            TPM2B_DATA,
        )
        for kind in kinds:
            part, used = kind.unmarshal(rest)
            parts.append(part)
            rest = rest[used:]
        assert rest == b""
        credential, secret, duplicate, seed, public, _opaque = parts
        session = self.tpm.start_auth_session(
            ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.POLICY, TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL), TPM2_ALG.SHA256
        )
        try:
            self.tpm.policy_secret(ESYS_TR.ENDORSEMENT, session, b"", b"", b"", 0)
            inner_key = bytes(
                self.tpm.activate_credential(
                    self.storage, self.endorsement, credential, secret, ESYS_TR.PASSWORD, session
                )
            )
        finally:
            self.tpm.flush_context(session)
        inner = TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.AES)
        inner.keyBits.aes = len(inner_key) * 8
        inner.mode.aes = TPM2_ALG.CFB
        private = self.tpm.import_(self.storage, TPM2B_DATA(buffer=inner_key), public, duplicate, seed, inner)
        if self.key is not None:
            self.tpm.flush_context(self.key)
        self.key = self.tpm.load(self.storage, private, public)
        self.identity = public.publicArea

    def mac(self, data: bytes) -> bytes:
        """HMAC by the key in the TPM."""
        return bytes(self.tpm.hmac(self.key, data, TPM2_ALG.SHA256))

    def token(self, resource: str = "", expiry: int | None = None, policy: str = "registration") -> str:
        """The token, signed by the TPM."""
        encoded = quote(resource or f"{self.scope}/registrations/{self.registration_id}", safe="")
        expiry = int(time.time()) + 3600 if expiry is None else expiry
        signature = quote(base64.b64encode(self.mac(f"{encoded}\n{expiry}".encode())), safe="")
        return f"SharedAccessSignature sr={encoded}&sig={signature}&se={expiry}&skn={policy}"

    def prove(self) -> str:
        """Challenge and answer: the token."""
        answer = self.challenge()
        assert answer.status_code == 401, answer.text
        self.activate(answer.json()["authenticationKey"])
        return self.token()

    def poll(self, operation: str, token: str) -> dict:
        """Until it is decided."""
        while True:
            answer = self.call("GET", f"/operations/{operation}", token=token)
            if answer.status_code == 200:
                return answer.json()
            assert answer.status_code == 202 and answer.headers["Retry-After"], answer.text
            time.sleep(0.02)

    def register(self, **fields: object) -> dict:
        """The whole of it: the last answer."""
        token = self.prove()
        answer = self.call("PUT", "/register", self.body(**fields), token=token)
        assert answer.status_code == 202, answer.text
        return self.poll(answer.json()["operationId"], token)


@pytest.fixture(scope="session")
def emulator_command():
    """Runs the emulator's command line; returns what it printed as JSON."""

    def run(*arguments: str, check: bool = True) -> dict | subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, "-m", "dps_emulator", *arguments],
            env={**os.environ, "PYTHONPATH": str(PROGRAMS)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if not check:
            return done
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def running_emulator(emulator_command, tmp_path_factory):
    state_dir = str(tmp_path_factory.mktemp("strict-emulator"))
    yield emulator_command("start", "--state-dir", state_dir)
    emulator_command("stop", "--state-dir", state_dir)


@pytest.fixture
def client(running_emulator):
    """A client of an empty service with the default settings, except that a test does not wait for quotas."""
    client = Client(running_emulator)
    defaults = client.control("GET", "settings").json()
    client.settings(throttle=False, poll_throttle=False, assignment_seconds=0.05)
    client.control("DELETE", "stats")
    yield client
    client.control("DELETE", "faults")
    client.settings(**{**defaults, "throttle": False})
    client.authorization = sign(client.host, client.key, "provisioningserviceowner")
    while page := client.call("POST", "/enrollments/query", {"query": "SELECT * FROM enrollments"}).json():
        for one in page:
            client.call("DELETE", f"/enrollments/{one['registrationId']}")
    client.settings(**defaults)


@pytest.fixture
def make_client():
    """Another client, for another announcement."""
    return Client


@pytest.fixture(scope="session")
def swtpm(tmp_path_factory):
    from tpm_rack.software_tpm import SoftwareTpm

    tpm = SoftwareTpm(tmp_path_factory.mktemp("strict-device") / "tpm")
    tpm.manufacture(certificate=False)
    tpm.start()
    yield tpm
    tpm.stop()


@pytest.fixture
def device(swtpm, client):
    with ESAPI(TCTILdr(*swtpm.tcti.split(":", 1))) as tpm:
        device = Device(tpm, client)
        yield device
        for handle in (device.endorsement, device.storage, device.key):
            if handle is not None:
                tpm.flush_context(handle)


@pytest.fixture
def make_key():
    """A TPM2B_PUBLIC as an endorsement key has it, in base64, with any modulus; *change* alters the bytes before."""

    def make(modulus: bytes = b"\xc1" * 256, change=lambda data: data) -> str:
        area = struct.pack(">HHIH", 0x0001, 0x000B, 0x000300B2, 32) + EK_POLICY
        area += struct.pack(">HHHHHIH", 0x0006, 128, 0x0043, 0x0010, 2048, 0, len(modulus)) + modulus
        return base64.b64encode(change(struct.pack(">H", len(area)) + area)).decode()

    return make


@pytest.fixture
def enrollment(make_key):
    """A valid enrollment of a device that does not exist."""

    def make(registration_id: str = "unit-1", **fields: object) -> dict:
        attestation = {"type": "tpm", "tpm": {"endorsementKey": make_key()}}
        return {"registrationId": registration_id, "attestation": attestation, **fields}

    return make


@pytest.fixture
def sas():
    return sign


@pytest.fixture
def refused():
    """Checks a refusal and its body; returns the body."""

    def check(answer: requests.Response, code: int) -> dict:
        assert answer.status_code == (code if code < 1000 else code // 1000), answer.text
        body = answer.json()
        assert set(body) >= {"errorCode", "trackingId", "message", "info", "timestampUtc"}
        assert body["errorCode"] // 1000 == answer.status_code
        if code >= 1000:
            assert body["errorCode"] == code
        return body

    return check
