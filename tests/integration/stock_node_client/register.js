// Copyright (c) 2026 tpmfleet contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Registers with the published client, as its documentation shows, and prints what came of it and a hub token as JSON.
// register.js HOST PORT ID_SCOPE TPM_PORT [REGISTRATION_ID]; the service's authority is in NODE_EXTRA_CA_CERTS.
'use strict';

const https = require('https');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Http } = require('azure-iot-provisioning-device-http');
const { TpmSecurityClient } = require('azure-iot-security-tpm');
const { SharedAccessSignature } = require('azure-iot-common');
const { Tpm } = require('tss.js');

const [host, port, scope, tpmPort, registrationId] = process.argv.slice(2);

// The client knows no port; the options of Node's agent stand above a request's.
https.globalAgent.options.port = Number(port);
const security = new TpmSecurityClient(registrationId, new Tpm(true, '127.0.0.1', Number(tpmPort)));
const client = ProvisioningDeviceClient.create(host, scope, new Http(), security);

function end(error, found) {
  console.log(JSON.stringify(error ? { error: String(error) } : found));
  process.exit(error ? 1 : 0);
}

client.register((error, answer) => {
  if (error) {
    return end(error);
  }
  const result = answer.registrationState;
  SharedAccessSignature.createWithSigningFunction(
    { host: result.assignedHub, deviceId: result.deviceId },
    Math.floor(Date.now() / 1000) + 3600,
    (data, signed) => security.signWithIdentity(data, signed),
    (failed, token) => end(failed, { ...result, token: String(token) })
  );
});
