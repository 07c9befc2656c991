# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The floor: steps 2 and 3 as one hand-written program, with one execution over plain ssh a device and step.

``floor.py JOB``: JOB is a file of JSON that bench_line.py writes. It prints a line of JSON, what was done to whom.
What a line needs besides, such as settings, judging twins, check mode, rotation, several stations, it has not.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import struct
import subprocess
import sys
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ON_DEVICE = Path(__file__).with_name("on_device.py").read_bytes()
START = "import sys; exec(compile(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())), 'floor', 'exec'))"
TIMER = "tpmfleet-dps-client.timer"
AT_ONCE = 50


class Refused(Exception):
    """A device may not go on; says why."""


def sized(data):
    return struct.pack(">H", len(data)) + data


def kdfa(key, label, context, bits):
    # TPM 2.0 part 1, 11.4.10.2, of which one round is enough here.
    message = struct.pack(">I", 1) + label + b"\0" + context + struct.pack(">I", bits)
    return hmac.digest(key, message, "sha256")[: bits // 8]


def make_credential(secret, endorsement_key, storage_root_key):
    """TPM2_MakeCredential (part 1, 24) for the TPM that holds both keys, as the device reads it."""
    name = b"\0\x0b" + hashlib.sha256(storage_root_key[2:]).digest()
    modulus = int.from_bytes(endorsement_key[-256:], "big")
    seed = secrets.token_bytes(32)
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=b"IDENTITY\0")
    encrypted_seed = rsa.RSAPublicNumbers(65537, modulus).public_key().encrypt(seed, oaep)
    cipher = Cipher(algorithms.AES(kdfa(seed, b"STORAGE", name, 128)), modes.CFB(bytes(16))).encryptor()
    encrypted = cipher.update(sized(secret)) + cipher.finalize()
    integrity = hmac.digest(kdfa(seed, b"INTEGRITY", b"", 256), encrypted + name, "sha256")
    parts = {"id_object": sized(sized(integrity) + encrypted), "secret": sized(encrypted_seed)}
    return {what: base64.b64encode(data).decode() for what, data in parts.items()}


class Service:
    """Enrollments, with one kept connection."""

    def __init__(self, connection_string, ca_file):
        parts = dict(part.split("=", 1) for part in connection_string.split(";"))
        resource, expiry = urllib.parse.quote(parts["HostName"], safe=""), int(time.time()) + 3600
        key = base64.b64decode(parts["SharedAccessKey"])
        signed = base64.b64encode(hmac.digest(key, f"{resource}\n{expiry}".encode(), "sha256"))
        token = (
            f"sr={resource}&sig={urllib.parse.quote(signed, safe='')}&se={expiry}&skn={parts['SharedAccessKeyName']}"
        )
        self._endpoint = f"https://{parts['HostName']}"
        self._session = requests.Session()
        self._session.verify, self._session.trust_env = ca_file, False
        self._session.headers["Authorization"] = f"SharedAccessSignature {token}"
        self._session.params = {"api-version": "2021-10-01"}

    def enrolled_key(self, registration_id):
        answer = self._session.get(f"{self._endpoint}/enrollments/{registration_id}", timeout=30)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return answer.json()["attestation"]["tpm"]["endorsementKey"]

    def enroll(self, keys):
        """*keys* by registration ID, ten a call."""
        new = [
            {"registrationId": name, "attestation": {"type": "tpm", "tpm": {"endorsementKey": key}}}
            for name, key in keys.items()
        ]
        for begin in range(0, len(new), 10):
            body = {"mode": "create", "enrollments": new[begin : begin + 10]}
            answer = self._session.post(f"{self._endpoint}/enrollments", json=body, timeout=30)
            answer.raise_for_status()
            if not answer.json()["isSuccessful"]:
                raise Refused(answer.text)


