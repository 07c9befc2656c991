# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The results of what runs on a device, module by module: what each returns, and nothing that Ansible would act on.

Each shape is that of the module's RETURN documentation, which tests/house holds it to; tpm_possession's is that of the
answer that its action judges, which tpm_ownership's has besides. A field that a module comes to return is written here,
or it reaches nobody.
"""

from __future__ import annotations

from .shape import (
    Fields,
    Shape,
    base64_of,
    flag,
    hexadecimal,
    lines,
    listed,
    number,
    one_of,
    or_null,
    raw,
    real,
    text,
    words,
)

_HANDLE = text(10, "0x[0-9a-f]{8}", of="a handle")
_PUBLIC = base64_of(4096)
_SHA256 = hexadecimal(64)
# The hash algorithm in front of a hash of it, SHA-1 to SHA-512.
_NAME = hexadecimal(132, least=44)
_CERTIFICATE = base64_of(32 << 10)
_REGISTRATION_ID = text(128, "[A-Za-z0-9._:-]+", of="a registration ID")
_AUTHORIZATION = one_of("none", "given", "previous", "unproven")
_AUTHORIZATIONS = Fields({one: _AUTHORIZATION for one in ("owner", "endorsement", "lockout")})
_HIERARCHIES = Fields({f"{one}_auth_set": flag for one in ("owner", "endorsement", "lockout")})
_DICTIONARY_ATTACK = Fields({one: or_null(number()) for one in ("max_tries", "recovery_time", "lockout_recovery")})

_TPM = Fields(
    {
        "manufacturer": text(32),
        "model": text(128),
        "firmware_version": text(64),
        "tpm_type": one_of("hardware", "software"),
    }
)

_ENDORSEMENT_KEY = Fields(
    {
        "public": _PUBLIC,
        "sha256": _SHA256,
        "registration_id": _REGISTRATION_ID,
        "name": _NAME,
        "template": one_of("tcg", "nv", "sdk", "other"),
        "source": one_of("persistent", "template"),
        "handle": or_null(_HANDLE),
        "persisted": flag,
        "certificate": or_null(_CERTIFICATE),
        "certificate_nv_index": or_null(_HANDLE),
        "certificate_matches": or_null(flag),
        "certificate_about": or_null(one_of("this", "tcg", "nv", "sdk", "unusable", "another", "unknown")),
    }
)

_PERSISTENT_KEY = Fields({"handle": _HANDLE, "key": text(32), "public": _PUBLIC, "name": _NAME})
_UNREADABLE = listed(Fields({"handle": _HANDLE, "reason": text(400)}), 320)

_NV_CERTIFICATES = listed(
    Fields(
        {"nv_index": _HANDLE, "kind": one_of("endorsement", "chain"), "certificate": _CERTIFICATE},
        {
            "key": text(32),
            "handle": or_null(_HANDLE),
            "nonce": or_null(base64_of(1024)),
            "template": or_null(base64_of(1024)),
        },
    ),
    64,
)

_STORAGE_ROOT_KEY = Fields({"public": _PUBLIC, "name": _NAME, "handle": or_null(_HANDLE), "persisted": flag})

_CONTEXT = base64_of(8 << 10)
_KEPT_KEYS = Fields(
    {}, {"endorsement_key": _CONTEXT, "storage_root_key": _CONTEXT, "template": one_of("tcg", "nv", "sdk", "other")}
)

_OWNERSHIP_STATE = Fields(
    {},
    {
        **{f"{one}_auth": _AUTHORIZATION for one in ("owner", "endorsement", "lockout")},
        **_DICTIONARY_ATTACK.fields,
        "persistent_keys": listed(_HANDLE, 256),
        "recorded_key_version": or_null(number()),
    },
)

_ASSIGNMENT = Fields(
    {},
    {
        "assigned_at": or_null(real(1e12)),
        **{
            name: or_null(text(512))
            for name in (
                "assigned_hub",
                "created",
                "device_id",
                "etag",
                "global_endpoint",
                "id_scope",
                "last_updated",
                "registration_id",
                "substatus",
            )
        },
    },
)

_FILE_DIFFERENCE = Fields(
    {},
    {
        "before_header": text(512),
        "after_header": text(512),
        "before": lines(2000, longest=300, mark=""),
        "after": lines(2000, longest=300, mark=""),
    },
)

RETURNED: dict[str, Fields] = {
    "tpm_info": Fields(
        {
            "tpm": _TPM,
            "specification": Fields({"family": text(16), "revision": or_null(text(16)), "year": or_null(number(9999))}),
            "hierarchies": _HIERARCHIES,
            "clear_disabled": flag,
            "in_lockout": flag,
            "lockout_counter": number(),
            "dictionary_attack": _DICTIONARY_ATTACK,
            "persistent_handles": listed(_HANDLE, 256),
            "nv_indices": listed(_HANDLE, 1024),
            "algorithms": listed(text(32), 128),
        }
    ),
    "tpm_endorsement_key_info": Fields(
        {"endorsement_key": _ENDORSEMENT_KEY, "tpm": _TPM, "unreadable": _UNREADABLE},
        {
            "certificates": _NV_CERTIFICATES,
            "persistent_keys": listed(_PERSISTENT_KEY, 64),
            "storage_root_key": or_null(_STORAGE_ROOT_KEY),
            "kept_keys": _KEPT_KEYS,
        },
    ),
    "tpm_ownership": Fields(
        {
            "actions": listed(text(400), 64),
            "hierarchies": _HIERARCHIES,
            "authorizations": _AUTHORIZATIONS,
            "authorizations_before": _AUTHORIZATIONS,
            "recorded_key_version": or_null(number()),
            "lockout_auth_proven": flag,
            "dictionary_attack": or_null(_DICTIONARY_ATTACK),
            "in_lockout": flag,
            "endorsement_key": _ENDORSEMENT_KEY,
            "storage_root_key": or_null(_STORAGE_ROOT_KEY),
            "tpm": _TPM,
            "unreadable": _UNREADABLE,
            "certificates": _NV_CERTIFICATES,
        },
        {"answer": text(1024)},
    ),
    "tpm_possession": Fields({"answer": or_null(text(1024)), "in_lockout": flag}),
    "dps_client": Fields(
        {
            "changes": listed(
                one_of(
                    "user",
                    "program",
                    "configuration",
                    "units",
                    "enabled",
                    "state_directory",
                    "started",
                    "restarted",
                ),
                8,
            ),
            "changed_settings": listed(text(64), 64),
        },
        {
            "program_sha256": _SHA256,
            "previous_program_sha256": text(64, "(?:[0-9a-f]{64})?", of="a SHA-256"),
            "selftest": Fields({}, {"assigned": flag, "registration_id": _REGISTRATION_ID, "version": text(32)}),
        },
    ),
    "dps_client_aziot": Fields({"changes": listed(one_of("configuration", "applied"), 2)}),
    "software_tpm": Fields(
        {"programs": flag, "changes": listed(one_of("directory", "tpm", "unit", "enabled", "started"), 5)}
    ),
    "dps_register": Fields({"assignment": or_null(_ASSIGNMENT)}),
    "doctor_device": Fields(
        {
            "nodes": listed(
                Fields(
                    {
                        "path": one_of("/dev/tpm0", "/dev/tpmrm0"),
                        "kind": one_of("device", "other"),
                        "mode": text(4, "[0-7]{4}", of="a mode"),
                        "owner": text(64),
                        "group": text(64),
                    }
                ),
                2,
            ),
            "version_major": or_null(number(99)),
            "driver": or_null(text(64)),
            "holders": listed(text(64), 8),
            "may_use": or_null(flag),
            "user": text(64),
            "python": text(32),
            "library": or_null(text(64)),
            "stack": or_null(text(64)),
            "refusal": or_null(words(600)),
            "chip": or_null(
                Fields(
                    {
                        "tpm": _TPM,
                        "hierarchies": _HIERARCHIES,
                        "in_lockout": flag,
                        "lockout_counter": number(),
                        "dictionary_attack": _DICTIONARY_ATTACK,
                        "persistent_handles": listed(_HANDLE, 256),
                        "ek_certificate": flag,
                        "room": Fields({one: or_null(number()) for one in ("transient", "sessions", "persistent")}),
                    }
                )
            ),
            "clock": real(1e11),
            "file_systems": listed(
                Fields(
                    {
                        "path": one_of("/etc", "/usr/lib", "/var/lib", "/tmp"),
                        "writable": flag,
                        "free_mib": number(1 << 50),
                    }
                ),
                4,
            ),
            "systemd": Fields({"running": flag, "version": or_null(number(99999))}),
            "client": Fields({"placed": flag, "state": or_null(text(40))}),
        }
    ),
}

_READ = RETURNED["tpm_endorsement_key_info"]
RETURNED["device_read"] = Fields(_READ.required, {**_READ.optional, "answer": or_null(text(1024))})
RETURNED["device_work"] = Fields(
    {"answer": text(1024), "in_lockout": flag},
    {
        part: Fields({**RETURNED[module].required, "changed": flag}, RETURNED[module].optional)
        for part, module in (("ownership", "tpm_ownership"), ("client", "dps_client"), ("identity", "dps_register"))
    },
)

# What a call returns whose module goes on.
STILL_AT_WORK = Fields({"still_at_work": flag})

# Of Ansible's own modules, what the actions here look at.
BUILTIN = {
    "ansible.builtin.apt": Fields({}),
    "ansible.builtin.dnf": Fields({}),
    "ansible.builtin.command": Fields({"stdout": raw(64 << 10), "rc": number(255)}),
}
# What roles/tpm_runtime/files/probe.py prints.
TPM_RUNTIME_LOOK = Fields(
    {
        "missing": listed(words(300), 8),
        "found": words(300),
        "family": text(64, "[a-z0-9._-]+", of="a family of distributions"),
    }
)

# What a difference shows, with --diff.
DIFFERENCES: dict[str, Shape] = {
    "tpm_ownership": Fields({"before": _OWNERSHIP_STATE, "after": _OWNERSHIP_STATE}),
    "dps_client": listed(_FILE_DIFFERENCE, 64),
    "dps_register": Fields({"before": _ASSIGNMENT, "after": _ASSIGNMENT}),
}
DIFFERENCES["device_work"] = Fields(
    {},
    {
        "ownership": DIFFERENCES["tpm_ownership"],
        "client": DIFFERENCES["dps_client"],
        "identity": DIFFERENCES["dps_register"],
    },
)
