"""Who may see what: signed links, short-lived tickets, networks, and how often one address may ask.

Nothing here reads a clock, a file or a request: time (seconds since the epoch, or of a monotonic clock where a rate is
meant), keys and addresses are arguments.

- A *link token* is a JWT (HS256, pinned) that names queues, groups or everything, and may expire.  It stands in the link's
  fragment, which browsers keep to themselves; the page sends it in an Authorization header, never in an address.
- A *ticket* is the same grant for another audience and `TICKET_SECONDS`: it may stand in a stream's address.  It opens
  streams and answers polls, cannot be exchanged for anything, and never outlives its link.  It is signed with the link's
  own key, so every process with the same keys takes it, and it dies with that key.
- An address within the allowed networks sees everything without a token.  A token that is shown counts all the same: a
  wrong one is refused and a narrow one stays narrow, wherever it comes from.
- A refusal says its status and nothing else: no name, no reason, nor whether a queue exists.
"""

from __future__ import annotations

import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

import jwt

__all__ = [
    "EVERYTHING",
    "LONGEST_LINK",
    "TICKET_SECONDS",
    "Admission",
    "Allowance",
    "Client",
    "Grant",
    "Key",
    "Refused",
    "Scope",
    "Slots",
    "View",
    "admit",
    "client",
    "exchange",
    "in_force",
    "sign_link",
    "sign_ticket",
    "view",
]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

TICKET_SECONDS: Final = 60
"""How long a ticket opens streams; a stream that is open goes on until its grant ends."""
LONGEST_LINK: Final = 4096
"""Characters of a link's token: with a ticket of that size a request's first line still fits every server and proxy."""

_ALGORITHM: Final = "HS256"
_LINK: Final = "queuewatch-wallboard-link"
_TICKET: Final = "queuewatch-wallboard-ticket"
_CLAIMS: Final = frozenset({"aud", "iat", "exp", "end", "all", "queues", "groups"})
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_LONGEST: Final = LONGEST_LINK + 256


