"""An encoder elsewhere, over a server that misbehaves: each text once, its own vector, nothing paid without need."""

from __future__ import annotations

import logging
import random
import threading
import time

import numpy as np
import pytest

from penstock.embed.cache import VectorCache, key_of
from penstock.embed.types import EncoderUnavailable
from penstock.flows import wiring
from tests.embed.remote.conftest import KEY, Bench, encoded
from tests.fakes.embeddings_server import DEADLY, FAULTS, POISON, UNSPEAKABLE, Limits, tokens_of, vector

SEEDS = range(6)
QUICK = [fault for fault in FAULTS if fault not in ("hang", "drip")]


def sentences(count: int, seed: int = 0) -> list[str]:
    dice = random.Random(seed)
    return [
        " ".join(
            [f"Text {number} of {seed}", *(f"speaks of {dice.randrange(99)}." for _ in range(dice.randint(1, 25)))]
        )
        for number in range(count)
    ]


def same(vectors: dict[int, np.ndarray], texts: list[str], but: set[int] = frozenset()) -> None:  # type: ignore[type-arg, assignment]
    """Every vector is that of its text."""
    assert set(vectors) == set(range(len(texts))) - set(but)
    for position, row in vectors.items():
        np.testing.assert_allclose(row, vector(texts[position]), atol=2e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_the_server_does_each_text_comes_to_its_own_end(bench: Bench, seed: int) -> None:
    """A third of the answers is wrong in some way, three texts are bad: each position once, vectors right, requests
    bounded, limits kept."""
    texts = sentences(120, seed)
    dice = random.Random(seed)
    guilty = dict(zip(dice.sample(range(120), 3), (POISON, UNSPEAKABLE, DEADLY), strict=True))
    for position, word in guilty.items():
        texts[position] += f" {word}"
    limits = Limits(items=24, request_tokens=1500)
    app = bench.serve(seed=seed, limits=limits, key=KEY)
    slow = [] if seed % 5 else ["hang", "drip"]
    encoder = bench.encoder(max_items=16, max_request_tokens=1400, seconds=2.0 if slow else 10.0)
    app.rate, app.faults = 0.33, [*QUICK, *slow]
    vectors, refused, billed = encoded(encoder, texts)
    same(vectors, texts, set(guilty))
    assert {position: one.reason for position, one in refused.items()} == {
        position: "not_finite" if word == UNSPEAKABLE else "refused" for position, word in guilty.items()
    }
    assert all(texts[position][:14] not in one.detail for position, one in refused.items())
    assert all(len(one.texts) <= 16 and one.tokens <= 1400 for one in app.asked)
    assert len(app.asked) <= 150, len(app.asked)
    assert billed >= sum(tokens_of(text) for text in texts if not any(w in text for w in (POISON, DEADLY)))


def test_a_text_whose_vector_is_spoilt_twice_gets_it_the_third_time(bench: Bench) -> None:
    """Spoilt in the company of others counts as spoilt alone does: only the third time is one too many."""
    app, texts = bench.serve(), sentences(60)
    encoder = bench.encoder(max_items=16)
    app.rate, app.faults = 0.9, ["nan", "zero", "constant", "norm"]
    vectors, refused, _ = encoded(encoder, texts)
    assert not refused
    same(vectors, texts)


def test_requests_hold_what_the_endpoint_takes_and_are_full(bench: Bench) -> None:
    """Items and tokens of a request are bounded before it goes; no more requests are made than that needs."""
    app, texts = bench.serve(), sentences(200)
    encoder = bench.encoder(max_items=50, max_request_tokens=2000)
    app.asked.clear()
    same(encoded(encoder, texts)[0], texts)
    assert all(len(one.texts) <= 50 and one.tokens <= 2000 for one in app.asked)
    needed = sum(encoder._asker._count(text) for text in texts) / 2000
    assert len(app.asked) <= 1.3 * needed + 1


def test_several_requests_are_under_way(bench: Bench) -> None:
    """Latency is hidden: while the server thinks about one request, others come, and no more than may."""
    app, texts = bench.serve(latency=0.1), sentences(200)
    encoder = bench.encoder(max_items=5, concurrency=8)
    same(encoded(encoder, texts)[0], texts)
    assert 3 <= app.most_inside <= 8
    assert len(app.asked) == 41


def test_a_limit_that_nobody_told_is_learned_from_its_refusal(bench: Bench) -> None:
    """413 for too many texts: halves go, and later requests are no larger."""
    app, texts = bench.serve(limits=Limits(items=8)), sentences(200)
    encoder = bench.encoder(max_items=32, concurrency=1)
    vectors, refused, _ = encoded(encoder, texts)
    same(vectors, texts)
    assert not refused
    assert sum(one.status == 413 for one in app.asked) <= 5


def test_a_text_that_is_too_long_for_the_endpoint_is_refused_by_name(bench: Bench) -> None:
    """Our count let it pass, the server's does not: the message is the server's, the text is not in it."""
    app, texts = bench.serve(limits=Limits(text_tokens=40)), sentences(30)
    texts = [text[:90] for text in texts]
    texts[7] = "A secret plan of the enemy: " + "a b c d e f g h i j k l m " * 6
    vectors, refused, _ = encoded(bench.encoder(max_items=8), texts)
    same(vectors, texts, {7})
    assert refused[7].reason == "refused"
    assert "must have less than 40 tokens" in refused[7].detail
    assert "enemy" not in refused[7].detail
    assert len(app.asked) < 20


@pytest.mark.parametrize("status", [400, 422, 500, 503])
def test_an_endpoint_that_refuses_everything_refuses_no_text(bench: Bench, status: int) -> None:
    """What every text meets is no text's fault: nothing is quarantined, the run ends and may go on."""
    app, texts = bench.serve(), sentences(40)
    encoder = bench.encoder(patience=1.0, attempts=3)
    app.asked.clear()
    app.status = status
    with pytest.raises(EncoderUnavailable):
        encoded(encoder, texts, lambda batch: pytest.fail("refused") if batch.refused else None)
    assert len(app.asked) < 60


def test_vectors_that_are_none_for_every_text_refuse_no_text(bench: Bench) -> None:
    """A model that has gone mad: nothing is written, and nothing quarantined."""
    app, texts = bench.serve(), sentences(40)
    encoder = bench.encoder()
    app.rate, app.faults = 1.0, ["constant"]
    texts = [texts[0]]
    with pytest.raises(EncoderUnavailable, match="constant"):
        encoded(encoder, texts)


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, r"key.*\(401\)"), (403, r"key.*\(403\)"), (404, "no such model"), (302, "redirects"), (402, "money"),
     (405, "no requests like this")],
)  # fmt: skip
def test_what_only_a_person_can_mend_is_not_asked_again(bench: Bench, status: int, said: str) -> None:
    """One request, and the message says the fix."""
    app = bench.serve()
    app.status = status
    with pytest.raises(EncoderUnavailable, match=said) as error:
        bench.encoder()
    assert len(app.asked) == 1 and error.value.after is None


