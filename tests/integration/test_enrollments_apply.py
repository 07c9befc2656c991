# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pipeline of docs/examples as it is written: plan, review, apply that plan, refuse what was not reviewed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

COLLECTION = Path(__file__).resolve().parents[2]
PIPELINE = COLLECTION / "docs" / "examples" / "enrollments-pipeline.yml"
TEAM = {"initial_twin": {"tags": {"team": "pumps"}}}


class Repository:
    """What a team keeps in git, and the steps of its pipeline, without those that need the forge."""

    def __init__(self, root: Path, dps) -> None:
        self.root = root
        self._dps = dps
        self._jobs = yaml.safe_load(PIPELINE.read_text())["jobs"]
        (root / "enrollments").mkdir()
        # As the head of the example has it.
        commented = PIPELINE.read_text().split("for example:\n#\n", 1)[1].split("\n#\n", 1)[0]
        settings = yaml.safe_load("\n".join(line.removeprefix("#") for line in commented.splitlines()))
        assert settings["enrollments_state"] == "exact"
        settings["enrollments_prune_limit"] = {"count": 5, "percent": 50}
        settings["tpmfleet_dps_ca_file"] = dps.where["ca_file"]
        (root / "enrollments" / "settings.yml").write_text(yaml.safe_dump(settings))
        dps.settings(policies={"reader": ["EnrollmentRead"], "writer": ["EnrollmentRead", "EnrollmentWrite"]})
        keys = dps.control("GET", "policies")
        self._secrets = {}
        for name, key in keys.items():
            secret = f"HostName={dps.host};SharedAccessKeyName={name};SharedAccessKey={key}"
            self._secrets[f"${{{{ secrets.DPS_{name.upper()} }}}}"] = secret

    def write(self, records: list[dict]) -> None:
        """The manifest."""
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (self.root / "enrollments" / "devices.jsonl").write_text(lines)

    def _step(self, job: str, name: str, secret_of: str = "", **more: str) -> subprocess.CompletedProcess:
        """One step of a job, as the example has it, with the secret of that job or of another."""
        (step,) = [one for one in self._jobs[job]["steps"] if one.get("name") == name]
        secret = self._jobs[secret_of or job]["env"]["TPMFLEET_DPS_CONNECTION_STRING"]
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PWD": str(self.root),
            "TPMFLEET_DPS_CONNECTION_STRING": self._secrets[secret],
            **more,
        }
        command = ["bash", "-e", "-c", step["run"]]
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        assert self._dps.key not in done.stdout + done.stderr
        return done

    def plan(self, **environment: str) -> subprocess.CompletedProcess:
        """The plan on the pull request."""
        return self._step("plan", "Plan", **environment)

    def approve(self) -> None:
        """The artifact of the plan reaches the other job."""
        (self.root / "approved").mkdir(exist_ok=True)
        (self.root / "plan.jsonl").replace(self.root / "approved" / "plan.jsonl")

    def apply(self, secret_of: str = "apply") -> subprocess.CompletedProcess:
        """The apply on the merge."""
        return self._step("apply", "Apply it, and nothing else", secret_of)


@pytest.fixture
def repository(dps, tmp_path):
    return Repository(tmp_path, dps)


@pytest.fixture
def records(make_ek):
    def make(count, first=0, **fields):
        return [
            {"registration_id": f"unit-{number}", "endorsement_key": make_ek(number), **TEAM, **fields}
            for number in range(first, first + count)
        ]

    return make


def test_plan_approve_apply(dps, repository, records, service):
    repository.write(records(8))
    planned = repository.plan()
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "To do: 8 created, 0 updated, 0 deleted, 0 unchanged" in planned.stdout
    assert dps.control("GET", "stats")["enrollments"] == 0
    assert "| 8 | 0 | 0 | 0 | 0 |" in (repository.root / "plan.md").read_text()
    repository.approve()
    applied = repository.apply()
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert "Done: 8 created" in applied.stdout and "changed=1" in applied.stdout
    again = repository.apply()
    assert "8 unchanged" in again.stdout and "changed=0" in again.stdout

    repository.write([{**record, "iot_edge": True} for record in records(2)] + records(4, 2) + records(1, 10))
    assert "To do: 1 created, 2 updated, 2 deleted, 4 unchanged" in repository.plan().stdout
    review = (repository.root / "plan.md").read_text()
    assert "  unit-0\n-   iot_edge: false\n+   iot_edge: true\n" in review
    assert review.index("## Delete (2)") < review.index("## Update (2)") < review.index("## Create (1)")
    repository.approve()
    assert "Done: 1 created, 2 updated, 2 deleted, 4 unchanged" in repository.apply().stdout
    assert service.enrollment("unit-7") is None and service.enrollment("unit-0")["capabilities"]["iotEdge"]


