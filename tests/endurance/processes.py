"""What a node's processes are and hold, from /proc."""

from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Those that have ended and were not waited for are among them."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (thread / "children").read_text().split()):
            found += [child, *descendants(child)]
    return sorted(found)


def memory_mb(pid: int) -> float:
    """What is resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
