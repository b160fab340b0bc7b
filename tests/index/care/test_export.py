"""An export opens without penstock, answers as the reader does, and is whole or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys

import faiss
import numpy as np
import pandas
import pytest

from penstock.index import Reader
from penstock.index.care import export as export_module
from penstock.index.care.export import ABOUT, ROWS, VECTORS, export
from penstock.index.errors import NoSpace, Unavailable, WrongIndex
from penstock.index.stores.store import LocalStore
from tests.index.world import DIM, IDENTITY, World, delta

DOCS = {f"s/{n}": " ".join(f"w{n}x{i}" for i in range(n % 5 + 1)) for n in range(40)}
QUERIES = np.random.default_rng(1).standard_normal((8, DIM)).astype(np.float32)


@pytest.fixture
def world(tmp_path):
    """A home with dead rows, several segments and a document that came back."""
    home = World(tmp_path / "home")
    writer = home.create()
    writer.commit(delta(0, DOCS))
    writer.commit(delta(1, {"s/3": None, "s/4": "other words now", "s/5": None}))
    writer.commit(delta(2, {"s/3": "back again", "s/new": "new"}))
    writer.close()
    return home


def refuse(line):
    raise AssertionError(line)


def exported(world, directory, progress=lambda done, total: None, **more):
    stores = [LocalStore(world.folder(name), token=world.token) for name in world.ids]
    with Reader.open(world.root, report=refuse) as reader:
        manifest = reader.manifest
    return export(manifest, stores, directory, report=refuse, report_progress=progress, **more)


def test_faiss_and_pandas_open_it_and_find_the_same(world, tmp_path):
    """A search of the plain index gives the reader's hits, and row i tells everything of vector i."""
    exported(world, tmp_path / "out")
    index = faiss.read_index(str(tmp_path / "out" / VECTORS))
    rows = pandas.read_parquet(tmp_path / "out" / ROWS)
    assert type(index) is faiss.IndexFlatIP
    assert index.ntotal == len(rows)
    with Reader.open(world.root, report=refuse) as reader:
        assert len(rows) == reader.manifest.counts["chunks"]
        scores, ids = index.search(QUERIES, 10)
        for number, hits in enumerate(reader.search(QUERIES, 10)):
            assert [rows.chunk_id[i] for i in ids[number]] == [hit.chunk_id for hit in hits]
            assert [rows.text[i] for i in ids[number]] == [hit.text for hit in hits]
            assert np.allclose(scores[number], [hit.score for hit in hits], atol=1e-5)


def test_every_field_of_a_row_is_there(world, tmp_path):
    """The columns are the fields of a row; lists, mappings and missing pages survive."""
    exported(world, tmp_path / "out")
    rows = pandas.read_parquet(tmp_path / "out" / ROWS)
    wanted = ["chunk_id", "uri", "text", "start", "end", "tokens", "page", "heading", "title", "metadata", "labels"]
    assert list(rows.columns) == wanted
    assert set(rows.uri) == {*DOCS, "s/new"} - {"s/5"}
    assert rows.page.isna().all()
    batch = export_module._arrow([_full_row()]).to_pylist()
    assert batch[0]["metadata"] == [("k", "v"), ("l", "w")]
    assert batch[0]["heading"] == ["A", "B"]
    assert batch[0]["page"] == 7


def _full_row():
    from penstock.index.types import Row

    return Row("c", "u", "t", 0, 1, 1, 7, ("A", "B"), "T", {"k": "v", "l": "w"}, ("x",))


def test_the_manifest_says_what_it_is(world, tmp_path):
    """Version, lineage, identity, counts, and the digests of the files."""
    seen = []
    exported(world, tmp_path / "out", lambda done, total: seen.append((done, total)))
    about = json.loads((tmp_path / "out" / ABOUT).read_text())
    with Reader.open(world.root, report=refuse) as reader:
        assert (about["version"], about["lineage"]) == (3, reader.manifest.lineage)
        assert about["counts"] == reader.manifest.counts
    assert about["identity"] == IDENTITY
    assert (about["dim"], about["vectors"]) == (DIM, seen[-1][0])
    assert seen[-1][0] == seen[-1][1]
    for name, digest in about["sha256"].items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest


def test_an_index_without_live_rows_gives_empty_files(world, tmp_path):
    """Everything deleted: both files open and hold nothing."""
    writer = world.open()
    writer.commit(delta(3, dict.fromkeys([*DOCS, "s/new"])))
    writer.close()
    exported(world, tmp_path / "out")
    index = faiss.read_index(str(tmp_path / "out" / VECTORS))
    assert (index.ntotal, index.d) == (0, DIM)
    assert len(pandas.read_parquet(tmp_path / "out" / ROWS)) == 0


def test_only_an_absent_or_empty_directory_is_written(world, tmp_path):
    """A directory with anything in it, or a file, is refused and not touched."""
    full, empty, file = tmp_path / "full", tmp_path / "empty", tmp_path / "file"
    full.mkdir()
    (full / "mine").write_text("precious")
    empty.mkdir()
    file.write_text("precious")
    for place in (full, file):
        with pytest.raises(WrongIndex, match="not empty"):
            exported(world, place)
    assert [path.name for path in full.iterdir()] == ["mine"]
    assert file.read_text() == "precious"
    exported(world, empty)
    exported(world, tmp_path / "deep" / "er")
    assert sorted(path.name for path in empty.iterdir()) == sorted([ABOUT, ROWS, VECTORS])
    assert not list(tmp_path.glob(".*"))


def test_a_space_that_is_not_there_is_refused(world, tmp_path):
    """The line names those that are."""
    with pytest.raises(WrongIndex, match="default"):
        exported(world, tmp_path / "out", space="other")
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_nothing(world, tmp_path, monkeypatch):
    """A full disk, or any other failure: no directory, no temporary one."""

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(export_module, "_sync", full)
    with pytest.raises(NoSpace, match="out"):
        exported(world, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]


def test_a_kill_leaves_nothing_half_and_the_next_run_finishes(world, tmp_path):
    """SIGKILL in the middle: the directory is not there; exporting again makes it whole."""
    script = (
        "import os, signal\nfrom pathlib import Path\n"
        "from penstock.index import Reader\nfrom penstock.index.care.export import export\n"
        "from penstock.index.stores.store import LocalStore\n"
        f"stores = [LocalStore(Path({str(world.folder('0'))!r}), token=lambda: 't')]\n"
        f"manifest = Reader.open({str(world.root)!r}).manifest\n"
        "die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"export(manifest, stores, Path({str(tmp_path / 'out')!r}), report=print, report_progress=die)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.partial").is_dir()
    exported(world, tmp_path / "out")
    assert faiss.read_index(str(tmp_path / "out" / VECTORS)).ntotal > 0
    assert not (tmp_path / ".out.partial").exists()


def test_two_exports_to_one_place_do_not_mix(world, tmp_path):
    """The second one is told to wait; the first one's files are whole."""

    def again(done, total):
        with pytest.raises(Unavailable, match="another export"):
            exported(world, tmp_path / "out")

    exported(world, tmp_path / "out", again)
    assert faiss.read_index(str(tmp_path / "out" / VECTORS)).ntotal > 0


def test_files_and_folders_are_synced_before_the_name_is_given(world, tmp_path, monkeypatch):
    """Each file and the folder are fsync'd before the rename, the parent after it."""
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)))
    exported(world, tmp_path / "out")
    partial = str(tmp_path / ".out.partial")
    assert synced[-5:] == [f"{partial}/{name}" for name in (VECTORS, ROWS, ABOUT)] + [partial, str(tmp_path)]
