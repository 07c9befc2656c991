# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands for Python on a device in an attacker's hands: Ansible asks this one to run the modules that it sends.

SETTINGS says what the attacker does: ``incoming`` and ``outgoing`` are pairs of texts, the first to be replaced by the
second in what Ansible sends and in what modules answer; ``answer`` is printed in place of running tpm_possession;
``keep`` is a directory for what was sent and answered; ``record`` is a file for all that was ever sent.
"""

import json
import pathlib
import subprocess
import sys

SETTINGS = pathlib.Path("/etc/attacker.json")


def replaced(text, pairs):
    """*text* with the first of each pair replaced by the second."""
    for one, other in pairs:
        text = text.replace(one, other)
    return text


def main():
    """Does with one module what the settings say."""
    settings = json.loads(SETTINGS.read_text())
    sent = sys.stdin.read()
    if "record" in settings:
        with open(settings["record"], "a") as record:
            record.write(sent)
    asked_for_proof = "modules.tpm_possession'" in sent
    if asked_for_proof and "answer" in settings:
        answer = settings["answer"]
    else:
        done = subprocess.run(
            ["/usr/bin/python3"],
            input=replaced(sent, settings.get("incoming", [])),
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        answer = replaced(done.stdout, settings.get("outgoing", []))
    if asked_for_proof and "keep" in settings:
        kept = pathlib.Path(settings["keep"])
        (kept / "sent").write_text(sent)
        (kept / "answer").write_text(answer)
    sys.stdout.write(answer)


main()
