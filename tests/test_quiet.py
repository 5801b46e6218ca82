"""Nothing phones home unless its owner asks for it."""

import subprocess
import sys
from pathlib import Path

import pytest

LOOK = "import hayhooks.server.app; import haystack.telemetry._telemetry as t; print(t.telemetry)"


def test_haystack_reports_no_usage_unless_it_is_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where Haystack would write an id of this user
    monkeypatch.delenv("HAYSTACK_TELEMETRY_ENABLED", raising=False)
    found = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.strip() == "None"
    assert list(tmp_path.iterdir()) == []
