# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_records
short_description: What a manufacturing step found on a batch of devices, held against the ledger and written into it
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Takes the device records of a whole batch at once, judges each one, and writes those that are accepted.
  - SHA-256 and name of a key are computed from the key. A record that says others, or says them without the key, is
    stopped.
  - A device that reports an endorsement key claims it, and has it once it has proven that its TPM holds it. Where
    another device of the batch or of the ledger claims it too, and none of the ledger has proven it, the device is
    stopped as C(contested); with a proof it may go on, and the unproven claim of the other is withdrawn from the
    ledger. Where two devices prove it, both are stopped.
  - A device is stopped, with every reason, where it shares its registration ID, serial number or device ID with another
    device of the batch or of the ledger, where its endorsement key is another's, where it is not the one that was read
    before or is that of a TPM that was replaced, where the device was decommissioned, where its key is on no EK list,
    where its endorsement key certificate is not trusted, or where its TPM is software and that is not allowed. The
    others go on. The step V(decommission) looks at none of the last four.
  - A device is known by its serial number, where the inventory has none by its device ID, else by its host name.
  - A TPM that replaces another one takes over the device ID. A device without one has its registration ID for that.
  - The step V(decommission) marks the device as half decommissioned, and with an outcome as decommissioned.
  - Each call is noted in the history of each device, stopped ones included. That is a log and counts as no change.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.resource_module
  - tpmfleet.azure_dps.ledger
  - tpmfleet.azure_dps.events
  - tpmfleet.azure_dps.ek_certificates
  - tpmfleet.azure_dps.service