class Floor:
    """One step over a rack."""

    def __init__(self, job):
        self._job = job
        self._service = Service(job["connection_string"], job["ca_file"])
        self._ledger = sqlite3.connect(job["ledger"], check_same_thread=False)
        self._ledger.execute(
            "CREATE TABLE IF NOT EXISTS devices (serial TEXT PRIMARY KEY, key TEXT UNIQUE, record TEXT)"
        )
        self._known = {row[0]: json.loads(row[1]) for row in self._ledger.execute("SELECT serial, record FROM devices")}
        self._listed = {json.loads(line)["endorsement_key"] for line in Path(job["ek_list"]).read_text().splitlines()}
        self._files = {path: (mode, base64.b64decode(content)) for path, (mode, content) in job["files"].items()}

    def run(self):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            step = self._read if self._job["step"] == 2 else self._install
            found = list(pool.map(step, self._job["devices"]))
        keys = {one["registration_id"]: one["endorsement_key"] for one in found}
        if len(set(keys.values())) != len(found):
            raise Refused("two devices report one endorsement key")
        with ThreadPoolExecutor(8) as pool:
            there = dict(zip(keys, pool.map(self._service.enrolled_key, keys)))
        for name, key in there.items():
            if key not in (None, keys[name]):
                raise Refused(f"{name} is enrolled with another key")
        new = {name: key for name, key in keys.items() if there[name] is None}
        self._service.enroll(new)
        changed = len(new)
        with self._ledger:
            for one in found:
                changed += one != self._known.get(one["serial_number"])
                row = (one["serial_number"], one["endorsement_key"], json.dumps(one))
                self._ledger.execute("INSERT OR REPLACE INTO devices VALUES (?, ?, ?)", row)
        print(json.dumps({"devices": len(found), "changed": changed}))

    def _ssh(self, device):
        ssh = device["ssh"]
        command = ["ssh", "-T", "-i", ssh["private_key_file"], "-p", str(ssh["port"]), "-o", "BatchMode=yes"]
        command += ["-o", f"UserKnownHostsFile={ssh['known_hosts_file']}", f"{ssh['user']}@{ssh['host']}"]
        command.append(f'/usr/bin/python3 -c "{START}"')
        talk = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        talk.stdin.write(b"%d\n" % len(ON_DEVICE) + ON_DEVICE)
        return talk

    @staticmethod
    def _tell(talk, **what):
        talk.stdin.write(json.dumps(what).encode() + b"\n")
        talk.stdin.flush()
        return json.loads(talk.stdout.readline() or "{}")

    def _read(self, device):
        with self._ssh(device) as talk:
            said = self._tell(talk, step=2, tcti=device["tcti"])
        known = self._known.get(device["serial_number"], {})
        if said["endorsement_key"] not in self._listed:
            raise Refused(f"{device['name']}: its key is on no list")
        if known.get("endorsement_key", said["endorsement_key"]) != said["endorsement_key"]:
            raise Refused(f"{device['name']}: another key than before")
        self._verify(said)
        registration_id = base64.b32encode(hashlib.sha256(base64.b64decode(said["endorsement_key"])).digest())
        record = {"serial_number": device["serial_number"], "host": device["name"], **said}
        return {**known, **record, "registration_id": registration_id.decode().rstrip("=").lower()}

    def _verify(self, said):
        """That the certificate is of this key, and of a maker that is trusted."""
        certificate = x509.load_der_x509_certificate(base64.b64decode(said["certificate"]))
        numbers = certificate.public_key().public_numbers()
        if numbers.n.to_bytes(256, "big") != base64.b64decode(said["endorsement_key"])[-256:]:
            raise Refused("the certificate is about another key")
        issuers = [
            one for path in self._job["roots"] for one in x509.load_pem_x509_certificates(Path(path).read_bytes())
        ]
        while certificate.issuer != certificate.subject:
            issuer = next((one for one in issuers if one.subject == certificate.issuer), None)
            if issuer is None:
                raise Refused("the certificate leads to no root")
            certificate.verify_directly_issued_by(issuer)
            certificate = issuer

    def _install(self, device):
        known = self._known[device["serial_number"]]
        files = {**self._files, self._job["configuration"]: (0o644, self._configuration(device, known))}
        wanted = {path: hashlib.sha256(content).hexdigest() for path, (_mode, content) in files.items()}
        account = "tpmfleet-dps-client"
        with self._ssh(device) as talk:
            said = self._tell(talk, step=3, tcti=device["tcti"], files=wanted, account=account, timer=TIMER)
            if said["endorsement_key"] != known["endorsement_key"]:
                raise Refused(f"{device['name']}: another key than before")
            srk = known.get("storage_root_key", said["storage_root_key"])
            if said["storage_root_key"] != srk:
                raise Refused(f"{device['name']}: another storage root key than before")
            secret = secrets.token_bytes(32)
            answer = self._tell(
                talk,
                challenge=make_credential(
                    secret, base64.b64decode(said["endorsement_key"]), base64.b64decode(said["storage_root_key"])
                ),
                owner_auth=self._auth(known, "owner"),
                lockout_auth=self._auth(known, "lockout"),
                files={path: (files[path][0], base64.b64encode(files[path][1]).decode()) for path in said["missing"]},
            )
        if answer.get("answer") != secret.hex():
            raise Refused(f"{device['name']}: its TPM does not hold the key")
        return {**known, "storage_root_key": said["storage_root_key"], "owned": True, "client": True}

    def _auth(self, known, hierarchy):
        info = f"{hierarchy} {known['endorsement_key']}".encode()
        derived = HKDF(hashes.SHA256(), 24, b"floor", info).derive(self._job["master_key"].encode())
        return base64.urlsafe_b64encode(derived).decode()

    def _configuration(self, device, known):
        own = {"registration_id": known["registration_id"], "tcti": device["tcti"]}
        return json.dumps({**self._job["client"], **own}, indent=2, sort_keys=True).encode()


def main():
    os.environ.pop("SSH_AUTH_SOCK", None)
    Floor(json.loads(Path(sys.argv[1]).read_text())).run()


if __name__ == "__main__":
    main()
