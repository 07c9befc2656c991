# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is found in the TPMs, on the devices and in the service after a run.

Nothing here comes from a playbook or shares code with the collection's plugins: the TPMs are read with their own
commands, the service with plain HTTP. So a playbook that only says it did something is found out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import requests
from tpm2_pytss import ESAPI, TCTILdr, TSS2_Exception
from tpm2_pytss.constants import TPM2_CAP, TPM2_PT, TPMA_PERMANENT

API_VERSION = "2021-10-01"
EK_HANDLE = 0x81010001
SRK_HANDLE = 0x81000001
CLIENT_CONFIGURATION = Path("etc/tpmfleet-dps-client/config.json")


@dataclass
class Seen:
    """One device, as it was found. Keys are base64 of the TPM2B_PUBLIC, None where the TPM holds none."""

    name: str
    reachable: bool = False
    endorsement_key: str | None = None
    storage_root_key: str | None = None
    owner_auth_set: bool = False
    lockout_auth_set: bool = False
    listed: bool = False
    enrollment: dict = field(default_factory=dict)
    registration: dict = field(default_factory=dict)
    client_id_scope: str | None = None

    @property
    def enrolled(self) -> bool:
        """Enrolled with the very key that its TPM holds, and allowed to register."""
        return self.enrollment.get("provisioningStatus") == "enabled"

    @property
    def owned(self) -> bool:
        """Both authorizations are set and both keys of the line are persistent."""
        return self.owner_auth_set and self.lockout_auth_set and bool(self.endorsement_key and self.storage_root_key)

    @property
    def assigned(self) -> bool:
        """The service assigned it to a hub."""
        return self.registration.get("status") == "assigned" and bool(self.registration.get("assignedHub"))


class Service:
    """The service's own answers, by plain requests with a token made here (service API, shared access signatures)."""

    def __init__(self, lab: dict) -> None:
        parts = dict(part.split("=", 1) for part in lab["service"]["connection_string"].split(";"))
        resource = urllib.parse.quote(parts["HostName"], safe="")
        expiry = int(time.time()) + 3600
        key = base64.b64decode(parts["SharedAccessKey"])
        digest = hmac.new(key, f"{resource}\n{expiry}".encode(), hashlib.sha256).digest()
        signature = urllib.parse.quote(base64.b64encode(digest), safe="")
        self._endpoint = lab["service"]["endpoint"]
        self._session = requests.Session()
        self._session.verify = lab["ca_file"]
        # A bundle in the environment must not outweigh the lab's own authority.
        self._session.trust_env = False
        self._session.params = {"api-version": API_VERSION}
        self._session.headers["Authorization"] = (
            f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={parts['SharedAccessKeyName']}"
        )

    def enrollments(self) -> list[dict]:
        """Every individual enrollment, page by page."""
        found, continuation = [], None
        while True:
            headers = {"x-ms-max-item-count": "100"}
            if continuation:
                headers["x-ms-continuation"] = continuation
            answer = self._session.post(
                f"{self._endpoint}/enrollments/query",
                json={"query": "SELECT * FROM enrollments"},
                headers=headers,
                timeout=30,
            )
            answer.raise_for_status()
            found += answer.json()
            continuation = answer.headers.get("x-ms-continuation")
            if not continuation:
                return found

    def registration(self, registration_id: str) -> dict:
        """The registration state, empty where the device never registered."""
        answer = self._session.get(f"{self._endpoint}/registrations/{registration_id}", timeout=30)
        if answer.status_code == 404:
            return {}
        answer.raise_for_status()
        return answer.json()


def _public(tpm: ESAPI, handle: int) -> str | None:
    try:
        public, _name, _qualified = tpm.read_public(tpm.tr_from_tpmpublic(handle))
    except TSS2_Exception:
        return None
    return base64.b64encode(public.marshal()).decode()


def _tpm_answers(tcti: str) -> bool:
    """Asked past the TPM library, which waits for a hung TPM for ever (TPM2_GetRandom of 8 bytes; Part 3, 16.1)."""
    where = dict(part.split("=", 1) for part in tcti.split(":", 1)[1].split(","))
    try:
        with socket.create_connection((where["host"], int(where["port"])), timeout=5) as connection:
            connection.sendall(bytes.fromhex("80010000000c0000017b0008"))
            return bool(connection.recv(10))
    except OSError:
        return False


def _read_tpm(seen: Seen, tcti: str) -> None:
    if not _tpm_answers(tcti):
        return
    try:
        with ESAPI(TCTILdr(*tcti.split(":", 1))) as tpm:
            # Asked for first, because asking for a handle that is not there makes the TPM library log an error.
            _more, capability = tpm.get_capability(TPM2_CAP.HANDLES, 0x81000000, 254)
            handles = {int(handle) for handle in capability.data.handles}
            seen.endorsement_key = _public(tpm, EK_HANDLE) if EK_HANDLE in handles else None
            seen.storage_root_key = _public(tpm, SRK_HANDLE) if SRK_HANDLE in handles else None
            _more, capability = tpm.get_capability(TPM2_CAP.TPM_PROPERTIES, TPM2_PT.PERMANENT, 1)
            permanent = int(capability.data.tpmProperties[0].value)
    except TSS2_Exception:
        return
    seen.owner_auth_set = bool(permanent & TPMA_PERMANENT.OWNERAUTHSET)
    seen.lockout_auth_set = bool(permanent & TPMA_PERMANENT.LOCKOUTAUTHSET)


def _answers_ssh(ssh: dict) -> bool:
    try:
        with socket.create_connection((ssh["host"], ssh["port"]), timeout=3) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def observe(lab: dict, rack_dir: Path) -> list[Seen]:
    """Looks at every device of *lab* (the content of lab.json) and at what the service holds for it."""
    service = Service(lab)
    enrollments = {one["attestation"]["tpm"]["endorsementKey"]: one for one in service.enrollments()}
    listed = {json.loads(line)["endorsement_key"] for line in (rack_dir / "ek-list.jsonl").read_text().splitlines()}

    def look(device: dict) -> Seen:
        seen = Seen(device["name"], reachable=_answers_ssh(device["ssh"]))
        _read_tpm(seen, device["tcti"])
        seen.listed = seen.endorsement_key in listed
        seen.enrollment = enrollments.get(seen.endorsement_key or "", {})
        if seen.enrollment:
            seen.registration = service.registration(seen.enrollment["registrationId"])
        configuration = Path(device["state_dir"]).parent / "upper" / CLIENT_CONFIGURATION
        if configuration.exists():
            seen.client_id_scope = json.loads(configuration.read_text()).get("id_scope")
        return seen

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(look, lab["devices"]))
