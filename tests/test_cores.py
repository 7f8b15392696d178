"""How many cores a process may keep busy: affinity, and quotas of control groups as files of the tests' own."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnncore_kernels import cores
from rnncore_kernels.cores import Quota

V1 = "5:cpuset:/\n4:cpu,cpuacct:/docker/f00\n1:name=systemd:/\n0::/\n"


def quota_of(root: Path, groups: str, files: dict[str, str]) -> float | None:
    """The quota that a process in these groups reads from these files below the mount of control groups."""
    for name, text in files.items():
        path = root / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "self").write_text(groups)
    return Quota(root / "cgroup", root / "self").current()


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"cpu.max": "max 100000", "a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2.0),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/gone/from/here\n", {"cpu.max": "300000 100000"}, 3.0),
        ("0::/\n", {"cpu.max": "nonsense\n"}, None),
        ("0::/\n", {"cpu.max": "100000 0\n"}, None),
        (V1, {"cpu/docker/f00/cpu.cfs_quota_us": "-1", "cpu/docker/f00/cpu.cfs_period_us": "100000"}, None),
        (V1, {"cpu/docker/f00/cpu.cfs_quota_us": "250000", "cpu/docker/f00/cpu.cfs_period_us": "100000"}, 2.5),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "100000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 1.0),
    ],
)
def test_quota(groups: str, files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    assert quota_of(tmp_path, groups, files) == quota


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert Quota(tmp_path / "cgroup", tmp_path / "self").current() is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 8), (0.1, 1), (1.4, 1), (1.5, 2), (7.6, 8), (64.0, 8)])
def test_usable_cores(quota: float | None, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cores._quota, "current", lambda: quota)
    assert cores.usable_cores() == expected


def test_a_quota_that_changes_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    path = tmp_path / "cgroup" / "cpu.max"
    path.parent.mkdir()
    path.write_text("max 100000")
    (tmp_path / "self").write_text("0::/\n")
    quota = Quota(tmp_path / "cgroup", tmp_path / "self")
    assert quota.current() is None
    path.write_text("100000 100000")
    now[0] += cores.QUOTA_SECONDS
    assert quota.current() == 1.0
