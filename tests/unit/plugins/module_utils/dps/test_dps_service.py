# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client of the service against the emulated one, over TLS: retries, refusals, and writes whose answer was lost."""

from __future__ import annotations

import re
import socket
import time
import types

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps import credentials
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps import service as client
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.errors import DpsError, innermost, is_name_fault
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.service import Service, _retry_after
from requests.exceptions import ProxyError
from urllib3.exceptions import MaxRetryError, NewConnectionError


@pytest.fixture
def document(make_ek):
    def make(registration_id="unit-1", number=0, **fields):
        attestation = {"type": "tpm", "tpm": {"endorsementKey": make_ek(number)}}
        return {"registrationId": registration_id, "attestation": attestation, **fields}

    return make


@pytest.fixture
def open_with(dps):
    """A client with another credential."""
    opened = []

    def make(access, **options):
        opened.append(Service(access, ca_file=dps.where["ca_file"], timeout=5, retry_budget=5, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def refused(call, *arguments, **keywords) -> DpsError:
    with pytest.raises(DpsError) as caught:
        call(*arguments, **keywords)
    return caught.value


def test_create_read_update_delete(service, document):
    made = service.put_enrollment(document(), etag=None)
    assert service.enrollment("unit-1")["etag"] == made["etag"]
    changed = service.put_enrollment(document(deviceId="d"), etag=made["etag"])
    assert changed["deviceId"] == "d"
    assert service.delete_enrollment("unit-1", etag=changed["etag"])
    assert service.enrollment("unit-1") is None
    assert service.delete_enrollment("unit-1") is False
    assert service.registration("unit-1") is None


def test_a_list_comes_page_by_page(dps, service, document):
    for begin in range(0, 30, 10):
        batch = [document(f"unit-{number}", number) for number in range(begin, begin + 10)]
        assert service.bulk("create", batch) == ([], False)
    pages = list(service.pages(page_size=12))
    assert [len(page) for page in pages] == [12, 12, 6]
    assert dps.calls()["enrollments.query"] == 3


def test_409_412_and_404_are_told_with_their_ids(service, document):
    made = service.put_enrollment(document(), etag=None)
    again = refused(service.put_enrollment, document(), etag=None)
    assert (again.status, again.error_code) == (409, 409000)
    assert again.tracking_id and again.tracking_id in str(again) and "unit-1" in str(again)
    stale = refused(service.put_enrollment, document(), etag='"other"')
    assert stale.status == 412 and "read it again" in str(stale)
    assert refused(service.delete_enrollment, "unit-1", etag='"other"').status == 412
    assert service.enrollment("unit-1")["etag"] == made["etag"]


def test_a_malformed_key_is_told_with_what_to_do(service, document):
    error = refused(service.put_enrollment, document(number=0) | {"attestation": {"type": "tpm", "tpm": {}}}, etag=None)
    assert error.error_code == 400004 and "TPM2B_PUBLIC" in error.hint


def test_a_wrong_key_is_told_and_not_shown(dps, open_with):
    wrong = dps.where["connection_string"].replace(dps.key, dps.key[::-1].lstrip("=") + "=")
    error = refused(open_with(credentials.parse_connection_string(wrong)).enrollment, "unit-1")
    assert (error.status, error.error_code, error.option) == (401, 401002, "connection_string")
    assert dps.key not in str(error) and "policy" in error.hint


def test_a_token_that_expired_meanwhile_is_told(dps, open_with, monkeypatch):
    access = credentials.parse_connection_string(dps.where["connection_string"])
    past = int(time.time()) - 60
    token = credentials.sign(dps.host, access._policy, access._key, past)
    monkeypatch.setattr(access, "authorization", lambda **_within: token)
    error = refused(open_with(access).enrollment, "unit-1")
    assert error.status == 401 and "clock" in error.hint


def test_entra_id(dps, open_with, monkeypatch):
    dps.settings(bearer_tokens={"issued": ["EnrollmentRead"]})
    asked = []

    class Credential:
        def __init__(self, **_options):
            pass

        def get_token(self, scope):
            asked.append(scope)
            return types.SimpleNamespace(token="issued", expires_on=time.time() + 3600)

    library = types.SimpleNamespace(DefaultAzureCredential=Credential)
    monkeypatch.setattr(credentials, "identity_library", lambda: library)
    service = open_with(credentials.access_from({"host": dps.host}))
    assert service.enrollment("unit-1") is None
    assert service.enrollment("unit-2") is None
    assert asked == [credentials.ENTRA_SCOPE]
    assert refused(service.delete_enrollment, "unit-1").status == 401


def test_429_waits_as_long_as_it_is_told(dps, service, no_sleep, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(service.pacer, "_clock", lambda: now[0])
    monkeypatch.setattr(service.pacer, "_sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    dps.fault(method="GET", status=429, retry_after=3, count=2)
    assert service.enrollment("unit-1") is None
    assert now[0] == pytest.approx(6, abs=0.1)
    assert service.pacer.refusals == 2


def test_a_longer_wait_than_the_budget_is_told_at_once(dps, service):
    dps.fault(method="GET", status=429, retry_after=3600)
    begun = time.monotonic()
    error = refused(service.enrollment, "unit-1")
    assert time.monotonic() - begun < 5
    assert error.status == 429 and "retry_budget 20 s" in str(error)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_5xx_is_tried_again(dps, service, no_sleep, status):
    dps.fault(method="GET", status=status, count=3)
    assert service.enrollment("unit-1") is None
    assert len(no_sleep) == 3


def test_5xx_that_stays_is_told(dps, open_with, no_sleep):
    dps.fault(status=500, count=1000)
    service = open_with(credentials.parse_connection_string(dps.where["connection_string"]))
    service._retry_budget = 3
    error = refused(service.enrollment, "unit-1")
    assert error.status == 500 and re.search(r"after \d+ tries", str(error)) and "fault of its own" in error.hint


@pytest.mark.parametrize("drop", ["before", "after"])
@pytest.mark.parametrize("etag", [False, True])
def test_a_write_whose_answer_was_lost_is_done_once(dps, service, document, no_sleep, drop, etag):
    made = service.put_enrollment(document(), etag=None) if etag else None
    dps.fault(method="PUT", drop=drop)
    after = service.put_enrollment(document(deviceId="d"), etag=made["etag"] if made else None)
    assert after["deviceId"] == "d"
    assert service.enrollment("unit-1")["etag"] == after["etag"]


def test_someone_elses_enrollment_is_not_taken_for_our_lost_one(dps, service, document, no_sleep):
    service.put_enrollment(document(deviceId="theirs"), etag=None)
    dps.fault(method="PUT", drop="before")
    assert refused(service.put_enrollment, document(deviceId="ours"), etag=None).status == 409


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_deletion_whose_answer_was_lost_is_a_deletion(dps, service, document, no_sleep, drop):
    service.put_enrollment(document(), etag=None)
    dps.fault(method="DELETE", drop=drop)
    assert service.delete_enrollment("unit-1") is True


def test_a_bulk_operation_whose_answer_was_lost_says_so(dps, service, document, no_sleep):
    dps.fault(method="POST", drop="after")
    errors, uncertain = service.bulk("create", [document()])
    assert uncertain and [one["errorCode"] for one in errors] == [409000]


def test_a_service_that_is_not_there_is_told(open_with):
    access = credentials.SharedAccessKey("localhost:1", "p", b"k")
    service = open_with(access)
    service._retry_budget = 1
    error = refused(service.enrollment, "unit-1")
    assert error.status is None and "no answer from localhost:1" in str(error) and "refused" in str(error)


NOBODYS = "flete.example"


@pytest.fixture
def name_server(monkeypatch):
    """What the name server says of NOBODYS, one of socket's EAI, and how often it was asked."""
    says = types.SimpleNamespace(code=socket.EAI_NONAME, asked=0)
    others = socket.getaddrinfo

    def ask(host, *arguments, **keywords):
        if host != NOBODYS:
            return others(host, *arguments, **keywords)
        says.asked += 1
        raise socket.gaierror(says.code, "said so")

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    return says


@pytest.fixture
def slept(monkeypatch):
    """The waits between tries, by which the client's clock goes on though nobody waits."""
    waits = []
    begun = time.monotonic()
    clock = types.SimpleNamespace(monotonic=lambda: begun + sum(waits), sleep=waits.append)
    monkeypatch.setattr(client, "time", clock)
    return waits


@pytest.mark.parametrize(
    ("access", "option"),
    [
        (credentials.SharedAccessKey(f"{NOBODYS}:443", "p", b"k"), "connection_string"),
        (credentials.SharedAccessToken(credentials.sign(NOBODYS, "p", b"k", 9999999999)), "sas_token"),
        (credentials.SharedAccessToken(credentials.sign("dps.example", "p", b"k", 9999999999), NOBODYS), "host"),
        (
            credentials.parse_connection_string(
                f"HostName={NOBODYS};SharedAccessSignature={credentials.sign('dps.example', 'p', b'k', 9999999999)}"
            ),
            "connection_string",
        ),
    ],
)
def test_a_host_that_nobody_knows_is_told_soon_with_the_option_that_has_its_name(
    open_with, name_server, slept, access, option
):
    service = open_with(access)
    service._retry_budget = 300
    error = refused(service.enrollment, "unit-1")
    assert sum(slept) == pytest.approx(20) and name_server.asked == len(slept) + 1
    assert (error.option, error.passing, error.uncertain) == (option, False, False)
    assert str(error) == (
        "Could not read enrollment unit-1: nobody knows a host of the name 'flete.example':"
        f" [Errno {socket.EAI_NONAME}] said so. Look at {option}, which has the name. If it is right, the network or"
        " the name server of this machine is down."
    )


def test_a_budget_that_ends_sooner_ends_the_search_for_a_name_too(open_with, name_server, slept):
    service = open_with(credentials.SharedAccessKey(NOBODYS, "p", b"k"))
    error = refused(service.enrollment, "unit-1")
    assert sum(slept) < 5 and error.option == "connection_string" and "nobody knows" in str(error)


def test_a_name_server_that_is_started_anew_is_waited_for(dps, open_with, name_server, slept, monkeypatch):
    service = open_with(credentials.SharedAccessKey(NOBODYS, "p", b"k"))
    service._retry_budget = 300
    page = types.SimpleNamespace(status_code=200, headers={}, reason="", content=b"")
    sent = service._send
    monkeypatch.setattr(service, "_send", lambda *given: page if len(slept) == 3 else sent(*given))
    assert service.delete_enrollment("unit-1")
    assert name_server.asked == 3 and sum(slept) < 20


@pytest.mark.parametrize("known", [False, True])
def test_a_name_server_that_does_not_answer_or_has_lost_a_name_is_tried_within_the_budget(
    open_with, name_server, slept, known
):
    service = open_with(credentials.SharedAccessKey(NOBODYS, "p", b"k"))
    service._retry_budget = 300
    service._is_unknown = not known
    name_server.code = socket.EAI_NONAME if known else socket.EAI_AGAIN
    error = refused(service.enrollment, "unit-1")
    assert sum(slept) > 200
    assert error.passing and error.option is None
    assert re.search(
        r"no answer from flete\.example within 5 s \(\[Errno -?\d+\] said so\), after \d+ tries within"
        r" retry_budget 300 s\. Check the host name",
        str(error),
    )


def test_a_proxys_name_is_not_the_services(open_with, name_server, slept, monkeypatch):
    service = open_with(credentials.SharedAccessKey("dps.example", "p", b"k"))
    with monkeypatch.context() as patched:
        patched.setenv("HTTPS_PROXY", f"http://{NOBODYS}:3128")
        error = refused(service.enrollment, "unit-1")
    assert name_server.asked and "no answer from dps.example" in str(error) and "said so" in str(error)
    assert error.option is None


@pytest.mark.parametrize(
    ("host", "proxy"), [("dps.example", "http://proxy..example:3128"), (f"{'a' * 64}.example", None)]
)
def test_an_address_that_no_library_can_call_is_told_at_once(open_with, slept, monkeypatch, host, proxy):
    service = open_with(credentials.SharedAccessKey(host, "p", b"k"))
    with monkeypatch.context() as patched:
        if proxy:
            patched.setenv("HTTPS_PROXY", proxy)
        error = refused(service.enrollment, "unit-1")
    assert slept == [] and not error.passing and not error.uncertain
    assert f"no answer from {host} within" in str(error) and "Check the host name, the network and the proxy" in str(
        error
    )


def test_a_name_that_nobody_knows_is_found_in_what_each_library_makes_of_it():
    def of_an_older_urllib3():
        try:
            raise socket.gaierror(socket.EAI_NONAME, "said so")
        except OSError as error:
            raise NewConnectionError(None, f"Failed to establish a new connection: {error}")  # noqa: B904

    with pytest.raises(NewConnectionError) as caught:
        of_an_older_urllib3()
    around = OSError(MaxRetryError(None, "/", caught.value))
    assert is_name_fault(around) and innermost(around).endswith("] said so")
    assert not is_name_fault(ProxyError(around))
    assert is_name_fault(socket.gaierror(getattr(socket, "EAI_NODATA", socket.EAI_NONAME), "said so"))
    assert not is_name_fault(socket.gaierror(socket.EAI_AGAIN, "said so"))


def test_what_was_handled_when_a_call_was_made_is_no_reason_of_its_failure():
    try:
        raise DpsError("An earlier call failed.")
    except DpsError:
        try:
            raise ConnectionRefusedError("refused")
        except OSError as error:
            assert innermost(error) == "refused"


def test_a_sentence_before_a_hint_has_its_end_once():
    assert str(DpsError("It failed", hint="Mend it.")) == "It failed. Mend it."
    assert str(DpsError("It failed.", hint="Mend it.")) == "It failed. Mend it."
    assert str(DpsError("It failed.", error_code=400004, hint="Mend it.")) == "It failed (error 400004). Mend it."
    assert str(DpsError("It failed", hint="")) == "It failed"


def test_a_certificate_of_a_strange_authority_is_refused_at_once(dps):
    service = Service(credentials.parse_connection_string(dps.where["connection_string"]), retry_budget=60)
    begun = time.monotonic()
    error = refused(service.enrollment, "unit-1")
    service.close()
    assert "certificate" in str(error) and "ca_file" in error.hint
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("status", [200, 404])
def test_what_is_not_the_service_is_told(service, monkeypatch, status):
    page = types.SimpleNamespace(status_code=status, headers={}, reason="whatever", content=b"<html>a proxy</html>")
    monkeypatch.setattr(service, "_send", lambda *_arguments: page)
    assert refused(service.enrollment, "unit-1").status == status


def test_retry_after_as_number_and_as_date():
    assert _retry_after("7") == 7
    assert _retry_after("Mon, 24 Nov 2036 10:00:00 GMT") > 3600
    for senseless in ("Mon, 24 Nov 2006 10:00:00 GMT", "0", "-1", "nan", "inf", "1e9", "", "5, 7", "soon", None):
        assert _retry_after(senseless) is None
    assert 1e8 < _retry_after("9" * 5000) < 1e10
