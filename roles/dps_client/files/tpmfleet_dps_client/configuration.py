# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client's configuration file, ``/etc/tpmfleet-dps-client/config.json``."""

from __future__ import annotations

import dataclasses
import json
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ClientError

DEFAULT_PATH = Path("/etc/tpmfleet-dps-client/config.json")


@dataclass(frozen=True)
class Configuration:
    """Times in seconds. Files are named by their paths."""

    id_scope: str
    global_endpoint: str = "https://global.azure-devices-provisioning.net"
    registration_id: str | None = None
    """Without one it is made from the endorsement key, as the stock SDKs do."""
    tcti: str = "device:/dev/tpmrm0"
    tpm_timeout: float = 300.0
    """A TPM can take minutes to make a key."""
    endorsement_auth_file: str | None = None
    """Holds the authorization of the endorsement hierarchy, where ownership has set one."""
    ca_file: str | None = None
    """Certificates to trust in place of the system's."""
    proxy: str | None = None
    """``http://host:port``; without one HTTPS_PROXY and NO_PROXY of the environment count."""
    state_directory: str = "/var/lib/tpmfleet-dps-client"
    network_timeout: float = 30.0
    first_attempt_spread: float = 30.0
    """The first attempt after power-up comes at a random time within, so that a fleet does not come as one."""
    backoff_base: float = 2.0
    backoff_cap: float = 900.0
    refused_delay: float = 900.0
    """Between attempts once the service has refused: an enrollment may still come."""

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port of the service."""
        text = self.global_endpoint
        parts = urllib.parse.urlsplit(text if "//" in text else "https://" + text)
        if parts.scheme != "https" or not parts.hostname:
            raise ClientError(f"global_endpoint must be https://HOST or HOST, it is {text!r}")
        return parts.hostname, parts.port or 443


def _checked(document: Any, path: Path) -> Configuration:
    fields = {field.name: field for field in dataclasses.fields(Configuration)}
    if not isinstance(document, dict) or not document.get("id_scope"):
        raise ClientError(f"{path}: there is no id_scope; the client does not know its service")
    unknown = sorted(set(document) - set(fields))
    if unknown:
        raise ClientError("{}: unknown setting {}".format(path, ", ".join(unknown)))
    for name, value in document.items():
        number = "float" in str(fields[name].type)
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 if number else isinstance(
            value, str
        )
        if not fits and not (value is None and "None" in str(fields[name].type)):
            kind = "a number of seconds" if number else "text"
            raise ClientError(f"{path}: {name} must be {kind}, it is {value!r}")
    return Configuration(**document)


def read_configuration(path: Path) -> Configuration:
    """What *path* says; :class:`ClientError` names what is wrong with it."""
    try:
        return _checked(json.loads(path.read_text()), path)
    except OSError as error:
        raise ClientError(f"cannot read the configuration {path}: {error.strerror}") from error
    except ValueError as error:
        raise ClientError(f"{path} is not JSON: {error}") from error
