BEGIN TRANSACTION;
CREATE TABLE devices (
	id INTEGER NOT NULL, 
	serial_number VARCHAR(255), 
	device_id VARCHAR(128), 
	host VARCHAR(255), 
	registration_id VARCHAR(128), 
	endorsement_key_sha256 VARCHAR(64), 
	record TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (serial_number), 
	UNIQUE (device_id), 
	UNIQUE (registration_id), 
	UNIQUE (endorsement_key_sha256)
);
INSERT INTO "devices" VALUES(1,'TF-1',NULL,'slot1','unit-1','d8ecb899c815295b0ac7100eadcd36d6530ce174f7ef72caaad08998af39aee5','{"batch": "2026-10", "dps_id_scope": "0ne00000001", "endorsement_key": "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAmNbhysKora8lV3zKFNt3U1B/TwOiiBJM6f4tYLq9e7AlPZUPEevb60wtVMV4A962mGm4MqLgMBBiDUYqhdFSkNk5km8FREsPRJX7linsv6gNmajsGiDQaADKWj1fT9J2DX8OM2FmBC+MyeTCCuQnujZ8J51uPf0b1yR7D7zmHVD3C5Sutn3ipetL2MLqhRKPE3dstUWmYavkIrN4ps8wmb2CoosfCIs6GGc3cS+xb+cyOuyzq8I0s4yVNDSaqhdXj4VGkti8je+EqI1RHdFQ3p3Ytr/gANWkF93knko9EsItoZDleN3PzeJ+dyCUpiCqzKa2tfJvPOWKQmQLQ2O1CQ==", "endorsement_key_name": "000b8bf0bce00e7c32cf549d495189e2ab206bbbe3deeb9c5495c3ed257aa7f1f9cf", "endorsement_key_proven": "2026-10-03T08:00:00Z", "endorsement_key_sha256": "d8ecb899c815295b0ac7100eadcd36d6530ce174f7ef72caaad08998af39aee5", "host": "slot1", "maker": "Example Semiconductors", "places": [{"dps_id_scope": "0ne00000001", "endorsement_key": "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAmNbhysKora8lV3zKFNt3U1B/TwOiiBJM6f4tYLq9e7AlPZUPEevb60wtVMV4A962mGm4MqLgMBBiDUYqhdFSkNk5km8FREsPRJX7linsv6gNmajsGiDQaADKWj1fT9J2DX8OM2FmBC+MyeTCCuQnujZ8J51uPf0b1yR7D7zmHVD3C5Sutn3ipetL2MLqhRKPE3dstUWmYavkIrN4ps8wmb2CoosfCIs6GGc3cS+xb+cyOuyzq8I0s4yVNDSaqhdXj4VGkti8je+EqI1RHdFQ3p3Ytr/gANWkF93knko9EsItoZDleN3PzeJ+dyCUpiCqzKa2tfJvPOWKQmQLQ2O1CQ==", "registration_id": "unit-1"}], "record_version": 1, "registration_id": "unit-1", "serial_number": "TF-1", "steps": {"software_install": {"at": "2026-10-03T08:00:00Z", "outcome": {"dps_client": "done", "enrollment": "done", "ownership": "done", "possession": "done"}, "station": "line-2"}, "warehouse": {"at": "2026-10-04T08:00:00Z", "outcome": {"ownership": "verified", "possession": "verified"}, "station": "line-1"}}, "work_order": {"at": "2026-11-26T20:00:00Z", "content_sha256": "abababababababababababababababababababababababababababababababab", "key_version": 2, "number": "WO-2026-0001", "state": "ordered"}}');
INSERT INTO "devices" VALUES(2,'TF-2',NULL,'slot2','unit-2','67dfecc2b87139fcf67b12fe21e950b8fae15eca6ed5c2cb0edc20c7f6de0484','{"batch": "2026-10", "dps_id_scope": "0ne00000001", "endorsement_key": "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAmM6UsrGWkGykhZ4Gi475Lm3p5kGXLVTeSvHW6qZDEUcdgArZ9OmeHGGqRUc2I9pAE1CfGrLiNxj3E96SGw7ukFjA50dqDZjXTsZPfZJBydXnwOCZFznrHN4LTRc6mI4USEqmzNF8n+luuVW5tW7QyIOydTAUed7sG4F6/iq9r3JAETOloxJmQypp974YWLEqHJM0uUo9JALgiUCFuDqlWgudsuz7jeZfskgjLQmZgqgnBVyY1jcum04fqB2Y3BzCgroxixyGIzgcbwUkxRiuNKToQgSHD16QpznckwvN7LxVuojktpKN/e1OR6CL0HTeJcxiU1BMbMZmnE15EkGHIw==", "endorsement_key_name": "000bf41897eea0bafd6154c4c0df73f79a0f4a85d31feff88db404ce30e9f6797e22", "endorsement_key_proven": "2026-10-03T08:00:00Z", "endorsement_key_sha256": "67dfecc2b87139fcf67b12fe21e950b8fae15eca6ed5c2cb0edc20c7f6de0484", "host": "slot2", "maker": "Example Semiconductors", "record_version": 1, "registration_id": "unit-2", "serial_number": "TF-2", "steps": {"software_install": {"at": "2026-10-03T08:00:00Z", "outcome": {"dps_client": "done", "enrollment": "done", "ownership": "done", "possession": "done"}, "station": "line-2"}}, "work_order": {"at": "2026-11-26T20:00:00Z", "content_sha256": "abababababababababababababababababababababababababababababababab", "key_version": 2, "number": "WO-2026-0001", "state": "ordered"}}');
INSERT INTO "devices" VALUES(3,'TF-3','unit-3','slot3','unit-8','94c8a36de8589a197f542780718d716fb2e6b1bc00109e11546c4181ec6e3300','{"device_id": "unit-3", "dps_id_scope": "0ne00000001", "endorsement_key": "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAmaWyy5DIa6fYGaen08CM9/5MRP78oslXt4td1mWakq3UKiWMWQuw2DT5QAclRQoN73kU0xwYSO7XjUU5Dx6StfbBAUzm0QyPKc1tJv/bsTYm4Ar93Utqh9Xegj5j+NdMW9sVtJ9s4A2PFKm2kaBmV8iYPd5IC6KlBm2J/3peU6MFoqw9gRHpszh8W6OX81JJaGF4RXVxV74Xb3cKRkBVWlmJDGvKmfvH7wXzqX064EJxKVgFg58lq45rdHk7UNwmAWnsfYe6CcHwSe0dLYkGLbF9t2/tss39jQwh4VevhhZAueejPY929/PPq6v46tC1OAMl7Midmcq01hR7D6rk5Q==", "endorsement_key_name": "000bccda43c88bd6fa0a3d978237cde0b3c7b091d538eab7ff2db7f08c9a4bf0c649", "endorsement_key_sha256": "94c8a36de8589a197f542780718d716fb2e6b1bc00109e11546c4181ec6e3300", "host": "slot3", "places": [{"dps_id_scope": "0ne00000001", "endorsement_key": "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAkDJ0bn4zOKYw+WuUfeUWW3UR8AoPtPf8Dpmxx0sPd80Cklr9ROKUblg6f2Q0WFp3wUb89FM81LN5P2Lw1bfGDG0nyhibMK9PheqwJIgasAo370urFCSMGDSekA9AUQOX6GV033Q0o7GF+w7iPQk+aBXlZXmImGJ/1IQtP9NtCyZRMqIDeUFf6Y86BwCvwqkB6bAa+Dm1RUqGWRUvB4LCI+hpLKIAtU3a2naOcZYKBRFBYTejdHdtz9GqgwXQqW+jp4bdnrZko2ayNWJxROzyhEwI8IkTzdzphZc85e45z1vQFtM5h0/BVi/kG91dwmBv3/PJtifcA1GYWgyuO06k5w==", "registration_id": "unit-3"}], "record_version": 1, "registration_id": "unit-8", "serial_number": "TF-3", "steps": {"replace_tpm": {"at": "2026-10-05T08:00:00Z", "outcome": {"disenrollment": "left", "ownership": "done"}, "station": "line-1"}, "software_install": {"at": "2026-10-03T08:00:00Z", "outcome": {"dps_client": "done", "enrollment": "done", "ownership": "done", "possession": "done"}, "station": "line-2"}}}');
INSERT INTO "devices" VALUES(4,'TF-4',NULL,'slot4','unit-4','80beeb48be77cb86baf63e7dd088ee30ff25c4ec014a4fa5c76e8561b4a6c47a','{"batch": "2026-10", "decommission": {"done": "2026-10-06T08:00:00Z"}, "endorsement_key": "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEA3LDM50RFM7owvMn0CngUwcueoDQmS/uJStRN5adWGR/aCQ+dIVBAYM8flIFiF7qAepbUy2In2F3kCjcHP0U9tArjiq4XACRK8i19WIKK4qTPTnb4tdJa3lgLfEXsfY8LiKCcSPWJOGstGNi+mHz/5qk4yeIjFPNUIIL39iQ+/bUIWe+SFXTw2iAydFFmwFodCyRvl8XomI8tuW3XzCw2LhJlxWlOkErHoQ0O69Q4lJULSc/aGaPbrNxNt8Ckn28SIOK7m4SpZaM1RPXhKXxhS+vhJElheby++WaRP+MvIor7eaPK7qxsJP1EXekn8kVrGL2ybG80J8AhZuqNkR+kSQ==", "endorsement_key_name": "000b85e888fb869cc39315f9b2d8df5c52a7fc780991fcdfe94598e2b81716206d3f", "endorsement_key_proven": "2026-10-03T08:00:00Z", "endorsement_key_sha256": "80beeb48be77cb86baf63e7dd088ee30ff25c4ec014a4fa5c76e8561b4a6c47a", "host": "slot4", "maker": "Example Semiconductors", "places": [{"dps_id_scope": "0ne00000001", "endorsement_key": "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEA3LDM50RFM7owvMn0CngUwcueoDQmS/uJStRN5adWGR/aCQ+dIVBAYM8flIFiF7qAepbUy2In2F3kCjcHP0U9tArjiq4XACRK8i19WIKK4qTPTnb4tdJa3lgLfEXsfY8LiKCcSPWJOGstGNi+mHz/5qk4yeIjFPNUIIL39iQ+/bUIWe+SFXTw2iAydFFmwFodCyRvl8XomI8tuW3XzCw2LhJlxWlOkErHoQ0O69Q4lJULSc/aGaPbrNxNt8Ckn28SIOK7m4SpZaM1RPXhKXxhS+vhJElheby++WaRP+MvIor7eaPK7qxsJP1EXekn8kVrGL2ybG80J8AhZuqNkR+kSQ==", "registration_id": "unit-4"}], "record_version": 1, "registration_id": "unit-4", "serial_number": "TF-4", "steps": {"decommission": {"at": "2026-10-06T08:00:00Z", "outcome": {"ownership": "done"}, "station": "line-1"}, "software_install": {"at": "2026-10-03T08:00:00Z", "outcome": {"dps_client": "done", "enrollment": "done", "ownership": "done", "possession": "done"}, "station": "line-2"}}}');
INSERT INTO "devices" VALUES(5,'TÜ-9',NULL,'slot9','unit-9','a446a713ced3c66debb6948d75aed7c771918df20cddb1ff624c7fbcaeb43c0f','{"endorsement_key": "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAppQ5/RUhSf7EkVHhajPoTsNNj17D91hmmdjylHN7SzlGXbifcgMywB3xZJUmq8hcqJy0wlBujZWW/wipAOkeJY62JdPAWVU1ry+mXPXYrm0disTUPAjS2zNQd4o+TKR+0QisdpTEdPR5L12IMngSlp9zye8+5ZPPAVd7eN/3Js2s7qZSchkt8+nO5W9cK157yIq61qVNxLPJglTQefxSQnr4U2xaTCIGrqmEvB7/gIHuhDFW0PcOJYGP2kNe+8XC85gbOG7CVty/l8K5lwKEBwZUq9jCqYN53352eWkm7G5+0KWTotmBh6p+e3YJdh14cWmcuSc+hYAmIT9u/pIHFQ==", "endorsement_key_name": "000bf677a845a1d0148e919dc92e2a1a8e3976fcdc5a21676d020ca718794bcb8f7c", "endorsement_key_sha256": "a446a713ced3c66debb6948d75aed7c771918df20cddb1ff624c7fbcaeb43c0f", "host": "slot9", "record_version": 1, "registration_id": "unit-9", "serial_number": "T\u00dc-9"}');
INSERT INTO "devices" VALUES(6,'TF-6',NULL,'slot6','unit-6','08d4d5cf0fe22955b6fe179a79313c23137f8ff2d7657f154e02f295f3ac6290','{"endorsement_key": "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAjUGIHJMNkru98rtaYfwdCZ6Xx1/lqLU1WvEBP5qhy7acvIAyesOUp/WyLC4SH50RYxGuHUREHw/ro67zZInA0+BteikIvqDQpMx1e0m1MfatEQZ80NxlgY2sRpBUF93uJxfs4LE+ZOSRSaXPbaEaGY31wHH1iZhJ6io18MZ7ub7sppsQCfVKw9P12qlg6vmTW5cza2UwuwHWUs+ac22tuz+2QY9cFwSx0HbI+mzLgpTffs2wkaBCmrd6k0yzAaYouaYGI1j8d42hmLykWpxX2iP4PWjR2djaPJ1am7o+Hn5x/rGP0p9triDY/HsX6mGH02gfZrn3ttwHAUHKzpt2XQ==", "endorsement_key_name": "000b04e4783f121065fde7051431a0419b548cfa320af78b00f80d2420f143557583", "endorsement_key_sha256": "08d4d5cf0fe22955b6fe179a79313c23137f8ff2d7657f154e02f295f3ac6290", "host": "slot6", "record_version": 1, "registration_id": "unit-6", "serial_number": "TF-6"}');
CREATE TABLE events (
	id INTEGER NOT NULL, 
	device INTEGER, 
	host VARCHAR(255), 
	at VARCHAR(32) NOT NULL, 
	step VARCHAR(32) NOT NULL, 
	station VARCHAR(255) NOT NULL, 
	what TEXT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(device) REFERENCES devices (id)
);
INSERT INTO "events" VALUES(1,1,'slot1','2026-10-02T08:00:00Z','tpm_install','line-1','{"state": "done"}');
INSERT INTO "events" VALUES(2,2,'slot2','2026-10-02T08:00:00Z','tpm_install','line-1','{"state": "done"}');
INSERT INTO "events" VALUES(3,3,'slot3','2026-10-02T08:00:00Z','tpm_install','line-1','{"state": "done"}');
INSERT INTO "events" VALUES(4,4,'slot4','2026-10-02T08:00:00Z','tpm_install','line-1','{"state": "done"}');
INSERT INTO "events" VALUES(5,NULL,'slot5','2026-10-02T08:00:00Z','tpm_install','line-1','{"reasons": ["its endorsement key 7d1f2effe0b4ffdc\u2026 is on no list of a TPM maker that was taken in (step 1)"], "state": "stopped"}');
INSERT INTO "events" VALUES(6,1,'slot1','2026-10-03T08:00:00Z','software_install','line-2','{"outcome": {"dps_client": "done", "enrollment": "done", "ownership": "done", "possession": "done"}, "state": "done"}');
INSERT INTO "events" VALUES(7,2,'slot2','2026-10-03T08:00:00Z','software_install','line-2','{"outcome": {"dps_client": "done", "enrollment": "done", "ownership": "done", "possession": "done"}, "state": "done"}');
INSERT INTO "events" VALUES(8,3,'slot3','2026-10-03T08:00:00Z','software_install','line-2','{"outcome": {"dps_client": "done", "enrollment": "done", "ownership": "done", "possession": "done"}, "state": "done"}');
INSERT INTO "events" VALUES(9,4,'slot4','2026-10-03T08:00:00Z','software_install','line-2','{"outcome": {"dps_client": "done", "enrollment": "done", "ownership": "done", "possession": "done"}, "state": "done"}');
INSERT INTO "events" VALUES(10,1,'slot1','2026-10-04T08:00:00Z','warehouse','line-1','{"outcome": {"ownership": "verified", "possession": "verified"}, "state": "verified"}');
INSERT INTO "events" VALUES(11,2,'slot2','2026-10-04T08:00:00Z','warehouse','line-1','{"reasons": ["its endorsement key d133972d1cb21576\u2026 is not the one that was read before, 67dfecc2b87139fc\u2026; is this another unit or another TPM? If the TPM was replaced, set tpmfleet_replace_tpm for this host"], "state": "stopped"}');
INSERT INTO "events" VALUES(12,5,'slot9','2026-10-04T08:00:00Z','warehouse','line-1','{"state": "done"}');
INSERT INTO "events" VALUES(13,3,'slot3','2026-10-05T08:00:00Z','replace_tpm','line-1','{"outcome": {"disenrollment": "left", "ownership": "done"}, "replaced_endorsement_key": "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAkDJ0bn4zOKYw+WuUfeUWW3UR8AoPtPf8Dpmxx0sPd80Cklr9ROKUblg6f2Q0WFp3wUb89FM81LN5P2Lw1bfGDG0nyhibMK9PheqwJIgasAo370urFCSMGDSekA9AUQOX6GV033Q0o7GF+w7iPQk+aBXlZXmImGJ/1IQtP9NtCyZRMqIDeUFf6Y86BwCvwqkB6bAa+Dm1RUqGWRUvB4LCI+hpLKIAtU3a2naOcZYKBRFBYTejdHdtz9GqgwXQqW+jp4bdnrZko2ayNWJxROzyhEwI8IkTzdzphZc85e45z1vQFtM5h0/BVi/kG91dwmBv3/PJtifcA1GYWgyuO06k5w==", "state": "done"}');
INSERT INTO "events" VALUES(14,4,'slot4','2026-10-06T08:00:00Z','decommission','line-1','{"outcome": {"ownership": "done"}, "state": "done"}');
INSERT INTO "events" VALUES(15,4,'slot4','2026-10-07T08:00:00Z','warehouse','line-1','{"reasons": ["it was decommissioned on 2026-10-06T08:00:00Z; if that is meant to be used again, set tpmfleet_recommission for this host"], "state": "stopped"}');
INSERT INTO "events" VALUES(16,6,'slot6','2026-10-07T08:00:00Z','warehouse','line-1','{"state": "done"}');
INSERT INTO "events" VALUES(17,1,'slot1','2026-11-26T20:00:00Z','work_order','office','{"hash": "c6af4a14c81031d981779aba27607c8fb309d770e34ebbd4598feb678ab6c4fc", "number": 4, "order": "WO-2026-0001", "previous": "6cd0fade1396602896320b334763521954ae3e4a119be904b886e5742407095c", "state": "ordered"}');
INSERT INTO "events" VALUES(18,2,'slot2','2026-11-26T20:00:00Z','work_order','office','{"hash": "7f6057949c993178a448fbca0af05474692d62f4c2a3fb90d246dc56e8edb99d", "number": 4, "order": "WO-2026-0001", "previous": "e0621c3880eb7b9e7de7d4f1e582d9aea00d5949235aae519aae0232e6d3a21b", "state": "ordered"}');
CREATE TABLE failures (
	chain INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	at VARCHAR(32) NOT NULL, 
	step VARCHAR(32) NOT NULL, 
	station VARCHAR(255) NOT NULL, 
	cause VARCHAR(255) NOT NULL, 
	PRIMARY KEY (chain, number)
);
INSERT INTO "failures" VALUES(0,1,'2026-10-02T08:00:00Z','tpm_install','line-1','its endorsement key … is on no list of a TPM maker that was taken in (step 1)');
INSERT INTO "failures" VALUES(2,3,'2026-10-04T08:00:00Z','warehouse','line-1','its endorsement key … is not the one that was read before, …; is this another unit or another TPM? If the TPM was replaced, set tpmfleet_replace_tpm for this host');
INSERT INTO "failures" VALUES(4,4,'2026-10-07T08:00:00Z','warehouse','line-1','it was decommissioned on …; if that is meant to be used again, set tpmfleet_recommission for this host');
CREATE TABLE heads (
	device INTEGER NOT NULL, 
	events INTEGER NOT NULL, 
	head VARCHAR(64) NOT NULL, 
	PRIMARY KEY (device)
);
INSERT INTO "heads" VALUES(-1,2,'7eab3222cf3cc01f38ecb251f2ed34d9ece3da3080b386a1604daed7e648177b');
INSERT INTO "heads" VALUES(0,1,'9e8d38e918c19f366bece06dbc0077f45438c5aa4aac3cecca965774ef676619');
INSERT INTO "heads" VALUES(1,4,'c6af4a14c81031d981779aba27607c8fb309d770e34ebbd4598feb678ab6c4fc');
INSERT INTO "heads" VALUES(2,4,'7f6057949c993178a448fbca0af05474692d62f4c2a3fb90d246dc56e8edb99d');
INSERT INTO "heads" VALUES(3,3,'d616cdcfc6a13680b04a126bbeac97c6ba9ae465c281a2584a560b4cafa22bbd');
INSERT INTO "heads" VALUES(4,4,'2759da33a18b8bbcd69914bcbcf78f3f0f42d66d9ce4b20ba271ba5c23215d0f');
INSERT INTO "heads" VALUES(5,1,'5494e1c9f14caa42c67e3419a6da7398dfff081440c7867590daefa38f7e191b');
INSERT INTO "heads" VALUES(6,1,'bb3f4f5124ab85c36449fa35ce828f108b6ca96ac05f47ac24a711b8debd412a');
CREATE TABLE ledger (
	schema_version INTEGER NOT NULL
);
INSERT INTO "ledger" VALUES(2);
CREATE TABLE ledger_revision (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT ledger_revision_pkc PRIMARY KEY (version_num)
);
INSERT INTO "ledger_revision" VALUES('2');
CREATE TABLE listed_keys (
	endorsement_key_sha256 VARCHAR(64) NOT NULL, 
	maker VARCHAR(255) NOT NULL, 
	batch VARCHAR(255) NOT NULL, 
	entry TEXT NOT NULL, 
	taken_in VARCHAR(32) NOT NULL, 
	PRIMARY KEY (endorsement_key_sha256)
);
INSERT INTO "listed_keys" VALUES('d8ecb899c815295b0ac7100eadcd36d6530ce174f7ef72caaad08998af39aee5','Example Semiconductors','2026-10','{"batch": "2026-10", "endorsement_key": "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAmNbhysKora8lV3zKFNt3U1B/TwOiiBJM6f4tYLq9e7AlPZUPEevb60wtVMV4A962mGm4MqLgMBBiDUYqhdFSkNk5km8FREsPRJX7linsv6gNmajsGiDQaADKWj1fT9J2DX8OM2FmBC+MyeTCCuQnujZ8J51uPf0b1yR7D7zmHVD3C5Sutn3ipetL2MLqhRKPE3dstUWmYavkIrN4ps8wmb2CoosfCIs6GGc3cS+xb+cyOuyzq8I0s4yVNDSaqhdXj4VGkti8je+EqI1RHdFQ3p3Ytr/gANWkF93knko9EsItoZDleN3PzeJ+dyCUpiCqzKa2tfJvPOWKQmQLQ2O1CQ==", "endorsement_key_name": "000b8bf0bce00e7c32cf549d495189e2ab206bbbe3deeb9c5495c3ed257aa7f1f9cf", "endorsement_key_sha256": "d8ecb899c815295b0ac7100eadcd36d6530ce174f7ef72caaad08998af39aee5", "maker": "Example Semiconductors", "registration_id": "unit-1"}','2026-10-01T08:00:00Z');
INSERT INTO "listed_keys" VALUES('67dfecc2b87139fcf67b12fe21e950b8fae15eca6ed5c2cb0edc20c7f6de0484','Example Semiconductors','2026-10','{"batch": "2026-10", "endorsement_key": "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAmM6UsrGWkGykhZ4Gi475Lm3p5kGXLVTeSvHW6qZDEUcdgArZ9OmeHGGqRUc2I9pAE1CfGrLiNxj3E96SGw7ukFjA50dqDZjXTsZPfZJBydXnwOCZFznrHN4LTRc6mI4USEqmzNF8n+luuVW5tW7QyIOydTAUed7sG4F6/iq9r3JAETOloxJmQypp974YWLEqHJM0uUo9JALgiUCFuDqlWgudsuz7jeZfskgjLQmZgqgnBVyY1jcum04fqB2Y3BzCgroxixyGIzgcbwUkxRiuNKToQgSHD16QpznckwvN7LxVuojktpKN/e1OR6CL0HTeJcxiU1BMbMZmnE15EkGHIw==", "endorsement_key_name": "000bf41897eea0bafd6154c4c0df73f79a0f4a85d31feff88db404ce30e9f6797e22", "endorsement_key_sha256": "67dfecc2b87139fcf67b12fe21e950b8fae15eca6ed5c2cb0edc20c7f6de0484", "maker": "Example Semiconductors", "registration_id": "unit-2"}','2026-10-01T08:00:00Z');
INSERT INTO "listed_keys" VALUES('02b6c61ccf6ad4104960075501b7fb4714b3aa088cc445bd42926ceb4c6af851','Example Semiconductors','2026-10','{"batch": "2026-10", "endorsement_key": "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAkDJ0bn4zOKYw+WuUfeUWW3UR8AoPtPf8Dpmxx0sPd80Cklr9ROKUblg6f2Q0WFp3wUb89FM81LN5P2Lw1bfGDG0nyhibMK9PheqwJIgasAo370urFCSMGDSekA9AUQOX6GV033Q0o7GF+w7iPQk+aBXlZXmImGJ/1IQtP9NtCyZRMqIDeUFf6Y86BwCvwqkB6bAa+Dm1RUqGWRUvB4LCI+hpLKIAtU3a2naOcZYKBRFBYTejdHdtz9GqgwXQqW+jp4bdnrZko2ayNWJxROzyhEwI8IkTzdzphZc85e45z1vQFtM5h0/BVi/kG91dwmBv3/PJtifcA1GYWgyuO06k5w==", "endorsement_key_name": "000bbe7e787aa031843ef14c8489b961e7a7658e88a9eafdd0800c24b8766ba17433", "endorsement_key_sha256": "02b6c61ccf6ad4104960075501b7fb4714b3aa088cc445bd42926ceb4c6af851", "maker": "Example Semiconductors", "registration_id": "unit-3"}','2026-10-01T08:00:00Z');
INSERT INTO "listed_keys" VALUES('80beeb48be77cb86baf63e7dd088ee30ff25c4ec014a4fa5c76e8561b4a6c47a','Example Semiconductors','2026-10','{"batch": "2026-10", "endorsement_key": "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEA3LDM50RFM7owvMn0CngUwcueoDQmS/uJStRN5adWGR/aCQ+dIVBAYM8flIFiF7qAepbUy2In2F3kCjcHP0U9tArjiq4XACRK8i19WIKK4qTPTnb4tdJa3lgLfEXsfY8LiKCcSPWJOGstGNi+mHz/5qk4yeIjFPNUIIL39iQ+/bUIWe+SFXTw2iAydFFmwFodCyRvl8XomI8tuW3XzCw2LhJlxWlOkErHoQ0O69Q4lJULSc/aGaPbrNxNt8Ckn28SIOK7m4SpZaM1RPXhKXxhS+vhJElheby++WaRP+MvIor7eaPK7qxsJP1EXekn8kVrGL2ybG80J8AhZuqNkR+kSQ==", "endorsement_key_name": "000b85e888fb869cc39315f9b2d8df5c52a7fc780991fcdfe94598e2b81716206d3f", "endorsement_key_sha256": "80beeb48be77cb86baf63e7dd088ee30ff25c4ec014a4fa5c76e8561b4a6c47a", "maker": "Example Semiconductors", "registration_id": "unit-4"}','2026-10-01T08:00:00Z');
CREATE TABLE marks (
	name VARCHAR(32) NOT NULL, 
	value INTEGER NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "marks" VALUES('devices',6);
INSERT INTO "marks" VALUES('events',18);
INSERT INTO "marks" VALUES('listed_keys',1);
INSERT INTO "marks" VALUES('heads',6);
CREATE TABLE retired_keys (
	endorsement_key_sha256 VARCHAR(64) NOT NULL, 
	device INTEGER NOT NULL, 
	at VARCHAR(32) NOT NULL, 
	PRIMARY KEY (endorsement_key_sha256), 
	FOREIGN KEY(device) REFERENCES devices (id)
);
INSERT INTO "retired_keys" VALUES('02b6c61ccf6ad4104960075501b7fb4714b3aa088cc445bd42926ceb4c6af851',3,'2026-10-05T08:00:00Z');
CREATE TABLE standings (
	device INTEGER NOT NULL, 
	last_step VARCHAR(32), 
	decommissioned INTEGER, 
	key_version INTEGER, 
	dps_id_scope VARCHAR(255), 
	maker VARCHAR(255), 
	batch VARCHAR(255), 
	tpm_type VARCHAR(255), 
	certificate_expires VARCHAR(32), 
	at VARCHAR(32), 
	step VARCHAR(32), 
	station VARCHAR(255), 
	state VARCHAR(32), 
	cause VARCHAR(255), 
	PRIMARY KEY (device)
);
INSERT INTO "standings" VALUES(1,'warehouse',0,NULL,'0ne00000001','Example Semiconductors','2026-10',NULL,NULL,'2026-11-26T20:00:00Z','work_order','office','ordered',NULL);
INSERT INTO "standings" VALUES(2,'software_install',0,NULL,'0ne00000001','Example Semiconductors','2026-10',NULL,NULL,'2026-11-26T20:00:00Z','work_order','office','ordered',NULL);
INSERT INTO "standings" VALUES(3,'replace_tpm',0,NULL,'0ne00000001',NULL,NULL,NULL,NULL,'2026-10-05T08:00:00Z','replace_tpm','line-1','done',NULL);
INSERT INTO "standings" VALUES(4,'decommission',1,NULL,NULL,'Example Semiconductors','2026-10',NULL,NULL,'2026-10-07T08:00:00Z','warehouse','line-1','stopped','it was decommissioned on …; if that is meant to be used again, set tpmfleet_recommission for this host');
INSERT INTO "standings" VALUES(5,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-10-04T08:00:00Z','warehouse','line-1','done',NULL);
INSERT INTO "standings" VALUES(6,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-10-07T08:00:00Z','warehouse','line-1','done',NULL);
CREATE TABLE step_times (
	device INTEGER NOT NULL, 
	step VARCHAR(32) NOT NULL, 
	at VARCHAR(32) NOT NULL, 
	station VARCHAR(255) NOT NULL, 
	PRIMARY KEY (device, step)
);
INSERT INTO "step_times" VALUES(1,'software_install','2026-10-03T08:00:00Z','line-2');
INSERT INTO "step_times" VALUES(1,'warehouse','2026-10-04T08:00:00Z','line-1');
INSERT INTO "step_times" VALUES(2,'software_install','2026-10-03T08:00:00Z','line-2');
INSERT INTO "step_times" VALUES(3,'software_install','2026-10-03T08:00:00Z','line-2');
INSERT INTO "step_times" VALUES(3,'replace_tpm','2026-10-05T08:00:00Z','line-1');
INSERT INTO "step_times" VALUES(4,'software_install','2026-10-03T08:00:00Z','line-2');
INSERT INTO "step_times" VALUES(4,'decommission','2026-10-06T08:00:00Z','line-1');
CREATE INDEX ix_devices_host ON devices (host);
CREATE INDEX ix_listed_keys_batch ON listed_keys (batch);
CREATE INDEX ix_events_device ON events (device);
CREATE INDEX ix_standings_last_step ON standings (last_step, decommissioned);
CREATE INDEX ix_standings_key_version ON standings (key_version, decommissioned);
CREATE INDEX ix_standings_dps_id_scope ON standings (dps_id_scope, decommissioned);
CREATE INDEX ix_standings_certificate_expires ON standings (certificate_expires, decommissioned);
CREATE INDEX ix_standings_state ON standings (state, decommissioned);
CREATE INDEX ix_standings_shipment ON standings (maker, batch);
CREATE INDEX ix_standings_batch ON standings (batch);
CREATE INDEX ix_step_times_step ON step_times (step, at);
CREATE INDEX ix_step_times_station ON step_times (station, step);
CREATE INDEX ix_failures_step ON failures (step, at);
CREATE INDEX ix_failures_at ON failures (at);
CREATE INDEX ix_failures_cause ON failures (cause, step, station);
CREATE INDEX ix_listed_keys_taken_in ON listed_keys (taken_in);
COMMIT;
