# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The broker: amqtt with the hub's admission, its one topic a device, and a file of what came in."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from amqtt.broker import Broker
from amqtt.plugins.base import BaseAuthPlugin, BasePlugin, BaseTopicPlugin

from .admission import Refused, admit_mqtt

DATABASE_FILE = "dps.sqlite"
MESSAGES = "hub-messages.jsonl"
log = logging.getLogger("hub_front")


class HubAdmission(BaseAuthPlugin):
    """Asks :func:`hub_front.admission.admit_mqtt`."""

    @dataclass
    class Config:
        """Where the emulated DPS keeps its keys."""

        database: str

    async def authenticate(self, *, session) -> bool:
        """Whether the device is let in."""
        try:
            admit_mqtt(
                Path(self.config.database),
                client_id=session.client_id or "",
                user_name=session.username or "",
                password=session.password or "",
            )
        except Refused as refused:
            log.warning("refused: %s", refused)
            return False
        return True


class HubTopics(BaseTopicPlugin):
    """A device sends telemetry of its own and nothing else."""

    @dataclass
    class Config:
        """Nothing to set."""

    async def topic_filtering(self, *, session=None, topic=None, action=None) -> bool:
        """Whether the device may use *topic*."""
        return session is not None and (topic or "").startswith(f"devices/{session.client_id}/messages/events/")


class HubMessages(BasePlugin):
    """Notes each message: ``{"device_id", "topic", "body"}`` a line."""

    @dataclass
    class Config:
        """The file of messages."""

        messages: str

    async def on_broker_message_broadcast(self, *, client_id, message) -> None:
        """One message came in that its device may send."""
        line = {"device_id": client_id, "topic": message.topic, "body": bytes(message.data).decode(errors="replace")}
        with open(self.config.messages, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


def make_broker(state_dir: Path, certificate: Path, *, port: int) -> Broker:
    """The hub front of the emulated DPS whose state is in *state_dir*, on the loopback."""
    secured = {"ssl": True, "certfile": str(certificate), "keyfile": str(certificate)}
    listener = {"type": "tcp", "bind": f"127.0.0.1:{port}", **secured}
    plugins = {
        "hub_front.broker.HubAdmission": {"database": str(state_dir / DATABASE_FILE)},
        "hub_front.broker.HubTopics": {},
        "hub_front.broker.HubMessages": {"messages": str(state_dir / MESSAGES)},
    }
    return Broker({"listeners": {"default": listener}, "plugins": plugins})
