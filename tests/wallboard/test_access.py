"""Who may see what: links, tickets, networks and rates, at any clock and whatever is sent."""

from __future__ import annotations

import json
import string
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import jwt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from queuewatch_wallboard.access import (
    EVERYTHING,
    LONGEST_LINK,
    TICKET_SECONDS,
    Admission,
    Allowance,
    Client,
    Grant,
    Key,
    Refused,
    Scope,
    Slots,
    admit,
    client,
    exchange,
    in_force,
    sign_link,
    sign_ticket,
    view,
)

LOBBY = Key("lobby", bytes(range(32)), 0)
OFFICE = Key("office", bytes(range(32, 64)), 0)
KEYS: Mapping[str, Key] = {key.id: key for key in (LOBBY, OFFICE)}
NOBODY = Admission()
NOWHERE = Client(None, known=False)
NOW = 1_795_305_000

names = st.text(min_size=1, max_size=12)
scopes = st.one_of(
    st.just(EVERYTHING),
    st.builds(Scope, st.frozensets(names, max_size=4), st.frozensets(names, max_size=4)).filter(
        lambda scope: bool(scope.queues or scope.groups)
    ),
)
clocks = st.integers(min_value=0, max_value=2**40)
keys = st.sampled_from([LOBBY, OFFICE])


def show(ticket: str | None, now: int = NOW, known: Mapping[str, Key] = KEYS) -> Grant:
    """What a ticket shows to somebody from nowhere in particular."""
    return admit(ticket, NOWHERE, "wall.example", NOBODY, known, now)


def refused(status: int) -> Any:
    """The block is refused with that status."""
    return pytest.raises(Refused, match=f"^{status}$")


def refusal_of(attempt: Callable[[], object]) -> Refused | None:
    """How that is refused; None where it is not."""
    try:
        attempt()
    except Refused as refusal:
        return refusal
    return None


def networks(*texts: str) -> tuple[Any, ...]:
    return tuple(ip_network(text) for text in texts)


# ---------------------------------------------------------------------------------------------------------------- tokens


@given(scopes, keys, clocks, st.none() | st.integers(1, 10**9), st.integers(0, 2 * 10**9))
def test_a_link_shows_exactly_its_scope_until_exactly_its_end(
    scope: Scope, key: Key, made: int, lasting: int | None, after: int
) -> None:
    """At any clock; from its end on it is refused, and so is its last ticket."""
    expires = None if lasting is None else made + lasting
    token = sign_link(scope, key, made, expires)
    now = made + after
    if expires is not None and now >= expires:
        with refused(401):
            exchange(token, KEYS, now)
        return
    ticket, seconds = exchange(token, KEYS, now)
    grant = show(ticket, now)
    assert grant == Grant(scope, expires, key)
    assert 1 <= seconds <= TICKET_SECONDS
    assert expires is None or now + seconds <= expires
    assert show(ticket, now + seconds - 1) == grant
    with refused(401):
        show(ticket, now + seconds)


@given(scopes, keys, st.integers(-(10**9), 10**9))
def test_a_clock_that_was_set_back_makes_no_link_void(scope: Scope, key: Key, skew: int) -> None:
    """The time of its making is told, not judged: the machine that signs may be ahead of the one that serves."""
    ticket, _ = exchange(sign_link(scope, key, NOW + skew), KEYS, NOW)
    assert show(ticket).scope == scope


@given(scopes, keys, clocks)
def test_a_ticket_is_no_link_and_a_link_is_no_ticket(scope: Scope, key: Key, now: int) -> None:
    """A ticket is never renewed by itself; a link never stands in an address."""
    link = sign_link(scope, key, now)
    ticket, _ = exchange(link, KEYS, now)
    with refused(401):
        exchange(ticket, KEYS, now)
    with refused(401):
        show(link, now)


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, str]:
    """A good link's token and another text made from it."""
    key = draw(keys)
    good = sign_link(draw(scopes), key, NOW)
    at = draw(st.integers(0, len(good) - 1))
    any_text = st.text(alphabet=string.ascii_letters + string.digits + "-_.=+/ ", max_size=5) | st.text(max_size=3)
    kind = draw(st.sampled_from(["replace", "insert", "delete", "cut", "swap"]))
    if kind == "replace":
        bad = good[:at] + draw(any_text) + good[at + 1 :]
    elif kind == "insert":
        bad = good[:at] + draw(any_text) + good[at:]
    elif kind == "delete":
        bad = good[:at] + good[draw(st.integers(at, len(good))) :]
    elif kind == "cut":
        bad = good[:at]
    else:
        other = sign_link(draw(scopes), draw(keys), draw(clocks)).split(".")
        parts = good.split(".")
        which = draw(st.integers(0, 2))
        bad = ".".join([*parts[:which], other[which], *parts[which + 1 :]])
    return good, bad


