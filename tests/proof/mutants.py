"""Every guard of the index, and what happens to the code when it is cut out. Data only; see `mutations`.

`tests`: where a test must fail then, as narrow as is known; given to pytest as they are.
"""

# ruff: noqa: E501  (lines of the code, quoted)
from __future__ import annotations

from dataclasses import dataclass

TESTS = "tests/index/"


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


POWER = "test_durability.py"
ALL: tuple[Mutant, ...] = (
    # ---- fsync
    _m("fsync-file", "fsync", "a value's bytes, before it gets its name", "stores.store",
       {"                os.fsync(out.fileno())\n": ""}, POWER),
    _m("fsync-name", "fsync", "the folder, after a value got its name", "stores.store",
       {"            _fsync_folder(final.parent)\n            return made": "            return made"}, POWER),
    _m("fsync-taken-name", "fsync", "the folder, when the name was taken already", "stores.store",
       {"            _fsync_folder(final.parent)\n            return made":
        "            if made:\n                _fsync_folder(final.parent)\n            return made"}, POWER),
    _m("fsync-new-folder", "fsync", "the parent of a folder that was made", "stores.store",
       {"                path.mkdir()\n            _fsync_folder(path.parent)": "                path.mkdir()"}, POWER),
    _m("fsync-new-root", "fsync", "the parents of a store that was made", "stores.store",
       {"            for path in missing:\n                _fsync_folder(path.parent)\n": ""}, POWER),
    _m("fsync-sqlite", "fsync", "SQLite's synchronous=EXTRA", "catalog.catalog_engine",
       {'    connection.execute("PRAGMA synchronous=EXTRA")\n': '    connection.execute("PRAGMA synchronous=OFF")\n'},
       "catalog/test_catalog.py"),
    _m("fsync-rebuilt-name", "fsync", "the folder in which a replica that was made again gets its name", "commits.admission",
       {"            os.fsync(folder)\n": "            pass\n"}, POWER),
    # ---- fences
    _m("fence-ratify", "fence", "the catalog's epoch, when a version is decided", "catalog.catalog",
       {"            if (now.meta.epoch, now.meta.epoch_id) != (new.epoch, new.epoch_id):": "            if False:"}, "catalog/test_catalog.py"),
    _m("fence-publish", "fence", "a newer epoch's marker, when a version is published", "commits.replicas",
       {"if seen is not None and markers.supersedes(seen, *self._epoch):": "if False:"}, "commits/test_commit.py", "commits/test_replicas.py"),
    _m("fence-epoch-id", "fence", "two epochs of one number are told apart", "commits.markers",
       {" or (seen.epoch == epoch and seen.epoch_id != epoch_id)": ""}, "test_guards.py"),
    _m("fence-witnesses", "fence", "a catalog is made again only from N-W+1 replicas or more", "commits.epochs",
       {"    if len(told) >= enough:\n        return\n    said": "    if True:\n        return\n    said"}, "commits/test_recover.py"),
    _m("fence-mark", "fence", "a new epoch is noted on replicas at all", "commits.epochs",
       {"            markers.put(store, markers.epoch_key(meta.epoch), epoch_marker(meta))\n": ""}, "commits/test_recover.py"),
    _m("fence-behind-epoch", "fence", "a catalog older than an epoch that a replica has seen decides nothing",
       "commits.admission", {"    if seen is not None and markers.supersedes(seen, meta.epoch, meta.epoch_id):":
                     "    if False:"}, "test_guards.py"),
    _m("fence-behind-log", "fence", "a catalog that does not know what a replica published decides nothing",
       "commits.admission", {"    if newest.epoch == meta.epoch:": "    if False:"}, "commits/test_recover.py"),
    _m("fence-gone-back", "fence", "a replica that went back in time takes no part", "commits.admission",
       {"        if has < had:": "        if False:"}, "commits/test_recover.py"),
    _m("fence-marker", "fence", "a replica without its marker takes no part", "commits.admission",
       {"        if self._head is not None or any(not key.startswith(known) for key in store.list(\"\")):":
        "        if False:"}, "commits/test_recover.py"),
    _m("fence-lineage", "fence", "a replica of another index takes no part", "commits.admission",
       {"    if found.lineage != lineage:": "    if False:"}, "commits/test_recover.py"),
    _m("fence-incarnation", "fence", "a member that was replaced takes no part", "commits.admission",
       {"    if found.incarnation != member.incarnation:": "    if False:"}, "commits/test_recover.py", "commits/test_membership.py"),
    _m("fence-first-version", "fence", "a new epoch begins with a version of its own", "commits.commit",
       {"        if head is not None and head.epoch != self.meta.epoch:": "        if False:"}, "commits/test_recover.py", "commits/test_commit.py"),
    _m("fence-aborted", "fence", "an aborted transaction is never ratified", "catalog.catalog",
       {"            if db.execute(TRANSACTIONS.update().where(mine).values(status=\"committed\")).rowcount != 1:":
        "            if db.execute(TRANSACTIONS.update().where(mine).values(status=\"committed\")).rowcount > 1:"},
       "catalog/test_catalog.py", "commits/test_commit.py"),
    _m("fence-head", "fence", "a version follows the head", "catalog.catalog",
       {"            if head != new.version - 1:": "            if False:"}, "catalog/test_catalog.py", "commits/test_commit.py"),
    _m("fence-reused-floor", "fence", "a version that names blobs of an expired one is not decided", "catalog.catalog",
       {"            if above is not None and above <= now.floor:": "            if False:"}, "catalog/test_catalog.py"),
    _m("fence-reused", "fence", "a rollback says which version's blobs it names", "care.rollback",
       {"        attempt.reuses.add(self._to)\n": ""}, "care/test_rollback.py"),
    _m("fence-held", "fence", "what was planned before a rollback does not undo it", "commits.effects",
       {"        if was.get(doc.uri) != now or doc.source in held:": "        if was.get(doc.uri) != now:"}, "care/test_rollback.py"),
    _m("fence-merged", "fence", "a merge without rows that came back to life is dropped", "care.compact",
       {"        if not all(then <= now for then, now in zip(self._buried, dead, strict=True)):": "        if False:"},
       "care/test_rollback.py"),
    _m("fence-kept", "order", "what a rollback names lies on enough replicas before it is decided", "commits.commit",
       {"            self.replicas.keep_blobs([ref for name, ref in needed.items() if name not in there])\n": "            pass\n"},
       "care/test_rollback.py"),
    _m("fence-alive", "fence", "what a live writer has begun is not aborted", "commits.recover",
       {"        if held is None:\n            continue\n": "", "            held.release()": "            _ = held and held.release()"},
       "commits/test_recover.py"),
    _m("fence-floor", "fence", "only the present epoch lets versions expire", "catalog.catalog",
       {"            if now.meta.epoch_id != epoch_id:": "            if False:"}, "test_guards.py"),
    # ---- checksums
    _m("sum-block", "checksum", "a block's XXH3, when it is first read", "blobs.blob",
       {"lambda data: _sum(data) == self._sums[number])": "lambda data: True)"}, "blobs/test_blob.py"),
    _m("sum-held", "checksum", "the blocks of a small blob, when it is opened", "blobs.blob",
       {"            if _sum(memoryview(data)[number * BLOCK : min((number + 1) * BLOCK, self.size)]) != expected:":
        "            if False:"}, "blobs/test_blob.py", "reading/test_reader.py"),
    _m("sum-page", "checksum", "what is read of a block again", "blobs.blob",
       {"lambda data: _page_sums(data) == sums[8 * page : 8 * beyond])": "lambda data: True)"}, "test_guards.py"),
    _m("sum-trailer", "checksum", "the trailer's own sum, when a blob is opened", "blobs.blob",
       {"        if xxhash.xxh3_128_hexdigest(tail) != self.ref.sums:": "        if False:"}, "test_guards.py"),
    _m("sum-digest", "checksum", "sha256 against the name", "blobs.blob",
       {'    if whole.hexdigest() != ref.name.split(".", 1)[0]:': "    if False:"}, "blobs/test_blob.py", "commits/test_replicas.py", "care/test_verify.py"),
    _m("sum-framed", "checksum", "the digest of records and markers", "blobs.framed",
       {"    if rest != _digest(body):": "    if False:",
        "    if encode(found) != data:": '    if encode(found).partition(b"\\n")[0] != body:'}, "commits/test_log.py", "care/test_verify.py"),
    _m("sum-framed-kind", "checksum", "a record or marker is of the kind that its name says", "blobs.framed",
       {"    if encode(found) != data:": "    if False:"}, "commits/test_log.py", "care/test_verify.py", "care/test_repair.py"),
    _m("sum-record-name", "checksum", "a record against its own name", "commits.log",
       {"    if (record.version, record.epoch) != (version, epoch):": "    if False:"}, "commits/test_log.py"),
    _m("sum-marker-name", "checksum", "an epoch's marker against its own name", "commits.markers",
       {"    if epoch_key(found.epoch) != known[-1]:": "    if False:"}, "test_guards.py"),
    _m("sum-catalog", "checksum", "what the catalog wrote in a row", "catalog.catalog_schema",
       {'    if row["seal"] != _seal(*values):': "    if False:"}, "catalog/test_catalog.py"),
    # ---- read-backs
    _m("back-put", "read-back", "sha256 of a blob after it was put", "blobs.copying",
       {"    try:\n        check_stored(store, ref)\n": "    try:\n        pass\n"}, "commits/test_replicas.py"),
    _m("back-copy", "read-back", "every byte of what a replica is made from", "blobs.copying",
       {"    if path is not None:\n        blob.check(path, ref)\n": "    if path is not None:\n"},
       "commits/test_replicas.py", "commits/test_recover.py"),
    _m("back-record", "read-back", "a record whose name is taken is compared", "commits.replicas",
       {"    if not store.put_if_absent(key, data) and store.get(key) != data:\n        raise Corrupt(f\"{store.name}: "
        "{key} is not what the catalog decided": "    if store.put_if_absent(key, data) is None:\n        raise Corrupt("
        "f\"{store.name}: {key} is not what the catalog decided"}, "test_guards.py"),
    _m("back-confirm", "read-back", "a replica's log is compared with what was decided", "commits.replicas",
       {"    if store.get(key) != data:\n": "    if False:\n"}, "commits/test_replicas.py"),
    _m("back-marker", "read-back", "a marker whose name is taken is compared", "commits.markers",
       {"    if not store.put_if_absent(key, data) and store.get(key) != data:": "    if store.put_if_absent(key, data) is None:"},
       "commits/test_replicas.py"),
    _m("back-settle", "read-back", "the catalog is asked after a lost reply", "commits.commit",
       {"            if committed:\n                return True\n            raise": "            raise"}, "commits/test_commit.py"),
    _m("back-unknown", "read-back", "an outcome that cannot be learned is called unknown", "commits.commit",
       {"            except IndexFault as silence:\n                raise Unknown(":
        "            except IndexFault as silence:\n                raise Conflict("}, "commits/test_commit.py"),
    _m("back-link", "read-back", "a link whose reply was lost counts as made", "stores.store",
       {"        return temp.samefile(final)": "        return False"}, "stores/test_store.py"),
    _m("back-412", "read-back", "a put that a store calls taken is looked at", "stores.object_store",
       {"                return self._is_mine(key, body, holder, mark, doubtful=patience.turn > 0)": "                return False"}, "stores/test_object_store.py", "stores/test_object_faults.py"),
    _m("back-healed", "read-back", "a blob after it was repaired", "care.healing",
       {"    if scrub.examine(patient.store, ref, rate) is not Copy.WHOLE:": "    if False:"}, "test_guards.py"),
    # ---- quorum and order
    _m("order-quorum", "order", "a quorum is W", "commits.replicas",
       {"        return len(self.ids & done) >= self.needed": "        return len(self.ids & done) >= self.needed - 1"},
       "commits/test_replicas.py", "commits/test_commit.py"),
    _m("order-closure", "order", "a version is published with all that it needs", "commits.replicas",
       {"                    self._ensure(store, ref)": "                    pass"}, "commits/test_replicas.py", "commits/test_recover.py"),
    _m("order-parent", "order", "a version is published after the one before it", "commits.replicas",
       {"        for version in decided(at.version if at is not None else 0):": "        for version in [upto]:"},
       "commits/test_replicas.py", "commits/test_recover.py"),
    _m("order-publish-first", "order", "a version that was decided and not published is published first", "commits.commit",
       {"                if decided is not None and not self.replicas.published(decided):": "                if False:"}, "test_guards.py"),
    _m("order-marker-last", "order", "a replica that is made again has its marker and its name last", "commits.admission",
       {"            self._replicas.catch_up(member.id, fresh, self._catalog.since, self._head)\n": ""}, "test_durability.py::test_a_replica_that_is_made_again_is_absent_until_it_is_whole"),
    _m("order-reader-forward", "order", "a reader never goes back", "reading.reader", {"                    newer = _age(published) > _age(old.published)": "                    newer = True"}, "reading/test_reader.py", "test_failover.py"),
    _m("fence-members", "fence", "a writer formed for other replicas stops", "commits.commit",
       {"                if attempt.head.membership not in self.memberships:": "                if False:"}, "commits/test_membership.py"),
    _m("fence-expired", "fence", "a catalog put back below what expired acknowledges nothing", "commits.replicas",
       {"            if expired >= upto.version:": "            if False:"}, "commits/test_recover.py"),
    _m("fence-founding", "fence", "nothing is founded while a replica cannot be looked at", "commits.recover",
       {"    if silent is not None:": "    if False:"}, "commits/test_recover.py"),
    _m("read-back-forgotten", "read-back", "what the catalog forgot to say was published is not taken as published", "commits.replicas",
       {"        if self._at.get(name) != upto:": "        if False:"}, "commits/test_recover.py"),
    _m("fence-liar", "fence", "a store that ignores conditions is no replica", "commits.admission",
       {"        refuse_liar(store)\n": "        pass\n"}, "test_bucket_replicas.py"),
    # ---- collector
    _m("collect-open", "collector", "what an open transaction put stays", "care.collect",
       {" and txn not in snapshot.open": ""}, "care/test_collect.py"),
    _m("collect-needed", "collector", "what a version needs stays", "care.collect",
       {"name not in needed": "True"}, "care/test_collect.py"),
    _m("collect-order", "collector", "replicas are listed before the catalog is asked", "care.collect",
       {"    listed = [key for key in store.list(BLOBS) if key.count(\"/\") == 2]\n    snapshot = _snapshot(writer)\n":
        "    snapshot = _snapshot(writer)\n"
        "    listed = [key for key in store.list(BLOBS) if key.count(\"/\") == 2]\n"}, "test_guards.py"),
    _m("collect-note", "collector", "what expired is noted on a quorum before anything goes", "care.collect",
       {"        _note(writer, floor)\n": ""}, "care/test_collect.py"),
    _m("collect-noted-here", "collector", "nothing goes from a replica that has not noted it", "care.collect",
       {"    if not dry_run and floor and markers.floor(store) < floor:": "    if False:"}, "test_guards.py"),
    _m("collect-epoch", "collector", "a collector of an older epoch deletes nothing", "care.collect",
       {"    if snapshot.meta.epoch_id != writer.meta.epoch_id:": "    if False:"}, "test_guards.py"),
    _m("collect-head", "collector", "the newest version never expires", "catalog.catalog",
       {"            if version >= _head(db):": "            if False:"}, "catalog/test_catalog.py"),
    # ---- recovery
    _m("ship-record-last", "order", "a version is listed in a DR store when all of its blobs are there", "recovery.shipping",
       {"        self._archive.announce(record)\n        self._reach(\"ship.announced\")\n":
        "        self._archive.announce(record)\n        self._archive.publish(record)\n        self._reach(\"ship.announced\")\n"},
       "recovery/test_shipping.py::test_a_process_that_is_killed_leaves_nothing_half"),
    _m("ship-acknowledged", "fence", "what is not acknowledged yet is not shipped", "recovery.publishedlog",
       {"        enough = len(counted & now) >= members.write_quorum\n": "        enough = bool(counted & now)\n"},
       "recovery/test_follow.py"),
    _m("ship-check-stays", "collector", "what an expiry is about to delete is not built on", "recovery.shipping",
       {"        self._archive.check_stays(self._clock(), blobs=needed)\n        self._doubt()\n": "        self._doubt()\n"},
       "recovery/test_shipping.py::test_an_expiry_that_deletes_what_is_needed_is_waited_out"),
    _m("ship-digest", "checksum", "a blob is shipped when it is what its name says", "recovery.carrying",
       {"    blob.check(data, ref)\n    return data": "    return data"}, "recovery/test_shipping.py::test_a_damaged_copy_is_passed_over"),
    _m("ship-fence", "fence", "an index that was restored elsewhere ships nothing more", "recovery.shipping",
       {"        self._archive.check_not_fenced(self._lineage)\n": ""},
       "recovery/test_shipping.py::test_a_fence_stops_it_also_in_the_middle_of_a_session"),
)  # fmt: skip
BY_NAME = {mutant.name: mutant for mutant in ALL}
