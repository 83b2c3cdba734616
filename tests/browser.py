"""A real browser, Debian's Chromium without a window, driven by a test through its debugging protocol (on a pipe).

    with Browser(directory) as browser:
        page = browser.open("http://127.0.0.1:8080/", width=1200)
        page.evaluate("document.title")
        page.requests, page.complaints
        page.screenshot("page.png")

Everything here has a deadline; what the browser says is in browser.log.
"""
import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time

SECONDS = 60
# Nothing of the outside world: no updates, no reports, no first-run pages.
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars",
           "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
           "--disable-dev-shm-usage", "--no-proxy-server", "--force-color-profile=srgb"]


def program():
    """Chromium's path, or None."""
    return shutil.which("chromium")


class Browser:
    def __init__(self, directory):
        self.directory = os.path.abspath(directory)
        self.number, self.rest, self.answers, self.pages = 0, b"", {}, {}

    def __enter__(self):
        os.makedirs(self.directory, exist_ok=True)
        theirs_in, self.input = os.pipe()
        self.output, theirs_out = os.pipe()
        # The shell puts the pipe's ends where the browser looks for them: 3 and 4.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (theirs_in, theirs_out)]
        command = ["setpriv", "--pdeathsig", "KILL", "bash", "-c", f'exec "$@" 3<&{high[0]} 4>&{high[1]}', "browser", program(),
                   *OPTIONS, f"--user-data-dir={self.directory}/profile", "about:blank"]
        with open(os.path.join(self.directory, "browser.log"), "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=high,
                                            start_new_session=True)
        for end in (theirs_in, theirs_out, *high):
            os.close(end)
        return self

    def __exit__(self, *_):
        os.close(self.input)              # it ends when nobody drives it any more
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.output)

    def call(self, method, session=None, **parameters):
        """Sends a command and returns its result."""
        self.number += 1
        words = {"id": self.number, "method": method, "params": parameters}
        if session:
            words["sessionId"] = session
        os.write(self.input, json.dumps(words).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while self.number not in self.answers:
            self.take(deadline - time.monotonic())
        answer = self.answers.pop(self.number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def take(self, seconds):
        """Takes what the browser says, and waits for it so long."""
        ready, _, _ = select.select([self.output], [], [], max(0, seconds))
        data = os.read(self.output, 1 << 16) if ready else b""
        assert data, f"the browser says nothing: see {self.directory}/browser.log"
        *whole, self.rest = (self.rest + data).split(b"\0")
        for message in map(json.loads, whole):
            if "id" in message:
                self.answers[message["id"]] = message
            elif message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].event(message["method"], message["params"])

    def open(self, url, width=1200, height=900, dark=False):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Network", "Runtime", "Log", "Page"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        page.call("Page.navigate", url=url)
        return page


class Page:
    """requests: the address of each, in order. complaints: errors and warnings that a developer would see."""

    def __init__(self, browser, session):
        self.browser, self.session = browser, session
        self.requests, self.complaints = [], []
        browser.pages[session] = self

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def event(self, method, words):
        if method == "Network.requestWillBeSent":
            self.requests.append(words["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(words["exceptionDetails"].get("exception", words["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(words["entry"]["text"])

    def resize(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self, path):
        """All of the page, however long it is."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