@given(mutations())
def test_no_other_text_than_the_signed_one_is_accepted(both: tuple[str, str]) -> None:
    """Not one character may differ, be it only a bit that decoders overlook."""
    good, bad = both
    exchange(good, KEYS, NOW)
    assume(bad != good)
    with refused(401):
        exchange(bad, KEYS, NOW)


def test_no_other_way_to_write_a_signature_is_accepted() -> None:
    """The last character has spare bits: three others decode to the very same bytes."""
    good = sign_link(EVERYTHING, LOBBY, NOW)
    signature = urlsafe_b64decode(good.rpartition(".")[2] + "=")
    twins = [good[:-1] + last for last in string.ascii_letters + string.digits + "-_" if last != good[-1]]
    same = [twin for twin in twins if urlsafe_b64decode(twin.rpartition(".")[2] + "=") == signature]
    assert len(same) == 3
    for each in [*twins, good + "=", good + "\n", " " + good, good + "."]:
        with refused(401):
            exchange(each, KEYS, NOW)


@given(st.none() | st.text() | st.text(alphabet=string.ascii_letters + string.digits + "-_.", max_size=300))
def test_no_made_up_text_is_accepted(text: str | None) -> None:
    """Neither as a link nor as a ticket, and nothing but a refusal comes of it."""
    with refused(401):
        exchange(text, KEYS, NOW)
    with refused(401):
        show(text)


def segment(told: object) -> str:
    return urlsafe_b64encode(told if isinstance(told, bytes) else json.dumps(told).encode()).rstrip(b"=").decode()


LINK = "queuewatch-wallboard-link"


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 3000,
        b"{" * 3000,
        b'{"alg":"HS256","kid":' + b"[" * 2900,
        {"alg": "HS256", "kid": 7},
        {"alg": "HS256", "kid": None},
        {"alg": "HS256", "kid": ["lobby"]},
        {"alg": "HS256"},
        ["HS256"],
        "HS256",
        None,
        b"\xff\xfe",
        {"alg": None, "kid": "lobby"},
        {"alg": "HS256", "kid": "lobby", "b64": False, "crit": ["b64"]},
        {"alg": "HS256", "kid": "../../etc/passwd"},
    ],
)
def test_a_header_of_any_shape_is_refused_quietly(header: object) -> None:
    """It is read before anything is verified, so nothing in it may cause more than a refusal."""
    with refused(401):
        exchange(f"{segment(header)}.{segment({'aud': LINK, 'iat': 1, 'all': True})}.{segment(b'x' * 32)}", KEYS, NOW)


CLAIMS = {"aud": LINK, "iat": NOW, "all": True}


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS384", "HS512", "RS256", "ES256", "EdDSA", ""])
def test_no_other_algorithm_is_accepted(algorithm: str) -> None:
    """Not even with the right secret, and least of all without a signature."""
    header = segment({"alg": algorithm, "typ": "JWT", "kid": "lobby"})
    signature = sign_link(EVERYTHING, LOBBY, NOW).rpartition(".")[2]
    forged = [f"{header}.{segment(CLAIMS)}.", f"{header}.{segment(CLAIMS)}.{signature}"]
    if algorithm in ("HS384", "HS512"):
        forged.append(jwt.encode(CLAIMS, LOBBY.secret * 2, algorithm, headers={"kid": "lobby"}))
        forged.append(jwt.encode(CLAIMS, LOBBY.secret, algorithm, headers={"kid": "lobby"}))
    for each in forged:
        with refused(401):
            exchange(each, KEYS, NOW)


