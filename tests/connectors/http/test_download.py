"""Downloads: continued where they were cut, begun again where the entity changed, never a mixture, no leftovers."""

from __future__ import annotations

import base64
import gzip
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors.http.download import validator
from penstock.connectors.http.types import NotModified
from penstock.connectors.types import RejectItem, RetryLater, SourceError, StopSource
from tests.connectors.http.doors import Bench, bench
from tests.fakes.http_faults import Heard, Line, Play, in_turn, raw, saying, serving

BODY = bytes(number * 7 % 251 for number in range(50_000))
OLD = {"Last_Modified": "Sat, 01 Jan 2022 00:00:00 GMT", "Date": "Sat, 01 Jan 2022 10:00:00 GMT"}


def cut(body: bytes, after: int, **headers: str) -> Play:
    """An answer that ends after some bytes of its body."""

    def play(line: Line, heard: Heard) -> None:
        names = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        line.say(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{names}\r\n".encode() + body[:after])
        line.reset() if after % 2 else line.close()

    return play


def rest(body: bytes, **headers: str) -> Play:
    """What the server has from where it was asked for."""

    def play(line: Line, heard: Heard) -> None:
        first = int(heard.headers["range"].removeprefix("bytes=").removesuffix("-"))
        given = {"Content_Range": f"bytes {first}-{len(body) - 1}/{len(body)}", **headers}
        line.answer(206, body[first:], **given)

    return play


def got(at: Bench, url: str, body: bytes = BODY, **more: object) -> int:
    """Download, compare, and say how many retries it took."""
    done = at.door.download(url, max_bytes=10**6, **more)  # type: ignore[arg-type]
    assert done.path.read_bytes() == body and done.size == len(body)
    assert at.leftovers() == [done.path]
    return done.retries


def test_a_download_is_a_file_of_its_own(tmp_path: Path) -> None:
    """With what the head said; it is asked for unpacked."""
    with serving(saying(200, BODY, ETag='"e1"', Last_Modified=OLD["Last_Modified"], Content_Type="x/y")) as server:
        done = bench(tmp_path).door.download(f"{server.url}/a", params={"b": "c"}, max_bytes=50_000)
        assert done.path.parent == tmp_path and done.path.read_bytes() == BODY
        assert (done.etag, done.last_modified, done.url) == ('"e1"', OLD["Last_Modified"], f"{server.url}/a?b=c")
        assert done.headers["content-type"] == "x/y"
        assert server.heard[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("headers", [{"ETag": '"e1"'}, OLD])
def test_a_cut_download_is_continued(tmp_path: Path, headers: dict[str, str]) -> None:
    """From the byte where it was cut, if it is still the same: strong ETag, or a date that is old enough."""
    with serving(in_turn(cut(BODY, 20_000, **headers), rest(BODY, **headers))) as server:
        at = bench(tmp_path)
        assert got(at, server.url) == 1
        asked = server.heard[1].headers
        assert asked["range"] == "bytes=20000-" and asked["if-range"] in ('"e1"', OLD["Last_Modified"])
        assert at.door.retries == {"truncated": 1}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ETag": 'W/"weak"'},
        {"ETag": "unquoted"},
        {"Last_Modified": "Sat, 01 Jan 2022 09:59:50 GMT", "Date": "Sat, 01 Jan 2022 10:00:00 GMT"},
        {"Last_Modified": "Sat, 01 Jan 2022 00:00:00 GMT"},
        {"Last_Modified": "yesterday", "Date": "Sat, 01 Jan 2022 10:00:00 GMT"},
        {"ETag": '"e1"', "Accept_Ranges": "none"},
    ],
)
def test_without_a_strong_name_a_download_begins_again(tmp_path: Path, headers: dict[str, str]) -> None:
    """A weak ETag or a fresh date cannot tell two versions apart."""
    with serving(in_turn(cut(BODY, 20_000, **headers), saying(200, BODY, **headers))) as server:
        assert got(bench(tmp_path), server.url) == 1
        assert "range" not in server.heard[1].headers


