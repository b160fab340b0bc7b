"""Settings say what is meant, or which key to mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.sources.files import FilesOptions
from penstock.flows.config.layout import Layout, layout
from penstock.flows.config.settings import SECTIONS, Settings, SettingsError, load
from penstock.flows.config.source_settings import COMMON


def write(folder: Path, text: str) -> Path:
    path = folder / "penstock.toml"
    path.write_text(text, "utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    path = write(folder, text)
    with pytest.raises(SettingsError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def laid(settings: Settings) -> Layout:
    return layout(settings, Path(settings.home), {})


def test_without_a_file_everything_has_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two replicas in ./.penstock, both needed for a commit, and the default model."""
    monkeypatch.chdir(tmp_path)
    settings = load(None)
    home = Path(settings.home)
    assert home == tmp_path / ".penstock"
    found = laid(settings)
    assert found.replicas == {"0": f"{home}/replicas/0", "1": f"{home}/replicas/1"}
    assert found.write_quorum == 2
    assert found.catalog == f"sqlite:///{home}/catalog.db"
    assert settings.embed.model == "all-MiniLM-L6-v2"
    assert settings.said == frozenset()


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    """Not to the folder that somebody happens to stand in."""
    text = """
        home = "index"
        [index]
        replicas = ["a", "/b", "c"]
        catalog = "cat.db"
        [sources.wiki]
        path = "../wiki"
        labels = ["public"]
        [sources.wiki.metadata]
        team = "docs"
    """
    settings = load(write(tmp_path, text))
    assert settings.home == str(tmp_path / "index")
    found = laid(settings)
    assert found.replicas == {"0": f"{tmp_path}/a", "1": "/b", "2": f"{tmp_path}/c"}
    assert found.catalog == f"sqlite:///{tmp_path}/cat.db"
    assert settings.sources["wiki"].options == FilesOptions(path=str(tmp_path / "../wiki"))
    assert settings.sources["wiki"].metadata == {"team": "docs"}
    assert found.write_quorum == 2


def test_replicas_may_have_names(tmp_path: Path) -> None:
    """A table gives each replica its id."""
    settings = load(write(tmp_path, '[index.replicas]\neast = "/e"\nwest = "/w"\n'))
    assert laid(settings).replicas == {"east": "/e", "west": "/w"}


def test_a_catalog_url_is_taken_as_it_is(tmp_path: Path) -> None:
    """Only a plain path is an SQLite file."""
    settings = load(write(tmp_path, '[index]\ncatalog = "postgresql://db/penstock"\n'))
    assert laid(settings).catalog == "postgresql://db/penstock"


def test_overrides_win_over_the_file_and_count_as_said(tmp_path: Path) -> None:
    """What stands on the command line is more recent than what stands in the file."""
    settings = load(write(tmp_path, '[embed]\nmodel = "a"\n'), {"embed.model": "b", "home": "/h"})
    assert settings.embed.model == "b"
    assert settings.home == "/h"
    assert {"embed.model", "home"} <= settings.said