@pytest.mark.parametrize(
    "claims",
    [
        {"all": 1},
        {"all": "true"},
        {"all": None},
        {"all": False},
        {"all": False, "queues": []},
        {"queues": "sales"},
        {"queues": ["sales", 7]},
        {"queues": ["sales", ""]},
        {"groups": {"sales": True}},
        {"exp": None},
        {"exp": "soon"},
        {"exp": NOW + 1.5},
        {"exp": True},
        {"exp": NOW},
        {"only_until_noon": True},
        {"nbf": 1},
        {"aud": [LINK, "another"]},
        {"aud": "another"},
        {"aud": None},
        {"iat": None},
    ],
    ids=str,
)
def test_signed_claims_that_this_version_does_not_know_are_refused(claims: dict[str, Any]) -> None:
    """A later version's claim may narrow what the link shows: it must not be overlooked."""
    told = {name: value for name, value in (CLAIMS | claims).items() if not (name == "all" and "queues" in claims)}
    exchange(jwt.encode(CLAIMS, LOBBY.secret, "HS256", headers={"kid": "lobby"}), KEYS, NOW)
    with refused(401):
        exchange(jwt.encode(told, LOBBY.secret, "HS256", headers={"kid": "lobby"}), KEYS, NOW)


@given(scopes, st.none() | st.integers(NOW + 1, NOW + 10**6))
def test_a_key_that_is_gone_takes_its_links_tickets_and_grants_along(scope: Scope, expires: int | None) -> None:
    """The other key's go on; a new key under the old id opens nothing of the old one's."""
    link, other = (sign_link(scope, key, NOW, expires) for key in (LOBBY, OFFICE))
    ticket, _ = exchange(link, KEYS, NOW)
    grant = show(ticket)
    assert in_force(grant, KEYS, NOW)
    for after in ({"office": OFFICE}, {"office": OFFICE, "lobby": Key("lobby", b"n" * 32, NOW)}):
        assert not in_force(grant, after, NOW)
        with refused(401):
            exchange(link, after, NOW)
        with refused(401):
            show(ticket, known=after)
        show(exchange(other, after, NOW)[0], known=after)


@given(scopes, keys, st.integers(1, 10**6), st.integers(0, 2 * 10**6))
def test_a_grant_ends_when_its_link_does(scope: Scope, key: Key, lasting: int, after: int) -> None:
    """Even of a stream that was opened long before."""
    ticket, _ = exchange(sign_link(scope, key, NOW, NOW + lasting), KEYS, NOW)
    assert in_force(show(ticket), KEYS, NOW + after) == (after < lasting)
    with refused(401):
        sign_ticket(show(ticket), NOW + lasting)


def test_a_link_that_would_show_nothing_or_too_much_is_not_made() -> None:
    """The reason is said to who makes it."""
    for scope in (Scope(), Scope(frozenset({""})), Scope(groups=frozenset({"", "sales"}))):
        with pytest.raises(ValueError, match="names queues or groups"):
            sign_link(scope, LOBBY, NOW)
    with pytest.raises(ValueError, match="expired already"):
        sign_link(EVERYTHING, LOBBY, NOW, NOW)
    with pytest.raises(ValueError, match="too much"):
        sign_link(Scope(frozenset(f"a queue with number {number}" for number in range(200))), LOBBY, NOW)
    with pytest.raises(ValueError, match="needs no ticket"):
        sign_ticket(Grant(EVERYTHING), NOW)


def test_a_text_longer_than_any_link_is_not_even_read() -> None:
    """Though it were signed."""
    long = jwt.encode(CLAIMS | {"groups": ["g" * LONGEST_LINK]}, LOBBY.secret, "HS256", headers={"kid": "lobby"})
    with refused(401):
        exchange(long, KEYS, NOW)


@given(st.integers(1, 400), st.text(min_size=1, max_size=30))
def test_every_link_that_is_made_gives_tickets_that_fit_an_address(number: int, name: str) -> None:
    """Eight kilobytes is what servers and proxies take."""
    try:
        link = sign_link(Scope(frozenset(f"{name}{each}" for each in range(number))), LOBBY, NOW, NOW + 10**6)
    except ValueError:
        return
    ticket, _ = exchange(link, KEYS, NOW)
    assert len(link) <= LONGEST_LINK
    assert len(ticket) < 4500
    assert len(show(ticket).scope.queues) == number


