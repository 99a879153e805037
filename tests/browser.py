"""A headless Chromium driven through its DevTools protocol, over a pair of pipes, so that no package is needed for it."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.waiting import HUNG

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--no-default-browser-check", "--disable-extensions", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
]  # fmt: skip
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " ")}  # virtual key code and text


class Browser:
    """One page of a headless Chromium.

    Parameters
    ----------
    profile : Path
        An empty folder for what Chromium keeps.
    timeout : float
        Seconds to wait for any answer.

    Attributes
    ----------
    events : list of dict
        All events of the page so far: `method` and `params`.
    """

    def __init__(self, profile: Path, *, timeout: float = HUNG):
        self.events: list[dict[str, Any]] = []
        self._timeout = timeout
        self._unread = b""
        self._calls = 0
        self._session = ""
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()
        # Chromium reads from descriptor 3 and writes to 4; moved up first, neither overwrites the other.
        ours = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in (commands, answers)]
        self._process = subprocess.Popen(
            [str(CHROMIUM), *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,  # Python's own descriptors are not inherited anyway
            preexec_fn=lambda: [os.dup2(fd, wanted) for fd, wanted in zip(ours, (3, 4), strict=True)],
            start_new_session=True,
        )
        for fd in (commands, answers, *ours):
            os.close(fd)
        try:
            targets = self.send("Target.getTargets")["targetInfos"]
            page = next((t["targetId"] for t in targets if t["type"] == "page"), None)
            page = page or self.send("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.send(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End Chromium with all its processes, which live in a session of their own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for fd in (self._write, self._read):
            os.close(fd)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        deadline = time.monotonic() + self._timeout
        while True:
            answer = self._next_message(deadline, method)
            if answer.get("id") == self._calls:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _next_message(self, deadline: float, waiting_for: str) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"Chromium did not answer in {self._timeout:g} s: {waiting_for}")
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise RuntimeError(f"Chromium ended while this was asked for: {waiting_for}")
            self._unread += chunk
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path) -> None:
        """Load a file and wait until it has loaded; events start anew."""
        self.events.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        deadline = time.monotonic() + self._timeout
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next_message(deadline, f"load {path}"))

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Come back when a JavaScript expression is true."""
        self.evaluate(
            "new Promise((done) => { const look = () =>"
            f" ({expression}) ? done(true) : setTimeout(look, 10); look(); }})"
        )

    def press(self, key: str) -> None:
        """Press and release a key, as a person would: ``Tab``, ``Enter`` or a space."""
        code, text = _KEYS[key]
        named = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **named)
        self.send("Input.dispatchKeyEvent", type="keyUp", **named)

    def show_as(self, width: int, *, dark: bool = False, height: int = 844) -> None:
        """Set the width of the window in CSS pixels, and the colour scheme that the reader prefers."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def printed(self) -> bytes:
        """The page on paper, as PDF, with an outline of its headings."""
        data = self.send("Page.printToPDF", preferCSSPageSize=True, generateDocumentOutline=True)["data"]
        return base64.b64decode(data)

    def screenshot(self, path: Path) -> None:
        """Save the whole page as PNG, also what is below the window."""
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))