def test_a_200_in_place_of_the_rest_begins_again(tmp_path: Path) -> None:
    """The entity changed: nothing of the first version is kept."""
    new = BODY[::-1][:30_000]
    with serving(in_turn(cut(BODY, 20_000, ETag='"e1"'), saying(200, new, ETag='"e2"'))) as server:
        at = bench(tmp_path)
        done = at.door.download(server.url, max_bytes=10**6)
        assert done.path.read_bytes() == new and done.etag == '"e2"'
        assert "range" in server.heard[1].headers


def test_a_416_begins_again(tmp_path: Path) -> None:
    """What is shorter now is fetched from its start."""
    plays = [cut(BODY, 20_000, ETag='"e1"'), saying(416, Content_Range="bytes */5"), saying(200, b"short", ETag='"e2"')]
    with serving(in_turn(*plays)) as server:
        assert got(bench(tmp_path), server.url, b"short") == 2
        assert "range" not in server.heard[2].headers


def lying(change: Callable[[dict[str, str]], object], body: bytes = BODY) -> Play:
    def play(line: Line, heard: Heard) -> None:
        headers = {"Content_Range": f"bytes 20000-{len(body) - 1}/{len(body)}", "ETag": '"e1"'}
        change(headers)
        line.answer(206, body[20_000:], **headers)

    return play


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.update(ETag='"e2"'),
        lambda h: h.update(Last_Modified="Sun, 02 Jan 2022 00:00:00 GMT"),
        lambda h: h.pop("Content_Range"),
        lambda h: h.update(Content_Range="bytes 19999-49998/50000"),
        lambda h: h.update(Content_Range="bytes 0-49999/50000"),
        lambda h: h.update(Content_Range="bytes 20000-49999/60000"),
        lambda h: h.update(Content_Range="bytes 20000-50000/50000"),
        lambda h: h.update(Content_Range="bytes 20000-100/50000"),
        lambda h: h.update(Content_Range="items 1-2/3"),
        lambda h: h.update(Content_Encoding="gzip"),
    ],
)
def test_a_rest_that_does_not_fit_is_thrown_away(tmp_path: Path, change: Callable[[dict[str, str]], object]) -> None:
    """Another version, another range, another size: the download begins again, and is whole."""
    plays = [cut(BODY, 20_000, ETag='"e1"'), lying(change), saying(200, BODY, ETag='"e1"')]
    with serving(in_turn(*plays)) as server:
        at = bench(tmp_path)
        assert got(at, server.url) == 2
        assert at.door.retries == {"truncated": 1, "garbled": 1} and "range" not in server.heard[2].headers


def test_a_part_that_nobody_asked_for_is_garbled(tmp_path: Path) -> None:
    """206 to a request for all."""
    with serving(saying(206, b"part", Content_Range="bytes 0-3/10")) as server:
        at = bench(tmp_path)
        with pytest.raises(RetryLater) as caught:
            at.door.download(server.url, max_bytes=100)
        assert caught.value.reason == "garbled" and at.leftovers() == []


