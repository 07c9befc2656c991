# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The floor's program on a device: all of a step in one run of Python, on one open TPM.

It comes over standard input, after a line with its length, and is followed by lines of JSON: what to do, and then what
the controller says to what was found. It answers each with a line of JSON. Public areas are TPM2B_PUBLIC in base64.
"""

import base64
import hashlib
import json
import os
import pwd
import struct
import subprocess
import sys

from tpm2_pytss import ESAPI, TCTILdr
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_CAP, TPM2_PT, TPM2_SE
from tpm2_pytss.types import (
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMT_SYM_DEF,
)

EK, SRK, CERTIFICATE = 0x81010001, 0x81000001, 0x01C00002
# TCG EK Credential Profile 2.x, B.3.3; TCG TPM v2.0 Provisioning Guidance, 7.5.1; TPM 2.0 part 2, 8.9 and 12.
EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
OWNER_AUTH_SET, LOCKOUT_AUTH_SET = 1, 4
MADE = []


def template(attributes, policy, unique):
    area = struct.pack(">HHIH", 1, 0x000B, attributes, len(policy)) + policy
    area += struct.pack(">HHHHHIH", 6, 128, 0x43, 0x10, 2048, 0, len(unique)) + unique
    return TPM2B_PUBLIC.unmarshal(struct.pack(">H", len(area)) + area)[0]


def handles(tpm, first):
    _more, found = tpm.get_capability(TPM2_CAP.HANDLES, first, 64)
    return {int(handle) for handle in found.data.handles}


def key(tpm, persisted, handle, hierarchy, made_from):
    """(The key's ESYS handle, its public area). A key that is made is in MADE."""
    if handle in persisted:
        loaded = tpm.tr_from_tpmpublic(handle)
        return loaded, bytes(tpm.read_public(loaded)[0].marshal())
    loaded, public, *_rest = tpm.create_primary(TPM2B_SENSITIVE_CREATE(), made_from, hierarchy)
    MADE.append(loaded)
    return loaded, bytes(public.marshal())


def certificate(tpm):
    if CERTIFICATE not in handles(tpm, CERTIFICATE):
        return b""
    index = tpm.tr_from_tpmpublic(CERTIFICATE)
    size, read = int(tpm.nv_read_public(index)[0].nvPublic.dataSize), b""
    while len(read) < size:
        read += bytes(tpm.nv_read(index, min(768, size - len(read)), len(read), index))
    return read


def claim(tpm, wish, persisted, ek, srk):
    """What of the ownership was not there and is now."""
    _more, found = tpm.get_capability(TPM2_CAP.TPM_PROPERTIES, TPM2_PT.PERMANENT, 1)
    is_set = int(found.data.tpmProperties[0].value)
    done = []
    owner = b"" if not is_set & OWNER_AUTH_SET else wish["owner_auth"].encode()
    tpm.tr_set_auth(ESYS_TR.OWNER, owner)
    if owner:
        # That it is the right one; a wrong one fails here, before anything is changed.
        policy(tpm, ESYS_TR.OWNER)
    for handle, loaded in ((EK, ek), (SRK, srk)):
        if handle not in persisted:
            tpm.evict_control(ESYS_TR.OWNER, loaded, handle)
            done.append(f"{handle:#x}")
    if not is_set & LOCKOUT_AUTH_SET:
        tpm.dictionary_attack_parameters(32, 600, 86400)
        done.append("dictionary attack parameters")
    if not owner:
        tpm.hierarchy_change_auth(ESYS_TR.OWNER, wish["owner_auth"])
        done.append("owner authorization")
    if not is_set & LOCKOUT_AUTH_SET:
        tpm.hierarchy_change_auth(ESYS_TR.LOCKOUT, wish["lockout_auth"])
        done.append("lockout authorization")
    return done


def policy(tpm, hierarchy, use=None):
    """What *use* returns for a session in which the authorization of *hierarchy* was shown."""
    session = tpm.start_auth_session(
        ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.POLICY, TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL), TPM2_ALG.SHA256
    )
    try:
        tpm.policy_secret(hierarchy, session, b"", b"", b"", 0)
        return use(session) if use else None
    finally:
        tpm.flush_context(session)


def activate(tpm, challenge, ek, srk):
    """The secret in *challenge*."""
    id_object, _size = TPM2B_ID_OBJECT.unmarshal(base64.b64decode(challenge["id_object"]))
    secret, _size = TPM2B_ENCRYPTED_SECRET.unmarshal(base64.b64decode(challenge["secret"]))

    def use(session):
        return tpm.activate_credential(srk, ek, id_object, secret, ESYS_TR.PASSWORD, session)

    return bytes(policy(tpm, ESYS_TR.ENDORSEMENT, use))


def missing(wanted):
    """Which of the files, path to SHA-256, are not there as wanted."""
    found = []
    for path, digest in wanted.items():
        try:
            with open(path, "rb") as file:
                same = hashlib.sha256(file.read()).hexdigest() == digest
        except FileNotFoundError:
            same = False
        if not same:
            found.append(path)
    return found


def place(files, account, timer):
    """Places *files* (path to mode and base64), each in one step, and switches the client on."""
    try:
        pwd.getpwnam(account)
    except KeyError:
        subprocess.run(["useradd", "--system", "--user-group", "--shell", "/usr/sbin/nologin", account], check=True)
    for path, (mode, content) in files.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(base64.b64decode(content))
            file.flush()
            os.fsync(file.fileno())
        os.rename(path + ".new", path)
    if files:
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        subprocess.run(["systemctl", "enable", timer, timer.replace(".timer", ".service")], check=True)


def say(**what):
    print(json.dumps(what), flush=True)


def listen():
    return json.loads(sys.stdin.buffer.readline())


def main():
    os.environ.setdefault("TSS2_LOG", "all+NONE")
    # What tools print is none of the conversation.
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    wish = listen()
    with ESAPI(TCTILdr(*wish["tcti"].split(":", 1))) as tpm:
        try:
            work(tpm, wish)
        finally:
            # Without a resource manager nobody else does.
            for loaded in MADE:
                tpm.flush_context(loaded)


def work(tpm, wish):
    persisted = handles(tpm, SRK)
    ek, ek_public = key(tpm, persisted, EK, ESYS_TR.ENDORSEMENT, template(0x000300B2, EK_POLICY, bytes(256)))
    found = {"endorsement_key": base64.b64encode(ek_public).decode()}
    if wish["step"] == 2:
        say(**found, certificate=base64.b64encode(certificate(tpm)).decode())
        return
    srk, srk_public = key(tpm, persisted, SRK, ESYS_TR.OWNER, template(0x00030472, b"", b""))
    say(**found, storage_root_key=base64.b64encode(srk_public).decode(), missing=missing(wish["files"]))
    # Nothing is changed before the controller has held the key against its record.
    order = listen()
    done = claim(tpm, order, persisted, ek, srk)
    answer = activate(tpm, order["challenge"], ek, srk)
    place(order["files"], wish["account"], wish["timer"])
    say(answer=answer.hex(), claimed=done, placed=sorted(order["files"]))


main()