@pytest.mark.parametrize(
    ("text", "key", "fix"),
    [
        ("[embed]\nmodell = 'x'", "embed.modell", "did you mean model?"),
        ("hom = 'x'", "hom", "did you mean home?"),
        (
            "[zzz]\na = 1",
            "zzz",
            "known here: alerts, cache, deletions, embed, home, index, keep, logs, metrics, parse, prefect, reader",
        ),
        ("[sources.wiki]\npath = 'x'\nlabel = []", "sources.wiki.label", "did you mean labels?"),
        ("[sources.wiki]\ntype = 'files'", "sources.wiki.path", "is missing"),
        ("[parse]\nworkers = 'two'", "parse.workers", "expected int | null, got str"),
        ("[parse]\nworkers = 0", "parse.workers = 0", ">= 1"),
        ("home = 3", "home", "expected str, got int"),
        ("embed = 'model'", "embed", "write [embed]"),
        ("[deletions]\nmin_share = 2.0", "deletions.min_share", "<= 1"),
        ("[index]\nreplicas = 4\nwrite_quorum = 2", "index.write_quorum", "set it to 3 or more"),
        ("[index]\nreplicas = 2\nwrite_quorum = 3", "index.write_quorum", "1 to 2"),
        ("[index]\nreplicas = 0", "index.replicas", "at least 1"),
        ("[index]\nreplicas = ['a', 'a']", "index.replicas", "give each replica its own"),
        ("[index]\nreplicas = ['ftp://x/y', 'b']", "index.replicas[0]", "s3://bucket/prefix"),
        ("[index]\nreplicas = ['s3://KEY:HUSH@b/p', 'b']", "index.replicas[0]", "set them in the environment"),
        ("[index]\nreplicas = ['s3://b/p?secret=x', 'b']", "index.replicas[0]", "environment"),
        ("[index]\nreplicas = ['s3://', 'b']", "index.replicas[0]", "names no bucket"),
        ("[index]\nreplicas = ['s3://bkt/p', 's3://bkt/p/']", "index.replicas", "give each replica its own"),
        ("[index]\nreplicas = ['s3://bkt/p', 's3://bkt/p/sub']", "index.replicas", "give each replica its own"),
        ("[index]\nreplicas = ['a/b', 'x/../a']", "index.replicas", "give each replica its own"),
        ("[index]\nreplicas = ['a', 'S3:bkt/p']", "index.replicas[1]", "s3://bucket/prefix"),
        ("[spool]\nstore = 's3:bkt/p'", "spool.store", "s3://bucket/prefix"),
        ("[index.replicas]\n'a/b' = 'x'", "index.replicas.a/b", "letters, digits"),
        ("[index]\ncatalog = 'mysql://h/d'", "index.catalog", "postgresql://host/database"),
        ("[index]\ncatalog = 'postgresql://u:HUSH@h/d'", "index.catalog", "PGPASSWORD"),
        ("[index]\ncatalog = 'postgresql://h/d?password=HUSH'", "index.catalog", "PGPASSWORD"),
        ("[index]\ncatalog = 'postgresql://u:HUSH${X}@h/d'", "index.catalog", "PGPASSWORD"),
        ("[index]\ncatalog = 'postgresql://u:HU/SH@h/d'", "index.catalog", "PGPASSWORD"),
        ("[index]\ncatalog = 'postgresql:u:HUSH@h/d'", "index.catalog", "postgresql://user@host"),
        ("[index]\ncatalog = 'postgresql://[::1/d'", "index.catalog", "can be read"),
        ("[index]\nreplica_deadline = 0", "index.replica_deadline", "> 0"),
        ("[spool]\nstore = 'http://x'", "spool.store", "s3://bucket/prefix"),
        ("[embed]\nchunk_tokens = 10\noverlap_tokens = 6", "embed.overlap_tokens", "5 or less"),
        ("[embed]\nmodel = ''", "embed.model is empty", "leave it out for the default"),
        ("[embed]\nmodel = ' '", "embed.model is empty", "give a model's folder or name"),
        ("[embed]\ndevices = []", "embed.devices is empty", "leave it out"),
        ("[embed]\ndevice = 'gpu'", "embed.device = 'gpu'", "write cpu, cuda, or a card such as cuda:0"),
        ("[embed]\ndevice = ''", "embed.device = ''", "write cpu"),
        ("[embed]\ndevices = ['cpu', 'cuda:x']", "embed.devices[1] = 'cuda:x'", "write cpu"),
        ("[embed]\ndevices = ['cuda:00']", "embed.devices[0] = 'cuda:00'", "write cpu"),
        ("[embed]\ndevices = ['cpu', 'cpu']", "embed.devices: cpu and cpu", "name each once"),
        ("[embed]\ndevices = ['cuda:1', 'cuda', 'cuda:0']", "embed.devices: cuda and cuda:0", "name each once"),
        ("home = 'x'\nbroken", "line 2", "not valid TOML"),
        ("[prefect]\nschedule = 'every 99999999999999d'", "prefect.schedule", "more than 100 years"),
        ("[sources.a]\npath='.'\nschedule = 'every 99999999999999d'", "sources.a.schedule", "more than 100 years"),
        ("[sources.a]\npath='.'\nfreshness = '99999999999999d'", "sources.a.freshness", "more than 100 years"),
        ("[alerts]\nship_behind = '99999w'", "alerts.ship_behind", "more than 100 years"),
        ("[prefect]\nzombie_seconds = inf", "prefect.zombie_seconds", "no number"),
        ("[prefect]\nzombie_seconds = nan", "prefect.zombie_seconds", "no number"),
        ("[prefect]\nzombie_seconds = 1e300", "prefect.zombie_seconds", "at most"),
        ("[prefect]\nzombie_seconds = 1e9", "prefect.zombie_seconds", "<= 2592000"),
        ("[metrics]\nevery_seconds = inf", "metrics.every_seconds", "no number"),
        ("[metrics]\nevery_seconds = 1e6", "metrics.every_seconds", "<= 86400"),
        ("[parse]\nseconds = 1e12", "parse.seconds", "<= 3155760000"),
        ("[sources.a]\npath='.'\n[sources.a.budget]\npatience = 1e12", "sources.a.budget.patience", "<= 3155760000"),
        ("[cache]\nmax_mb = 1" + "0" * 400, "cache.max_mb", "no number"),
        ("[metrics]\ntextfile = ''", "metrics.textfile", "leave it out"),
        ('[metrics]\ntextfile = "a\\u0000b"', "metrics.textfile", "zero byte"),
        ("[metrics]\ntextfile = 'penstock.toml'", "metrics.textfile", "is a file; give the folder"),
        ("[logs]\nfile = ''", "logs.file", "leave it out"),
        ("[logs]\nfile = '/'", "logs.file", "is a folder; give the file"),
        ("[logs]\nfile = '.'", "logs.file", "is a folder; give the file"),
        ('[logs]\nfile = "a\\u0000b"', "logs.file", "zero byte"),
        ("[sources.a]\npath='.'\nschedule = 5", "sources.a.schedule = 5", '"every 15m"'),
        ("[prefect]\nschedule = 5", "prefect.schedule = 5", '"every 15m"'),
        ("[sources.a]\npath='.'\nfreshness = 5", "sources.a.freshness = 5", "15m, 12h"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_key_and_the_fix(tmp_path: Path, text: str, key: str, fix: str) -> None:
    """One line: the file, the key, what to write instead."""
    message = refusal(tmp_path, text)
    assert key in message
    assert fix in message
    assert "HUSH" not in message


@pytest.mark.parametrize("said", [("cpu",), ("cuda",), ("cuda:1", "cuda"), ("cpu", "cuda:0", "cuda:12")])
def test_devices_that_a_machine_can_have_are_taken(tmp_path: Path, said: tuple[str, ...]) -> None:
    """Whether this one has them is seen when a model is loaded."""
    assert load(write(tmp_path, f"[embed]\ndevices = {list(said)}")).embed.devices == said


def test_a_mark_of_byte_order_is_no_part_of_the_file(tmp_path: Path) -> None:
    """Some editors put one before the first key."""
    assert load(write(tmp_path, "\ufeff[cache]\nmax_mb = 5\n")).cache.max_mb == 5


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, or not text."""
    with pytest.raises(SettingsError, match="there is no such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "x.toml").write_bytes(b"home = '\xff'")
    with pytest.raises(SettingsError, match="UTF-8"):
        load(tmp_path / "x.toml")


@given(replicas=st.integers(1, 9), quorum=st.integers(-1, 10))
def test_every_accepted_quorum_overlaps_itself(replicas: int, quorum: int) -> None:
    """2W > N and W <= N, or it is refused: two halves can never both commit."""
    try:
        settings = load(None, {"index.replicas": replicas, "index.write_quorum": quorum})
    except SettingsError:
        assert not replicas / 2 < quorum <= replicas
    else:
        assert replicas / 2 < laid(settings).write_quorum <= replicas


@given(replicas=st.integers(1, 99))
def test_the_default_quorum_is_a_majority(replicas: int) -> None:
    """The smallest number of replicas that no other such number can avoid."""
    quorum = laid(load(None, {"index.replicas": replicas})).write_quorum
    assert 2 * quorum > replicas >= 2 * (quorum - 1)


def test_the_documented_configuration_is_complete_and_valid(tmp_path: Path) -> None:
    """docs/configuration.md shows every key there is, and nothing else."""
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")
    shown = [block.split("```")[0] for block in text.split("```toml\n")[1:3]]
    settings, elsewhere = (load(write(tmp_path, block)) for block in shown)
    known = {"home", "sources.handbook.metadata.team"}
    for section in SECTIONS:
        known |= {f"{section}.{field}" for field in getattr(settings, section).__struct_fields__}
    source = settings.sources["handbook"]
    tables = {"metadata", "budget", "network"}
    own = {*COMMON, *source.options.__struct_fields__} - tables
    own |= {f"{table}.{key}" for table in ("budget", "network") for key in getattr(source, table).__struct_fields__}
    known |= {f"sources.handbook.{key}" for key in own}
    known = known - {"parse.route"} | {"parse.route.no_text"}
    assert elsewhere.embed.endpoint is not None
    known |= {f"embed.endpoint.{key}" for key in elsewhere.embed.endpoint.__struct_fields__}
    known = known - {"embed.endpoint", "embed.endpoint.headers"} | {"embed.endpoint.headers.x-tenant"}
    assert settings.said | elsewhere.said == known
    for key in known - {"sources.handbook.metadata.team", "parse.route.no_text", "embed.endpoint.headers.x-tenant"}:
        assert f"`{key.replace('handbook', 'NAME')}`" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[sources.x]\ntype = "wiki"\npath = "d"\n', "known here: files"),
        ('[sources.adhoc]\npath = "d"\n', "not 'adhoc'"),
        (
            '[sources.x]\npath = "d"\nnetwork = {allow = ["10.0.0.0/99"]}\n',
            r"sources\.x\.network\.allow: .* 10\.0\.0\.0/8",
        ),
        ('[sources.x]\npath = "d"\nlinks = "yes"\n', r"links = 'yes'.*inside, never"),
        ('[sources."../evil name"]\npath = "d"\n', "letters, digits"),
        ('[sources.a]\npath = "d"\n[sources.b]\npath = "./d"\n', "keep one of the two"),
    ],
)
def test_a_source_that_would_be_something_else_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """Kinds and names of sources are checked before anything is listed."""
    path = tmp_path / "penstock.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=said):
        load(path)


@pytest.mark.parametrize(
    "table",
    [
        'type = "objects"\nurl = "s3://b"\naccess_key = "${A}"\nsecret_key = "HUSH"',
        'type = "mediawiki"\nurl = "https://w.example/api.php"\ntoken = "HUSH"',
        'type = "rest"\nurl = "https://x.example"\nauth = {kind = "bearer", token = "HUSH"}\ncollections = []',
        'type = "rest"\nurl = "https://x.example"\nauth = {kind = "bearer", tokn = "HUSH"}\ncollections = []',
        'type = "rest"\nurl = "https://me:HUSH@x.example"\ncollections = []',
        'type = "rest"\nurl = 7\nheaders = "Authorization: HUSH"\ncollections = []',
        'type = "sql"\nurl = "postgresql://me:HUSH@h/d"\nkinds = []',
    ],
)
def test_a_secret_that_was_written_by_mistake_is_not_repeated(tmp_path: Path, table: str) -> None:
    """The message goes to a screen and to logs: it names the key alone."""
    file = tmp_path / "penstock.toml"
    file.write_text(f"[sources.a]\n{table}\n")
    with pytest.raises(SettingsError, match=r"sources\.a") as wrong:
        load(file)
    assert "HUSH" not in str(wrong.value)


@pytest.mark.parametrize(("said", "found"), [("models/mine", True), ("./models/other", True), ("org/hub-name", False)])
def test_the_folder_of_a_model_is_taken_from_the_folder_of_the_file(tmp_path: Path, said: str, found: bool) -> None:
    """As every path in the file; a name that is no folder there is looked for on the hub."""
    (tmp_path / "models" / "mine").mkdir(parents=True)
    config = tmp_path / "penstock.toml"
    config.write_text(f'[embed]\nmodel = "{said}"\n')
    assert load(config).embed.model == (str(tmp_path / said) if found else said)
