"""The address rule over the whole corpus of hostile forms, and the URL rule (contract R-1)."""

import pytest

from ourvidz_worker.domain.errors import BadReference, ConfigError
from ourvidz_worker.references.guard import Target, is_public, read_home, read_url

HOSTILE = [
    # loopback, private, unspecified, link-local, benchmark, reserved, broadcast
    "127.0.0.1",
    "10.0.0.1",
    "0.0.0.0",
    "169.254.169.254",
    "198.18.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "::1",
    "::",
    "fd00:ec2::254",
    "fc00::1",
    "fe80::1",
    "2001:db8::1",
    "100::1",
    "::ffff:169.254.169.254",
    "::ffff:8.8.8.8",
    "64:ff9b::a9fe:a9fe",
    "2001:0:a9fe:a9fe::1",
    # shared space and the metadata services that live there
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.8",
    "192.0.0.192",
    "168.63.129.16",
    # multicast
    "224.0.0.1",
    "239.255.255.255",
    "ff02::1",
    # an address within an address
    "::169.254.169.254",
    "::ffff:0:a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "5f00::1",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "fec0::1",
    # registries
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.175.48.1",
    "2620:4f:8000::1",
    # no address of any kind
    "",
    "localhost",
    "127.1",
    "0x7f.0.0.1",
    "2130706433",
    "0177.0.0.1",
    "2606:4700::1111%eth0",
    "8.8.8.8/32",
]
PUBLIC = [
    "8.8.8.8",
    "100.63.255.254",
    "100.128.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "198.20.0.1",
    "192.0.1.1",
    "168.63.129.15",
    "2606:4700::1111",
    "2a00:1450:4001:830::200e",
]

HOME = read_home("https://project.storage.example")


@pytest.mark.parametrize("address", HOSTILE)
def test_a_hostile_address_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_passes(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("https://project.storage.example/a.png", HOME.host, 443, "/a.png"),
        ("https://PROJECT.storage.example", HOME.host, 443, "/"),
        ("https://project.storage.example:443/a", HOME.host, 443, "/a"),
        ("https://project.storage.example/a?token=b.c-d_e%20f", HOME.host, 443, None),
        ("https://project.storage.example?x=1", HOME.host, 443, "/?x=1"),
        ("https://pictures.example/a.png", "pictures.example", 443, "/a.png"),
    ],
)
def test_allowed_urls_are_taken_apart(url: str, host: str, port: int, target: str | None) -> None:
    found = read_url(url, home=HOME, allowed_hosts={"pictures.example"})
    assert (found.host, found.port) == (host, port)
    assert found.target == target or url.endswith(found.target)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.png",
        "/a.png",
        "//project.storage.example/a.png",
        "http://project.storage.example/a.png",
        "http://pictures.example/a.png",
        "https://pictures.example:8443/a.png",
        "https://project.storage.example:8443/a.png",
        "https://elsewhere.example/a.png",
        "https://sub.pictures.example/a.png",
        "https://pictures.example.evil.example/a.png",
        "https://pictures.example./a.png",
        "https://user@pictures.example/a.png",
        "https://user:pass@pictures.example/a.png",
        "https://pictures.example@127.0.0.1/a.png",
        "https://pictures.example\\@127.0.0.1/a.png",
        "https://127.0.0.1\\@pictures.example/a.png",
        "https://pictures.example#@127.0.0.1/a.png",
        "https://pictures.example/a.png#x",
        "https://pictures.example/a b.png",
        "https://pictures.example/a\n.png",
        "https://pictures.example/\x00",
        " https://pictures.example/a.png",
        "https:///a.png",
        "https://pictures。example/a.png",
        "https://pictures.example:0/a",
        "https://pictures.example:65536/a",
        "https://pictures.example:/a",
        "ftp://pictures.example/a.png",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "https://pictures.example/" + "a" * 9000,
    ],
)
def test_every_other_url_is_refused(url: str) -> None:
    with pytest.raises(BadReference) as caught:
        read_url(url, home=HOME, allowed_hosts={"pictures.example"})
    assert caught.value.reason == "REFERENCE_URL_BLOCKED"
    assert url not in caught.value.sentence or not url


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[::1]", "localhost."]
)
def test_no_spelling_of_a_number_is_a_host_even_if_it_is_allowed(host: str) -> None:
    with pytest.raises(BadReference):
        read_url(f"https://{host}/a.png", home=None, allowed_hosts={host})


def test_nothing_is_allowed_by_default() -> None:
    with pytest.raises(BadReference):
        read_url("https://pictures.example/a.png", home=None)


def test_the_operators_own_storage_may_be_http_at_any_port() -> None:
    home = read_home("http://localhost:54321")
    assert home == Target(scheme="http", host="localhost", port=54321, target="/")
    assert read_url("http://localhost:54321/a", home=home).origin == home.origin
    for url in ("http://localhost/a", "https://localhost:54321/a", "http://localhost:80/a"):
        with pytest.raises(BadReference):
            read_url(url, home=home)


@pytest.mark.parametrize("url", ["", "storage.example", "ftp://storage.example", "https://1.2.3.4"])
def test_a_storage_without_a_name_is_a_fault_of_the_configuration(url: str) -> None:
    with pytest.raises(ConfigError):
        read_home(url)
