"""The README's commands work as it says."""

import re
import subprocess
from pathlib import Path

from hayhooks.testing import running_server
from tests.support.manual import Reader, blocks
from tests.support.readme import ROOT

README = ROOT / "README.md"


def test_a_newcomer_who_follows_the_readme_sees_what_it_says(tmp_path: Path) -> None:
    with running_server(tmp_path / "pipelines") as server:
        reader = Reader(tmp_path, server)
        for block in blocks(README):
            reader.follow(block)


def test_the_commands_of_the_readme_are_targets_that_do_all_the_set_up() -> None:
    named = set(re.findall(r"(?m)^make (\w+)$", README.read_text()))
    assert named == {"demo", "test"}
    for target in named:
        rules = (ROOT / "Makefile").read_text()
        assert re.search(rf"(?m)^{target}: setup$", rules)
    # Not run, only resolved: a rule that is missing on the way to a target would be an error.
    done = subprocess.run(["make", "--dry-run", *sorted(named)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_manual_and_the_licence_are_one_step_away() -> None:
    text = README.read_text()
    for target in ("docs/README.md", "docs/getting-started.md", "CONTRIBUTING.md", "LICENSE", "CHANGELOG.md"):
        assert f"({target})" in text
        assert (ROOT / target).is_file()