def test_what_was_not_reviewed_is_not_applied(dps, repository, records, service):
    repository.write(records(4))
    repository.plan()
    repository.approve()
    # The manifest of the merge is another one.
    repository.write(records(5))
    refused = repository.apply()
    assert refused.returncode != 0 and "create unit-4 is not in it as now planned" in refused.stdout
    assert dps.control("GET", "stats")["enrollments"] == 0
    repository.write(records(4))
    assert repository.apply().returncode == 0

    repository.write(records(4, iot_edge=True))
    repository.plan()
    repository.approve()
    theirs = service.enrollment("unit-3")
    service.put_enrollment({**theirs, "deviceId": "theirs"}, etag=theirs["etag"])
    refused = repository.apply()
    assert refused.returncode != 0 and "The world moved since" in refused.stdout
    assert not service.enrollment("unit-0")["capabilities"]["iotEdge"]


def test_the_plan_needs_no_right_to_write_and_a_disaster_is_shown_and_refused(repository, records, service):
    repository.write(records(8))
    repository.plan()
    repository.approve()
    assert repository.apply().returncode == 0
    repository.write(records(2))
    refused = repository.plan()
    assert refused.returncode != 0 and "6 of 8 enrollments (75 %) are not listed" in refused.stdout
    assert "## Delete (6)" in (repository.root / "plan.md").read_text()
    # The secret of the pull request could not write.
    repository.write(records(9))
    repository.plan()
    repository.approve()
    refused = repository.apply(secret_of="plan")
    assert refused.returncode != 0 and "401" in refused.stdout
    assert service.enrollment("unit-8") is None


def test_bad_lines_are_told_on_the_pull_request(repository, records):
    lines = records(30)
    lines[4]["endorsement_key"] = "AAAA"
    lines[20]["registration_id"] = "unit-2"
    repository.write(lines)
    refused = repository.plan()
    assert refused.returncode != 0 and "3 of 30 lines" in refused.stdout
    assert "line 5: endorsement_key" in refused.stdout and "line 21: registration_id" in refused.stdout
    assert not (repository.root / "plan.jsonl").exists()


def test_a_nightly_check_tells_drift_by_its_status_and_by_a_variable(repository, records, service):
    """By choice; and what failed before it could compare leaves nothing that looks like a plan."""
    repository.write(records(3))
    repository.plan()
    repository.approve()
    assert repository.apply().returncode == 0
    settings = repository.root / "enrollments" / "settings.yml"
    chosen = settings.read_text()
    settings.write_text(chosen + "enrollments_fail_on_drift: true\n")
    as_it_was = repository.plan()
    assert as_it_was.returncode == 0 and "DRIFT" not in as_it_was.stdout
    theirs = service.enrollment("unit-1")
    service.put_enrollment({**theirs, "deviceId": "theirs", "capabilities": {"iotEdge": True}}, etag=theirs["etag"])
    repository.write(records(3, iot_edge=False))
    drifted = repository.plan()
    assert drifted.returncode == 2 and "DRIFT: the service is not as the manifest says" in drifted.stdout
    assert "iot_edge" in (repository.root / "plan.md").read_text()
    # By choice as a variable, for a workflow.
    settings.write_text(chosen)
    told = repository.plan(ANSIBLE_SHOW_CUSTOM_STATS="true")
    assert told.returncode == 0 and "enrollments_drift" in told.stdout and "DRIFT" not in told.stdout
    assert re.search(r'enrollments_drift"?: true', told.stdout)
    settings.write_text(chosen + "tpmfleet_dps_connection_string: HostName=nobody\n")
    failed = repository.plan()
    assert failed.returncode != 0
    assert not (repository.root / "plan.md").exists() and not (repository.root / "plan.jsonl").exists()