def test_secrets_are_not_shown_by_accident() -> None:
    """Neither a key's nor a grant's text holds it."""
    assert str(LOBBY.secret) not in repr(LOBBY) + repr(Grant(EVERYTHING, None, LOBBY))


# ----------------------------------------------------------------------------------------------------------------- views

GROUPS = {"sales-1": "sales", "sales-2": "sales", "help-1": "help", "alone": ""}
everywhere = st.sampled_from([*GROUPS, "unknown", "sales", "help", ""])
small_scopes = st.builds(
    Scope, st.frozensets(everywhere, max_size=3), st.frozensets(everywhere, max_size=3), st.booleans()
)


@given(small_scopes, st.frozensets(everywhere, max_size=3), st.frozensets(everywhere, max_size=3), st.data())
def test_a_grant_never_widens(
    scope: Scope, queues: frozenset[str], groups: frozenset[str], data: st.DataObject
) -> None:
    """Whatever is asked for, and whichever group a queue moves to later, nothing beyond the grant is shown."""
    within = all(
        scope.everything or each in scope.queues or (GROUPS.get(each) or None) in scope.groups for each in queues
    ) and all(scope.everything or (each and each in scope.groups) for each in groups)
    if not within:
        with refused(403):
            view(Grant(scope), queues, groups, GROUPS.get)
        return
    shown = view(Grant(scope), queues, groups, GROUPS.get)
    for queue in (*GROUPS, "unknown"):
        group = data.draw(st.sampled_from(["sales", "help", "", None]))
        by_grant = scope.everything or queue in scope.queues or (bool(group) and group in scope.groups)
        asked = not (queues or groups) or queue in queues or (bool(group) and group in groups)
        assert shown.shows(queue, group) == (by_grant and asked)


def test_a_queue_that_moves_out_of_a_granted_group_is_shown_no_more() -> None:
    """Though it was asked for by name while it was within."""
    shown = view(Grant(Scope(groups=frozenset({"sales"}))), ["sales-1"], [], GROUPS.get)
    assert shown.shows("sales-1", "sales")
    assert not shown.shows("sales-1", "help")
    assert not shown.shows("sales-1", None)


def test_whether_a_foreign_queue_exists_is_not_told() -> None:
    """Both are refused alike, for who may see a group and for who may see a queue."""
    for scope in (Scope(groups=frozenset({"sales"})), Scope(frozenset({"sales-1"}))):
        told = []
        for queue in ("help-1", "unknown", "alone"):
            with refused(403) as refusal:
                view(Grant(scope), [queue], [], GROUPS.get)
            told.append((refusal.value.status, refusal.value.headers))
        assert told[0] == told[1] == told[2]


def test_one_foreign_name_among_good_ones_refuses_all() -> None:
    """Half an answer would be taken for the whole."""
    grant = Grant(Scope(frozenset({"alone"}), frozenset({"sales"})))
    assert view(grant, ["sales-1", "alone"], ["sales"], GROUPS.get).shows("sales-2", "sales")
    for queues, groups in ((["sales-1", "help-1"], []), (["alone"], ["sales", "help"]), ([], [""])):
        with refused(403):
            view(grant, queues, groups, GROUPS.get)


def test_all_refusals_of_a_status_are_the_same() -> None:
    """Missing, made up, expired, revoked, forged: nobody learns which."""
    expired = sign_link(EVERYTHING, LOBBY, NOW - 10, NOW - 5)
    revoked = sign_link(EVERYTHING, Key("gone", b"g" * 32, 0), NOW)
    told = set()
    for token in (None, "", "nonsense", expired, revoked, sign_link(EVERYTHING, LOBBY, NOW)[:-1]):
        with refused(401) as refusal:
            exchange(token, KEYS, NOW)
        told.add((refusal.value.status, tuple(refusal.value.headers.items())))
        with refused(401) as refusal:
            show(token)
        told.add((refusal.value.status, tuple(refusal.value.headers.items())))
    assert len(told) == 1


# ------------------------------------------------------------------------------------------------------------- addresses

addresses = st.ip_addresses()


@given(addresses, st.lists(st.text(max_size=20) | addresses.map(str), max_size=3))
def test_a_forwarded_address_is_never_believed_from_a_stranger(peer: Any, headers: list[str]) -> None:
    """By default nobody is trusted: it counts by its own address, and by networks nothing is granted."""
    found = client(str(peer), headers, ())
    assert found.address == (getattr(peer, "ipv4_mapped", None) or peer)
    assert found.known == (not headers)


