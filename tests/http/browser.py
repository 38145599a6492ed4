"""
The page of documentation and the OpenAPI document in a real browser: `make browser`.

Chromium is driven through chromedriver, by WebDriver's own requests; both come from the system.
"""

from __future__ import annotations

import json
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from batch_cancel import cancel_job_async
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.adapters.memory import AsyncMemoryScheduler, AsyncMemoryStore
from tests.http.examples import serving
from tests.http.requests import AUTHENTICATE
from tests.processes import HOST, free_port, wait_until

STATUSES: Final = [
    "200",
    "400",
    "401",
    "403",
    "404",
    "405",
    "408",
    "411",
    "413",
    "415",
    "422",
    "500",
]


class Browser:
    """A session of WebDriver."""

    def __init__(self, url: str, profile: Path) -> None:
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile}",
        ]
        wanted = {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self._client = httpx.Client(base_url=url, timeout=60)
        session = self._post("/session", capabilities={"alwaysMatch": wanted})
        self._session = f"/session/{session['sessionId']}"

    def _post(self, path: str, **what: Any) -> Any:
        return self._client.post(path, json=what).raise_for_status().json()["value"]

    def go(self, url: str) -> None:
        """Load a page."""
        self._post(f"{self._session}/url", url=url)

    def show(self, url: str) -> None:
        """Load the page of documentation, and wait until its script has filled it."""
        self.go(url)
        wait_until(lambda: self.run("document.querySelector('h1') !== null"), "the page is there")

    def run(self, script: str) -> Any:
        """Run a script in the page and return its value."""
        return self._post(f"{self._session}/execute/sync", script=f"return {script}", args=[])

    def resize(self, width: int) -> None:
        """Set the window's width."""
        self._post(f"{self._session}/window/rect", width=width, height=900)

    def click(self, selector: str) -> None:
        """Click the first element that a selector of CSS finds."""
        found = self._post(f"{self._session}/element", using="css selector", value=selector)
        [element] = found.values()
        self._post(f"{self._session}/element/{element}/click")

    def complaints(self) -> list[str]:
        """Return what the console has been told since it was last asked."""
        return [
            entry["message"] for entry in self._post(f"{self._session}/se/log", type="browser")
        ]

    def requested(self) -> list[str]:
        """Return the URLs that were requested since it was last asked."""
        entries = self._post(f"{self._session}/se/log", type="performance")
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def close(self) -> None:
        """End the session, and the browser with it."""
        self._client.delete(self._session)
        self._client.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Yield a browser."""
    driver = shutil.which("chromedriver")
    assert driver, "no chromedriver: install chromium and chromium-driver"
    port = free_port()
    with subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wait_until(lambda: _listens(port), "chromedriver listens")
        browser = Browser(f"http://{HOST}:{port}", tmp_path_factory.mktemp("profile"))
        yield browser
        browser.close()
        process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve the application below a prefix."""
    ports: dict[str, Any] = {"uow": AsyncMemoryStore(), "scheduler": AsyncMemoryScheduler()}
    app = AsgiApp(partial(cancel_job_async, **ports), AUTHENTICATE, prefix="/v1")
    with serving("asgi_bare", app) as base:
        yield f"{base}/v1"


@pytest.fixture(scope="module")
def anywhere() -> Iterator[str]:
    """Serve the application below any prefix; below one, without its document."""
    ports: dict[str, Any] = {"uow": AsyncMemoryStore(), "scheduler": AsyncMemoryScheduler()}
    endpoint = AsgiApp(partial(cancel_job_async, **ports), AUTHENTICATE)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        base, _, page = scope["path"].rpartition("/")
        if page == "openapi.json" and base == "/broken":
            scope = {**scope, "method": "PUT"}
        await endpoint({**scope, "path": f"/{page}", "root_path": ""}, receive, send)

    with serving("asgi_bare", app) as base:
        yield base


def test_the_page_is_whole_in_itself(browser: Browser, url: str) -> None:
    """It loads the document beside it, no complaint, and every answer has its place."""
    browser.requested()
    browser.show(f"{url}/docs")
    # A new browser also loads its own empty tab, from within itself.
    requested = [it for it in browser.requested() if it.startswith("http")]
    assert requested == [f"{url}/docs", f"{url}/openapi.json"]
    assert browser.complaints() == []
    assert browser.run("document.title") == "Cancel batch jobs"
    assert browser.run("document.compatMode") == "CSS1Compat"
    assert browser.run("[...document.querySelectorAll('details')].map(it => it.id)") == STATUSES
    text = browser.run("document.body.innerText")
    assert "POST /v1/batch/jobs/{batch_job_id}/cancel" in text
    assert "Scheduled job cancelled successfully" in text
    assert f"curl -X POST '{url}/batch/jobs/batch_xyz789/cancel'" in text


def test_the_line_for_a_shell_is_one_argument(browser: Browser, anywhere: str) -> None:
    """Whatever the path is that the page was found at: a client may have made it up."""
    browser.show(f"{anywhere}/tenants/a';id;$(id)&b/docs")
    line = browser.run("document.querySelectorAll('pre')[1].innerText").replace("\\\n", "")
    url = f"{anywhere}/tenants/a%27;id;$(id)&b/batch/jobs/batch_xyz789/cancel"
    assert shlex.split(line) == [
        *("curl", "-X", "POST", url, "-H", "Authorization: Bearer YOUR_API_KEY")
    ]


def test_a_document_that_does_not_come_is_reported(browser: Browser, anywhere: str) -> None:
    """Instead of an empty page."""
    browser.go(f"{anywhere}/broken/docs")
    shown = "document.querySelector('main').innerText"
    wait_until(lambda: "could not be shown: 405" in browser.run(shown), "it is reported")
    assert len(browser.complaints()) == 1  # Chromium's own.


def test_an_answer_unfolds(browser: Browser, url: str) -> None:
    """Closed at first, but for the one that everybody looks for."""
    browser.show(f"{url}/docs")
    opened = "[...document.querySelectorAll('details[open]')].map(it => it.id)"
    assert browser.run(opened) == ["200"]
    browser.click("[id='404'] summary")
    assert browser.run(opened) == ["200", "404"]
    assert "Batch job not found" in browser.run("document.getElementById('404').innerText")


@pytest.mark.parametrize("width", [500, 1200])
def test_the_page_fits_its_window(browser: Browser, url: str, width: int) -> None:
    """Nobody has to scroll sideways; the styles are applied."""
    browser.resize(width)
    browser.show(f"{url}/docs")
    root = "document.documentElement"
    assert browser.run(f"{root}.scrollWidth <= {root}.clientWidth")
    assert browser.run("getComputedStyle(document.querySelector('dt')).fontWeight") == "600"


def test_the_link_leads_to_the_document(browser: Browser, url: str) -> None:
    """Which a browser shows, and which says where the endpoint is."""
    browser.show(f"{url}/docs")
    browser.click("a")
    assert browser.run("location.href") == f"{url}/openapi.json"
    assert browser.run("document.contentType") == "application/json"
    document = json.loads(browser.run("document.body.innerText"))
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": "/v1"}]
    # For a page of JSON, Chromium asks the server's root for an icon.
    assert [it for it in browser.complaints() if "favicon" not in it] == []
