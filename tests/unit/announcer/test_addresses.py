"""G-1: addresses are configured or follow from the pod's id, and nothing is guessed."""

import pytest

from ourvidz_worker.announcer import Addresses, public_addresses
from ourvidz_worker.domain.errors import ConfigError


def test_the_pods_id_gives_both() -> None:
    """H-1."""
    assert public_addresses(pod_id="abc123") == Addresses(
        wan="https://abc123-7860.proxy.runpod.net",
        chat="https://abc123-7861.proxy.runpod.net",
        detected_by="RUNPOD_POD_ID",
    )


def test_what_is_configured_goes_first_without_its_slash() -> None:
    found = public_addresses(
        pod_id="abc123", wan="https://wan.example/", chat="https://chat.example"
    )
    assert (found.wan, found.chat) == ("https://wan.example", "https://chat.example")
    assert found.detected_by == "WORKER_PUBLIC_URL"


def test_one_alone_is_enough() -> None:
    found = public_addresses(wan="https://wan.example")
    assert (found.wan, found.chat) == ("https://wan.example", "")


def test_without_both_there_is_no_address() -> None:
    assert public_addresses() == Addresses()


@pytest.mark.parametrize("text", ["wan.example", "ftp://wan.example", "//wan.example"])
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="CHAT_WORKER_PUBLIC_URL"):
        public_addresses(chat=text)
