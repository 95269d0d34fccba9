"""Shows a page in a headless Chromium, by its debugging protocol, and prints what came of it in JSON: for every width and colour
scheme, what was seen, and what was asked of the network."""

import json
import os
import subprocess
import sys
import tempfile

LOOK = """(() => {
  const wide = [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 0.5);
  const style = getComputedStyle(document.body);
  const ink = [...document.querySelectorAll('body *')].filter(e => e.children.length === 0 && e.textContent.trim())
    .map(e => getComputedStyle(e).color);
  return {inner: innerWidth, scroll: document.documentElement.scrollWidth, wide: wide.map(e => e.tagName),
    background: style.backgroundColor, inks: [...new Set(ink)], text: document.body.innerText,
    lines: [...document.querySelectorAll('svg path')].map(e => getComputedStyle(e).stroke)};
})()"""


class Browser:
    def __init__(self, home):
        (theirs_in, self.out), (self.back, theirs_out) = os.pipe(), os.pipe()
        # The browser reads from 3 and writes to 4.
        script = f"exec 3<&{theirs_in} 4>&{theirs_out}; exec chromium --headless=new --hide-scrollbars --no-sandbox " \
            f"--disable-gpu --disable-dev-shm-usage --no-first-run --user-data-dir={home} --remote-debugging-pipe about:blank"
        self.process = subprocess.Popen(["bash", "-c", script], pass_fds=[theirs_in, theirs_out],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self.buffer, self.number, self.events, self.session = b"", 0, [], None

    def receive(self):
        while b"\0" not in self.buffer:
            more = os.read(self.back, 65536)
            if not more:
                raise SystemExit("the browser has gone")
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(line)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise SystemExit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.receive())

    def show(self, url, width, scheme):
        self.events = []
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=url)
        self.wait("Page.loadEventFired")
        seen = self.call("Runtime.evaluate", expression=LOOK, returnByValue=True)["result"]["value"]
        named = lambda name: [event["params"] for event in self.events if event.get("method") == name]
        seen["width"], seen["scheme"] = width, scheme
        seen["requests"] = [event["request"]["url"] for event in named("Network.requestWillBeSent")]
        seen["complaints"] = [event["entry"]["text"] for event in named("Log.entryAdded")]
        return seen


def main():
    url = sys.argv[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        browser = Browser(home)
        try:
            target = browser.call("Target.createTarget", url="about:blank")["targetId"]
            browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ["Page", "Network", "Log"]:
                browser.call(f"{domain}.enable")
            shown = [browser.show(url, width, scheme) for width in [390, 1280] for scheme in ["light", "dark"]]
            print(json.dumps(shown))
        finally:
            browser.process.kill()
            browser.process.wait()


main()
