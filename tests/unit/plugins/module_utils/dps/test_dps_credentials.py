# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who we are to the service: what is accepted, and what is told of what is not, without showing a secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import sys
import time
from urllib.parse import unquote

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps import credentials
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.errors import DpsError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.transport import BoundedTransport

KEY = base64.b64encode(b"k" * 32).decode()
HOST = "fleet.azure-devices-provisioning.net"
STRING = f"HostName={HOST};SharedAccessKeyName=line;SharedAccessKey={KEY}"


def fields_of(token: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in token.split(" ", 1)[1].split("&"))


@pytest.mark.parametrize(
    "host", [HOST, f"{HOST}:8443", "localhost:1", "[::1]:8443", f"{HOST}:65535", f"{'a' * 63}.example", "192.0.2.1"]
)
def test_a_connection_string_signs_for_its_host(host):
    access = credentials.parse_connection_string(STRING.replace(HOST, host))
    fields = fields_of(access.authorization())
    signed = f"{fields['sr']}\n{fields['se']}".encode()
    expected = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
    assert unquote(fields["sr"]) == access.host == host
    assert unquote(fields["sig"]) == expected
    assert fields["skn"] == "line"


def test_a_token_is_used_again_and_renewed_in_time(monkeypatch):
    access = credentials.parse_connection_string(STRING)
    first = access.authorization()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    assert access.authorization() == first
    monkeypatch.setattr(time, "time", lambda: now + credentials.TOKEN_SECONDS - credentials.RENEW_SECONDS + 5)
    assert int(fields_of(access.authorization())["se"]) > int(fields_of(first)["se"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (STRING.replace(f"HostName={HOST};", ""), "HostName is missing"),
        (STRING.replace("SharedAccessKeyName=line;", ""), "SharedAccessKeyName is missing"),
        (STRING.replace(f";SharedAccessKey={KEY}", ""), "SharedAccessKey is missing"),
        (STRING.replace(KEY, KEY[:-3]), "SharedAccessKey is not base64"),
        (STRING + f";SharedAccessKey={KEY}", "SharedAccessKey is there twice"),
        (STRING + f";{KEY[:20]}", "part 4 is not of the form NAME=VALUE"),
        (STRING + f";{KEY}", "part 4 has a name that does not belong there"),
        (STRING.replace(HOST, "https://" + HOST), "is a URL"),
        (STRING.replace(HOST, "no host"), "is not a host name"),
        (STRING.replace(HOST, "hub.azure-devices.net"), "is that of an IoT hub"),
        (STRING + ";DeviceId=x", "it has a DeviceId"),
    ],
)
def test_a_wrong_connection_string_is_told_by_its_part_and_not_shown(text, told):
    with pytest.raises(DpsError) as caught:
        credentials.parse_connection_string(text)
    assert told in str(caught.value)
    assert KEY[:20] not in str(caught.value)


def token(expiry: int, host: str = HOST) -> str:
    return credentials.sign(host, "maker", b"k" * 32, expiry)


@pytest.mark.parametrize(
    "host",
    [
        "fleet..azure-devices-provisioning.net",
        f"{HOST}.",
        "fleet.-x.example",
        f"{'a' * 64}.example",
        ".".join(["a" * 50] * 5),
        f"{HOST}:65536",
        f"{HOST}:0",
        "[::1::1]",
        "[1.2.3.4]",
    ],
)
def test_a_host_that_no_library_could_call_is_refused_wherever_it_is_said(host):
    given = token(9_999_999_999, host)
    for option, options, where in (
        ("connection_string", {"connection_string": STRING.replace(HOST, host)}, "HostName of the connection string"),
        ("host", {"host": host}, "host"),
        ("host", {"host": host, "sas_token": token(9_999_999_999)}, "host"),
        ("sas_token", {"sas_token": given}, "sr (the host) of sas_token"),
    ):
        with pytest.raises(DpsError) as caught:
            credentials.access_from(options)
        assert str(caught.value).startswith(f"{where} is not a host name. It looks like NAME."), caught.value
        assert caught.value.option == option


def test_a_handed_over_token_names_its_host_and_is_used_as_it_is():
    given = token(int(time.time()) + 60)
    access = credentials.access_from({"sas_token": given})
    assert (access.host, access.authorization()) == (HOST, given)


