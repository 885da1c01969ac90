"""Which URLs may be fetched, and which addresses may be dialled (contract R-1).

A URL is taken apart once; what is dialled comes from the parts, never from the text. An address
is judged after it was resolved, whatever its name looked like.
"""

import re
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import msgspec

from ourvidz_worker.domain.errors import BadReference, ConfigError
from ourvidz_worker.references.keys import SIGNED

DEFAULT_PORTS = {"https": 443, "http": 80}
MAX_PORT = 65_535
MAX_URL = 8192

#: Special-purpose registries of IANA, and the wire server of one cloud (168.63.129.16).
REFUSED_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)

#: Global unicast; mapped, translated, local and multicast forms all lie outside of it.
ALLOWED_IPV6 = IPv6Network("2000::/3")

REFUSED_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)

# Visible ASCII alone; no user information, no backslash, no fragment. The last label of the host
# has a letter first, so that no spelling of a number is a host (0x7f.1, 2130706433).
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){0,20}[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][!\"$-\[\]-~]*)?",
    re.IGNORECASE,
)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One place to fetch from: the parts of a URL. `target` is the path with its query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port."""
        return self.scheme, self.host, self.port


def read_url(url: str, *, home: Target | None, allowed_hosts: Collection[str] = ()) -> Target:
    """The target of a URL that may be fetched. Raises `BadReference`.

    `home` is the operator's own storage, at any port and by http if it is http itself; any other
    host must be among `allowed_hosts` (lower case), by https on the default port.
    """
    target = _parse(url)
    if target is None:
        raise BadReference(reason="REFERENCE_URL_BLOCKED")
    if home is not None and target.origin == home.origin:
        return target
    default = target.scheme == "https" and target.port == DEFAULT_PORTS["https"]
    if not default or target.host not in allowed_hosts:
        raise BadReference(reason="REFERENCE_URL_BLOCKED")
    return target


def is_signed(target: Target, home: Target | None) -> bool:
    """True for a signed URL of the operator's own storage (R-3)."""
    own = home is not None and target.origin == home.origin
    path, _, query = target.target.partition("?")
    return own and path.startswith(SIGNED) and "&token=" in f"&{query}"


def read_home(url: str) -> Target:
    """The operator's own storage, from the configuration. Raises `ConfigError`."""
    target = _parse(url)
    if target is None:
        raise ConfigError("the storage URL must be http or https with a host name")
    return target


def is_public(address: str) -> bool:
    """True when `address` (an IP literal) is one of the public internet's and nothing else."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in REFUSED_IPV4)
    return _is_public_v6(parsed)


def _is_public_v6(address: IPv6Address) -> bool:
    return (
        address.scope_id is None
        and address in ALLOWED_IPV6
        and not any(address in network for network in REFUSED_IPV6)
    )


def _parse(url: str) -> Target | None:
    match = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    if match is None:
        return None
    scheme = match["scheme"].lower()
    port = int(match["port"]) if match["port"] else DEFAULT_PORTS[scheme]
    if not 0 < port <= MAX_PORT:
        return None
    target = match["target"] or "/"
    return Target(
        scheme=scheme,
        host=match["host"].lower(),
        port=port,
        target=target if target.startswith("/") else f"/{target}",
    )
