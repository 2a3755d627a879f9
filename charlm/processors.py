"""How many threads to compute with where nobody says: no more than the processors that this process may use."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_CGROUP = Path("/proc/self/cgroup")  # in which control groups this process is
_MOUNT = Path("/sys/fs/cgroup")


def available_threads(sharing: int = 1) -> int:
    """Return how many threads to compute with: affinity, CPU quota and OMP_NUM_THREADS are the limits.

    `sharing` processes of one run divide the processors evenly.
    """
    processors = math.ceil(min(affinity(), cpu_quota()))
    wanted = omp_num_threads(os.environ.get("OMP_NUM_THREADS", ""))
    if wanted == 1 and sharing > 1:  # torchrun sets this itself, wherever it starts several processes
        wanted = None
    return max(1, min(processors // sharing, wanted or processors))


def affinity() -> int:
    """Return on how many processors this process may run."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity to ask for
        return os.cpu_count() or 1


def omp_num_threads(value: str) -> int | None:
    """Return the first number of a value of OMP_NUM_THREADS, such as 4 of "4,2"; None where it makes no sense."""
    found = re.fullmatch(r"\s*\+?([0-9]{1,9})\s*(,.*)?", value)
    return int(found[1]) or None if found else None


def cpu_quota(cgroup: Path = _CGROUP, mount: Path = _MOUNT) -> float:
    """Return the processors' time that this process may take, in processors: the least quota of its control groups.

    Infinity where there is none. Reads both versions of Linux's control groups; `cgroup` is the file that names those
    of the process, `mount` the directory under which they are found.
    """
    return min((quota for group in _groups(cgroup, mount) for quota in _quotas(group)), default=math.inf)


def _groups(cgroup: Path, mount: Path) -> Iterator[Path]:
    """Yield the directories of the groups that may have a quota: the process's own and all above it."""
    for line in _text(cgroup).splitlines():
        found = re.fullmatch(r"[0-9]+:([^:]*):/(.*)", line)
        if found is None:
            continue
        controllers, own = found[1], PurePosixPath(found[2].lstrip("/"))
        bases: list[Path] = []
        if not controllers:  # version 2; where both are in use it stands apart
            bases = [mount, mount / "unified"]
        elif "cpu" in controllers.split(","):
            bases = [mount / "cpu", mount / controllers]
        # A container may see its group's name from outside, which it cannot find; but then the root is its own group.
        inside = [PurePosixPath()] if ".." in own.parts else [own, *own.parents]
        yield from (base / group for base in bases for group in inside)


def _quotas(group: Path) -> Iterator[float]:
    """Yield the quota of one group, in processors, where it has one; of version 2, then of version 1."""
    quota, _, period = _text(group / "cpu.max").partition(" ")
    pairs = [(quota, period), (_text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us"))]
    for quota, period in pairs:
        try:
            share = int(quota) / int(period)
        except (ValueError, ZeroDivisionError):  # "max", or no such file
            continue
        if share > 0:  # -1: no limit
            yield share


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except (OSError, ValueError):
        return ""
