# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a device said of itself, judged. Each check takes what :mod:`modules.doctor_device` returned, held to its shape.

All of it is the device's claim: a finding says what to look at, and no step relies on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .finding import ATTENTION, FAULT, OK, UNKNOWN, Finding, finding

Seen = Mapping[str, Any]

# A SAS token of a device lives for an hour, and the service takes a certificate by its dates.
_CLOCK_ATTENTION, _CLOCK_FAULT = 60, 300
# The client with its files takes less than a tenth of it.
_LEAST_MIB = 20
# A claim and a proof of possession hold two keys at a time.
_LEAST_KEYS, _LEAST_SESSIONS = 2, 2
_STORAGE_ROOT_KEY, _ENDORSEMENT_KEY = "0x81000001", "0x81010001"
_BROKER = "tpm2-abrmd"


def findings_of(seen: Seen, *, tcti: str, asked: float, answered: float, pipelined: bool) -> list[Finding]:
    """All findings.

    *asked* and *answered* are the controller's time before and after, in seconds since the epoch. *pipelined* is
    whether Ansible sends modules to the device without files.
    """
    found = [*_library(seen), *_answer(seen), *_chip(seen)]
    if tcti.startswith("device:"):
        found = [*_node(seen, tcti.partition(":")[2]), *_holder(seen), *found]
    if not pipelined:
        found.append(
            finding(
                "pipelining",
                ATTENTION,
                "Ansible does not pipeline, so that each call is slower and passes through files",
                "Set ANSIBLE_PIPELINING=true, or pipelining in ansible.cfg, and unset ANSIBLE_KEEP_REMOTE_FILES.",
            )
        )
    return [*found, _clock(seen, asked, answered), *_disks(seen), _systemd(seen), _client(seen)]


def _node(seen: Seen, path: str) -> Iterator[Finding]:
    there = {one["path"]: one for one in seen["nodes"]}
    if seen["version_major"] == 1:
        yield finding(
            "version",
            FAULT,
            "the TPM is a TPM 1.2, which the service does not take",
            "Switch the chip to 2.0 in the firmware setup if it can, or take a device with a TPM 2.0.",
        )
    elif seen["version_major"] == 2:
        yield finding("version", OK, "the TPM is a TPM 2.0", detail=f"driver {seen['driver'] or 'not told'}")
    elif there:
        yield finding("version", UNKNOWN, "the kernel does not tell the version of the TPM (before Linux 5.6)")
    if not there:
        yield finding(
            "node",
            FAULT,
            "the kernel has no TPM: there is no /dev/tpm0",
            "Enable the TPM in the firmware setup; look for its driver with: dmesg | grep -i tpm",
        )
        return
    if path not in there and path in ("/dev/tpm0", "/dev/tpmrm0"):
        yield finding(
            "node",
            FAULT,
            f"there is a TPM and no {path}",
            "Take a kernel of 4.12 or later, or set tpmfleet_tcti to what the device has.",
        )
        return
    yield finding("node", OK, "the TPM's device node is there")
    if seen["may_use"] is False:
        node = there.get(path)
        who = f"{path} has mode {node['mode']}, user {node['owner']}, group {node['group']}" if node else ""
        yield finding(
            "rights",
            FAULT,
            "the user that Ansible becomes may not use the TPM",
            "Set ansible_become: true, or add the user to the group of the node.",
            detail=f"it is {seen['user']}; {who}",
        )
    elif seen["may_use"]:
        yield finding("rights", OK, "the user may use the TPM", detail=seen["user"])


def _holder(seen: Seen) -> Iterator[Finding]:
    if not seen["holders"]:
        return
    names = ", ".join(seen["holders"])
    if _BROKER in seen["holders"]:
        yield finding(
            "resource_manager",
            ATTENTION,
            "the resource manager tpm2-abrmd holds /dev/tpm0 beside the kernel's",
            "systemctl disable --now tpm2-abrmd, or where a program needs it set tpmfleet_tcti to tabrmd",
            detail=names,
        )
    else:
        yield finding(
            "resource_manager",
            ATTENTION,
            "a program holds /dev/tpm0, past the kernel's resource manager",
            "Have it use /dev/tpmrm0.",
            detail=names,
        )


def _library(seen: Seen) -> Iterator[Finding]:
    stack = f"tpm2-tss {seen['stack'] or 'not told'}, Python {seen['python']}"
    if seen["library"] is None:
        yield finding(
            "library",
            ATTENTION,
            "the Python library tpm2-pytss is missing or unusable",
            "Run a step, which installs it, or the role tpmfleet.azure_dps.tpm_runtime.",
            detail=stack,
        )
    else:
        yield finding("library", OK, "the TPM library is there", detail=f"tpm2-pytss {seen['library']}, {stack}")


def _answer(seen: Seen) -> Iterator[Finding]:
    if seen["refusal"] is not None:
        yield finding(
            "tpm",
            FAULT,
            "the TPM could not be asked",
            "Do what the detail says; power-cycle the device if the TPM does not answer.",
            detail=seen["refusal"],
        )
    elif seen["chip"] is None:
        yield finding("tpm", UNKNOWN, "the TPM was not asked", "Mend what is found beside this first.")


