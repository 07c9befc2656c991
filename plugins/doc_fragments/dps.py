# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a provisioning service is reached, in the words that the DPS modules share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  connection_string:
    description:
      - Connection string of a shared access policy of the Device Provisioning Service, as its page
        C(Shared access policies) shows it. C(HostName) may carry a port.
      - Where it is not given it is taken from the environment variable E(TPMFLEET_DPS_CONNECTION_STRING), which gives
        way to O(host) and O(sas_token).
    type: str
  sas_token:
    description:
      - A shared access signature that someone else made, such as the time-limited one that a TPM maker is given.
      - It names its host itself; O(host) is needed only where that is another one.
    type: str
  host:
    description:
      - Host name of the service, such as V(fleet.azure-devices-provisioning.net), with C(:port) where it is not 443.
      - Without O(sas_token) an Entra ID credential is used for it.
    type: str
  timeout:
    description: The longest that one try of one call may take, in seconds.
    type: int
    default: 30
  retry_budget:
    description:
      - The longest that one call may take with all its tries and the waits that the service asks for, in seconds,
        whatever the other side does.
      - Calls are tried again on connection errors, 408, 429 and 5xx, after the time that the service names or one that
        grows. A write whose answer was lost is settled by reading again, so it is never done twice.
    type: int
    default: 300
requirements:
  - azure-core and requests where the task runs
  - azure-identity for Entra ID
notes:
  - Runs where the Azure packages are, as a rule the controller, so use C(delegate_to=localhost) in a play over devices.
  - Keys and tokens are in no result, diff or message.
  - A failed call returns C(status), C(error_code) and C(tracking_id) as the service gave them, and a C(hint).
"""

    ENTRA = r"""
options:
  auth_source:
    description:
      - Where the Entra ID credential comes from. V(auto) takes O(secret) or O(x509_certificate_path) if one is given,
        and else what azure-identity finds (environment, managed identity, Azure CLI and others).
      - V(cli) is the login of the Azure CLI, V(env) the variables C(AZURE_*), V(msi) the machine's managed identity.
    type: str
    choices: [auto, cli, env, msi]
    default: auto
  tenant:
    description: Entra ID tenant, with O(secret) or O(x509_certificate_path).
    type: str
  client_id:
    description: Entra ID application, or the user-assigned managed identity.
    type: str
  secret:
    description: Secret of the application O(client_id).
    type: str
  x509_certificate_path:
    description: PEM file with certificate and private key of the application O(client_id).
    type: path
  authority_host:
    description:
      - Where Entra ID is, if not at its public address, such as V(https://login.chinacloudapi.cn).
      - An authority that is given here is not looked up at Microsoft's public one (instance discovery), so it may be
        one of a closed network.
    type: str
  ca_file:
    description:
      - A bundle of certificate authorities to accept instead of the system's, for the service and for Entra ID. It is
        one file in PEM with all of them, and no directory. Certificates are always verified.
    type: path
"""

    MANAGEMENT = r"""
options:
  subscription_id:
    description:
      - The Azure subscription. Where it is not given it is taken from the environment variable
        E(AZURE_SUBSCRIPTION_ID).
    type: str
    required: true
  resource_group:
    description: The resource group that the instance is in. It has to be there.
    type: str
    required: true
  instance:
    description: Name of the Device Provisioning Service instance.
    type: str
    required: true
  resource_manager:
    description:
      - The Azure Resource Manager to talk to, such as V(https://management.usgovcloudapi.net) for the cloud of the US
        government.
    type: str
    default: https://management.azure.com
  timeout:
    description: The longest that one try of one call may take, in seconds.
    type: int
    default: 60
  operation_timeout:
    description:
      - The longest to wait for a change to be done, and for another one that is under way to end, in seconds. Also the
        longest that reading may take with all its tries.
      - The change goes on in Azure where this ends first; run again to see what became of it.
    type: int
    default: 900
requirements:
  - azure-identity and azure-mgmt-iothubprovisioningservices 2.0 or newer where the task runs
notes:
  - Runs where the Azure packages are, as a rule the controller, so use C(delegate_to=localhost) in a play over devices.
  - The Entra ID identity needs a role on the resource group that may read and write
    C(Microsoft.Devices/provisioningServices) and list its keys, such as C(Contributor).
  - A change reads the instance first and is refused by Azure if somebody else changed it in between. Then it is read
    again and the change made anew on what is there, so that two changes at once both hold.
  - A failed call returns C(status), C(error_code) and C(tracking_id) as Azure gave them, and a C(hint).
"""