class Refused(Exception):
    """Nothing is shown.  `status` is 401 (no token, or one that is not or no longer good), 403 (outside the grant) or 429.

    With its `headers` this is the whole answer, the same for every refusal of that status; only 429 tells when to come again.
    """

    def __init__(self, status: int, retry_after: float = 0) -> None:
        super().__init__(status)
        self.status = status
        self.headers = {"Cache-Control": "no-store"}
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"
        if status == 429:
            self.headers["Retry-After"] = str(max(1, -int(-retry_after // 1)))


# ---------------------------------------------------------------------------------------------------------------- scopes


@dataclass(frozen=True)
class Scope:
    """Queues and groups by name, or everything.  A queue is within it by its own name or by its group's."""

    queues: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    everything: bool = False

    def holds(self, queue: str, group: str | None) -> bool:
        """Whether that queue, which is in that group now, is within the scope.  No scope names the empty group."""
        return self.everything or queue in self.queues or (bool(group) and group in self.groups)

    def names_group(self, group: str) -> bool:
        """Whether the group as a whole is within the scope, whichever queues it has."""
        return self.everything or (bool(group) and group in self.groups)


EVERYTHING: Final = Scope(everything=True)


@dataclass(frozen=True)
class Key:
    """What links are signed with.  `secret`: 32 random bytes; `created`: seconds since the epoch."""

    id: str
    secret: bytes = field(repr=False)
    created: int


@dataclass(frozen=True)
class Grant:
    """What somebody may see, until when (seconds since the epoch; None: without end), and by which key (None: by network)."""

    scope: Scope
    expires: int | None = None
    key: Key | None = None


@dataclass(frozen=True)
class View:
    """What one board shows: what was asked for, within what is granted, judged by the group a queue is in *now*."""

    granted: Scope
    asked: Scope

    def shows(self, queue: str, group: str | None) -> bool:
        """Whether that queue may be told of.  Sums of a group are made from these queues alone."""
        return self.granted.holds(queue, group) and self.asked.holds(queue, group)


def view(grant: Grant, queues: Collection[str], groups: Collection[str], group_of: Callable[[str], str | None]) -> View:
    """What is shown to somebody who asks for these queues and groups; for neither: all of the grant.

    `group_of(queue)` is the group of a known queue, None of an unknown one.  Raises Refused (403) where anything that is
    asked for lies outside the grant; a queue that does not exist does so unless the grant names it or everything.
    """
    for queue in queues:
        if not grant.scope.holds(queue, group_of(queue)):
            raise Refused(403)
    for group in groups:
        if not grant.scope.names_group(group):
            raise Refused(403)
    asked = Scope(frozenset(queues), frozenset(groups)) if queues or groups else grant.scope
    return View(grant.scope, asked)


# ---------------------------------------------------------------------------------------------------------------- tokens


def sign_link(scope: Scope, key: Key, now: int, expires: int | None = None) -> str:
    """A link's token.

    Raises ValueError where the scope is empty, holds an empty name, or is too large for a link, or `expires` is not later
    than `now`.
    """
    if expires is not None and expires <= now:
        raise ValueError("a link that has expired already shows nothing; let it expire later")
    if not (scope.everything or scope.queues or scope.groups) or "" in scope.queues | scope.groups:
        raise ValueError("a link names queues or groups, or shows everything")
    token = _sign(_LINK, scope, key, {"iat": now} | ({} if expires is None else {"exp": expires}))
    if len(token) > LONGEST_LINK:
        raise ValueError(f"the link would name too much ({len(token)} characters, at most {LONGEST_LINK}); name groups")
    return token


def sign_ticket(grant: Grant, now: int) -> tuple[str, int]:
    """A ticket for a grant that came from a link, and for how many seconds it holds (never beyond the link).

    Raises ValueError where the grant has no key (by network nobody needs a ticket), Refused (401) where it has ended.
    """
    if grant.key is None:
        raise ValueError("who is admitted by network needs no ticket")
    end = grant.expires
    until = now + TICKET_SECONDS if end is None else min(now + TICKET_SECONDS, end)
    if until <= now:
        raise Refused(401)
    claims = {"iat": now, "exp": until} | ({} if end is None else {"end": end})
    return _sign(_TICKET, grant.scope, grant.key, claims), until - now


def exchange(token: str | None, keys: Mapping[str, Key], now: int) -> tuple[str, int]:
    """A ticket for a link's token, and its seconds.  Raises Refused (401) for everything else, other tickets too."""
    return sign_ticket(_grant(token, _LINK, keys, now), now)


def in_force(grant: Grant, keys: Mapping[str, Key], now: int) -> bool:
    """Whether a grant still holds: not expired, its key neither revoked nor made anew under the same id.

    An open stream asks this now and then, and ends when it is so no more.
    """
    if grant.expires is not None and now >= grant.expires:
        return False
    return grant.key is None or _same(keys.get(grant.key.id), grant.key)


def _same(found: Key | None, wanted: Key) -> bool:
    return found is not None and hmac.compare_digest(found.secret, wanted.secret)


def _sign(audience: str, scope: Scope, key: Key, claims: Mapping[str, int]) -> str:
    told: dict[str, Any] = {"aud": audience, **claims}
    if scope.everything:
        told["all"] = True
    if scope.queues:
        told["queues"] = sorted(scope.queues)
    if scope.groups:
        told["groups"] = sorted(scope.groups)
    return jwt.encode(told, key.secret, algorithm=_ALGORITHM, headers={"kid": key.id})


def _grant(token: str | None, audience: str, keys: Mapping[str, Key], now: int) -> Grant:
    """The grant of a token for that audience.  Raises Refused (401)."""
    if token is None or len(token) > _LONGEST or not _COMPACT.fullmatch(token):
        raise Refused(401)
    try:
        key = keys.get(jwt.get_unverified_header(token).get("kid", ""))
        if key is None:
            raise Refused(401)
        # Times are judged below, at the caller's `now`; the library would ask its own clock.
        claims = jwt.decode(
            token,
            key.secret,
            algorithms=[_ALGORITHM],
            audience=audience,
            options={"require": ["aud", "iat"], "verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
    except jwt.PyJWTError:
        raise Refused(401) from None
    scope, expires = _read(claims)
    if "exp" in claims and now >= claims["exp"]:
        raise Refused(401)
    return Grant(scope, expires, key)


def _read(claims: Mapping[str, Any]) -> tuple[Scope, int | None]:
    """Scope and end of what we have signed.  Claims of a later version that this one does not know refuse the token: they
    may narrow it."""
    expires = claims.get("end" if claims["aud"] == _TICKET else "exp")
    queues, groups, everything = claims.get("queues", []), claims.get("groups", []), claims.get("all", False)
    good = (
        _CLAIMS.issuperset(claims)
        and all(type(claims[name]) is int for name in ("exp", "end") if name in claims)
        and (claims["aud"] == _LINK or "exp" in claims)
        and all(isinstance(names, list) and all(isinstance(each, str) and each for each in names) for names in (queues, groups))
        and isinstance(everything, bool)
        and (everything or queues or groups)
    )  # fmt: skip
    if not good:
        raise Refused(401)
    return Scope(frozenset(queues), frozenset(groups), everything), expires


# ------------------------------------------------------------------------------------------------------------- addresses


@dataclass(frozen=True)
class Client:
    """Who asks.  `address` is what attempts and streams are counted by: the nearest one that is certain.

    Only where it is `known` to be the asker's own may a network's permission rest on it.
    """

    address: Address | None
    known: bool


def client(peer: str | None, forwarded_for: Collection[str], trusted: Collection[Network]) -> Client:
    """Who asks: the peer, or where that is a trusted proxy the last address in X-Forwarded-For that is none.

    `forwarded_for`: the header's values in their order.  The asker is not known behind a proxy that is not trusted, behind
    one that forwards without the header, and where an address cannot be read.
    """
    hops = [hop for value in forwarded_for for hop in value.split(",")]
    address = _address(peer or "")
    if address is None or (hops and not _within(address, trusted)):
        return Client(address, known=False)
    while hops and _within(address, trusted):
        nearer = _address(hops.pop())
        if nearer is None:
            return Client(address, known=False)
        address = nearer
    return Client(address, known=not _within(address, trusted))


def _address(text: str) -> Address | None:
    """An address as peers and proxies write it: perhaps with a port or a zone; of IPv4 mapped into IPv6 the IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _within(address: Address, networks: Collection[Network]) -> bool:
    return any(address in network for network in networks)


# ------------------------------------------------------------------------------------------------------------- admission


@dataclass(frozen=True)
class Admission:
    """Who is let in without a token: addresses of these networks, asking by an address or by one of these host names.

    The name counts since a page from elsewhere can let its own name point here (DNS rebinding) and then read what the
    viewer's address may see; it cannot do so with an address.
    """

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset({"localhost"})

    def without_token(self, client: Client, host: str) -> bool:
        """Whether this asker, asking by this Host header, sees everything."""
        if client.address is None or not client.known or not _within(client.address, self.networks):
            return False
        name = host.rpartition(":")[0] if re.search(r"[^:]:\d+$|\]:\d+$", host) else host
        return name.lower().rstrip(".") in self.hosts or _address(name) is not None


def admit(
    token: str | None, client: Client, host: str, admission: Admission, keys: Mapping[str, Key], now: int
) -> Grant:
    """What somebody may see who shows this ticket (None: nothing is shown).  Raises Refused (401)."""
    if token is None and admission.without_token(client, host):
        return Grant(EVERYTHING)
    return _grant(token, _TICKET, keys, now)


# ----------------------------------------------------------------------------------------------------------- rate limits


def _neighbourhood(address: Address | None) -> str:
    """What is counted as one asker: an IPv4 address, or the /64 that one IPv6 subscriber has."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(address)


class Allowance:
    """A number of attempts per address, filled up again with time: `burst` at once, `per_second` in the long run.

    The table holds the `most` addresses that asked last; one that falls out of it starts again with a full allowance.
    """

    def __init__(self, per_second: float, burst: int, most: int = 10_000) -> None:
        self._per_second, self._burst, self._most = per_second, burst, most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Addresses in the table."""
        return len(self._left)

    def take(self, address: Address | None, now: float) -> None:
        """Count an attempt at a monotonic time in seconds.  Raises Refused (429) where none is left."""
        who = _neighbourhood(address)
        left, at = self._left.pop(who, (float(self._burst), now))
        left = min(float(self._burst), left + (now - at) * self._per_second)
        self._left[who] = (left - 1 if left >= 1 else left), now
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        if left < 1:
            raise Refused(429, (1 - left) / self._per_second)


class Slots:
    """How many streams may be open at once: per address, and altogether."""

    def __init__(self, per_address: int, altogether: int) -> None:
        self._per_address, self._altogether = per_address, altogether
        self._open: dict[str, int] = {}
        self.open = 0
        """Streams that are open now."""

    def __len__(self) -> int:
        """Addresses that have a stream open."""
        return len(self._open)

    def take(self, address: Address | None) -> None:
        """One stream more.  Raises Refused (429) where that is one too many."""
        who = _neighbourhood(address)
        if self.open >= self._altogether or self._open.get(who, 0) >= self._per_address:
            raise Refused(429, 10)
        self._open[who] = self._open.get(who, 0) + 1
        self.open += 1

    def give_back(self, address: Address | None) -> None:
        """A stream that was taken for this address has ended."""
        who = _neighbourhood(address)
        self._open[who] -= 1
        self.open -= 1
        if not self._open[who]:
            del self._open[who]