def _chip(seen: Seen) -> Iterator[Finding]:
    chip = seen["chip"]
    if chip is None:
        return
    made = chip["tpm"]
    yield finding(
        "tpm",
        OK,
        "the TPM answers",
        detail=f"{made['manufacturer']} {made['model']}, firmware {made['firmware_version']}",
    )
    counter, most = chip["lockout_counter"], chip["dictionary_attack"]["max_tries"]
    if chip["in_lockout"]:
        yield finding(
            "lockout",
            FAULT,
            "the TPM is in dictionary attack lockout",
            "Wait, or have the lockout reset by who has the lockout authorization; see docs/ownership.md.",
            detail=f"{counter} failed tries are counted",
        )
    elif most and counter * 2 >= most:
        yield finding(
            "lockout",
            ATTENTION,
            "the TPM counts failed tries and is not far from lockout",
            "Find out who tries a wrong authorization before the line does anything.",
            detail=f"{counter} of {most}",
        )
    else:
        yield finding("lockout", OK, "the TPM is not in lockout", detail=f"{counter} failed tries are counted")
    room = chip["room"]
    short = [
        f"{count} {words}"
        for count, least, words in (
            (room["transient"], _LEAST_KEYS, "keys"),
            (room["sessions"], _LEAST_SESSIONS, "sessions"),
        )
        if count is not None and count < least
    ]
    if short:
        yield finding(
            "room",
            ATTENTION,
            "what others left loaded in the TPM leaves no room",
            "tpm2_flushcontext -t -l -s, or power-cycle the device.",
            detail=f"there is room for {' and '.join(short)}",
        )
    elif room["transient"] is None:
        yield finding("room", UNKNOWN, "the TPM does not tell how much room it has")
    else:
        yield finding("room", OK, "there is room for keys and sessions")
    keys = set(chip["persistent_handles"])
    owned = [name for name, is_set in chip["hierarchies"].items() if is_set]
    there = [handle for handle in (_STORAGE_ROOT_KEY, _ENDORSEMENT_KEY) if handle in keys]
    detail = f"persistent: {', '.join(there) or 'neither'}; set: {', '.join(owned) or 'none'}"
    yield finding("state", OK, "keys and authorizations were read", detail=detail)
    if chip["ek_certificate"]:
        yield finding("ek_certificate", OK, "there is an EK certificate in the TPM")
    else:
        yield finding(
            "ek_certificate",
            ATTENTION,
            "there is no EK certificate in the TPM",
            "Take in the maker's list, or set tpmfleet_ek_certificate_policy to preferred; see docs/trust.md.",
        )


def _clock(seen: Seen, asked: float, answered: float) -> Finding:
    # It was read somewhere between the two.
    off = max(asked - seen["clock"], seen["clock"] - answered, 0.0)
    detail = f"{off:,.0f} s {'behind' if seen['clock'] < asked else 'ahead'}"
    mend = "Have it take the time from a server: timedatectl set-ntp true"
    if off >= _CLOCK_FAULT:
        return finding(
            "clock", FAULT, "the clock is not the controller's, so that tokens are refused", mend, detail=detail
        )
    if off >= _CLOCK_ATTENTION:
        return finding("clock", ATTENTION, "the clock is a little off the controller's", mend, detail=detail)
    return finding("clock", OK, "the clock is the controller's")


def _disks(seen: Seen) -> Iterator[Finding]:
    fixed = [one["path"] for one in seen["file_systems"] if not one["writable"]]
    full = [one for one in seen["file_systems"] if one["writable"] and one["free_mib"] < _LEAST_MIB]
    if fixed:
        yield finding(
            "disk",
            FAULT,
            "a file system that the client's files go to is read-only",
            "Look in dmesg for its errors; on an image that is meant so, put the client on the image.",
            detail=", ".join(fixed),
        )
    if full:
        yield finding(
            "disk",
            FAULT,
            f"a file system that files go to has less than {_LEAST_MIB} MiB left",
            "Make room: df -h; journalctl --vacuum-size=50M",
            detail=", ".join(f"{one['path']} has {one['free_mib']} MiB" for one in full),
        )
    if not fixed and not full:
        yield finding("disk", OK, "files can be written")


def _systemd(seen: Seen) -> Finding:
    if not seen["systemd"]["running"]:
        return finding(
            "systemd",
            FAULT,
            "the device does not run systemd, which starts the field client",
            "Boot it with systemd, or use another client; see docs/field-client.md.",
        )
    version = seen["systemd"]["version"]
    return finding("systemd", OK, "systemd runs the device", detail=f"version {version or 'not told'}")


def _client(seen: Seen) -> Finding:
    state = seen["client"]["state"]
    if not seen["client"]["placed"]:
        return finding("client", OK, "the field client is not placed yet")
    if state == "failed":
        return finding(
            "client",
            ATTENTION,
            "the field client's last run failed",
            "journalctl -u tpmfleet-dps-client; see docs/field-client.md.",
        )
    return finding("client", OK, "the field client is placed", detail=state or "")
