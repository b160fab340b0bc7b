"""Where the door connects to: checked after DNS, on every hop, by the address that was checked; and only with TLS that
can be trusted."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from penstock.connectors.types import RetryLater, StopSource
from tests.connectors.http.doors import bench
from tests.fakes.http_faults import saying, serving

ONLY = {"allow": ("127.0.0.1/32",)}


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "[::1]", "[::ffff:127.0.0.1]", "localhost"],
)
def test_loopback_is_refused_in_every_spelling(tmp_path: Path, host: str) -> None:
    """Decimal, octal, hexadecimal and short forms lead to the address that they stand for."""
    with serving(saying(200, "inner")) as server:
        at = bench(tmp_path, rules={"allow": ()})
        with pytest.raises(StopSource, match=r"network\.allow|cannot be read"):
            at.door.request(f"http://{host}:{server.port}/")
        assert server.heard == []
        assert set(at.verdicts()) <= {"cancelled"}


@pytest.mark.parametrize("address", ["10.0.0.5", "169.254.169.254", "::ffff:10.0.0.1", "fe80::1"])
def test_a_name_that_leads_inside_is_refused(tmp_path: Path, address: str) -> None:
    """It is the address that counts, not the name."""
    at = bench(tmp_path, resolve=lambda host, port: [address])
    with pytest.raises(StopSource, match=r"network\.allow"):
        at.door.request("http://public.example/")


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/",
        "http://2130706434:{port}/",
        "http://0x7f.0.0.2:{port}/",
        "//127.0.0.2:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://inner.example/",
        "http://[::ffff:127.0.0.2]:{port}/",
    ],
)
def test_a_redirect_inside_is_refused(tmp_path: Path, location: str) -> None:
    """The first hop is allowed; where it points to is not."""
    names = {"inner.example": ["10.0.0.5"]}

    def resolve(host: str, port: int) -> list[str]:
        from penstock.connectors.http.network import system_resolve

        return names.get(host) or system_resolve(host, port)

    with serving(lambda line, heard: line.answer(302, Location=location.format(port=server.port))) as server:
        at = bench(tmp_path, rules=ONLY, resolve=resolve)
        with pytest.raises(RetryLater, match=r"network\.allow") as caught:
            at.door.request(server.url)
        assert caught.value.reason == "refused"
        assert len(server.heard) == 1
        with pytest.raises(RetryLater) as caught:
            at.door.download(server.url, max_bytes=100)
        assert caught.value.reason == "refused"
        assert at.leftovers() == []


def test_the_checked_address_is_the_one_that_is_connected_to(tmp_path: Path) -> None:
    """A name is looked up once for a connection: an answer that changes afterwards changes nothing."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    with serving(saying(200, "here")) as server:
        at = bench(tmp_path, rules=ONLY, resolve=lambda host, port: next(answers))
        reply = at.door.request(f"http://rebind.example:{server.port}/")
        assert reply.body == b"here"
        assert server.heard[0].headers["host"] == f"rebind.example:{server.port}"


def test_of_several_addresses_only_allowed_ones_are_tried(tmp_path: Path) -> None:
    """An inner address beside an allowed one is passed over."""
    with (
        serving(saying(200, "here")) as server,
        serving(saying(200, "inner"), host="127.0.0.2", port=server.port) as inner,
    ):
        at = bench(tmp_path, rules=ONLY, resolve=lambda host, port: ["127.0.0.2", "127.0.0.1"])
        assert at.door.request(f"http://two.example:{server.port}/").body == b"here"
        assert inner.connections == 0


def test_an_address_that_does_not_answer_gives_way_to_the_next(tmp_path: Path) -> None:
    """Nobody listens at the first address, the second one has it."""
    with serving(saying(200, "here"), host="127.0.0.3") as server:
        at = bench(tmp_path, resolve=lambda host, port: ["127.0.0.4", "127.0.0.3"])
        assert at.door.request(f"http://two.example:{server.port}/").body == b"here"
        assert at.verdicts() == ["ok"]


def test_a_name_that_is_not_known_is_tried_again(tmp_path: Path) -> None:
    """DNS fails now and then; in the end the source is unreachable."""

    def resolve(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    at = bench(tmp_path, resolve=resolve)
    with pytest.raises(RetryLater, match="not found") as caught:
        at.door.request("http://nowhere.example/")
    assert caught.value.reason == "unreachable" and caught.value.retries == 2
    assert at.door.retries == {"connect": 2}
    assert at.verdicts() == ["failed"] * 3


def test_a_look_up_that_hangs_ends_in_time(tmp_path: Path) -> None:
    """The system's own look-up knows no limit; ours does."""
    over = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        over.wait(60)
        return ["127.0.0.1"]

    at = bench(tmp_path, rules={"connect_seconds": 0.2, "attempts": 1}, resolve=resolve)
    began = time.monotonic()
    with pytest.raises(RetryLater) as caught:
        at.door.request("http://slow.example/")
    over.set()
    assert caught.value.reason == "unreachable" and time.monotonic() - began < 30


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "http:///x", "x"])
def test_only_http_is_spoken(tmp_path: Path, url: str) -> None:
    """Other schemes are refused before anything is asked."""
    at = bench(tmp_path)
    with pytest.raises(StopSource):
        at.door.request(url)
    assert at.budget.requests == 0


