"""How many files, and so connections, this process may have open."""

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

_SPARE = 256  # for uploads, databases and what pipelines open
_NO_LIMIT = 1 << 20


def raise_limit() -> int:
    """Open as many files as the system allows this process to; how many that is."""
    if resource is None:
        return _NO_LIMIT
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _NO_LIMIT if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # a system with a limit beyond its limits
            return soft
    return max(soft, wanted)


def connections_within(files: int) -> int:
    """How many connections leave some of *files* for other things."""
    return max(files // 2, files - _SPARE)