def test_a_key_that_is_refused_is_in_no_message(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Although the server writes it back to us."""
    bench.serve(key="another")
    caplog.set_level(logging.DEBUG)
    with pytest.raises(EncoderUnavailable, match="Incorrect API key provided") as error:
        bench.encoder()
    assert KEY not in str(error.value) and KEY not in caplog.text and "hush" not in str(error.value)


def test_an_account_without_money_stops_at_once(bench: Bench) -> None:
    """429 with `insufficient_quota` is not asked again for ever; what was paid for has come."""
    app, texts = bench.serve(), sentences(100)
    encoder = bench.encoder(max_items=4, concurrency=2)
    app.quota = app.billed + 1500
    came: list[int] = []
    with pytest.raises(EncoderUnavailable, match="quota is used up"):
        encoded(encoder, texts, lambda batch: came.append(len(batch.positions)))
    assert sum(came) == sum(len(one.texts) for one in app.asked if one.status == 200) - 1
    assert sum(one.status != 200 for one in app.asked) <= 2


def test_an_outage_ends_with_patience_and_keeps_what_came(bench: Bench) -> None:
    """The server goes in the middle: what it had given was yielded before the error."""
    bench.serve()
    texts = sentences(100)
    encoder = bench.encoder(max_items=4, concurrency=2, patience=0.5, attempts=3)
    came: list[int] = []

    def seen(batch: object) -> None:
        came.append(1)
        if len(came) == 5:
            bench.server.down()

    with pytest.raises(EncoderUnavailable):
        encoded(encoder, texts, seen)
    assert len(came) >= 5


@pytest.mark.parametrize(("requests", "tokens"), [(40, None), (30, 6000)])
def test_configured_limits_are_kept_and_used(bench: Bench, requests: int | None, tokens: int | None) -> None:
    """No 429 storms: the server sees its limit and hardly more, and a good part of it (test_meter says how much)."""
    limits = Limits(requests=requests, tokens=tokens, window=1.0)
    app, texts = bench.serve(limits=limits), sentences(300)
    encoder = bench.encoder(
        max_items=4, max_request_tokens=600, requests_per_minute=requests, tokens_per_minute=tokens, seconds=5.0
    )
    same(encoded(encoder, texts)[0], texts)
    most = app.most_in_a_window(1.0)
    assert most[0] <= 1.15 * (requests or 1e9) and most[1] <= 1.15 * (tokens or 1e9), most
    assert sum(one.status == 429 for one in app.asked) <= 6
    assert max(most[0] / (requests or 1e9), most[1] / (tokens or 1e9)) > 0.6, most


def test_limits_are_learned_from_headers(bench: Bench) -> None:
    """Nothing is configured: after the first answers there are no 429s to speak of, and the limit is used."""
    app, texts = bench.serve(limits=Limits(requests=40, tokens=8000), announce=True), sentences(300)
    encoder = bench.encoder(max_items=4, max_request_tokens=600)
    same(encoded(encoder, texts)[0], texts)
    assert sum(one.status == 429 for one in app.asked) <= 8
    assert app.most_in_a_window(1.0)[0] > 0.6 * 40


def test_two_who_share_a_key_share_its_limit(bench: Bench) -> None:
    """Two encoders over one ledger: together they stay within the limit."""
    app, texts = bench.serve(limits=Limits(requests=40)), sentences(120)
    both = [bench.encoder(max_items=4, requests_per_minute=40) for _ in range(2)]
    threads = [threading.Thread(target=encoded, args=(encoder, texts)) for encoder in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert app.most_in_a_window(1.0)[0] <= 46
    assert sum(one.status == 429 for one in app.asked) <= 6, "a storm would be dozens; a busy machine is late at times"


def test_a_run_stops_before_it_spends_more_than_it_may_and_can_go_on(bench: Bench) -> None:
    """The bill never passes the limit; another run has as much again and begins where the first one ended."""
    app, texts = bench.serve(), sentences(100)
    done: set[int] = set()
    for _ in range(20):
        before = app.billed
        encoder = bench.encoder(max_items=4, max_tokens_per_run=2000)
        left = [position for position in range(100) if position not in done]
        came: list[int] = []
        try:
            encoded(encoder, [texts[k] for k in left], lambda batch, came=came: came.extend(batch.positions.tolist()))
        except EncoderUnavailable as error:
            assert "one run may spend" in str(error)
        done |= {left[k] for k in came}
        assert app.billed - before <= 2000
        if len(done) == 100:
            break
    assert len(done) == 100


def test_a_day_stops_everybody_until_midnight(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in the ledger, over all runs; the message says until when."""
    app, texts = bench.serve(), sentences(40)
    now = [20_000 * 86_400 + 43_200.0]
    monkeypatch.setattr(wiring, "clock", lambda: now[0] + time.monotonic() % 1000)
    for _ in range(2):
        encoder = bench.encoder(max_items=4, max_tokens_per_day=1500)
        with pytest.raises(EncoderUnavailable, match=r"allowed a day would be passed.*run again after") as error:
            encoded(encoder, texts)
        assert error.value.after is not None and 0 < error.value.after <= 43_200
        assert app.billed <= 1500
        if _ == 0:
            app.billed, now[0] = 0, now[0] + 86_400


def test_lost_answers_are_counted_and_said(bench: Bench) -> None:
    """The work was done and the answer is gone: it is asked for again, and a person is told that both may be billed."""
    app, texts = bench.serve(), sentences(40)
    endpoint = bench.endpoint()
    encoder = endpoint.ready()
    assert endpoint.messages() == []
    app.rate, app.faults = 0.4, ["reset body", "truncated"]
    same(encoded(encoder, texts)[0], texts)
    (said,) = endpoint.messages()
    assert "billed these twice" in said.replace("may have ", "")
    assert sum(endpoint.retries().values()) == sum(one.fault != "" for one in app.asked)


def test_what_is_under_way_when_nobody_waits_any_more_is_kept(bench: Bench) -> None:
    """The run stops: answers that are paid for go to the cache, and the next run finds them there."""
    app, texts = bench.serve(latency=0.05), sentences(60)
    cache = VectorCache(bench.folder / "vectors.db", 1 << 24, clock=time.time, note=print)
    encoder = bench.encoder(max_items=4, concurrency=6, cache=lambda: cache)
    batches = encoder.encode([[0] * encoder._asker._count(text) for text in texts], texts)
    first: set[int] = set()
    for batch in batches:
        first |= set(batch.positions.tolist())
        if len(first) >= 12:
            break
    batches.close()  # type: ignore[attr-defined]
    key = key_of(encoder.identity)
    kept = cache.get([key(text) for text in texts], encoder.dim)
    paid = {text for one in app.asked if one.status == 200 for text in one.texts} & set(texts)
    assert {key(text) for text in paid} == set(kept) | {key(texts[k]) for k in first}
    assert len(paid) > len(first)


@pytest.mark.parametrize("keys", [{"encoding": "base64"}, {"dimensions": 32}, {"dimensions": 16, "encoding": "base64"}])
def test_vectors_come_as_they_are_asked_for(bench: Bench, keys: dict[str, object]) -> None:
    """Float or base64, whole or with fewer dimensions: the same numbers."""
    bench.serve()
    encoder, texts = bench.encoder(**keys), sentences(10)
    vectors, _, _ = encoded(encoder, texts)
    wide = int(keys.get("dimensions", 64))  # type: ignore[call-overload]
    for position, row in vectors.items():
        np.testing.assert_allclose(row, vector(texts[position], wide), atol=2e-6)
    assert encoder.dim == wide
    assert encoder.identity["dimensions"] == str(keys.get("dimensions", ""))


def test_vectors_of_another_length_are_scaled_only_where_that_is_said(bench: Bench) -> None:
    """Unit norm is promised or it is configured; else the endpoint is not used, and the message names the key."""
    app, texts = bench.serve(scale=3.7), sentences(10)
    with pytest.raises(EncoderUnavailable, match="normalize"):
        bench.encoder()
    same(encoded(bench.encoder(normalize=True), texts)[0], texts)
    assert app.asked


def test_questions_and_passages_get_their_prompts(bench: Bench) -> None:
    """Each its own, in the text that is sent and in what is counted."""
    app = bench.serve()
    encoder = bench.encoder(prompts=("query: ", "passage: "))
    (found,), _, _ = encoded(encoder, ["the gate"])[0].values(), 0, 0
    np.testing.assert_allclose(found, vector("passage: the gate"), atol=2e-6)
    np.testing.assert_allclose(encoder.encode_queries(["the gate"])[0], vector("query: the gate"), atol=2e-6)
    assert app.asked[-1].texts == ("query: the gate",)


def test_a_question_waits_only_a_little(bench: Bench) -> None:
    """A person sits there: a server that hangs is given up soon, however patient ingests are."""
    app = bench.serve()
    encoder = bench.encoder(seconds=60.0, query_seconds=0.3)
    app.rate, app.faults = 1.0, ["hang"]
    began = time.monotonic()
    with pytest.raises(EncoderUnavailable, match="question"):
        encoder.encode_queries(["what is it?"])
    assert time.monotonic() - began < 20


def test_a_question_that_is_too_long_is_cut_and_the_log_says_so(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """As with a model of our own."""
    app = bench.serve(limits=Limits(text_tokens=50))
    encoder = bench.encoder(max_text_tokens=50)
    encoder.encode_queries(["why is it so? " * 100])
    assert "was cut" in caplog.text
    assert 15 <= app.asked[-1].tokens <= 50


def test_a_stop_ends_the_waiting(bench: Bench) -> None:
    """Whoever asks the run to stop does not wait for a minute to pass."""
    stop = threading.Event()
    app, texts = bench.serve(), sentences(100)
    endpoint = bench.endpoint(window=600.0, stopped=stop.is_set, max_items=4, requests_per_minute=40)
    encoder = endpoint.ready()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(EncoderUnavailable, match="stopped"):
        encoded(encoder, texts)
    assert time.monotonic() - began < 60
    assert app.asked


def test_an_endpoint_that_cuts_texts_is_noticed_where_tokens_are_known(bench: Bench) -> None:
    """With the model's own tokenizer, an endpoint that counts far fewer tokens than there are is told of, once."""
    app = bench.serve()
    encoder = bench.encoder(tokenizer="all-MiniLM-L6-v2", max_text_tokens=256)
    encoded(encoder, ["The gate admits water to the turbine."] * 20)
    assert bench.notes == []
    app.counts = 0.5
    encoded(encoder, ["The gate admits water to the turbine. " * 5] * 60)
    (note,) = bench.notes
    assert "may cut long texts" in note


@pytest.mark.parametrize("keys", [{"allow": []}, {"allow": ["10.0.0.0/8"]}])
def test_a_private_address_is_asked_only_where_that_is_allowed(bench: Bench, keys: dict[str, object]) -> None:
    """Texts go nowhere by a name that leads into one's own network."""
    app = bench.serve()
    with pytest.raises(EncoderUnavailable, match="allow"):
        bench.encoder(key=None, **keys)
    assert not app.asked


def test_a_key_that_is_not_set_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anybody is asked."""
    app = bench.serve()
    monkeypatch.delenv("ENDPOINT_KEY")
    with pytest.raises(EncoderUnavailable, match="the environment variable ENDPOINT_KEY, which is not set"):
        bench.encoder()
    assert not app.asked


def test_the_key_goes_in_a_header_of_its_own_where_that_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some services want it."""
    app = bench.serve(key=KEY)
    with pytest.raises(EncoderUnavailable, match="401"):
        bench.encoder(key=None, headers={"x-tenant": "a"})
    monkeypatch.setenv("WHOLE_HEADER", f"Bearer {KEY}")
    assert bench.encoder(key=None, headers={"authorization": "${WHOLE_HEADER}"}).dim == 64
    assert len(app.asked) == 2