def test_a_token_that_counts_in_milliseconds_is_accepted():
    assert credentials.SharedAccessToken(token(int(time.time() * 1000) + 60_000)).authorization()


def test_an_expired_token_is_told_with_its_time():
    with pytest.raises(DpsError, match="expired at 2001-09-09T01:46:40"):
        credentials.SharedAccessToken(token(1_000_000_000)).authorization()


@pytest.mark.parametrize("broken", ["", "Bearer x", "SharedAccessSignature sr=a&sig=b&se=1"])
def test_what_is_no_token_is_refused(broken):
    with pytest.raises(DpsError, match="SAS token is wrong"):
        credentials.SharedAccessToken(broken)


def test_the_environment_gives_way_to_what_is_written(monkeypatch):
    monkeypatch.setenv(credentials.CONNECTION_STRING_VARIABLE, STRING)
    access = credentials.access_from({"connection_string": STRING, "sas_token": token(9_999_999_999, "other:1")})
    assert access.host == "other:1"


def test_two_ways_at_once_are_refused(monkeypatch):
    monkeypatch.delenv(credentials.CONNECTION_STRING_VARIABLE, raising=False)
    with pytest.raises(DpsError, match="excludes"):
        credentials.access_from({"connection_string": STRING, "host": HOST})


def test_no_way_at_all_is_told():
    with pytest.raises(DpsError, match="Set connection_string"):
        credentials.access_from({})


class Identity:
    """Stands for azure-identity: notes what was asked of it."""

    def __init__(self) -> None:
        self.made: list[tuple] = []

    def __getattr__(self, name):
        def make(*arguments, **keywords):
            self.made.append((name, arguments, keywords))
            return self

        return make


@pytest.mark.parametrize(
    ("options", "made"),
    [
        ({}, ("DefaultAzureCredential", (), {"managed_identity_client_id": None})),
        ({"auth_source": "cli"}, ("AzureCliCredential", (), {})),
        ({"auth_source": "env"}, ("EnvironmentCredential", (), {})),
        ({"auth_source": "msi", "client_id": "c"}, ("ManagedIdentityCredential", (), {"client_id": "c"})),
        ({"tenant": "t", "client_id": "c", "secret": "s"}, ("ClientSecretCredential", ("t", "c", "s"), {})),
        (
            {"tenant": "t", "client_id": "c", "x509_certificate_path": "/p"},
            ("CertificateCredential", ("t", "c", "/p"), {}),
        ),
        (
            {"tenant": "t", "client_id": "c", "secret": "s", "authority_host": "https://login.example"},
            (
                "ClientSecretCredential",
                ("t", "c", "s"),
                {"authority": "https://login.example", "disable_instance_discovery": True},
            ),
        ),
        (
            {"auth_source": "env", "ca_file": "/ca.pem"},
            ("EnvironmentCredential", (), {}),
        ),
    ],
)
def test_each_entra_option_makes_its_credential(monkeypatch, options, made):
    identity = Identity()
    monkeypatch.setattr(credentials, "identity_library", lambda: identity)
    assert credentials.access_from({"host": f"https://{HOST}/", **options}).host == HOST
    [(name, positional, keywords)] = identity.made
    transport = keywords.pop("transport", None)
    assert (name, positional, keywords) == made
    # Only what asks nobody over the network goes without limits.
    assert isinstance(transport, BoundedTransport) or name == "AzureCliCredential"


def test_a_secret_needs_tenant_and_client():
    with pytest.raises(DpsError, match="tenant and client_id"):
        credentials.access_from({"host": HOST, "secret": "s"})


def test_entra_that_refuses_is_told_in_one_line():
    class Refusing:
        def get_token(self, scope):
            assert scope == credentials.ENTRA_SCOPE
            raise RuntimeError("AADSTS7000215: Invalid client secret\nand pages more")

    with pytest.raises(DpsError, match="Invalid client secret") as caught:
        credentials.EntraId(HOST, Refusing()).authorization()
    assert "pages more" not in str(caught.value)


def test_without_azure_identity_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(DpsError, match="pip install azure-identity"):
        credentials.access_from({"host": HOST})