options:
  step:
    description: The manufacturing step that found it.
    type: str
    required: true
    choices: [tpm_install, software_install, warehouse, field_activation, reprovision, replace_tpm, decommission]
  station:
    description: The station that found it, for the history.
    type: str
    default: ""
  records:
    description:
      - The device records, each with C(host). Fields that a record does not mention stay as the ledger has them.
      - C(outcome) says what the step did, part by part, as V(done), V(verified) or a value worth keeping.
      - C(exceptions) says what is allowed for this device, V(software_tpm), V(tpm_replacement) or V(recommission).
      - C(enrolling) is the ID scope of the DPS in which the device is about to be enrolled. It is noted among the
        record's C(places), until C(disenrolled) lists that place as gone.
      - C(proven) is the SHA-256 of the endorsement key that the device has just proven to hold; C(not_proven) says why
        it did not when it was asked, C(refuted) beside that whether its TPM has not the key, and did not just fail to
        answer. The record then has the time as C(endorsement_key_proven).
      - C(failed) says that the device failed in the step, with C(reason), with C(unreachable) that it was not reached,
        or with C(stopped) that it is not believed. C(not_proven) in it says that its TPM did not prove the key when it
        was asked, C(proven) that it did before something else failed. That is noted, and nothing else of the record is;
        M(tpmfleet.azure_dps.device_read) and M(tpmfleet.azure_dps.device_work) do it by themselves.
      - The filter P(tpmfleet.azure_dps.device_records#filter) makes them of what the modules returned.
    type: list
    elements: dict
    required: true
  ek_list_policy:
    description:
      - Whether a device whose endorsement key is on no EK list is stopped. V(preferred) stops it only where the ledger
        has taken in any list.
    type: str
    choices: [required, preferred, ignored]
    default: ignored
  ek_certificate_policy:
    description:
      - What is asked of the endorsement key certificates in C(endorsement_key_certificate), to which
        C(endorsement_key_certificate_chain) may add others that the TPM has. A record without C(endorsement_key) is
        asked by V(required) alone.
      - V(required) stops a device without a certificate that is trusted and is its key's.
      - V(preferred) stops a device whose certificate is not trusted or not its key's, and one that has none unless its
        key is on an EK list, whatever O(ek_list_policy) is.
      - A certificate on the EK list serves where the TPM has none.
    type: str
    choices: [required, preferred, ignored]
    default: ignored
  planned_ek_list:
    description:
      - The RV(tpmfleet.azure_dps.ek_list#module:ek_list) of an earlier task of the same run. In check mode, in which
        that task took in nothing, devices are held against that list too. Else it is of no use.
    type: dict
seealso:
  - module: tpmfleet.azure_dps.ek_certificate_info
  - module: tpmfleet.azure_dps.device_records_info
  - module: tpmfleet.azure_dps.ek_list
"""

EXAMPLES = r"""
- name: Hold the rack's endorsement keys against the EK list and the ledger
  tpmfleet.azure_dps.device_records:
    ledger: /var/lib/tpmfleet/ledger.sqlite
    step: software_install
    station: line-1
    records: "{{ ansible_play_batch | tpmfleet.azure_dps.device_records(hostvars, device='endorsement_key_device') }}"
    ek_list_policy: required
    ek_certificate_policy: required
    ek_certificate_roots: [/etc/tpmfleet/ek-roots]
    ship_date: "2027-03-31"
  register: batch
  run_once: true
  delegate_to: localhost

- name: Stop a device that cannot be trusted
  ansible.builtin.fail:
    msg: "{{ batch.verdicts[inventory_hostname].reasons | join('; ') }}"
  when: not batch.verdicts[inventory_hostname].accepted
"""

RETURN = r"""
run_id:
  description: The run, as it stands in the history.
  returned: success
  type: str
  sample: 20261124T120000Z-5f0c2a91
step:
  description: The step that was judged.
  returned: success
  type: str
  sample: software_install
station:
  description: The station where that was.
  returned: success
  type: str
  sample: line-1
ledger_head:
  description:
    - The head of the chain of all events after this call. Kept elsewhere, it proves to
      M(tpmfleet.azure_dps.ledger_verify_info) later that none of these events was changed since.
    - Events of before there was a chain are not counted.
  returned: success
  type: dict
  sample: {"events": 24, "head": "77a2…64 hexadecimal digits"}
contested:
  description:
    - The hosts whose endorsement key another device claims too, and which have not been asked for a proof of it.
      Nothing else stops them. See M(tpmfleet.azure_dps.tpm_possession).
  returned: success
  type: list
  elements: str
  sample: []
without_list:
  description:
    - Whether devices were stopped for want of an EK list where the ledger has never taken in any, as
      O(ek_list_policy=required) does, or where three devices or more were held against the lists and none is on one.
      That says nothing of the devices. C(msg) then says what to mend.
  returned: success
  type: bool
  sample: false
unlisted:
  description: >-
    How many devices were held against the lists, where those are three or more and none is on one; else V(0).
  returned: success
  type: int
  sample: 0
stopped:
  description: The hosts that may not go on.
  returned: success
  type: list
  elements: str
  sample: []
unproven:
  description:
    - The stopped hosts that were asked to prove a key which is theirs by the ledger, and whose TPMs have it not, while
      nobody else has proven it.
    - Where O(service) is given, C(is) says what became of the unit's enrollment, V(disabled), V(left enabled) or
      V(not seen), where it has one that was not disabled already. So do the C(reasons) of its verdict.
  returned: success
  type: list
  elements: dict
  sample: [{"unit": "rack1-slot02", "reason": "its endorsement key was also found on TF-000001 …", "is": "disabled"}]
verdicts:
  description:
    - What became of each device, by host name.
    - C(state) is V(done) where the step did something or learnt something new, V(verified) where all was as recorded,
      V(stopped) where the device may not go on.
    - C(known) is whether the ledger knew the device before.
    - C(not_proven) is whether it was stopped since its TPM, asked for a proof, has not the endorsement key.
    - C(remarks) are about certificates that are accepted all the same, such as one that is no strict DER.
    - C(record) has as C(certified_tpm) what the certificate says of the TPM.
  returned: success
  type: dict
  sample:
    rack1-slot01:
      known: true
      accepted: true
      contested: false
      not_proven: false
      reasons: []
      remarks: []
      state: done
      outcome: {"ownership": "done", "dps_client": "done", "enrollment": "verified"}
      record:
        record_version: 1
        host: rack1-slot01
        serial_number: TF-000001
        registration_id: o2pzpqzcqyqxkmkwbbw7mgxyv7zpmwfivtuhz7gcdq3tzyezpcoa
        endorsement_key: AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCA...
        tpm_type: software
        certified_tpm:
          maker: IBM
          manufacturer: IBM
          model: swtpm
          firmware_version: "8217.4131"
          software: true
          root: CN=swtpm-localca-rootca
          certificate_sha256: ad2837c51813783b9fd971bdce5428258cdc9981f50cf71aa12b4a17776823b9
        steps:
          software_install:
            at: "2026-11-24T12:00:00Z"
            station: line-1
            outcome: {"ownership": "done", "dps_client": "done", "enrollment": "verified"}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.ledger.ek_list import take_in_planned
from ..module_utils.ledger.judgement import LIST_POLICIES, Step
from ..module_utils.module.ek_lists import without_list
from ..module_utils.module.ledger import event_options, ledger_option, now, run
from ..module_utils.module.service import service_option
from ..module_utils.module.trust import certificate_options, make_verifier, warn_of_notes
from ..module_utils.outside.visible import visible_few
from ..module_utils.record.model import STEPS
from ..module_utils.trust.policy import POLICIES, CertificatePolicy


def certificate_policy(module):
    """What the options ask of certificates; those of the batch are verified already."""
    name = module.params["ek_certificate_policy"]
    policy = CertificatePolicy(name, None if name == "ignored" else make_verifier(module))
    policy.verify_ahead(module.params["records"])
    return policy


def warn_of_remarks(module, verdicts):
    """One warning for a whole batch: what is told of each device is in its verdict."""
    remarked = {host: verdict.remarks[0] for host, verdict in verdicts.items() if verdict.remarks}
    if remarked:
        host, first = next(iter(remarked.items()))
        module.warn(f"{len(remarked)} of {len(verdicts)} devices have remarks. {host}: {first}. See verdicts.")


def warn_of_moves(module, verdicts):
    """One warning for a whole batch that is about to go to another DPS: a wrong ID scope sends it so too."""
    wanted = {str(record["host"]): record.get("enrolling") for record in module.params["records"]}
    moving = {}
    for host, verdict in verdicts.items():
        here, there = verdict.known.get("dps_id_scope"), wanted.get(host)
        if here and there and here != there and not verdict.reasons:
            moving.setdefault((here, there), []).append(host)
    for (here, there), hosts in moving.items():
        module.warn(
            f"{len(hosts)} of {len(verdicts)} devices are in the DPS of the ID scope {here} by the ledger, and go to"
            f" {there}: {visible_few(hosts, few=3)}. Where they are to stay, end this run and set"
            f" tpmfleet_dps_id_scope: {here}."
        )


def unproven(params, verdicts):
    """The units whose enrollments stand on a word that was just refuted, as the task's action takes them."""
    found = []
    for said in params["records"]:
        verdict = verdicts[said["host"]]
        known = verdict.known
        # By a slot alone anybody is known who stands in it.
        named = any(known.get(name) and known[name] == said.get(name) for name in ("serial_number", "device_id"))
        if verdict.not_proven and named and known.get("endorsement_key") == verdict.record["endorsement_key"]:
            found.append(
                {
                    "unit": said["host"],
                    "reason": "; ".join(verdict.reasons),
                    "record": {**known, "host": said["host"]},
                    "id_scope": str(said.get("enrolling") or ""),
                    "event": {"step": params["step"], "station": params["station"], "is_new": False},
                }
            )
    return found


def take(connection, policy, module):
    """The result of the module."""
    params = module.params
    nameless = [record for record in params["records"] if not record.get("host")]
    if nameless:
        return {"failed": True, "msg": f"{len(nameless)} of {len(params['records'])} records have no host."}
    if module.check_mode and params["planned_ek_list"]:
        take_in_planned(connection, params["planned_ek_list"], at=now())
    step = Step(
        connection,
        step=params["step"],
        station=params["station"],
        at=now(),
        list_policy=params["ek_list_policy"],
        certificates=policy,
        operator=params["operator"],
        run_id=params["run_id"],
    )
    verdicts = step.take(params["records"])
    warn_of_remarks(module, verdicts)
    if params["step"] != "reprovision":
        warn_of_moves(module, verdicts)
    warn_of_notes(module, policy.notes)
    changed = {host: verdict for host, verdict in verdicts.items() if verdict.changed}
    result = {
        "changed": bool(changed),
        "run_id": params["run_id"],
        "step": params["step"],
        "station": params["station"],
        "ledger_head": step.head(),
        "contested": [host for host, verdict in verdicts.items() if verdict.contested],
        **without_list(step, params["ledger"]),
        "stopped": [host for host, verdict in verdicts.items() if verdict.reasons],
        "unproven": unproven(params, verdicts),
        "verdicts": {host: one.as_result() for host, one in verdicts.items()},
    }
    if module._diff:
        result["diff"] = {
            "before": {host: verdict.known for host, verdict in changed.items()},
            "after": {host: verdict.record for host, verdict in changed.items()},
        }
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            **ledger_option(),
            **event_options(),
            **certificate_options(),
            **service_option(),
            "step": {"type": "str", "required": True, "choices": list(STEPS)},
            "station": {"type": "str", "default": ""},
            "records": {"type": "list", "elements": "dict", "required": True},
            "ek_list_policy": {"type": "str", "choices": list(LIST_POLICIES), "default": "ignored"},
            "ek_certificate_policy": {"type": "str", "choices": list(POLICIES), "default": "ignored"},
            "planned_ek_list": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    run(
        module,
        lambda connection, policy: take(connection, policy, module),
        prepare=lambda: certificate_policy(module),
    )


if __name__ == "__main__":
    main()