def test_a_rest_in_several_parts_is_put_together(tmp_path: Path) -> None:
    """A server may send less than the rest; what is missing is asked for again."""

    def piece(line: Line, heard: Heard) -> None:
        first = int(heard.headers["range"].removeprefix("bytes=").removesuffix("-"))
        last = min(first + 9_999, len(BODY) - 1)
        line.answer(206, BODY[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(BODY)}", ETag='"e1"')

    with serving(in_turn(cut(BODY, 20_000, ETag='"e1"'), piece)) as server:
        assert got(bench(tmp_path, rules={"attempts": 5}), server.url) == 3


def test_a_wrong_byte_in_a_part_is_found_by_the_digest_of_the_whole(tmp_path: Path) -> None:
    """The digest is of all parts together, and everything is fetched again."""
    digest = f"sha-256=:{base64.b64encode(hashlib.sha256(BODY).digest()).decode()}:"
    wrong = BODY[:30_000] + b"!" + BODY[30_001:]
    plays = [
        cut(BODY, 20_000, ETag='"e1"', Repr_Digest=digest),
        rest(wrong, ETag='"e1"'),
        saying(200, BODY, ETag='"e1"', Repr_Digest=digest),
    ]
    with serving(in_turn(*plays)) as server:
        at = bench(tmp_path)
        assert got(at, server.url) == 2 and at.door.retries == {"truncated": 1, "garbled": 1}
        assert "range" not in server.heard[2].headers


def test_a_wrong_body_of_the_right_length_is_fetched_again(tmp_path: Path) -> None:
    """All of it: there is no rest to ask for."""
    digest = f"sha-256=:{base64.b64encode(hashlib.sha256(BODY).digest()).decode()}:"
    wrong = saying(200, BODY[::-1], ETag='"e1"', Content_Digest=digest)
    with serving(in_turn(wrong, saying(200, BODY, ETag='"e1"', Content_Digest=digest))) as server:
        assert got(bench(tmp_path), server.url) == 1
        assert "range" not in server.heard[1].headers


def test_a_large_body_is_refused_by_its_head(tmp_path: Path) -> None:
    """Announced beyond the limit: nothing of it is read."""
    with serving(raw("HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", then="hang")) as server:
        at = bench(tmp_path)
        with pytest.raises(RejectItem) as caught:
            at.door.download(server.url, max_bytes=100)
        assert caught.value.reason == "too_large" and at.leftovers() == [] and at.budget.requests == 1


def test_a_body_without_end_is_refused_at_the_limit(tmp_path: Path) -> None:
    """What lies about its length, or does not say, is cut off; nothing stays on disk."""

    def endless(line: Line, heard: Heard) -> None:
        line.say("HTTP/1.1 200 OK\r\n\r\n")
        while True:
            line.say(bytes(10_000))

    with serving(endless) as server:
        at = bench(tmp_path)
        with pytest.raises(RejectItem):
            at.door.download(server.url, max_bytes=100_000)
        assert at.leftovers() == []


def test_the_limit_holds_across_parts(tmp_path: Path) -> None:
    """Also where the rest is what makes it too large."""
    plays = [raw(b'HTTP/1.1 200 OK\r\nETag: "e1"\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n' + BODY[:100] + b"\r\n")]
    plays.append(rest(BODY, ETag='"e1"'))
    with serving(in_turn(*plays)) as server:
        at = bench(tmp_path)
        with pytest.raises(RejectItem):
            at.door.download(server.url, max_bytes=1000)
        assert at.leftovers() == []


def test_a_packed_download_is_unpacked_and_never_continued(tmp_path: Path) -> None:
    """Some servers pack what was asked for plain: then a cut means to begin again."""
    body = gzip.compress(BODY, mtime=0)
    head = {"ETag": '"e1"', "Content_Encoding": "gzip"}
    with serving(in_turn(cut(body, 90, **head), saying(200, body, **head))) as server:
        assert got(bench(tmp_path), server.url) == 1
        assert "range" not in server.heard[1].headers


def test_what_did_not_change_is_not_fetched(tmp_path: Path) -> None:
    """A conditional download says so, and leaves nothing."""
    with serving(saying(304)) as server:
        at = bench(tmp_path)
        with pytest.raises(NotModified):
            at.door.download(server.url, headers={"If-None-Match": '"e1"'}, max_bytes=100)
        assert at.leftovers() == [] and at.verdicts() == ["ok"]
        with pytest.raises(RetryLater):
            at.door.download(server.url, max_bytes=100)


def test_the_rest_is_asked_for_without_the_condition(tmp_path: Path) -> None:
    """If-None-Match with the newest ETag would make the rest of it a 304."""
    with serving(in_turn(cut(BODY, 20_000, ETag='"e1"'), rest(BODY, ETag='"e1"'))) as server:
        assert got(bench(tmp_path), server.url, headers={"If-None-Match": '"e0"'}) == 1
        assert "if-none-match" not in server.heard[1].headers


def test_progress_is_not_charged_to_the_attempts(tmp_path: Path) -> None:
    """A large file over a line that breaks every megabyte arrives; one that gets no further does not."""
    large = bytes(6 << 20)

    def one_more(line: Line, heard: Heard) -> None:
        first = int(heard.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        piece = large[first : first + (1 << 20) + 1]
        status = "206 Partial" if first else "200 OK"
        line.say(
            f'HTTP/1.1 {status}\r\nETag: "e"\r\nContent-Length: {len(large) - first}\r\n'
            f"Content-Range: bytes {first}-{len(large) - 1}/{len(large)}\r\n\r\n"
        )
        line.say(piece)
        line.close()

    with serving(one_more) as server:
        at = bench(tmp_path, rules={"attempts": 2})
        done = at.door.download(server.url, max_bytes=10 << 20)
        assert done.retries == 5
        done.path.unlink()
    with serving(cut(large, 3 << 20)) as server:
        at = bench(tmp_path, rules={"attempts": 3})
        with pytest.raises(RetryLater):
            at.door.download(server.url, max_bytes=10 << 20)
        assert len(server.heard) == 3


def test_a_failed_download_leaves_nothing(tmp_path: Path) -> None:
    """Whatever ended it, an exception of the budget's included."""
    with serving(cut(BODY, 100)) as server:
        at = bench(tmp_path)
        with pytest.raises(RetryLater) as caught:
            at.door.download(server.url, max_bytes=10**6)
        assert caught.value.reason == "truncated" and caught.value.retries == 2 and at.leftovers() == []

        def spent() -> None:
            raise StopSource("spent", after=1.0)

        at.budget.request = spent  # type: ignore[assignment]
        with pytest.raises(StopSource):
            at.door.download(server.url, max_bytes=10**6)
        assert at.leftovers() == []


def test_the_rest_goes_through_the_redirect_again(tmp_path: Path) -> None:
    """A signed URL may have expired: it is asked for anew, with the range."""

    def play(line: Line, heard: Heard) -> None:
        if heard.target == "/item":
            line.answer(302, Location="/signed")
        elif "range" in heard.headers:
            rest(BODY, ETag='"e1"')(line, heard)
        else:
            cut(BODY, 20_000, ETag='"e1"')(line, heard)

    with serving(play) as server:
        at = bench(tmp_path)
        assert got(at, f"{server.url}/item") == 1
        assert server.targets() == ["/item", "/signed", "/item", "/signed"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1999), st.sampled_from(["", '"e"', 'W/"e"'])), max_size=6))
