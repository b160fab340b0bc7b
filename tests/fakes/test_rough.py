"""The rough source does what it says, and only that: a fake that lies about its lies proves nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.rough.app import RoughSource, ledger_of
from tests.fakes.rough.credentials import API_KEY, CLIENT, KEY_HEADER, USER, Guard
from tests.fakes.rough.faults import HOSTILE, KINDS, LANDS, LIES, SLOW, Faults, Spell, spread
from tests.fakes.rough.ledger import Ledger, Seen
from tests.fakes.rough.listing import STYLES, Listing
from tests.fakes.rough.misdeeds import MISDEEDS
from tests.fakes.rough.serving import Serving
from tests.fakes.rough.world import World

ROOT = Path(__file__).parents[2]
ITEM, FILE = "/api/items/14", "/files/note-14.txt"


@pytest.fixture
def server() -> Iterator[Serving]:
    with Serving(RoughSource(World(seed=3, documents=250))) as serving:
        yield serving


@pytest.fixture
def client(server: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=5) as client:
        yield client


@pytest.fixture(scope="module")
def standing() -> Iterator[Serving]:
    with Serving(RoughSource(World(seed=3, documents=20))) as serving:
        yield serving


def pages(client: httpx.Client, style: str, size: int = 100) -> Iterator[Any]:
    """Every page of a listing, asked for as that style wants it."""
    size_key = "per_page" if style in ("page", "link") else "limit"
    url, params = f"/api/{style}/items?{size_key}={size}", dict[str, str]()
    count, number = 0, 1
    while True:
        assert number < 50, "the listing does not end"
        reply = client.get(httpx.URL(url).copy_merge_params(params))
        said = reply.json()
        rows = said if style == "link" else said["items"]
        yield rows
        count, number = count + len(rows), number + 1
        match style:
            case "page" if rows and count < said["total"]:
                params["page"] = str(number)
            case "offset" if rows and count < said["total_count"]:
                params["offset"] = str(count)
            case "cursor" if said["paging"]:
                params["after"] = said["paging"]["next"]["after"]
            case "next" if said["next"]:
                url = said["next"]
            case "link" if "next" in reply.links:
                url = reply.links["next"]["url"]
            case _:
                return


def numbers(client: httpx.Client, style: str) -> list[int]:
    return [row["id"] for rows in pages(client, style) for row in rows]


@pytest.mark.parametrize("style", STYLES)
def test_every_style_lists_everything_once(client: httpx.Client, style: str) -> None:
    """Followed to the end, each style shows every document, the newest first."""
    assert numbers(client, style) == list(range(250, 0, -1))


def test_a_document_is_a_pure_function_of_seed_number_and_revision() -> None:
    """Two worlds of one seed hold the same; another seed or revision holds something else."""
    one, same, other = World(1), World(1), World(2)
    bodies = [world.body(world.entries[7]) for world in (one, same, other)]
    assert bodies[0] == bodies[1] != bodies[2]
    one.edit(7)
    assert one.body(one.entries[7]) != bodies[0]
    assert one.updated_at(one.entries[7]) > same.updated_at(same.entries[7])


def test_files_come_with_validators_digest_and_ranges(client: httpx.Client) -> None:
    """If-None-Match is answered by 304, Range under If-Range by the rest, and by everything if it changed."""
    whole = client.get(FILE)
    tag = whole.headers["etag"]
    assert client.get(FILE, headers={"if-none-match": tag}).status_code == 304
    rest = client.get(FILE, headers={"range": "bytes=10-", "if-range": tag})
    assert (rest.status_code, rest.content) == (206, whole.content[10:])
    assert client.get(FILE, headers={"range": "bytes=10-", "if-range": '"other"'}).content == whole.content
    assert whole.headers["repr-digest"] == rest.headers["repr-digest"]
    assert parsedate_to_datetime(whole.headers["last-modified"])


@pytest.mark.parametrize("path", [ITEM, FILE])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_misdeed_is_done_and_then_over(standing: Serving, kind: str, path: str) -> None:
    """A client without patience gets anything but the body; the next answer is right."""
    source = standing.source
    source.calm()
    url = f"{standing.url}{path}"
    right = httpx.get(url).content
    source.faults = Faults(1, {kind: 1.0}, at_most=2, wait=7, stall=0.3)
    try:
        reply = httpx.get(url)
        if kind != "wrong_digest":
            assert reply.content != right and reply.status_code != 304
    except httpx.TransportError:
        assert kind not in LIES and not kind.startswith(("error", "throttled", "redirect"))
    assert httpx.get(url).content == right
    assert standing.ledger.deliveries().total() == 2
    assert standing.ledger.faults() == {kind: 1}


def test_the_kinds_are_all_told_and_all_done() -> None:
    """Every kind has a misdeed, and belongs to one profile or to none on purpose."""
    assert set(MISDEEDS) == set(KINDS)
    assert set(KINDS) - {*LANDS, *SLOW, *LIES, *HOSTILE} == {"expired", "other_page", "redirect_elsewhere"}


def test_a_date_to_retry_after_is_told_by_the_servers_own_clock(server: Serving, client: httpx.Client) -> None:
    """A wrong clock is wrong in both headers: only their difference means something."""
    server.source.skew = -86400
    server.source.faults = Faults(1, {"throttled_date": 1.0}, wait=90)
    reply = client.get(ITEM)
    after, now = (parsedate_to_datetime(reply.headers[name]) for name in ("retry-after", "date"))
    assert 88 <= (after - now).total_seconds() <= 90


def test_faults_replay_and_end() -> None:
    """The decision depends on seed, target and count alone; after `at_most` there is none."""
    faults = Faults(5, spread(0.5, LANDS), at_most=4)
    targets = [f"/api/items/{number}" for number in range(500)]
    drawn = [[faults.decide(target, asked) for asked in range(6)] for target in targets]
    assert drawn == [[faults.decide(target, asked) for asked in range(6)] for target in targets]
    assert all(row[4:] == [None, None] for row in drawn)
    struck = sum(kind is not None for row in drawn for kind in row[:4]) / 2000
    assert 0.45 < struck < 0.55
    assert {kind for row in drawn for kind in row} == {None, *LANDS}


def test_a_listing_can_be_empty_short_repeating_and_skipping(server: Serving, client: httpx.Client) -> None:
    """Each lie of a listing is what it says, and the world behind it stays whole."""
    source = server.source
    source.listing = Listing(share=0.0)
    assert [numbers(client, style) for style in STYLES] == [[]] * 5
    source.listing = Listing(share=0.4)
    assert all(len(numbers(client, style)) == 100 for style in STYLES)
    source.listing = Listing(repeats=frozenset({2}))
    assert [n for n in numbers(client, "offset") if n in (151, 150, 51)] == [151, 151, 150]
    source.listing = Listing(skips=frozenset({2}))
    assert len(numbers(client, "page")) == 249 and len(numbers(client, "cursor")) == 249
    assert client.get(ITEM).status_code == 200


@pytest.mark.parametrize(("what", "seen"), [("insert", 151), ("remove", 0)])
def test_a_listing_shifts_while_it_is_read(server: Serving, client: httpx.Client, what: str, seen: int) -> None:
    """With page numbers an insertion shows one document twice, and a removal hides one that is there."""
    server.source.listing = Listing(shifts={2: what})
    found = numbers(client, "link")
    twice = {number for number in found if found.count(number) > 1}
    missed = {entry.number for entry in server.source.world.listed()} - set(found)
    assert (twice, missed) == (({seen}, {251}) if what == "insert" else (set(), {150}))
    before = len(numbers(client, "cursor"))
    server.source.listing = Listing(shifts={2: what})
    assert len(numbers(client, "cursor")) == before


@pytest.mark.parametrize("rotating", [False, True])
def test_tokens_wear_out_and_are_renewed(server: Serving, client: httpx.Client, rotating: bool) -> None:
    """A token is good for so many requests; a refresh token, rotating or not, gives another."""
    server.source.guard = Guard("oauth", uses=2, rotating=rotating)
    asked = {"grant_type": "client_credentials", "client_id": CLIENT[0], "client_secret": CLIENT[1]}
    assert client.get(ITEM).status_code == 401
    token = client.post("/oauth/token", data=asked).json()
    bearer = {"authorization": f"Bearer {token['access_token']}"}
    assert [client.get(ITEM, headers=bearer).status_code for _ in range(3)] == [200, 200, 401]
    refresh = {**asked, "grant_type": "refresh_token", "refresh_token": token["refresh_token"]}
    again = client.post("/oauth/token", data=refresh).json()
    assert client.get(ITEM, headers={"authorization": f"Bearer {again['access_token']}"}).status_code == 200
    assert client.post("/oauth/token", data=refresh).status_code == (400 if rotating else 200)
    assert client.post("/oauth/token", data={**asked, "client_secret": "guessed"}).status_code == 401


def test_basic_and_key_let_in_whoever_has_them(server: Serving, client: httpx.Client) -> None:
    """And nobody else; the ledger knows who brought credentials, and never which."""
    server.source.guard = Guard("basic")
    assert [client.get(ITEM).status_code, client.get(ITEM, auth=USER).status_code] == [401, 200]
    server.source.guard = Guard("key")
    assert client.get(ITEM, headers={KEY_HEADER: API_KEY}).status_code == 200
    assert [seen.credentials for seen in server.ledger.seen] == [False, True, True]
    assert API_KEY not in str(server.ledger.records())


def test_weather_strikes_everybody_and_passes(server: Serving, client: httpx.Client) -> None:
    """From the nth request on, for its time; Retry-After is never less than what is left."""
    source = server.source
    source.spells = (Spell("maintenance", after=3, seconds=0.3), Spell("reset", after=8))
    statuses = [client.get(ITEM).status_code for _ in range(4)]
    assert statuses == [200, 200, 503, 503]
    assert 1.0 <= server.ledger.cooldowns() < 1.1
    assert threading.Event().wait(0.3) is False
    assert [client.get(ITEM).status_code for _ in range(3)] == [200, 200, 200]
    for _ in range(3):
        with pytest.raises(httpx.TransportError):
            client.get(ITEM)


def test_it_goes_down_and_comes_up_on_the_same_port(server: Serving, client: httpx.Client) -> None:
    """Down: connections are refused. Up: it is all there again."""
    assert client.get(ITEM).status_code == 200
    server.down()
    with pytest.raises(httpx.ConnectError):
        client.get(ITEM)
    server.up()
    assert client.get(ITEM).status_code == 200


def test_the_ledger_counts_what_is_under_way_at_once(server: Serving) -> None:
    """Eight threads show as eight; one after the other as one."""
    server.source.latency = 0.05
    gate = threading.Barrier(8)

    def ask() -> None:
        with httpx.Client(base_url=server.url) as client:
            gate.wait()
            client.get(ITEM)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.ledger.peak() == 8
    server.ledger.clear()
    server.source.latency = 0.0
    with httpx.Client(base_url=server.url) as client:
        for _ in range(20):
            client.get(ITEM)
    assert (server.ledger.peak(), server.ledger.deliveries()["items/14"]) == (1, 20)


def test_the_ledger_tells_the_busiest_second_and_what_is_above_a_rate() -> None:
    """Ten at once and then five a second: a burst of ten, and nothing above it."""
    times = [0.0] * 10 + [0.2 * step for step in range(1, 26)]
    ledger = Ledger([Seen(at, "GET", "/", 0, ended=at + 0.1) for at in times])
    assert ledger.busiest() == 14
    assert ledger.beyond(5.0) == pytest.approx(10)
    assert ledger.beyond(1000.0) == pytest.approx(10)


def test_a_process_of_its_own_tells_its_ledger_and_obeys() -> None:
    """`python -m tests.fakes.rough` serves the same world; /_ledger and /_control reach it."""
    command = [sys.executable, "-m", "tests.fakes.rough", "--seed", "3", "--documents", "20"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        with httpx.Client(base_url=url) as client:
            assert client.get(ITEM).json()["body"] == World(3).body(World(3).entries[14])
            change = {"faults": {"rates": {"error_500": 1.0}}, "remove": [14], "add": 2}
            assert client.post("/_control", json=change).status_code == 200
            assert client.get(ITEM).status_code == 500
            ledger = ledger_of(client.get("/_ledger").content)
            assert [(seen.fault, seen.document) for seen in ledger.seen] == [("", "items/14"), ("error_500", "")]
            client.post("/_control", json={"calm": True})
            assert len(numbers(client, "cursor")) == 21
    finally:
        process.kill()
        process.communicate()
