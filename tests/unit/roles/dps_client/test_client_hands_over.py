# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""After the assignment an application talks to the hub, with a stock MQTT client and the token of the TPM-held key."""

from __future__ import annotations

import json
import threading
import time

import paho.mqtt.client as mqtt
import pytest


def connect(device, hub, *, device_id, token, user_name=None):
    """A stock client and what the hub said to it: (client, reason)."""
    said, answered = [], threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=device_id, protocol=mqtt.MQTTv311)
    client.tls_set(ca_certs=device.service["ca_file"])
    user_name = user_name or f"{device.assignment()['assigned_hub']}/{device_id}/?api-version=2021-04-12"
    client.username_pw_set(user_name, token)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: (said.append(reason), answered.set())
    client.connect("localhost", hub.mqtt_port)
    client.loop_start()
    assert answered.wait(20)
    return client, said[0]


def messages(device):
    """What the hub front noted."""
    noted = device.service["state_dir"] / "hub-messages.jsonl"
    return [json.loads(line) for line in noted.read_text().splitlines()] if noted.exists() else []


def test_an_application_sends_telemetry_with_the_token(enrolled, hub):
    assert enrolled.run("register").returncode == 0
    token = enrolled.run("token").stdout.strip()
    client, reason = connect(enrolled, hub, device_id=enrolled.registration_id, token=token)
    assert not reason.is_failure
    topic = f"devices/{enrolled.registration_id}/messages/events/"
    client.publish(topic, '{"temperature": 21}', qos=1).wait_for_publish(20)
    client.disconnect()
    client.loop_stop()
    wanted = {"device_id": enrolled.registration_id, "topic": topic, "body": '{"temperature": 21}'}
    # The broker acknowledges before it notes.
    deadline = time.monotonic() + 10
    while wanted not in messages(enrolled):
        assert time.monotonic() < deadline, messages(enrolled)
        time.sleep(0.05)


def test_a_token_of_a_key_that_was_rolled_is_refused(enrolled, hub):
    assert enrolled.run("register").returncode == 0
    old = enrolled.run("token").stdout.strip()
    assert enrolled.run("reprovision").returncode == 0
    client, reason = connect(enrolled, hub, device_id=enrolled.registration_id, token=old)
    client.loop_stop()
    assert reason.is_failure


def refused(device, hub, **options):
    """Whether the hub does not let a client in."""
    wanted = {"device_id": device.registration_id, "token": device.run("token").stdout.strip(), **options}
    client, reason = connect(device, hub, **wanted)
    client.disconnect()
    client.loop_stop()
    return reason.is_failure


def test_nobody_else_is_let_in(enrolled, hub):
    """Neither under another name, nor with a token for something else, nor with one that has run out."""
    assert enrolled.run("register").returncode == 0
    assert not refused(enrolled, hub)
    assert refused(enrolled, hub, device_id="another")
    assert refused(enrolled, hub, user_name=f"another-hub/{enrolled.registration_id}/?api-version=2021-04-12")
    for arguments in (["--audience", "another-hub/devices/" + enrolled.registration_id], ["--ttl", "1"]):
        token = enrolled.run("token", *arguments).stdout.strip()
        time.sleep(1.1 if "--ttl" in arguments else 0)
        assert refused(enrolled, hub, token=token), arguments
    assert refused(enrolled, hub, token="no token")


def test_a_device_sends_no_telemetry_of_another(enrolled, hub):
    assert enrolled.run("register").returncode == 0
    token = enrolled.run("token").stdout.strip()
    client, _reason = connect(enrolled, hub, device_id=enrolled.registration_id, token=token)
    client.publish("devices/another/messages/events/", "not mine", qos=0)
    own = client.publish(f"devices/{enrolled.registration_id}/messages/events/", "mine", qos=1)
    own.wait_for_publish(20)
    client.disconnect()
    client.loop_stop()
    deadline = time.monotonic() + 10
    while not [one for one in messages(enrolled) if one["body"] == "mine"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not [one for one in messages(enrolled) if one["body"] == "not mine"]


@pytest.mark.parametrize("ttl", ["0", "-5", "soon"])
def test_a_token_that_never_holds_is_not_made(enrolled, ttl):
    assert enrolled.run("token", "--ttl", ttl).returncode == 2