def test_versions_are_never_mixed(tmp_path_factory: pytest.TempPathFactory, story: list[tuple[int, int, str]]) -> None:
    """Whatever version each attempt meets, wherever it is cut: the file is one version, whole, or there is none."""
    versions = [bytes([65 + number]) * 2000 for number in range(4)]
    steps = iter([*story, (3, 2000, '"e"')])
    last = [(3, 2000, '"e"')]

    def play(line: Line, heard: Heard) -> None:
        last[0] = next(steps, last[0])
        version, after, kind = last[0]
        tag = kind.replace("e", f"e{version}")
        body, first = versions[version], 0
        named = f"ETag: {tag}\r\n" if tag else ""
        status = "200 OK"
        if "range" in heard.headers and heard.headers["if-range"] == tag:
            first = int(heard.headers["range"].removeprefix("bytes=").removesuffix("-"))
            status = "206 Partial Content"
            named += f"Content-Range: bytes {first}-1999/2000\r\n"
        line.say(f"HTTP/1.1 {status}\r\nContent-Length: {2000 - first}\r\n{named}\r\n")
        line.say(body[first : max(first, after)])
        line.close()

    scratch = tmp_path_factory.mktemp("mixed")
    with serving(play) as server:
        at = bench(scratch, rules={"attempts": 9})
        try:
            done = at.door.download(server.url, max_bytes=5000)
        except SourceError:
            assert at.leftovers() == []
        else:
            assert done.path.read_bytes() in versions


def test_validators() -> None:
    """What If-Range may say."""
    date = {"last-modified": "Sat, 01 Jan 2022 00:00:00 GMT", "date": "Sat, 01 Jan 2022 00:01:00 GMT"}
    assert validator({"etag": '"x"', **date}) == '"x"'
    assert validator({"etag": 'W/"x"', **date}) == "", "the server knows better than its date"
    assert validator(date) == date["last-modified"]
    assert validator({**date, "date": "Sat, 01 Jan 2022 00:00:59 GMT"}) == ""
    assert validator({**date, "date": "nonsense"}) == validator({}) == ""


def test_a_scratch_folder_that_goes_away_is_no_missing_item(tmp_path: Path) -> None:
    """`FileNotFoundError` means that the source no longer has it, and nothing else."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def play(line: Line, heard: Heard) -> None:
        shutil.rmtree(scratch)
        cut(BODY, 100)(line, heard)

    with serving(play) as server, pytest.raises(StopSource, match="scratch"):
        bench(scratch).door.download(server.url, max_bytes=10**6)
