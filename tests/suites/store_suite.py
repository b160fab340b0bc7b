"""What every `Store` promises. A store's own test file subclasses `StoreSuite` and gives it a store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest


class StoreSuite:
    """Subclasses define a fixture `store`: an empty store that is there."""

    def test_a_value_comes_back_as_it_was_put(self, store, tmp_path):
        """Bytes and files are kept whole, the empty ones too."""
        source = tmp_path / "source.bin"
        source.write_bytes(b"from a file" * 200_000)
        assert store.put_if_absent("a/bytes", b"plain") is True
        assert store.put_if_absent("a/file", source) is True
        assert store.put_if_absent("empty", b"") is True
        assert store.get("a/bytes") == b"plain"
        assert store.get("a/file") == source.read_bytes()
        assert store.get("empty") == b""
        assert source.exists()

    def test_the_first_value_stays(self, store):
        """A second put of a key returns False and changes nothing."""
        assert store.put_if_absent("log/1", b"first") is True
        assert store.put_if_absent("log/1", b"second") is False
        assert store.get("log/1") == b"first"

    def test_one_of_many_racers_wins(self, store):
        """Of sixteen racing puts exactly one returns True, and its value is the one that is there."""
        for turn in range(5):
            with ThreadPoolExecutor(16) as pool:
                puts = [pool.submit(store.put_if_absent, f"race/{turn}", b"%d" % n) for n in range(16)]
            won = [n for n, put in enumerate(puts) if put.result()]
            assert len(won) == 1
            assert store.get(f"race/{turn}") == b"%d" % won[0]

    def test_what_is_not_there_is_said_to_be_missing(self, store):
        """Getting raises FileNotFoundError, the size and the path are None, deleting does nothing."""
        store.put_if_absent("there", b"x")
        for key in ("nowhere", "no/where", "there/below"):
            with pytest.raises(FileNotFoundError):
                store.get(key)
            assert store.size(key) is None
            assert store.local_path(key) is None
            store.delete(key)
        assert store.get("there") == b"x"

    def test_a_range_is_those_bytes_and_no_more(self, store):
        """A range gives bytes [start, end), fewer at the end of the value, none beyond it."""
        store.put_if_absent("a", b"0123456789")
        store.put_if_absent("empty", b"")
        ranges = {(0, 10): b"0123456789", (3, 5): b"34", (8, 99): b"89", (10, 20): b"", (50, 60): b"", (4, 4): b""}
        for (start, end), wanted in ranges.items():
            assert store.get_range("a", start, end) == wanted
        assert store.get_range("empty", 0, 5) == b""
        for start, end in ((0, 5), (5, 5)):
            with pytest.raises(FileNotFoundError):
                store.get_range("nowhere", start, end)
        with pytest.raises(ValueError, match="range"):
            store.get_range("a", -1, 5)

    def test_a_large_value_comes_back_whole(self, store, tmp_path):
        """Tens of megabytes, from a file: whole, and in ranges across any piece that a store may use."""
        source = tmp_path / "large.bin"
        with source.open("wb") as out:
            for number in range(40):
                out.write(number.to_bytes(4, "big") * (1 << 18))
        assert store.put_if_absent("large", source) is True
        assert store.put_if_absent("large", source) is False
        assert store.size("large") == 40 << 20
        assert store.get("large") == source.read_bytes()
        assert (
            store.get_range("large", (7 << 20) - 2, (17 << 20) + 2)
            == source.read_bytes()[(7 << 20) - 2 : (17 << 20) + 2]
        )

    def test_sizes_are_bytes(self, store):
        """The size is that of the value."""
        store.put_if_absent("five", b"12345")
        assert store.size("five") == 5

    def test_keys_are_listed_below_a_folder_in_order(self, store):
        """Listing yields whole keys, sorted, at any depth, below that folder only."""
        keys = ["log/2", "log/10", "log/deep/er", "logs/1", "log.d", "marker"]
        for key in keys:
            store.put_if_absent(key, b"x")
        assert list(store.list("log/")) == ["log/10", "log/2", "log/deep/er"]
        assert list(store.list("")) == sorted(keys)
        assert list(store.list("nothing/")) == []

    def test_a_prefix_is_a_folder(self, store):
        """A prefix without its slash is refused: it would mean different things in different stores."""
        with pytest.raises(ValueError, match="slash"):
            store.list("log")

    def test_a_deleted_key_may_be_put_again(self, store):
        """Deleting forgets the key; deleting it twice is as good as once."""
        store.put_if_absent("k", b"old")
        store.delete("k")
        store.delete("k")
        assert store.size("k") is None
        assert store.put_if_absent("k", b"new") is True
        assert store.get("k") == b"new"

    @pytest.mark.parametrize(
        "key", ["", "/etc/passwd", "a/../b", "..", ".", "a//b", "a/", "./a", "a\0b", "a\\b", "a b", "ü", "a\n"]
    )
    def test_what_is_no_key_is_refused(self, store, key):
        """No key leaves the store, and none means two things."""
        for use in (store.get, store.size, store.delete, store.local_path):
            with pytest.raises(ValueError, match="key"):
                use(key)
        for use in (lambda: store.put_if_absent(key, b"x"), lambda: store.get_range(key, 0, 1)):
            with pytest.raises(ValueError, match="key"):
                use()

    def test_nothing_unfinished_is_listed(self, store):
        """The store's own temporary keys are never listed with the rest, nor put by anybody else."""
        store.put_if_absent("a", b"x")
        store.probe()
        assert list(store.list("")) == ["a"]
        with pytest.raises(ValueError, match="tmp"):
            store.put_if_absent("tmp/mine", b"x")

    def test_a_local_path_holds_the_value(self, store):
        """If a store gives a path, reading it gives the value."""
        store.put_if_absent("a/b", b"mapped")
        path = store.local_path("a/b")
        assert path is None or path.read_bytes() == b"mapped"
