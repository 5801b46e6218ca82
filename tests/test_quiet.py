"""Nothing phones home unless its owner asks for it."""

import os
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


@pytest.mark.parametrize("use", ["import posthog; posthog.Posthog", "from posthog.client import Client"])
def test_what_reports_to_the_makers_is_loaded_when_somebody_uses_it(use: str) -> None:
    code = (
        "import sys, hayhooks.server.main, posthog\n"
        "assert 'posthog.client' not in sys.modules\n"
        f"{use}\n"
        "assert 'posthog.client' in sys.modules\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HAYSTACK_TELEMETRY_ENABLED"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
