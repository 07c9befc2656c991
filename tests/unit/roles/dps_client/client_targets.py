# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is fuzzed of the client, each as a function of bytes: it does what it may, or something else is raised.

As a program it is atheris' driver, guided by the coverage of the client:
``python client_targets.py SOURCES TARGET [libFuzzer's options]``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import socket
import ssl
import sys
import tempfile
import time
import types
from pathlib import Path

NAMES = "assignment chip clock configuration https outside.visible registration service state tpm.credential"
VALID = {"notBefore": "Jan  1 00:00:00 2026 GMT", "notAfter": "Jan  1 00:00:00 2036 GMT"}
# More than a socket takes at once would need somebody who reads.
MOST_BYTES = 100_000


def load(sources):
    """The client's modules, whose package lies in the directory *sources*."""
    sys.path.insert(0, str(sources))
    modules = {name: importlib.import_module(f"tpmfleet_dps_client.{name}") for name in NAMES.split()}
    return types.SimpleNamespace(
        **{name.rpartition(".")[2]: module for name, module in modules.items()},
        ClientError=modules["service"].ClientError,
    )


class Targets:
    """The functions, over the modules of *client*."""

    def __init__(self, client, directory):
        self.client = client
        self.configuration = client.configuration.Configuration(
            id_scope="0neFUZZ", registration_id="unit", state_directory=str(directory), network_timeout=1.0
        )
        self.directory = Path(directory)
        self.state = client.state.State(self.directory)
        self._tls = ssl.create_default_context()
        client.registration.time = types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: None)

    def speak(self, data):
        """One answer of the service, as it comes over the network."""
        with self._network([data]):
            service = self.client.registration.connection(self.configuration, self.client.clock.Clock(self.state))
            with self._told():
                answer = service.call("GET", "/")
                assert isinstance(answer.body, dict)
                assert answer.retry_after is None or 0 <= answer.retry_after <= 86400
                self._visible(self.client.service.told(answer))
                self._visible(str(self.client.service.refusal(answer)))
            service.close()

    def register(self, data):
        """A whole registration; *data* are the service's answers, one a line: its status and its JSON."""
        answers = []
        for line in data.split(b"\n"):
            status, _space, body = line.partition(b" ")
            code = int(status) if status.isdigit() and len(status) == 3 else 200
            answers.append(b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%s" % (code, len(body), body))
        self._empty()
        clock = self.client.clock.Clock(self.state)
        registration = self.client.registration.Registration(self.configuration, state=self.state, clock=clock)
        registration._chip = Chip(self.client)
        with self._network(answers), self._told():
            assignment = registration.register(patience=0.02)
            # Nothing was kept that would not be taken again.
            assert self.state.assignment() == assignment
            assert registration.held() == assignment
            return assignment
        assert self.state.assignment() is None
        return None

    def disk(self, data):
        """What a disk gives back for the assignment, and for the status."""
        self._empty()
        for name in ("assignment.json", "status.json"):
            (self.directory / name).write_bytes(data)
        with self._told():
            kept = self.state.assignment()
            assert kept is None or self.client.assignment.is_host(kept["assigned_hub"])
            assert self.state.set_damaged_aside() == (kept is None)
            status = self.state.status()
            self._visible(status.get("message", ""))
            json.dumps(status)

    def blob(self, data):
        """What a service sends as a challenge, and each of its structures."""
        credential = self.client.credential
        with contextlib.suppress(credential.MalformedError):
            parts = credential.split_blob(data)
            assert len(parts) == 5 and b"".join(parts) == data[: sum(map(len, parts))]
        for kind in ("TPM2B_ID_OBJECT", "TPM2B_ENCRYPTED_SECRET", "TPM2B_PRIVATE", "TPM2B_PUBLIC"):
            with contextlib.suppress(credential.MalformedError):
                credential._read(getattr(credential, kind), data)

    @contextlib.contextmanager
    def _told(self):
        """The client's own words are the one way to fail, and they can be shown."""
        try:
            yield
        except self.client.ClientError as error:
            self._visible(str(error))
            assert error.retry_after is None or math.isfinite(error.retry_after)

    def _visible(self, text):
        assert text.isprintable() and len(text) < 4000, text[:4000]

    def _empty(self):
        for path in self.directory.iterdir():
            path.unlink()

    @contextlib.contextmanager
    def _network(self, answers):
        """Each call finds the next of *answers*; then nobody is there."""
        left = [answer[:MOST_BYTES] for answer in answers]

        class Connection(self.client.https.Connection):
            def connect(self):
                if not left:
                    raise ConnectionRefusedError("nobody")
                near, self.far = socket.socketpair()
                self.far.sendall(left.pop(0))
                self.far.shutdown(socket.SHUT_WR)
                self.certificate = VALID
                self.sock = https._Stream(near, self._limits)
                self.asked = False

            def request(self, *given, **named):
                if self.asked:
                    self.close()
                    self.connect()
                self.asked = True
                super().request(*given, **named)

        https, service = self.client.https, self.client.service
        real = service.Connection, service.Service._context
        service.Connection, service.Service._context = Connection, lambda _self, *, dated: self._tls
        try:
            yield
        finally:
            service.Connection, service.Service._context = real


class Chip:
    """Stands in for the TPM: it takes each challenge that is one by its shape."""

    endorsement_key = b"\0\x04ek  "
    storage_root_key = b"\0\x04srk "

    def __init__(self, client):
        self._client = client

    def opened(self):
        return contextlib.nullcontext()

    ready_to_sign = opened

    def import_key(self, challenge):
        with self._client.chip._told():
            parts = self._client.credential.split_blob(challenge)
        return self._client.credential.WrappedKey(public=parts[4][:2000], private=parts[2][:2000])

    def sign(self, _key, data):
        return data[:32].ljust(32)

    def signs(self, _key):
        return True


def _main(sources, target, options):
    import atheris

    with atheris.instrument_imports(include=["tpmfleet_dps_client"]):
        client = load(sources)
    directory = tempfile.mkdtemp()
    # Nothing of the fuzzing needs to be on the disk.
    os.fsync = lambda _descriptor: None
    atheris.Setup([sys.argv[0], *options], getattr(Targets(client, directory), target))
    atheris.Fuzz()


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[3:])
