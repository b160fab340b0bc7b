"""Free memory is what the machine and every container around this process leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.embed.engine.memory import Memory, host

GIB = 1 << 30


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine of 64 GiB with 48 to spare."""
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "meminfo").write_text(f"MemTotal: {64 << 20} kB\nMemFree: {10 << 20} kB\nMemAvailable: {48 << 20} kB\n")
    (folder / "self" / "cgroup").write_text("0::/\n")
    return folder


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    folder = tmp_path / "cgroup"
    folder.mkdir()
    return folder


def _group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, said in files.items():
        (folder / name.replace("__", ".")).write_text(f"{said}\n")


def test_a_machine_without_limits_says_what_is_available(proc: Path, cgroup: Path) -> None:
    """What the kernel calls available counts, not what happens to be unused."""
    assert host(proc, cgroup) == Memory(48 * GIB, 64 * GIB, "machine")


def test_an_old_kernel_is_estimated(proc: Path, cgroup: Path) -> None:
    """Without MemAvailable, free memory and page cache."""
    (proc / "meminfo").write_text(f"MemTotal: {64 << 20} kB\nMemFree: {3 << 20} kB\nCached: {4 << 20} kB\n")
    assert host(proc, cgroup) == Memory(7 * GIB, 64 * GIB)


def test_a_container_of_version_2_counts(proc: Path, cgroup: Path) -> None:
    """Limit less use; pages of files that nobody touched lately are as good as free."""
    stat = f"anon 1\ninactive_file {GIB}\nactive_file {GIB}"
    _group(cgroup, memory__max=8 * GIB, memory__high="max", memory__current=5 * GIB, memory__stat=stat)
    assert host(proc, cgroup) == Memory(4 * GIB, 8 * GIB, "cgroup v2")


def test_the_tightest_group_above_counts(proc: Path, cgroup: Path) -> None:
    """A service without a limit of its own, in a slice that has one; memory.high throttles before memory.max kills."""
    (proc / "self" / "cgroup").write_text("0::/batch.slice/penstock.service\n")
    _group(cgroup / "batch.slice", memory__max=16 * GIB, memory__high=6 * GIB, memory__current=5 * GIB)
    _group(cgroup / "batch.slice" / "penstock.service", memory__max="max", memory__current=GIB)
    assert host(proc, cgroup) == Memory(GIB, 6 * GIB, "cgroup v2")


def test_a_container_of_version_1_counts(proc: Path, cgroup: Path) -> None:
    """The path is the host's and is not there: the container's own group is the root of what it sees."""
    (proc / "self" / "cgroup").write_text("11:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n")
    stat = f"hierarchical_memory_limit {2 * GIB}\ntotal_inactive_file {GIB // 2}"
    _group(
        cgroup / "memory",
        memory__limit_in_bytes=3 * GIB,
        memory__usage_in_bytes=GIB,
        memory__stat=stat,
    )
    assert host(proc, cgroup) == Memory(3 * GIB // 2, 2 * GIB, "cgroup v1")


def test_version_1_without_a_limit_is_no_limit(proc: Path, cgroup: Path) -> None:
    """It says a number near 2^63 for that."""
    (proc / "self" / "cgroup").write_text("4:memory:/\n")
    _group(cgroup / "memory", memory__limit_in_bytes=9223372036854771712, memory__usage_in_bytes=GIB)
    assert host(proc, cgroup) == Memory(48 * GIB, 64 * GIB, "machine")


def test_a_group_beyond_its_limit_has_nothing_free(proc: Path, cgroup: Path) -> None:
    """Never less than nothing."""
    _group(cgroup, memory__max=GIB, memory__current=2 * GIB)
    found = host(proc, cgroup)
    assert found is not None and found.free == 0 and found.cap(0.5) == 0


def test_what_is_not_there_is_not_known(tmp_path: Path) -> None:
    """A system without these files is no error."""
    assert host(tmp_path / "none", tmp_path / "neither") is None


def test_garbage_is_not_believed(proc: Path, cgroup: Path) -> None:
    """Neither words in place of numbers nor a line without its parts."""
    (proc / "self" / "cgroup").write_text("0:/\nnonsense\n0::/../../..\n")
    _group(cgroup, memory__max="lots", memory__current="some", memory__stat="inactive_file\n\nx y z")
    assert host(proc, cgroup) == Memory(48 * GIB, 64 * GIB, "machine")


def test_this_machine_answers() -> None:
    """The real files are read."""
    found = host()
    assert found is not None and 0 < found.free <= found.total
