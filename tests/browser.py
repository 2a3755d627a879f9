"""Pages as a real browser shows them: Debian's chromium, driven by selenium; and their scripts in
Node.

A test that takes `page_of` is skipped, with the reason, where there is no browser; with
CHARLM_BROWSER=required, as in CI, it fails there. CHARLM_AXE names axe.min.js of axe-core, which
looks for what shuts people out.
"""

import base64
import contextlib
import functools
import importlib.util
import json
import os
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import charlm.page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
REQUIRED = os.environ.get("CHARLM_BROWSER") == "required"
SERIOUS = ("serious", "critical")  # of what axe finds


def missing():
    """Return what there is not and a test of a page needs; None where all is there."""
    if importlib.util.find_spec("selenium") is None:
        return "there is no selenium to drive a browser: pip install -e '.[dev,browser]'"
    if not any(map(shutil.which, BROWSERS)) or shutil.which("chromedriver") is None:
        return (
            "there is no browser with a driver: on Debian, apt-get install chromium chromium-driver"
        )
    return None


def absent(reason):
    """Skip a test, or let it fail where it must not be skipped."""
    (pytest.fail if REQUIRED else pytest.skip)(reason)


class Page:
    """A page that is open in the browser.

    What went wrong since it was opened (errors, requests, violations of the policy) is in
    `problems()`.
    """

    def __init__(self, driver, address):
        self.driver, self.address = driver, address

    def run(self, script, *arguments):
        """Run the body of a JavaScript function in the page and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def all(self, selector):
        """Return the elements of a CSS selector, as selenium has them."""
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        (found,) = self.all(selector)
        return found

    def keys(self, *keys):
        """Press keys where the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def until(self, script, *arguments):
        """Wait until an expression is true in the page, and return its value; ten seconds at
        most."""
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, 10).until(
            lambda _: self.run(f"return {script}", *arguments)
        )

    def problems(self):
        """Return each console message from warnings up, and each request for anything but the page
        itself."""
        told = [
            f"{entry['source']}: {entry['message']}" for entry in self.driver.get_log("browser")
        ]
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                url = event["params"]["request"]["url"]
                if url.split("#")[0] != self.address and not url.startswith("data:"):
                    told.append(f"request: {url}")
        return told

    def axe(self):
        """Return what axe finds that is serious, a line each."""
        path = os.environ.get("CHARLM_AXE")
        if not path:
            absent(
                "there is no axe-core: npm install axe-core, and CHARLM_AXE=node_modules/axe-core/axe.min.js"
            )
        self.driver.execute_script(Path(path).read_text("utf-8"))
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run().then((found) => done(found.violations), (error) => done(String(error)));"
        )
        assert isinstance(found, list), found
        return [
            f"{rule['id']}: {rule['help']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for rule in found
            if rule["impact"] in SERIOUS
            for node in rule["nodes"]
        ]

    def shot(self, path):
        """Write a picture of the whole page."""
        command = {"format": "png", "captureBeyondViewport": True}
        picture = self.driver.execute_cdp_cmd("Page.captureScreenshot", command)
        Path(path).write_bytes(base64.b64decode(picture["data"]))


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Selenium's driver of a browser without a window, one for all tests."""
    if reason := missing():
        absent(reason)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, BROWSERS)))
    profile = tmp_path_factory.mktemp("browser")
    for argument in (
        "headless=new", "disable-gpu", "disable-dev-shm-usage", "disable-background-networking",
        "disable-component-update", "no-first-run", "hide-scrollbars", f"user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    if os.name == "posix" and os.getuid() == 0:
        options.add_argument("--no-sandbox")  # as root it starts in no other way
    options.set_capability("goog:loggingPrefs", {"browser": "WARNING", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def page_of(browser):
    """Return a function that opens a file as a page: `with page_of(path, width=360, dark=True) as
    page:`.

    At the end of the block, the page must have had no error, made no request and not met its
    policy. `script=False` opens it without script, `media="print"` as it is printed, `http=True`
    from a server instead of a file.
    """

    @contextlib.contextmanager
    def opened(path, width=1280, height=900, dark=False, script=True, media="", http=False):
        with _address(path, http) as address:
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            settings = {
                "Network.enable": {},
                "Network.setCacheDisabled": {"cacheDisabled": True},
                "Emulation.setEmulatedMedia": {"media": media, "features": [scheme]},
                "Emulation.setDeviceMetricsOverride": {
                    "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False,
                },
                "Emulation.setScriptExecutionDisabled": {"value": not script},
            }  # fmt: skip
            browser.get("about:blank")
            for name, values in settings.items():
                browser.execute_cdp_cmd(name, values)
            for kind in ("browser", "performance"):
                browser.get_log(kind)  # what others have left there
            browser.get(address)
            page = Page(browser, address)
            try:
                yield page
            finally:
                browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
            problems = page.problems()
            assert not problems, "\n".join(problems)

    return opened


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def _address(path, http):
    if not http:
        yield Path(path).resolve().as_uri()
        return
    handler = functools.partial(_Quiet, directory=str(Path(path).parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{Path(path).name}"
        server.shutdown()


@pytest.fixture
def in_node():
    """Return a function that runs code after files of charlm/page/ in Node, and returns what it
    prints.

    There, `given` is what Python gives and `print` what it gets, as JSON; there is no document.
    """
    if shutil.which("node") is None:
        absent("there is no node to run the page's script")

    def run(files, code, given=None):
        folder = Path(charlm.page.__file__).parent
        sources = [(folder / name).read_text("utf-8") for name in files]
        blocks = "".join(f"{{\n{source}\n}}\n" for source in sources[1:])
        script = (
            '"use strict";\nconst document = {};\nconsole.error = () => undefined;\n'
            "const print = (value) => process.stdout.write(JSON.stringify(value));\n"
            f"const given = {json.dumps(given)};\n{sources[0]}\n{blocks}{code}"
        )
        done = subprocess.run(
            ["node", "-"], input=script, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
