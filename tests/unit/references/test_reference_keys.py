"""Storage keys: whose they are, and what is no key at all (contract R-1, R-4)."""

import pytest

from ourvidz_worker.domain.errors import BadReference
from ourvidz_worker.references.keys import is_key, read_key


@pytest.mark.parametrize(
    ("reference", "key"),
    [
        ("user-library/u1/a.png", "user-library/u1/a.png"),
        ("workspace-temp/u1/j1/0.png", "workspace-temp/u1/j1/0.png"),
        ("reference_images/u1/deep/er/a.webp", "reference_images/u1/deep/er/a.webp"),
        ("user-library/u1/with%20space.png", "user-library/u1/with space.png"),
        ("user-library/u1/100%2525.png", "user-library/u1/100%25.png"),
        ("user-library/u1/é.png", "user-library/u1/é.png"),
        ("user-library/u1/a..b.png", "user-library/u1/a..b.png"),
    ],
)
def test_a_users_own_key_is_decoded_once(reference: str, key: str) -> None:
    assert is_key(reference)
    assert read_key(reference, "u1") == key


@pytest.mark.parametrize(
    "reference",
    [
        "user-library/u2/a.png",
        "user-library/U1/a.png",
        "user-library/u1%20/a.png",
        "workspace-temp/u11/a.png",
    ],
)
def test_another_users_key_is_forbidden(reference: str) -> None:
    with pytest.raises(BadReference) as caught:
        read_key(reference, "u1")
    assert caught.value.reason == "REFERENCE_FORBIDDEN"
    assert read_key(reference, "u1", require_owner=False)


@pytest.mark.parametrize(
    "reference",
    [
        "user-library",
        "user-library/",
        "user-library/u1",
        "user-library/u1/",
        "user-library//a.png",
        "user-library/u1//a.png",
        "user-library/u1/../u2/a.png",
        "user-library/u1/%2e%2e/u2/a.png",
        "user-library/u1/%2E./u2/a.png",
        "user-library/u1/./a.png",
        "user-library/u1/..%2fu2/a.png",
        "user-library/u1%2f..%2fu2/a.png",
        "user-library/u1/a%00.png",
        "user-library/u1/a\n.png",
        "user-library/u1/a\x7f.png",
        "user-library/u1/a\\b.png",
        "user-library/u1/%ff.png",
        "user-library/u1/" + "a" * 1024,
    ],
)
def test_what_could_lead_elsewhere_is_no_key(reference: str) -> None:
    with pytest.raises(BadReference) as caught:
        read_key(reference, "u1", require_owner=False)
    assert caught.value.reason == "REFERENCE_URL_BLOCKED"


@pytest.mark.parametrize(
    "reference",
    ["", "avatars/u1/a.png", "/user-library/u1/a", "https://x.example/a", "USER-library/u1/a"],
)
def test_other_references_are_no_keys(reference: str) -> None:
    assert not is_key(reference)
