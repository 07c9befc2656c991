# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who gets in: tokens of the service API."""

from __future__ import annotations

import base64
import time

import pytest

OWNER = "provisioningserviceowner"


@pytest.fixture
def try_token(client):
    def call(token, method="GET", path="/enrollments/unit-1", body=None):
        client.authorization = token
        return client.call(method, path, body)

    return call


def test_tokens_that_are_good(client, sas, try_token, refused):
    bare = client.host.split(":")[0]
    for token in (
        sas(client.host, client.key, OWNER),
        sas(client.host, client.key, OWNER, lower=True),
        sas(bare, client.key, OWNER),
        sas(client.host.upper(), client.key, OWNER),
        sas(client.host, client.key, OWNER, expiry=int(time.time() * 1000) + 3600),
    ):
        refused(try_token(token), 404201)


def test_tokens_that_are_not(client, sas, try_token, refused):
    good = sas(client.host, client.key, OWNER)
    for token in (
        sas(client.host, client.key, OWNER, expiry=int(time.time()) - 1),
        sas(client.host, b"another key", OWNER),
        sas(client.host, client.key, "nobody"),
        sas("other.azure-devices-provisioning.net", client.key, OWNER),
        good.replace("&skn", "&xyz"),
        good.replace("&se=", "&se=1"),
        good + "&se=99999999999",
        "SharedAccessSignature ",
        "Basic abc",
        "Bearer abc",
    ):
        refused(try_token(token), 401)
    client.session.headers.pop("Authorization", None)
    url = f"{client.where['endpoint']}/enrollments/unit-1"
    refused(client.session.get(url, params={"api-version": "2021-10-01"}), 401)


def test_a_policy_has_its_rights_alone(client, sas, try_token, refused, enrollment):
    client.settings(policies={"maker": ["EnrollmentWrite"], "reader": ["EnrollmentRead", "RegistrationStatusRead"]})
    keys = {name: base64.b64decode(key) for name, key in client.control("GET", "policies").json().items()}
    maker, reader = (sas(client.host, keys[name], name) for name in ("maker", "reader"))
    assert try_token(maker, "PUT", "/enrollments/unit-1", enrollment()).status_code == 200
    refused(try_token(maker), 401002)
    query = {"query": "SELECT * FROM enrollments"}
    refused(try_token(maker, "POST", "/enrollments/query", query), 401)
    assert len(try_token(reader, "POST", "/enrollments/query", query).json()) == 1
    refused(try_token(reader, "DELETE"), 401)
    refused(try_token(reader, "POST", "/enrollments", {"mode": "delete", "enrollments": [enrollment()]}), 401)
    refused(try_token(reader, "DELETE", "/registrations/unit-1"), 401)
    refused(try_token(reader, "GET", "/registrations/unit-1"), 404)


def test_bearer_tokens_of_the_settings(client, try_token, refused):
    client.settings(bearer_tokens={"t0ken": ["EnrollmentRead"]})
    refused(try_token("Bearer t0ken"), 404201)
    refused(try_token("Bearer t0ken", "DELETE"), 401)
