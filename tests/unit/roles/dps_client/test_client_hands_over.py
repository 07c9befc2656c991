# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""After the assignment an application talks to the hub, with a stock MQTT client and the token of the TPM-held key."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time

import paho.mqtt.client as mqtt
import pytest


@pytest.fixture
def hub(emulator):
    """Port of a running hub front."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    programs = os.path.join(os.path.dirname(__file__), *[os.pardir] * 4, "roles", "lab", "files")
    process = subprocess.Popen(
        [sys.executable, "-m", "hub_front", "--state-dir", str(emulator["state_dir"]), "--port", str(port)],
        env={**os.environ, "PYTHONPATH": os.path.abspath(programs)},
    )
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
    yield port
    process.terminate()
    process.wait(20)


def connect(device, port, *, device_id, token):
    """A stock client and what the hub said to it: (client, reason)."""
    said, answered = [], threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=device_id, protocol=mqtt.MQTTv311)
    client.tls_set(ca_certs=device.service["ca_file"])
    client.username_pw_set(f"{device.assignment()['assigned_hub']}/{device_id}/?api-version=2021-04-12", token)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: (said.append(reason), answered.set())
    client.connect("localhost", port)
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