def test_a_url_with_a_user_in_it_is_refused_and_not_shown(tmp_path: Path) -> None:
    """`http://good.example@evil/` goes to evil: such URLs are never followed, and their password is in no message."""
    at = bench(tmp_path)
    with pytest.raises(StopSource) as caught:
        at.door.request("http://good.example:hunter22@127.0.0.1/")
    assert "hunter22" not in str(caught.value)
    with serving(saying(302, Location="http://good.example:hunter22@127.0.0.1/")) as server:
        with pytest.raises(RetryLater) as later:
            at.door.request(server.url)
        assert later.value.reason == "refused" and "hunter22" not in str(later.value)


def test_the_environment_chooses_no_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """http_proxy and .netrc mean nothing here: a proxy would connect where nobody checked."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login u password p\n")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(saying(200, "direct")) as server:
        assert bench(tmp_path).door.request(server.url).body == b"direct"
        assert "authorization" not in server.heard[0].headers


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and wiki.example: (certificate, key)."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wiki.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("wiki.example")]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def served(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """Verification cannot be turned off; the message says which key to set. It is not tried again."""
    with serving(saying(200, "x"), tls=served(certificate)) as server:
        at = bench(tmp_path)
        with pytest.raises(StopSource, match="ca_file"):
            at.door.request(server.url)
        assert at.budget.requests == 1 and server.heard == []


def test_a_bad_certificate_elsewhere_is_that_items_trouble(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """A download that leads to a host that we do not trust fails alone; the source's own host stops the source."""
    with (
        serving(saying(200, "x"), tls=served(certificate)) as other,
        serving(saying(302, Location=other.url)) as server,
    ):
        with pytest.raises(RetryLater, match="certificate"):
            bench(tmp_path, origins=[server.url]).door.download(server.url, max_bytes=10)
        with pytest.raises(StopSource, match="certificate"):
            bench(tmp_path, origins=[other.url]).door.download(other.url, max_bytes=10)
        assert other.heard == []


def test_a_redirect_out_of_tls_is_refused(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """From https to http nothing is followed, however much the same the host is."""
    with (
        serving(saying(200, "open")) as plain,
        serving(saying(301, Location=plain.url), tls=served(certificate)) as server,
    ):
        at = bench(tmp_path, rules={"ca_file": certificate[0]})
        with pytest.raises(RetryLater, match="https to http") as caught:
            at.door.request(server.url)
        assert caught.value.reason == "refused" and plain.heard == []


def test_a_certificate_of_the_ca_file_is_accepted(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """By name and by address, on a connection that is used again."""
    with serving(saying(200, "sealed"), tls=served(certificate)) as server:
        at = bench(tmp_path, rules={"ca_file": certificate[0]}, resolve=lambda host, port: ["127.0.0.1"])
        for _ in range(2):
            assert at.door.request(f"https://wiki.example:{server.port}/").body == b"sealed"
        assert server.connections == 1
        assert at.door.request(server.url).body == b"sealed"


def test_a_certificate_for_another_name_is_refused(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """The name that was asked for must stand in it, whatever the address."""
    with serving(saying(200, "sealed"), tls=served(certificate)) as server:
        at = bench(tmp_path, rules={"ca_file": certificate[0]}, resolve=lambda host, port: ["127.0.0.1"])
        with pytest.raises(StopSource, match="certificate"):
            at.door.request(f"https://other.example:{server.port}/")


def test_a_server_that_speaks_no_tls_is_unreachable(tmp_path: Path) -> None:
    """It may be a proxy that is starting: tried again, in the end unreachable."""
    with serving(saying(200, "plain")) as server:
        at = bench(tmp_path, rules={"read_seconds": 0.2, "connect_seconds": 0.3})
        with pytest.raises(RetryLater) as caught:
            at.door.request(f"https://127.0.0.1:{server.port}/")
        assert caught.value.reason in ("unreachable", "timed_out")


def test_a_ca_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """At once, and by its key."""
    with pytest.raises(StopSource, match=r"network\.ca_file"):
        bench(tmp_path, rules={"ca_file": tmp_path / "missing.pem"})
