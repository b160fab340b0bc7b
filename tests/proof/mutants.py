"""Every guard of the index, and what happens to the code when it is cut out. Data only; see `mutations`.

`tests`: where a test must fail then, as narrow as is known; given to pytest as they are.
"""

# ruff: noqa: E501  (lines of the code, quoted)
from __future__ import annotations

from dataclasses import dataclass

TESTS = "tests/index/test_"


@dataclass(frozen=True, slots=True)
class Mutant:
    """`kind`: fsync, fence, checksum, read-back, order or collector. `guard`: what is cut out, in words."""

    name: str
    kind: str
    guard: str
    module: str
    cuts: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]


def _m(name: str, kind: str, guard: str, module: str, cuts: dict[str, str], *tests: str) -> Mutant:
    return Mutant(name, kind, guard, module, tuple(cuts.items()), tuple(f"{TESTS}{test}" for test in tests))


POWER = "durability.py"
ALL: tuple[Mutant, ...] = (
    # ---- fsync
    _m("fsync-file", "fsync", "a value's bytes, before it gets its name", "store",
       {"                os.fsync(out.fileno())\n": ""}, POWER),
    _m("fsync-name", "fsync", "the folder, after a value got its name", "store",
       {"            _fsync_folder(final.parent)\n            return made": "            return made"}, POWER),
    _m("fsync-taken-name", "fsync", "the folder, when the name was taken already", "store",
       {"            _fsync_folder(final.parent)\n            return made":
        "            if made:\n                _fsync_folder(final.parent)\n            return made"}, POWER),
    _m("fsync-new-folder", "fsync", "the parent of a folder that was made", "store",
       {"                path.mkdir()\n            _fsync_folder(path.parent)": "                path.mkdir()"}, POWER),
    _m("fsync-new-root", "fsync", "the parents of a store that was made", "store",
       {"            for path in missing:\n                _fsync_folder(path.parent)\n": ""}, POWER),
    _m("fsync-sqlite", "fsync", "SQLite's synchronous=EXTRA", "catalog_engine",
       {'    connection.execute("PRAGMA synchronous=EXTRA")\n': '    connection.execute("PRAGMA synchronous=OFF")\n'},
       "catalog.py"),
    _m("fsync-rebuilt-name", "fsync", "the folder in which a replica that was made again gets its name", "admission",
       {"            os.fsync(folder)\n": "            pass\n"}, POWER),
    # ---- fences
    _m("fence-ratify", "fence", "the catalog's epoch, when a version is decided", "catalog",
       {"            if (now.meta.epoch, now.meta.epoch_id) != (new.epoch, new.epoch_id):": "            if False:"}, "catalog.py"),
    _m("fence-publish", "fence", "a newer epoch's marker, when a version is published", "replicas",
       {"if seen is not None and markers.supersedes(seen, *self._epoch):": "if False:"}, "commit.py", "replicas.py"),
    _m("fence-epoch-id", "fence", "two epochs of one number are told apart", "markers",
       {" or (seen.epoch == epoch and seen.epoch_id != epoch_id)": ""}, "guards.py"),
    _m("fence-witnesses", "fence", "a catalog is made again only from N-W+1 replicas or more", "epochs",
       {"    if len(told) >= enough:\n        return\n    said": "    if True:\n        return\n    said"}, "recover.py"),
    _m("fence-mark", "fence", "a new epoch is noted on replicas at all", "epochs",
       {"            markers.put(store, markers.epoch_key(meta.epoch), epoch_marker(meta))\n": ""}, "guards.py"),
    _m("fence-behind-epoch", "fence", "a catalog older than an epoch that a replica has seen decides nothing",
       "admission", {"if seen is not None and markers.supersedes(seen, self._meta.epoch, self._meta.epoch_id):":
                     "if False:"}, "guards.py"),
    _m("fence-behind-log", "fence", "a catalog that does not know what a replica published decides nothing",
       "admission", {"        if at is None or (record(at, self._meta.lineage) != newest and newest.epoch >= at.epoch):":
                     "        if False:"}, "recover.py"),
    _m("fence-gone-back", "fence", "a replica that went back in time takes no part", "admission",
       {"        if has < had:": "        if False:"}, "recover.py", "admission.py"),
    _m("fence-marker", "fence", "a replica without its marker takes no part", "admission",
       {"        if self._head is not None or any(not key.startswith(known) for key in store.list(\"\")):":
        "        if False:"}, "recover.py"),
    _m("fence-lineage", "fence", "a replica of another index takes no part", "admission",
       {"    if (found.lineage, found.id) != (lineage, member.id):": "    if False:"}, "recover.py"),
    _m("fence-incarnation", "fence", "a member that was replaced takes no part", "admission",
       {"    if found.incarnation != member.incarnation:": "    if False:"}, "recover.py", "membership.py"),
    _m("fence-first-version", "fence", "a new epoch begins with a version of its own", "commit",
       {"        if head is not None and head.epoch != self.meta.epoch:": "        if False:"}, "recover.py", "commit.py"),
    _m("fence-aborted", "fence", "an aborted transaction is never ratified", "catalog",
       {"            if db.execute(TRANSACTIONS.update().where(mine).values(status=\"committed\")).rowcount != 1:":
        "            if db.execute(TRANSACTIONS.update().where(mine).values(status=\"committed\")).rowcount > 1:"},
       "catalog.py", "commit.py"),
    _m("fence-head", "fence", "a version follows the head", "catalog",
       {"            if head != new.version - 1:": "            if False:"}, "catalog.py", "commit.py"),
    _m("fence-alive", "fence", "what a live writer has begun is not aborted", "recover",
       {"        if held is None:\n            continue\n": "", "            held.release()": "            _ = held and held.release()"},
       "recover.py"),
    _m("fence-floor", "fence", "only the present epoch lets versions expire", "catalog",
       {"            if now.meta.epoch_id != epoch_id:": "            if False:"}, "guards.py"),
    # ---- checksums
    _m("sum-block", "checksum", "a block's XXH3, when it is first read", "blob",
       {"lambda data: _sum(data) == self._sums[number])": "lambda data: True)"}, "blob.py"),
    _m("sum-held", "checksum", "the blocks of a small blob, when it is opened", "blob",
       {"            if _sum(memoryview(data)[number * BLOCK : min((number + 1) * BLOCK, self.size)]) != expected:":
        "            if False:"}, "blob.py", "reader.py"),
    _m("sum-page", "checksum", "what is read of a block again", "blob",
       {"lambda data: _page_sums(data) == sums[8 * page : 8 * beyond])": "lambda data: True)"}, "guards.py"),
    _m("sum-trailer", "checksum", "the trailer's own sum, when a blob is opened", "blob",
       {"        if xxhash.xxh3_128_hexdigest(tail) != self.ref.sums:": "        if False:"}, "guards.py"),
    _m("sum-digest", "checksum", "sha256 against the name", "blob",
       {'    if whole.hexdigest() != ref.name.split(".", 1)[0]:': "    if False:"}, "blob.py", "replicas.py", "verify.py"),
    _m("sum-framed", "checksum", "the digest of records and markers", "framed",
       {"    if rest != _digest(body):": "    if False:",
        "    if encode(found) != data:": '    if encode(found).partition(b"\\n")[0] != body:'}, "log.py", "verify.py"),
    _m("sum-framed-kind", "checksum", "a record or marker is of the kind that its name says", "framed",
       {"    if encode(found) != data:": "    if False:"}, "log.py", "verify.py", "repair.py"),
    _m("sum-record-name", "checksum", "a record against its own name", "log",
       {"    if (record.version, record.epoch) != (version, epoch):": "    if False:"}, "log.py"),
    _m("sum-marker-name", "checksum", "an epoch's marker against its own name", "markers",
       {"    if epoch_key(found.epoch) != known[-1]:": "    if False:"}, "guards.py"),
    _m("sum-catalog", "checksum", "what the catalog wrote in a row", "catalog_schema",
       {'    if row["seal"] != _seal(*values):': "    if False:"}, "catalog.py"),
    # ---- read-backs
    _m("back-put", "read-back", "sha256 of a blob after it was put", "copying",
       {"    try:\n        check_stored(store, ref)\n": "    try:\n        pass\n"}, "replicas.py"),
    _m("back-copy", "read-back", "every byte of what a replica is made from", "copying",
       {"    if path is not None:\n        blob.check(path, ref)\n": "    if path is not None:\n"},
       "replicas.py", "recover.py"),
    _m("back-record", "read-back", "a record whose name is taken is compared", "replicas",
       {"    if not store.put_if_absent(key, data) and store.get(key) != data:\n        raise Corrupt(f\"{store.name}: "
        "{key} is not what the catalog decided": "    if store.put_if_absent(key, data) is None:\n        raise Corrupt("
        "f\"{store.name}: {key} is not what the catalog decided"}, "guards.py"),
    _m("back-confirm", "read-back", "a replica's log is compared with what was decided", "replicas",
       {"    if store.get(key) != data:\n": "    if False:\n"}, "replicas.py"),
    _m("back-marker", "read-back", "a marker whose name is taken is compared", "markers",
       {"    if not store.put_if_absent(key, data) and store.get(key) != data:": "    if store.put_if_absent(key, data) is None:"},
       "replicas.py"),
    _m("back-settle", "read-back", "the catalog is asked after a lost reply", "commit",
       {"            if committed:\n                return True\n            raise": "            raise"}, "commit.py"),
    _m("back-unknown", "read-back", "an outcome that cannot be learned is called unknown", "commit",
       {"            except IndexFault as silence:\n                raise Unknown(":
        "            except IndexFault as silence:\n                raise Conflict("}, "commit.py"),
    _m("back-link", "read-back", "a link whose reply was lost counts as made", "store",
       {"        return temp.samefile(final)": "        return False"}, "store.py"),
    _m("back-412", "read-back", "a put that a store calls taken is looked at", "object_store",
       {"                return self._is_mine(key, body, holder, mark, doubtful=patience.turn > 0)": "                return False"}, "object_store.py", "object_faults.py"),
    _m("back-healed", "read-back", "a blob after it was repaired", "healing",
       {"    if scrub.examine(patient.store, ref, rate) is not Copy.WHOLE:": "    if False:"}, "guards.py"),
    # ---- quorum and order
    _m("order-quorum", "order", "a quorum is W", "replicas",
       {"        return len(self.ids & done) >= self.needed": "        return len(self.ids & done) >= self.needed - 1"},
       "replicas.py", "commit.py"),
    _m("order-closure", "order", "a version is published with all that it needs", "replicas",
       {"                    self._ensure(store, ref)": "                    pass"}, "replicas.py", "recover.py"),
    _m("order-parent", "order", "a version is published after the one before it", "replicas",
       {"        for version in decided(at.version if at is not None else 0):": "        for version in [upto]:"},
       "replicas.py", "recover.py"),
    _m("order-publish-first", "order", "a version that was decided and not published is published first", "commit",
       {"                if decided is not None and not self.replicas.published(decided):": "                if False:"}, "guards.py"),
    _m("order-marker-last", "order", "a replica that is made again has its marker and its name last", "admission",
       {"            self._replicas.catch_up(member.id, fresh, self._catalog.since, self._head)\n": ""}, "durability.py::test_a_replica_that_is_made_again_is_absent_until_it_is_whole"),
    _m("order-reader-forward", "order", "a reader never goes back", "reader", {"                    newer = _age(published) > _age(old.published)": "                    newer = True"}, "reader.py", "failover.py"),
    # ---- collector
    _m("collect-open", "collector", "what an open transaction put stays", "collect",
       {" and txn not in snapshot.open": ""}, "collect.py"),
    _m("collect-needed", "collector", "what a version needs stays", "collect",
       {"name not in needed": "True"}, "collect.py"),
    _m("collect-order", "collector", "replicas are listed before the catalog is asked", "collect",
       {"    listed = [key for key in store.list(BLOBS) if key.count(\"/\") == 2]\n    snapshot = _snapshot(writer)\n":
        "    snapshot = _snapshot(writer)\n"
        "    listed = [key for key in store.list(BLOBS) if key.count(\"/\") == 2]\n"}, "guards.py"),
    _m("collect-note", "collector", "what expired is noted on a quorum before anything goes", "collect",
       {"        _note(writer, floor)\n": ""}, "collect.py"),
    _m("collect-noted-here", "collector", "nothing goes from a replica that has not noted it", "collect",
       {"    if not dry_run and floor and markers.floor(store) < floor:": "    if False:"}, "guards.py"),
    _m("collect-epoch", "collector", "a collector of an older epoch deletes nothing", "collect",
       {"    if snapshot.meta.epoch_id != writer.meta.epoch_id:": "    if False:"}, "guards.py"),
    _m("collect-head", "collector", "the newest version never expires", "catalog",
       {"            if version >= _head(db):": "            if False:"}, "catalog.py"),
)  # fmt: skip
BY_NAME = {mutant.name: mutant for mutant in ALL}