@given(st.lists(addresses.map(str) | st.text(max_size=8), max_size=3), addresses, st.integers(0, 3))
def test_what_a_client_writes_into_the_header_itself_does_not_count(made_up: list[str], real: Any, hops: int) -> None:
    """Only what trusted proxies have appended does."""
    real = getattr(real, "ipv4_mapped", None) or real
    trusted = networks("10.0.0.0/8", "fd00::/8")
    assume(not any(real in network for network in trusted))
    proxies = [f"10.0.0.{number}" for number in range(hops)]
    header = ", ".join([*made_up, str(real), *proxies])
    assert client("10.9.9.9", [header], trusted) == Client(real, known=True)
    assert client("fd00::1", header.split(", "), trusted) == Client(real, known=True)


@pytest.mark.parametrize(
    ("peer", "headers", "address", "known"),
    [
        ("192.0.2.1", [], "192.0.2.1", True),
        ("::ffff:192.0.2.1", [], "192.0.2.1", True),
        ("fe80::1%eth0", [], "fe80::1", True),
        (None, [], None, False),
        ("", [], None, False),
        ("@", ["192.0.2.1"], None, False),
        ("10.0.0.1", [], "10.0.0.1", False),
        ("10.0.0.1", [""], "10.0.0.1", False),
        ("10.0.0.1", ["unknown"], "10.0.0.1", False),
        ("10.0.0.1", ["192.0.2.1, "], "10.0.0.1", False),
        ("10.0.0.1", ["192.0.2.1"], "192.0.2.1", True),
        ("10.0.0.1", ["192.0.2.1:4711"], "192.0.2.1", True),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1", True),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1", True),
        ("10.0.0.1", ["10.0.0.7"], "10.0.0.7", False),
    ],
)
def test_addresses_are_read_as_proxies_write_them(
    peer: str | None, headers: list[str], address: str | None, known: bool
) -> None:
    """With ports, brackets, zones, IPv4 in IPv6; a trusted proxy never watches a board itself."""
    wanted = Client(None if address is None else ip_address(address), known)
    assert client(peer, headers, networks("10.0.0.0/8")) == wanted


OPEN = Admission(networks("192.0.2.0/24", "2001:db8::/32", "127.0.0.0/8", "::1/128"), frozenset({"localhost", "wall"}))


@pytest.mark.parametrize("host", ["localhost", "localhost:9465", "LOCALHOST.:80", "wall:9465", "127.0.0.1:9465",
                                  "192.0.2.9", "[::1]:9465", "[2001:db8::1]"])  # fmt: skip
@pytest.mark.parametrize("peer", ["192.0.2.5", "::ffff:192.0.2.5", "2001:db8:1::5", "127.0.0.1", "::1"])
def test_an_allowed_network_needs_no_token(peer: str, host: str) -> None:
    """By an address, or by a name that is known to be ours."""
    assert admit(None, client(peer, [], ()), host, OPEN, {}, NOW) == Grant(EVERYTHING)


@pytest.mark.parametrize(
    ("peer", "headers", "host"),
    [
        ("192.0.3.5", [], "localhost"),
        ("2001:db9::1", [], "localhost"),
        (None, [], "localhost"),
        ("127.0.0.1", ["192.0.2.5"], "localhost"),
        ("127.0.0.1", [], "evil.example"),
        ("127.0.0.1", [], "evil.example:9465"),
        ("127.0.0.1", [], "localhost.evil.example"),
        ("127.0.0.1", [], "127.0.0.1.evil.example"),
        ("127.0.0.1", [], ""),
        ("127.0.0.1", [], "localhost:80:80"),
    ],
)
def test_nobody_else_is_let_in_without_a_token(peer: str | None, headers: list[str], host: str) -> None:
    """Not from elsewhere, not through a proxy, and not by a name that somebody else lets point here."""
    with refused(401):
        admit(None, client(peer, headers, ()), host, OPEN, {}, NOW)


@given(st.ip_addresses() | st.none(), st.text(max_size=20))
def test_by_default_no_network_is_allowed(peer: Any, host: str) -> None:
    """Whoever asks, by whatever name."""
    with refused(401):
        admit(None, Client(peer, known=True), host, NOBODY, KEYS, NOW)


