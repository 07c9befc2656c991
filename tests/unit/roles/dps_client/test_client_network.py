# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lies between a device and its service: no names, no way, a portal, a proxy, an old or a false server."""

from __future__ import annotations

import json
import socket

import pytest


def test_a_name_that_does_not_resolve(enrolled):
    enrolled.configuration["global_endpoint"] = "https://dps.invalid"
    done = enrolled.run("register", "--once")
    assert done.returncode == 75
    assert "dps.invalid cannot be resolved" in done.stderr


# Time passes as fast as it is waited for; for three days no name resolves. The TPM is not asked each time, so that the
# days are over in a moment.
DAYS_WITHOUT_NAMES = """
import socket
from tpmfleet_dps_client import registration
real, sleep, passed = socket.getaddrinfo, time.sleep, [0.0]
identity = []
def identify(*what, real=registration.identify):
    if not identity:
        identity.append(real(*what))
    return identity[0]
def wait(seconds):
    passed[0] += seconds
    if passed[0] > 3 * 86400:
        sleep(min(seconds, 1))
def resolve(*what, **how):
    if passed[0] < 3 * 86400:
        raise socket.gaierror(-3, "Temporary failure in name resolution")
    return real(*what, **how)
time.sleep, socket.getaddrinfo, registration.identify = wait, resolve, identify
"""


def test_names_do_not_resolve_for_days(enrolled):
    enrolled.configuration["backoff_base"] = 2
    done = enrolled.run("register", fault=DAYS_WITHOUT_NAMES)
    assert done.returncode == 0, done.stderr
    *attempts, last = done.stderr.splitlines()
    assert last.startswith("Assigned to ")
    # The waits are 450 s on average once they are at their cap, so this is about one attempt in that time.
    assert 400 < len(attempts) < 900
    assert all("cannot be resolved" in line for line in attempts)


def test_nobody_answers_and_then_somebody_does(enrolled):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = enrolled.configuration["global_endpoint"]
        enrolled.configuration["global_endpoint"] = f"https://localhost:{unused.getsockname()[1]}"
        done = enrolled.run("register", "--once")
    assert done.returncode == 75
    assert "cannot talk to" in done.stderr
    enrolled.configuration["global_endpoint"] = endpoint
    assert enrolled.run("register").returncode == 0


def test_a_service_that_the_device_has_no_reason_to_trust(enrolled):
    enrolled.configuration["ca_file"] = None
    done = enrolled.run("register", "--once")
    assert done.returncode == 75
    assert "not trusted" in done.stderr


def test_a_pinned_authority_is_the_only_one(enrolled, lab_ca):
    """The service's own authority is made one of the system's; the pinned one is another, and stays alone."""
    enrolled.configuration["ca_file"] = str(lab_ca.ca_certificates[0])
    done = enrolled.run("register", "--once", environment={"SSL_CERT_FILE": enrolled.service["ca_file"]})
    assert done.returncode == 75
    assert "not trusted" in done.stderr
    enrolled.configuration["ca_file"] = None
    done = enrolled.run("register", "--once", environment={"SSL_CERT_FILE": enrolled.service["ca_file"]})
    assert done.returncode == 0, done.stderr


def test_a_name_that_the_certificate_does_not_have(enrolled, portal):
    enrolled.configuration["global_endpoint"] = portal(host="127.0.0.2")
    done = enrolled.run("register", "--once")
    assert done.returncode == 75
    assert "not trusted" in done.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_server_that_knows_no_tls_1_2(enrolled, portal):
    """OpenSSL itself would talk to it, as its settings allow everything."""
    settings = enrolled.directory / "openssl.cnf"
    settings.write_text("openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = any\n")
    with settings.open("a") as stream:
        stream.write("[any]\nMinProtocol = TLSv1\nCipherString = ALL:@SECLEVEL=0\n")
    enrolled.configuration["global_endpoint"] = portal(old=True)
    done = enrolled.run("register", "--once", environment={"OPENSSL_CONF": str(settings)})
    assert done.returncode == 75
    assert "no TLS" in done.stderr


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 200, "body": "<html>Welcome! Please sign in.</html>"},
        {"status": 200, "body": "{}"},
        {"status": 302, "body": ""},
        {"status": 401, "body": "<html>Sign in</html>"},
        {"status": 404, "body": "<html>No such page</html>"},
        {"status": 511, "body": "<html>Network authentication required</html>"},
        {"status": 200, "body": "[1, 2]"},
        {"status": 200, "body": "null"},
    ],
    ids=lambda answer: "{status} {body:.8}".format(**answer),
)
def test_a_captive_portal_that_has_a_trusted_certificate(enrolled, portal, answer):
    """It is no refusal: nothing of what it says is the service's word, so the next attempt comes soon."""
    enrolled.configuration["global_endpoint"] = portal(**answer)
    done = enrolled.run("register", "--once")
    assert done.returncode == 75, done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(enrolled.run("status", "--json").stdout)["state"] == "waiting"


def test_a_captive_portal_without_tls(enrolled, portal):
    enrolled.configuration["global_endpoint"] = portal(tls=False)
    done = enrolled.run("register", "--once")
    assert done.returncode == 75
    assert "no TLS with" in done.stderr
    assert "captive portal" in done.stderr


@pytest.mark.parametrize("by", ["configuration", "environment"])
def test_a_proxy_is_used(enrolled, proxy, by):
    environment = {"HTTPS_PROXY": proxy.address} if by == "environment" else None
    if by == "configuration":
        enrolled.configuration["proxy"] = proxy.address
    done = enrolled.run("register", "--once", environment=environment)
    assert done.returncode == 0, done.stderr
    assert set(proxy.asked) == {enrolled.service["endpoint"].removeprefix("https://")}


def test_a_host_that_needs_no_proxy(enrolled, proxy):
    environment = {"HTTPS_PROXY": proxy.address, "NO_PROXY": "localhost"}
    assert enrolled.run("register", "--once", environment=environment).returncode == 0
    assert not proxy.asked


@pytest.mark.parametrize("by", ["configuration", "environment"])
def test_a_proxy_that_wants_a_password(enrolled, proxy, by):
    proxy.password = "device:p@ss:word"
    environment = {"HTTPS_PROXY": proxy.address}
    done = enrolled.run("register", "--once", environment=environment)
    assert done.returncode == 75
    assert f"through the proxy {proxy.host}" in done.stderr
    assert "407" in done.stderr
    if by == "environment":
        environment = {"HTTPS_PROXY": f"http://device:p%40ss%3Aword@{proxy.host}"}
    else:
        (enrolled.directory / "proxy-auth").write_text("device:p@ss:word\n")
        enrolled.configuration["proxy_auth_file"] = str(enrolled.directory / "proxy-auth")
    assert enrolled.run("register", "--once", environment=environment).returncode == 0


def test_the_password_of_a_broken_proxy_setting_is_not_told(enrolled):
    done = enrolled.run("register", "--once", environment={"HTTPS_PROXY": "http://device:secret@host:badport"})
    assert done.returncode == 75
    assert "the proxy must be" in done.stderr
    assert "secret" not in done.stderr
