"""What memory can be had: /proc/meminfo and control groups of both versions, as files in a folder."""

from povwatch.gpu import host_memory

GB = 10**9
KB = 1024
UNLIMITED = 9223372036854771712
"""What version 1 says where there is no limit."""


def machine(root, *, free_kb=8_000_000, groups="0::/\n"):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 16000000 kB\nMemAvailable: {free_kb} kB\n")
    (root / "proc/self/cgroup").write_text(groups)


def version_2(root, group, limit, current=0, cached=0):
    folder = root / host_memory.GROUPS / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\nactive_file 0\n")


def version_1(root, group, limit, usage=0, cached=0):
    folder = root / host_memory.GROUPS / "memory" / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{usage}\n")
    stat = f"inactive_file 7\nactive_file 7\ntotal_inactive_file {cached}\ntotal_active_file 0\n"
    (folder / "memory.stat").write_text(stat)


def test_what_the_kernel_says(tmp_path):
    """Without a limit, memory is what /proc/meminfo says."""
    machine(tmp_path, groups="0::/system.slice\n")
    assert host_memory.available(tmp_path) == 8_000_000 * KB
    assert host_memory.total(tmp_path) == 16_000_000 * KB


def test_where_nobody_knows(tmp_path):
    """Without /proc/meminfo nobody knows how much memory there is."""
    assert host_memory.available(tmp_path) is None
    assert host_memory.total(tmp_path) is None


def test_limits_of_groups_above_count(tmp_path):
    """The limit of any group above us counts, and the page cache makes room."""
    machine(tmp_path, groups="0::/a/b\n")
    version_2(tmp_path, "a", 4 * GB, 3 * GB, GB)
    version_2(tmp_path, "a/b", "max", 3 * GB)
    assert host_memory.available(tmp_path) == 2 * GB
    assert host_memory.total(tmp_path) == 4 * GB


def test_version_1_counts_as_well(tmp_path):
    machine(tmp_path, groups="12:cpu,cpuacct:/a\n4:memory:/a/b\n0::/a/b\n")
    version_1(tmp_path, "", UNLIMITED)
    version_1(tmp_path, "a", 6 * GB, 5 * GB, 2 * GB)
    version_1(tmp_path, "a/b", UNLIMITED, 5 * GB)
    assert host_memory.available(tmp_path) == 3 * GB
    assert host_memory.total(tmp_path) == 6 * GB


def test_container_without_a_namespace(tmp_path):
    """A container without a namespace of its own sees its group at the top."""
    machine(tmp_path, groups="4:memory:/docker/0123456789ab\n")
    version_1(tmp_path, "", 2 * GB, GB)
    assert host_memory.available(tmp_path) == GB
    assert host_memory.total(tmp_path) == 2 * GB


def test_limit_above_the_machine_is_none(tmp_path):
    machine(tmp_path)
    version_2(tmp_path, "", 64 * GB)
    assert host_memory.total(tmp_path) == 16_000_000 * KB


def test_this_machine_says_something():
    assert 0 < host_memory.available() <= host_memory.total()