@given(scopes)
def test_a_token_counts_within_an_allowed_network_too(scope: Scope) -> None:
    """A narrow one stays narrow, a wrong one is refused: a link shows the same from everywhere."""
    here = client("127.0.0.1", [], ())
    ticket, _ = exchange(sign_link(scope, LOBBY, NOW), KEYS, NOW)
    assert admit(ticket, here, "localhost", OPEN, KEYS, NOW).scope == scope
    for wrong in ("", "nonsense", ticket[:-1]):
        with refused(401):
            admit(wrong, here, "localhost", OPEN, KEYS, NOW)


# ----------------------------------------------------------------------------------------------------------------- rates

few = st.sampled_from([ip_address(text) for text in ("192.0.2.1", "192.0.2.2", "2001:db8::1")])


@given(
    st.integers(1, 5),
    st.sampled_from([0.1, 1.0, 7.0]),
    st.lists(st.tuples(few, st.floats(0, 5, allow_nan=False)), max_size=60),
)
def test_no_address_gets_more_than_its_allowance(burst: int, per_second: float, asked: list[tuple[Any, float]]) -> None:
    """Over any stretch of time: a burst and what has come back since, whatever the others do."""
    allowance, now = Allowance(per_second, burst), 0.0
    let_in: dict[Any, list[float]] = {}
    for address, later in asked:
        now += later
        before = let_in.setdefault(address, [])
        refusal = refusal_of(partial(allowance.take, address, now))
        if refusal is None:
            before.append(now)
        else:
            assert refusal.status == 429
            assert int(refusal.headers["Retry-After"]) >= 1
    for times in let_in.values():
        for first, start in enumerate(times):
            for last in range(first, len(times)):
                assert last - first + 1 <= burst + (times[last] - start) * per_second + 1e-6


@given(st.integers(1, 5), few)
def test_who_waits_as_long_as_told_is_let_in(burst: int, address: Any) -> None:
    """Retry-After is true."""
    allowance = Allowance(0.3, burst)
    for _ in range(burst):
        allowance.take(address, 100.0)
    with refused(429) as refusal:
        allowance.take(address, 100.0)
    allowance.take(address, 100.0 + int(refusal.value.headers["Retry-After"]))


def test_neighbours_in_one_ipv6_network_count_as_one() -> None:
    """A subscriber has 2⁶⁴ addresses."""
    allowance, slots = Allowance(1, 1), Slots(1, 10)
    allowance.take(ip_address("2001:db8::1"), 0)
    slots.take(ip_address("2001:db8::1"))
    with refused(429):
        allowance.take(ip_address("2001:db8::2"), 0)
    with refused(429):
        slots.take(ip_address("2001:db8::2"))
    allowance.take(ip_address("2001:db8:0:1::1"), 0)
    slots.take(ip_address("2001:db8:0:1::1"))


def test_the_table_of_addresses_is_bounded() -> None:
    """A flood of addresses fills no memory, and pushes out the longest silent first."""
    allowance = Allowance(0.001, 1, most=100)
    allowance.take(ip_address("192.0.2.1"), 0)
    for number in range(5000):
        allowance.take(IPv6Address(number << 64), 1)
        with refused(429):
            allowance.take(ip_address("192.0.2.1"), 1)
    assert len(allowance) == 100
    newcomer = ip_address("198.51.100.1")
    allowance.take(newcomer, 1)
    with refused(429):
        allowance.take(newcomer, 1)


@given(st.lists(st.tuples(few, st.booleans()), max_size=60))
def test_streams_are_counted_for_each_address_and_altogether(asked: list[tuple[Any, bool]]) -> None:
    """Never more than allowed; what is given back can be taken again; nothing is remembered of who has gone."""
    slots = Slots(2, 4)
    opened: list[Any] = []
    for address, coming in asked:
        if coming:
            room = len(opened) < 4 and opened.count(address) < 2
            refusal = refusal_of(partial(slots.take, address))
            assert (refusal is None) == room
            if refusal is None:
                opened.append(address)
            else:
                assert refusal.status == 429
        elif address in opened:
            opened.remove(address)
            slots.give_back(address)
        assert slots.open == len(opened)
        assert len(slots) == len(set(opened))
