"""A headless Chromium that tests drive by its DevTools protocol, as a person does: with keys, clicks and screenshots.

https://chromedevtools.github.io/devtools-protocol/ names the methods and their parameters.
"""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image
from support.programs import absent

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

PATIENCE = 30.0
"""Seconds that the browser may take."""

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", "--hide-scrollbars", "--no-first-run"),
    *("--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0", "--remote-allow-origins=*"),
    *(
        "--disable-features=Translate,MediaRouter,OptimizationHints",
        "--password-store=basic",
        "--disable-dev-shm-usage",
    ),
)

KEYS = {" ": ("Space", 32), "ArrowLeft": ("ArrowLeft", 37), "ArrowRight": ("ArrowRight", 39), "Tab": ("Tab", 9)}
KEYS |= {"Enter": ("Enter", 13), "Escape": ("Escape", 27), "Home": ("Home", 36), "End": ("End", 35)}
"""Key to its code and its number."""


def chromium() -> str:
    """Debian's Chromium; skips without, or without the library that talks to it."""
    try:
        import websockets.sync.client  # noqa: F401, PLC0415
    except ImportError:
        absent("websockets is not installed")
    return shutil.which("chromium") or absent("chromium is not installed")


class Browser:
    """A browser with one page."""

    def __init__(self, profile: Path) -> None:
        """Start it; its files go to `profile`."""
        from websockets.sync.client import connect  # noqa: PLC0415 - see chromium

        self.process = subprocess.Popen(
            [chromium(), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"HOME": str(profile)},
        )
        self._opened = contextlib.ExitStack()
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.complaints: list[str] = []
        """Exceptions of scripts, and errors that the browser has logged."""
        try:
            port, path = self._address(profile)
            address = f"ws://127.0.0.1:{port}{path}"
            self._socket = self._opened.enter_context(connect(address, max_size=2**28, compression=None))
            targets = self.call("Target.getTargets")["targetInfos"]
            page = next(target["targetId"] for target in targets if target["type"] == "page")
            self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the browser, and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        self._opened.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; returns its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while True:
            answer = json.loads(self._socket.recv(PATIENCE))
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])
            self._hear(answer)

    def open(self, page: Path | str) -> None:
        """Load a page: a file, or an address."""
        self.do("window.left = true")
        self.call("Page.navigate", url="about:blank")  # else another fragment of the same page would not load it anew
        self.call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        self.until("document.readyState === 'complete' && !window.left && location.href !== 'about:blank'")

    def reload(self) -> None:
        """Load the page anew."""
        self.open(self.do("location.href"))

    def do(self, script: str) -> Any:
        """Evaluate an expression in the page, and wait for it if it is a promise; returns its value."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in done, (script, done["exceptionDetails"])
        return done["result"].get("value")

    def until(self, script: str, what: str = "") -> Any:
        """Wait until an expression is true; returns its value."""
        deadline = time.monotonic() + PATIENCE
        while not (value := self.do(script)):
            assert time.monotonic() < deadline, f"never: {what or script}; complaints: {self.complaints}"
            time.sleep(0.03)
        return value

    def press(self, *keys: str, shift: bool = False) -> None:
        """Press keys, one after the other."""
        for key in keys:
            code, number = KEYS.get(key, (f"Key{key.upper()}", ord(key[0].upper())))
            text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
            about = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
            self.call("Input.dispatchKeyEvent", type="keyDown", **about, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Type text where the focus is."""
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click in the middle of an element."""
        x, y = self.do(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            " one.scrollIntoView({block: 'center'}); const box = one.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        self.point("mousePressed", x, y)
        self.point("mouseReleased", x, y)

    def point(self, what: str, x: float, y: float) -> None:
        """Move, press or release the mouse."""
        held = {} if what == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=what, x=x, y=y, **held)

    def look(self, width: int, height: int, *, dark: bool = False, scale: float = 1, calm: bool = False) -> None:
        """Give the window a size in CSS pixels, and say what its user prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )
        features = {"prefers-color-scheme": "dark" if dark else "light"}
        features |= {"prefers-reduced-motion": "reduce"} if calm else {}
        self.call("Emulation.setEmulatedMedia", features=[{"name": k, "value": v} for k, v in features.items()])

    def picture(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """What is on the screen: RGB, shape (height, width, 3)."""
        return np.asarray(Image.open(io.BytesIO(self.png())).convert("RGB"))

    def png(self) -> bytes:
        """What is on the screen, as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", optimizeForSpeed=True)["data"])

    def _hear(self, event: dict[str, Any]) -> None:
        about = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(about["exceptionDetails"])[:500])
        if event.get("method") == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.complaints.append(f"{about['entry']['text']} {about['entry'].get('url', '')}"[:500])

    def _address(self, profile: Path) -> tuple[str, str]:
        """The port that it listens at, and the path of its socket."""
        file = profile / "DevToolsActivePort"
        deadline = time.monotonic() + PATIENCE
        while not (file.exists() and len(file.read_text().split()) > 1):
            assert self.process.poll() is None, "chromium has ended"
            assert time.monotonic() < deadline, "chromium did not start"
            time.sleep(0.03)
        port, path = file.read_text().split()
        return port, path
