# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which entry of docs/errors.md explains a message, by the message's own words, and the end of a message that says so.

A message is known by what is said in it and not by where it was raised: it comes as text from a device, through
modules, verdicts of the ledger and tasks of roles. What a device says can at worst name another entry of our own page.
"""

from __future__ import annotations

import re
from typing import Any

PAGE = "errors.md"
# The rest of a message is looked at no further: what explains it is said early, and a device may say much.
_MOST = 4000

# Entry to the words by which its messages are known. The first entry that fits is the message's, so what is told in
# more general words comes later.
ENTRIES: dict[str, tuple[str, ...]] = {
    # Of devices: who they are
    "device-tampered": (
        r"Take it off the line: what runs on it is not",
        r"The module returned something that is not|returned another \w|is not base64 as everybody writes it",
    ),
    "possession": (
        r"does not hold the endorsement key that it reports",
        r"The TPM could not open the challenge",
        r"to be proven was",
        r"Take it off the line; if it is enrolled already",
        r"the answer is not that of the TPM|its storage root key has the name",
        r"nothing can be encrypted to the endorsement key",
        r"There is no storage root key at 0x",
        r"it did not prove its endorsement key on",
    ),
    "ek-twin": (r"was also found on|is already that of .*pull both", r"its registration ID was also"),
    "ek-changed": (
        r"is not the one that was read before",
        r"The endorsement key of this TPM has SHA-256 .* expected was",
        r"endorsement_key_sha256 is .* not that of endorsement_key",
    ),
    "ek-retired": (
        r"TPM that was taken out of",
        r"tpmfleet_recommission for this host",
        r"is half decommissioned, since",
    ),
    "ek-not-listed": (
        r"is on no list of a TPM maker",
        r"No list of a TPM maker was ever taken in to the ledger",
        r"devices held against the lists none is on one",
    ),
    "ek-missing": (r"it says no endorsement key, and one that is trusted is required",),
    "ek-certificate-missing": (r"\bhas no endorsement key certificate",),
    "ek-certificate-other-key": (r"certificate is about (another key|this TPM's key|the key of the template)",),
    "ek-certificate-expired": (r"certificate .*(is valid until|is not valid before)",),
    "ek-certificate-no-root": (r"leads.* to an issuer that is not there",),
    "revocation-list": (r"certificate revocation list", r"Revocation has to be known"),
    "ek-certificate-revoked": (r"certificate .*revo(ked|cation)",),
    "ek-certificate": (r"its endorsement key certificate ", r"its endorsement key certificate, as it is in the TPM"),
    "software-tpm-refused": (r"it has a software TPM", r"a software TPM is refused in a production inventory"),
    "not-in-ledger": (
        r"[Tt]he ledger (does not know|knows no device)",
        r"has no registration ID yet: its label",
        r"nothing is known of it",
    ),
    "no-registration-id": (r"the ledger has no registration ID of it",),
    "serial-number-not-text": (r"which is no text; write it in quotes",),
    "record-damaged": (
        r"what is said of it is no record",
        r"\bis damaged: |the ledger tells of its device",
    ),
    # Of devices: their TPMs
    "key-version": (
        r"is of key version .* wanted is",
        r"the ledger has key version",
        r"a rotation goes from one key version|A rotation (goes|needs)",
        r"key_version and previous_key_version are both",
        r"previous_\w+_auth was given and no",
        r"Nothing would tell after a power cut",
        r"is for state 'rotated' alone",
        r"no record of a key version",
        r"The owner or key version of this TPM is the previous one",
    ),
    "tpm-lockout": (r"is in dictionary attack lockout", r"failed tries, so that max_tries"),
    "tpm-lockout-authorization": (
        r"The TPM refuses its lockout hierarchy",
        r"lockout_auth is not the lockout authorization",
        r"nothing proves that lockout_auth is the right one",
    ),
    "tpm-owned": (r"This TPM has an owner", r"was set by someone else"),
    "tpm-endorsement-authorization": (
        r"The endorsement hierarchy of this TPM has an authorization",
        r"The endorsement authorization of this TPM is another one",
        r"Its endorsement hierarchy has an authorization, which was not sent",
        r"takes the authorization of the endorsement hierarchy",
        r"It asks for the authorization of its endorsement hierarchy",
    ),
    "tpm-ek-template": (r"is of template '", r"no key of template 'nv'"),
    "tpm-persistent-key": (r"What is persisted at 0x", r"no handle of a persistent key"),
    "tpm-clear": (r"clear_confirmation does not name", r"TPM2_Clear is disabled"),
    "tpm-no-permanent": (r"does not tell which authorizations are set",),
    "tpm-authorization-value": (
        r"is empty, which is no authorization",
        r"holds a zero byte, which TPMs",
        r"bytes long; a TPM takes",
        r"go to no TPM but the one that holds it",
    ),
    "ownership-client": (r"cannot live together", r"stock SDK clients need an empty", r"IoT identity service needs"),
    "ownership-profile": (r"the ledger has the ownership profile",),
    "tpm-missing": (r"There is no TPM at", r"No TPM answers at"),
    "tpm-no-permission": (r"No permission to use the TPM",),
    "tpm-in-use": (r"is used by another program",),
    "tpm-tcti": (r"could be opened for the TCTI", r"The connection to the TPM at .* could not be opened"),
    "tpm-no-answer": (r"The TPM at .* did not answer within", r"The connection to the TPM broke"),
    "tpm-library": (
        r"required Python library \(tpm2-pytss",
        r"the TPM modules cannot run",
        r"no packages are known for the family",
        r"There is no wheel of tpm2-pytss",
        r"The TPM libraries are missing",
        r"Python library tpm2-pytss is missing or unusable|tpm_runtime installs it",
    ),
    "software-tpm": (
        r"there is no user \S+, whom the TPM is to run as",
        r"(^|: )swtpm_setup .*failed: ",
        r"^(\S+: )?\S+ cannot be made: ",
    ),
    "tpm-refused": (r"The TPM could not ", r"The TPM software stack could not"),
    # Of devices: the field client
    "client-selftest": (r"the client's selftest (failed|said)",),
    "client-registration": (
        r"the device did not register",
        r"The service's challenge (is malformed|holds a key)|What should be a \S+ is",
        r"status does not answer|the assignment was not removed",
    ),
    "not-assigned": (r"not assigned to a hub",),
    "client-aziot": (r"IoT identity service", r"aziotctl config apply failed"),
    "client-placement": (
        r"cannot place |cannot look at |could not be removed: ",
        r"is there and is no (link|regular file); it was left alone",
        r"the user \S+ was made and is not there",
        r"(^|: )(systemctl .*|useradd|usermod) failed: |everything was put back as it was",
    ),
    # Of devices: the way to them
    "device-no-answer": (r"gave no answer within", r"sent more than", r"its directory for temporary files is"),
    "device-python": (
        r"there is no Python at what ansible_python_interpreter names",
        r"Look at its Python interpreter and its memory first",
    ),
    "device-login": (r"Permission denied \(", r"Mend the user or the key that Ansible logs in with"),
    "device-host-key": (r"Host key verification failed|Its host key is not the known one",),
    "device-name": (r"Could not resolve hostname",),
    "device-become": (
        r"(Missing|Incorrect|Invalid/incorrect) \w+ password",
        r"waiting for privilege escalation prompt",
        r"takes root, and the task runs as a user|works as root on the device|run with become",
    ),
    "device-command": (r"a command ended with exit code", r"Error executing command: "),
    "device-unreachable": (
        r"Is it switched on and on the network\?",
        r"Failed to connect to the host|cannot be reached",
    ),
    # Of the station: how a step is begun
    "master-key": (
        r"the master key (is|has)",
        r"the key version is .* whole number",
        r"ek_name is not the name",
        r"The work order \S+ was written with another master key",
    ),
    "facts-as-variables": (r"make variables of facts",),
    "strategy": (r"has each device go on by itself",),
    "pipelining": (r"would be written to a file on the device",),
    "undefined-variable": (
        r"is not defined\. Set it in the inventory",
        r"is undefined",
        r"cannot be made of its template",
    ),
    "decommission-unconfirmed": (r"is not among the devices that tpmfleet_decommission_confirm names",),
    "decommission-elsewhere": (r"It is half decommissioned: name that DPS",),
    "replace-unconfirmed": (r"tpmfleet_replace_tpm is not set for this host",),
    "several-services": (r"are bound for different services",),
    "same-service": (r"The access to the previous DPS is the access to the DPS where the devices belong",),
    "library-missing": (
        r"Failed to import the required Python library",
        r"[Tt]he Python package \S+ is missing|for want of the driver",
    ),
    # Of the service
    "azure-refused": (r"Azure answered \d|it was accepted and then failed",),
    "dps-quota": (r"answered 429", r"asked for no more calls"),
    "dps-credential-refused": (r"answered 401",),
    "dps-right-missing": (r"answered 403",),
    "dps-not-found": (r"answered 40[45]",),
    "dps-conflict": (
        r"answered 4(09|12)",
        r"the service gave no ETag|it has no ETag|tells no ETag",
        r"is disabled, and was not removed",
        r"holds what must be unique|was changed by someone else",
    ),
    "dps-fault": (r"answered 5\d\d",),
    "dps-refused": (r"answered [34]\d\d", r"\b(create|update|delete)\w* refused: "),
    "dps-certificate": (
        r"the certificate of .* was not accepted",
        r"ca_file .* (does not exist|has no certificate|is a directory)|ca_file: (there is no file|\S+ is a directory)",
    ),
    "dps-unknown": (r"nobody knows a host of the name ",),
    "dps-unreachable": (r"no answer from ",),
    "dps-senseless": (r"the answer of .* makes no sense", r"The answer of Entra ID makes no sense"),
    "dps-connection-string": (
        r"Nothing says which provisioning service is meant",
        r"The connection string( of the hub)? is wrong",
        r"is a URL\.|is not a host name|is that of an IoT hub|is a hub's service host name",
        r"connection_string excludes host and sas_token",
    ),
    "sas-token": (r"The SAS token",),
    "entra-id": (
        r"Entra ID gave no token",
        r"Entra ID credential cannot be made",
        r"azure-identity, which Entra ID needs",
        r"secret and x509_certificate_path need",
    ),
    "called-alike": (r"and each device has one of its own", r"leads to one machine for several devices"),
    "enrollment-wrong": (
        r"tpmfleet_enrollment(_\w+)?(: | is no )",
        r"Not a registration ID",
        r"Nothing was sent",
        r"enrollment \S+ was not (made|ended)",
        r"Enrollment \S+: ",
    ),
    "prune-limit": (r"are not listed and would be removed",),
    "plan": (r"The plan ", r"The world moved since"),
    "drift": (r"DRIFT: the service is not as the manifest says",),
    "azure-instance": (
        r"There is no (DPS instance|access policy)",
        r"The DPS instance .* (is in|cannot be made)",
        r"Azure does not tell the host",
        r"is not linked, and to link it|user_assigned_identity goes with|connection_string is for authentication",
        r"hub is .* but the connection string is for",
    ),
    "azure-busy": (r"was (still|not done after|changed by others)", r"Could not .* within \S+ s: "),
    "maker-token": (
        r"valid_seconds|renew_seconds|The token could not be written|key of the access policy|_key is not base64",
    ),
    # Of lists and files
    "list-signature": (
        r"is no good signature",
        r"has no signature, and allowed_signers asks",
        r"The signed list of files|is not signed by anybody below",
    ),
    "list-empty": (r"The list .* is empty|has no record\.$",),
    "list-wrong": (r"are wrong, so nothing was written",),
    "list-changed": (r"The manifest changed while it was read",),
    "signing": (r"makes no signature|is no SSH key|ssh-keygen (is not there|was not done)",),
    "file-unwritable": (
        r"could not be written|cannot be written",
        r"(^|: )The directory .* is not there|Run again to complete it",
        r"and is left alone|Nothing was written: ",
    ),
    "import-conflict": (r"are known otherwise here", r"is another one here than there|here and .* there"),
    # Of makers' certificates
    "roots-missing": (
        r"There is nothing to verify certificates to",
        r"There is no root certificate in",
        r"which should hold|The directory .* has no .* no file in it",
    ),
    "roots-pinned": (
        r"No root is pinned|The sources have (no root|roots that are not pinned)",
        r"is no fingerprint",
        r"was issued by another authority, and is no root",
    ),
    "roots-store": (
        r"cannot be trusted by",
        r"There are more than .* certificates|has more than .* files of|The sources have so many",
        r"is no directory, and the store is one|was not made by ek_roots",
    ),
    "roots-archive": (r"(^|: )The (archive|cabinet) ", r"(cabextract|osslsigncode) (is not there|was not done)"),
    # Of work orders
    "work-order-revoked": (r"was revoked by its owner|The work order \S+ was revoked|which was revoked",),
    "work-order-refused": (
        r"No device was touched: ",
        r"are both the work order|The work orders .* are for the same unit",
        r"the work order has no challenge for it",
    ),
    "work-order-stranger": (
        r"is on none of the work orders|is on no work order",
        r" here, and the work order \S+ has ",
    ),
    "work-report-refused": (
        r"(^|: )The work report ",
        r"of the report on the work order|the answer is not that of its TPM to this work order",
        r"units has the state |has the ID scope .*, and id_scope is ",
        r"the line says the serial number ",
    ),
    "work-report-kept": (r"is left alone: it has \S+ units",),
    "work-order-unit": (
        r"is on the work order|is owned with key version|which no work order carries",
        r"is known with another |has the .* of another device",
    ),
    "work-order-number": (
        r"was written with other terms|of another order or of a run that was cut off|knows no work order",
        r"There was a work order |is the work order .*: give another name|give as dest the file",
        r"The journal has orders |which is over: no line would take|and is not written again: ",
    ),
    "encryption-key": (
        r"recipients is empty|is no recipient|is no private key that files can be encrypted to",
        r"No key of SSH is among recipients|is no public key of SSH",
    ),
    # Of any file that is read
    "file-unreadable": (
        r"(^|: )The (EK list|list|manifest|certificate) ",
        r"(^|: )Line \S+ of |Nothing was taken in",
        r"Paths are those of the controller|there is no file .* on the controller",
    ),
    # Of the ledger
    "ledger-cut": (
        r"is an empty file, which no ledger is|has no whole number of pages|has no table|says no schema version",
        r"(^|: )The ledger .* was cut",
    ),
    "ledger-schema": (r"The ledger .*(schema version|migrat|revision)",),
    "ledger-held": (r"another station has been writing it|in the middle of a batch and taken for lost",),
    "ledger-missing": (r"The ledger is not there, or is an empty one",),
    "ledger-changed": (r"faults\. The first: |Find out who did that",),
    "ledger-place": (r"(^|: )The ledger('s URL)? ", r"ledger is empty\.|tpmfleet_ledger is not the same"),
    # Of options and variables
    "option-value": (
        r"; it (has to be|goes from)|has to be \S+ or more",
        r"which is (none of|no (whole )?number|neither true nor false|not an? )",
        r"is neither a time nor an age|has the unknown key|is neither true nor false|which is no whole number",
        r"is not a name or a list of names|which is no text\. Write it in quotes|\. It is one of ",
        r"missing required arguments|[Uu]nsupported parameters|value of \S+ must be one of|mutually exclusive",
        r"is no date: write it|cannot be tolerated; only|variable_prefix has to be|These filters need",
        r"selector (has|is for)|cannot be (given|converted)|give either|is missing: it is made by|take 1 to",
        r"unable to convert|is of type .* and we were unable|required if|one of the following is required",
        r"Say (both|whose|which)|there is no hierarchy|is empty, which is no path|has to be a path|NUL character",
        r"which is no time\. Write|, and the line would not know it|cannot ask for failures here",
        r"is no number of a work order|resource_manager is |is no mapping|It knows |Leave out one of the two",
        r"records have no host|The command \S+ could not be begun",
    ),
    "collection-damaged": (r"install the collection again",),
    "module-crash": (r"MODULE FAILURE|The module crashed|Traceback|Unexpected failure|gave no reason",),
}

_KNOWN = {entry: re.compile("|".join(f"(?:{one})" for one in words)) for entry, words in ENTRIES.items()}
_END = re.compile(rf" \({re.escape(PAGE)}#([a-z0-9-]+)\)\Z")


def entry_of(message: str) -> str | None:
    """The entry of the page that explains *message*; None where none does."""
    text = message[:_MOST]
    return next((entry for entry, words in _KNOWN.items() if words.search(text)), None)


def parted(message: str) -> tuple[str, str]:
    """*message* without its end that names an entry, and the entry; an empty one where it names none."""
    found = _END.search(message)
    # A device may name what is no entry.
    return (message[: found.start()], found[1]) if found and found[1] in ENTRIES else (message, "")


def explained(message: str) -> str:
    """*message* with the entry of the page that explains it named at its end, if there is one."""
    words, entry = parted(message)
    entry = entry or entry_of(words) or ""
    return f"{words}{end_of(entry)}"


def explain(result: dict[str, Any]) -> dict[str, Any]:
    """The *result* of a task; the message of a failed one ends with its entry."""
    if result.get("failed") and isinstance(result.get("msg"), str):
        result["msg"] = explained(result["msg"])
    return result


def end_of(entry: str) -> str:
    """What a message ends with that *entry* explains; nothing for an empty one."""
    return f" ({PAGE}#{entry})" if entry else ""
