"""Opens a page in Chromium and waits until an expression of JavaScript there is true, as a person would look at it.

    browser.py CHROMIUM FOLDER URL EXPRESSION [EXPRESSION…]

Each expression is asked for again until it is true, then the next one. FOLDER is the browser's. Exit status 1 and what the
page says when time is up. Speaks the browser's debugging protocol over tornado's web socket (Jupyter brings that).
"""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request

from tornado.websocket import websocket_connect

SECONDS = 100


def start(program, folder):
    """The browser, and the address of its first page's debugger."""
    process = subprocess.Popen(
        [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0",
         "--user-data-dir=" + folder, "about:blank"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    port = os.path.join(folder, "DevToolsActivePort")
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            with open(port) as file:
                number = file.readline().strip()
            with urllib.request.urlopen("http://127.0.0.1:%s/json" % number) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            if pages:
                return process, pages[0]["webSocketDebuggerUrl"]
        except (OSError, ValueError):
            pass
        time.sleep(0.1)  # sleep: between two looks
    process.kill()
    raise SystemExit("the browser does not start")


class Page:
    def __init__(self, socket):
        self.socket, self.number = socket, 0

    async def ask(self, method, **params):
        self.number += 1
        await self.socket.write_message(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            text = await self.socket.read_message()
            if text is None:
                raise SystemExit("the browser has gone")
            answer = json.loads(text)
            if answer.get("id") == self.number:
                return answer.get("result", {})

    async def value(self, expression):
        result = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return result.get("result", {}).get("value")


async def look(address, url, expressions):
    page = Page(await websocket_connect(address))
    await page.ask("Page.navigate", url=url)
    end = time.monotonic() + SECONDS
    for expression in expressions:
        while not await page.value(expression):
            if time.monotonic() > end:
                raise SystemExit("never true: %s\n%s" % (expression, await page.value("document.body.innerText")))
            await asyncio.sleep(0.1)  # sleep: between two looks


def main():
    program, folder, url, *expressions = sys.argv[1:]
    process, address = start(program, folder)
    try:
        asyncio.run(look(address, url, expressions))
    finally:
        process.kill()
        process.wait()


main()
