# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client's configuration file, ``/etc/tpmfleet-dps-client/config.json``."""

from __future__ import annotations

import dataclasses
import math
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ClientError
from .outside import strict_json
from .outside.files import FileError, read_file
from .tpm.templates import EK_HANDLE, EK_UNIQUE, SRK_HANDLE

DEFAULT_PATH = Path("/etc/tpmfleet-dps-client/config.json")
MOST = 65536
MAY_BE_ZERO = ("first_attempt_spread",)


@dataclass(frozen=True)
class Configuration:
    """Times in seconds. Files are named by their paths."""

    id_scope: str
    global_endpoint: str = "https://global.azure-devices-provisioning.net"
    registration_id: str | None = None
    """Without one it is made from the endorsement key, as the stock SDKs do."""
    endorsement_key_template: str = "tcg"
    """Which endorsement key is made where none is persisted: ``sdk``, or ``tcg``, which is the key that the certificate
    is about, also where the TPM's maker left a nonce or a template in NV memory."""
    tcti: str = "device:/dev/tpmrm0"
    tpm_timeout: float = 300.0
    """A TPM can take minutes to make a key."""
    endorsement_auth_file: str | None = None
    """Holds the authorization of the endorsement hierarchy, where ownership has set one."""
    persistent_handle: str | None = None
    """Where the TPM is to hold the hub key as well, as ``0x81000100``, for applications that look for it there."""
    owner_auth_file: str | None = None
    """Holds the authorization of the owner hierarchy, which persisting needs where ownership has set one."""
    ca_file: str | None = None
    """Certificates to trust in place of the system's."""
    proxy: str | None = None
    """``http://host:port``; without one HTTPS_PROXY and NO_PROXY of the environment count."""
    proxy_auth_file: str | None = None
    """Holds ``user:password`` for the proxy."""
    state_directory: str = "/var/lib/tpmfleet-dps-client"
    network_timeout: float = 60.0
    """For one call to the service or the hub, from the name to the last byte of the answer."""
    first_attempt_spread: float = 30.0
    """The first attempt after power-up comes at a random time within, so that a fleet does not come as one."""
    backoff_base: float = 2.0
    backoff_cap: float = 900.0
    refused_delay: float = 900.0
    """Between attempts once the service has refused: an enrollment may still come."""
    ask_hub: bool = True
    """Whether ``register``, run unattended, also asks the hub of a device that is assigned already."""

    @property
    def hub_key_handle(self) -> int | None:
        """The :attr:`persistent_handle`, one of the owner's and none of the primary keys' (part 2, 7.4)."""
        if self.persistent_handle is None:
            return None
        try:
            handle = int(self.persistent_handle, 16)
        except ValueError:
            handle = 0
        if not 0x81000000 <= handle <= 0x817FFFFF or handle in (EK_HANDLE, SRK_HANDLE):
            wanted = "from 0x81000000 to 0x817fffff and no primary key's"
            raise ClientError(f"persistent_handle must be {wanted}, it is {self.persistent_handle!r}")
        return handle

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port of the service."""
        text = self.global_endpoint
        try:
            parts = urllib.parse.urlsplit(text if "//" in text else "https://" + text)
            host, port = parts.hostname, parts.port or 443
        except ValueError:
            host = None
        if not host or parts.scheme != "https":
            raise ClientError(f"global_endpoint must be https://HOST or HOST, it is {text!r}")
        return host, port


def _checked(document: Any, path: Path) -> Configuration:
    fields = {field.name: field for field in dataclasses.fields(Configuration)}
    if not isinstance(document, dict) or not document.get("id_scope"):
        raise ClientError(f"{path}: there is no id_scope; the client does not know its service")
    unknown = sorted(set(document) - set(fields))
    if unknown:
        raise ClientError("{}: unknown setting {}".format(path, ", ".join(unknown)))
    for name, value in document.items():
        kind = str(fields[name].type)
        if not (value is None and "None" in kind) and not _fits(name, kind, value):
            wanted = {"float": "a number of seconds", "bool": "true or false"}.get(kind, "text")
            raise ClientError(f"{path}: {name} must be {wanted}, it is {value!r}")
    if document.get("endorsement_key_template", "tcg") not in EK_UNIQUE:
        raise ClientError("{}: endorsement_key_template must be {}".format(path, " or ".join(EK_UNIQUE)))
    return Configuration(**document)


def _fits(name: str, kind: str, value: Any) -> bool:
    if kind != "float":
        return isinstance(value, bool if kind == "bool" else str)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    # A client that waits no time at all would not leave the service alone.
    return value > 0 or (value == 0 and name in MAY_BE_ZERO)


def read_configuration(path: Path) -> Configuration:
    """What *path* says; :class:`ClientError` names what is wrong with it."""
    try:
        return _checked(strict_json.parse(read_file(path, most=MOST), most=MOST), path)
    except FileError as error:
        raise ClientError(f"the configuration {path} {error}") from error
    except strict_json.JsonError as error:
        raise ClientError(f"the configuration {path} {error}") from error
