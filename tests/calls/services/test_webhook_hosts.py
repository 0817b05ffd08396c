"""The hosts that webhooks may be sent to."""

import threading
from ipaddress import ip_address

import pytest

from calls.services import CallsError, webhook_hosts
from calls.services.webhook_hosts import HostNotAllowed, check_addresses, is_on_internet
from calls.services.webhooks import check_url

ON_INTERNET = """
    93.184.215.14 1.1.1.1 172.32.0.1 100.128.0.1 192.0.1.1 2606:4700:4700::1111 2a00:1450::1
    ::ffff:93.184.215.14 64:ff9b::5db8:d70e
"""
NOT_ON_INTERNET = """
    0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 192.168.1.1 127.0.0.1 127.8.8.8 169.254.169.254 100.64.0.1 100.100.100.200
    192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1
    255.255.255.255 168.63.129.16
    :: ::1 ::7f00:1 ::169.254.169.254 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 fe80::1 fe80::1%eth0
    febf::1 fec0::1 fc00::1 fd00:ec2::254 ff02::1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::a9fe:a9fe
    2002:7f00:1::1 2002:a9fe:a9fe::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1 3fff::1 100::1 4000::1
"""


@pytest.mark.parametrize("address", ON_INTERNET.split())
def test_addresses_on_the_internet(address):
    assert is_on_internet(ip_address(address))


@pytest.mark.parametrize("address", NOT_ON_INTERNET.split())
def test_addresses_of_machines_networks_and_metadata_are_not_on_the_internet(address):
    assert not is_on_internet(ip_address(address))


def test_one_forbidden_address_of_several_forbids_a_host():
    check_addresses("example.com", ["93.184.215.14", "2606:4700:4700::1111"])
    with pytest.raises(HostNotAllowed, match=r"10\.0\.0\.1"):
        check_addresses("example.com", ["93.184.215.14", "10.0.0.1"])


def test_the_operator_allows_names_addresses_and_networks(settings):
    settings.WEBHOOK_ALLOWED_HOSTS = ["crm.internal", "10.20.0.0/16", "fd12::5/128"]
    check_addresses("CRM.internal.", ["192.168.0.7"])
    check_addresses("other.internal", ["10.20.3.4", "fd12::5"])
    with pytest.raises(HostNotAllowed):
        check_addresses("other.internal", ["10.21.3.4"])
    with pytest.raises(HostNotAllowed):
        check_addresses("evil.crm.internal", ["192.168.0.7"])


# --- Saving an address -----------------------------------------------------------------------------------

UNREACHABLE = """
    https://127.0.0.1/ https://localhost/ https://LOCALHOST:8443/ https://169.254.169.254/latest/meta-data/
    https://10.1.2.3/ https://192.168.0.1:8443/ https://0.0.0.0/ https://[::1]/ https://[::]/ https://[fd00:ec2::254]/
    https://[::ffff:127.0.0.1]/ https://[::ffff:a9fe:a9fe]/ https://[64:ff9b::a9fe:a9fe]/ https://[2002:7f00:1::]/
    https://rebound.example.com/ https://mixed.example.com/ https://mixed.example.com./ https://nowhere.invalid/
"""
NO_ADDRESS = """
    https://2130706433/ https://0x7f.1/ https://0177.0.0.1/ https://127.1/ https://0x7f000001/ https://１２７.0.0.1/
    https://localhost./ https://example.com:0/ https://example.com:99999/ https://example.com\\@10.0.0.1/
    https://[::1%25lo]/ https:///hooks https://crm/ https://ⓛocalhost/
"""


@pytest.fixture
def production(settings, names):
    settings.DEBUG, settings.WEBHOOK_ALLOWED_HOSTS = False, []
    names["rebound.example.com"] = ["127.0.0.1"]
    names["mixed.example.com"] = names["mixed.example.com."] = ["93.184.215.14", "10.0.0.1"]


def refusal(url: str) -> str:
    with pytest.raises(CallsError) as raised:
        check_url(url)
    assert raised.value.field == "url"
    return str(raised.value)


@pytest.mark.parametrize("url", UNREACHABLE.split())
def test_an_address_off_the_internet_is_refused_by_one_sentence_that_tells_nothing_of_the_network(url, production):
    sentence = refusal(url)
    host = sentence.split()[2]
    assert sentence == (
        f"The host {host} has no address on the internet, or it could not be looked up now. Events are sent to another "
        "host only if the setting WEBHOOK_ALLOWED_HOSTS names it."
    )


@pytest.mark.parametrize("url", NO_ADDRESS.split())
def test_odd_spellings_of_hosts_are_no_addresses(url, production):
    assert "whole address" in refusal(url) or "no address on the internet" in refusal(url)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "localhost."])
def test_odd_spellings_are_refused_after_looking_them_up_as_well(host, settings):
    settings.WEBHOOK_ALLOWED_HOSTS = []
    assert not webhook_hosts.is_reachable(host, 443)


@pytest.mark.parametrize("url", ["https://me:secret@example.com/", "https://example.com@10.0.0.1/"])
def test_an_address_has_no_user_name(url, production):
    assert "user name" in refusal(url)


def test_hosts_on_the_internet_are_accepted_with_any_port_and_in_any_script(production, names):
    names["xn--bcher-kva.de"] = ["93.184.215.14"]
    for url in ("https://example.com./", "https://example.com:8443/x?y=1", "https://bücher.de/"):
        names["example.com."] = ["93.184.215.14"]
        assert check_url(url) == url


def test_a_named_host_of_the_own_network_needs_no_dot(settings, names):
    settings.DEBUG, settings.WEBHOOK_ALLOWED_HOSTS = False, ["crm"]
    names["crm"] = ["10.0.0.7"]
    assert check_url("https://crm:8443/hooks") == "https://crm:8443/hooks"
    assert "whole address" in refusal("https://crm:8443/ho oks")


def test_a_name_server_that_never_answers_delays_a_person_briefly(production, monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(webhook_hosts, "find_addresses", lambda *_: answer.wait())
    monkeypatch.setattr(webhook_hosts, "LOOKUP", 0.02)
    try:
        for _ in range(webhook_hosts._lookups._initial_value + 2):  # with all look-ups taken, the rest is refused too
            assert "no address on the internet" in refusal("https://example.com/")
    finally:
        answer.set()


@pytest.fixture
def no_more_threads(monkeypatch):
    """The process may start no more threads, as in a container with a limit."""

    def start(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        yield patch


def test_a_look_up_without_a_thread_is_refused_and_gives_its_room_back(production, no_more_threads, names):
    names["example.com"] = ["93.184.215.14"]
    for _ in range(webhook_hosts._lookups._initial_value + 1):
        assert not webhook_hosts.is_reachable("example.com", 443)
    no_more_threads.undo()
    assert webhook_hosts.is_reachable("example.com", 443)


async def test_a_connection_without_a_thread_for_its_look_up_fails_as_if_the_name_server_had(no_more_threads):
    with pytest.raises(OSError, match="no thread could be started"):
        await webhook_hosts.CheckedResolver().resolve("example.com", 443)
