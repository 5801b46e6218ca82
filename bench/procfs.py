"""What Linux knows about a server: its memory and the processor time it has used."""

import os
import re
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def group(leader: int) -> list[int]:
    """The processes of the process group that *leader* began, workers included."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and int(fields[2]) == leader:
                members.append(int(entry.name))
    return members


def cpu_s(leader: int) -> float:
    """Seconds of processor time that the group of *leader* has used so far."""
    ticks = 0
    for pid in group(leader):
        fields = _stat(pid)
        if fields:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_S


def resident_mb(leader: int) -> float:
    """Memory that the group of *leader* holds now, in MiB."""
    return sum(_status_kb(pid, "VmRSS") for pid in group(leader)) / 1024


def peak_mb(leader: int) -> float:
    """The most memory that the group of *leader* has held since :func:`forget_peak`, in MiB."""
    return sum(_status_kb(pid, "VmHWM") for pid in group(leader)) / 1024


def forget_peak(leader: int) -> None:
    """Let :func:`peak_mb` count from now on."""
    for pid in group(leader):
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the command's name, or None when the process has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _status_kb(pid: int, field: str) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    match = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) if match else 0
