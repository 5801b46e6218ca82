"""A headless Chromium that opens a page and gives back what the page's script has written into it."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--no-proxy-server",
    # Pages of the tests are on loopback, where no page of the internet may look; the server must not rely on that.
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessChecks",
)  # fmt: skip

# Tries each request as a page can, one after another, and writes down what it could read of the answers.
_SCRIPT = """
const requests = %s;
async function attempt([method, url, body, mode]) {
  const options = {method, mode};
  if (body !== null) {
    options.body = JSON.stringify(body);
    if (mode !== "no-cors") options.headers = {"content-type": "application/json"};
  }
  try {
    const answer = await fetch(url, options);
    return {type: answer.type, status: answer.status, text: await answer.text()};
  } catch (error) {
    return {error: String(error)};
  }
}
(async () => {
  const answers = [];
  for (const request of requests) answers.push(await attempt(request));
  document.getElementById("answers").textContent = JSON.stringify(answers);
})();
"""
Request = tuple[str, str, Any, str]  # method, address, JSON body or None, "cors" or "no-cors"


def page_that_calls(requests: list[Request]) -> str:
    """A page that makes *requests* when it is opened."""
    return f'<!doctype html><pre id="answers"></pre><script>{_SCRIPT % json.dumps(requests)}</script>'


def page_with_a_form_that_posts(address: str) -> str:
    """A page that submits a form to *address*, which leads the browser there."""
    field = '<input name=\'{"name":"intruder","files":{"pipeline_wrapper.py":"x=1"},"z":"\' value=\'"}\'>'
    form = f'<form method="post" action="{address}" enctype="text/plain">{field}</form>'
    return f"<!doctype html>{form}<script>document.forms[0].submit()</script>"


def open_page(url: str, profile: Path, *flags: str) -> str:
    """The HTML of the page at *url* once its scripts have run."""
    assert CHROMIUM
    command = [
        CHROMIUM, *_FLAGS, *flags, "--virtual-time-budget=20000", f"--user-data-dir={profile}", "--dump-dom", url,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def answers_in(html: str) -> list[dict[str, Any]]:
    """What the page of ``page_that_calls`` could read."""
    found = re.search(r'<pre id="answers">(.*?)</pre>', html, re.DOTALL)
    assert found, html[:500]
    assert found[1], "the page's script has not come to its end"
    answers: list[dict[str, Any]] = json.loads(unescape(found[1]))
    return answers
