"""The board in a real browser, watched: when figures change in the document, and how its memory does.

    python -m bench.chromium ADDRESS SEEN.jsonl      # until its standard input ends

SEEN.jsonl tells when (seconds since the epoch) which figure of who waits was in the document of a queue whose name begins with
`probe-`, and every five seconds how much memory the page's scripts hold after a collection and how many nodes there are.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

_WATCH = """() => {
  const seen = (window.__seen = []);
  const last = new Map();
  const look = () => {
    const at = Date.now() / 1000;
    for (const row of document.querySelectorAll('[data-queue^="probe-"]')) {
      const text = row.querySelector('[data-figure="waiting"]').textContent.trim();
      if (last.get(row.dataset.queue) !== text) {
        last.set(row.dataset.queue, text);
        seen.push([at, row.dataset.queue, text]);
      }
    }
  };
  const frames = (window.__frames = { count: 0, longest: 0, last: performance.now() });
  const frame = (now) => {
    frames.count += 1;
    frames.longest = Math.max(frames.longest, now - frames.last);
    frames.last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  look();
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""
EVERY = 5.0


def watch(address: str, path: Path) -> dict[str, float]:
    """Show the page until told to end; how many frames were drawn.  Fails where a script of the page did."""
    ended = threading.Thread(target=sys.stdin.read, daemon=True)
    ended.start()
    program = shutil.which("chromium")
    assert program is not None, "chromium is missing: apt-get install -y chromium"
    problems: list[str] = []
    with sync_playwright() as playwright, path.open("w", buffering=1) as out:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1920, "height": 1080})
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        page.wait_for_selector('[data-queue^="probe-"] [data-figure="waiting"]', timeout=60_000)
        wire = page.context.new_cdp_session(page)
        wire.send("Performance.enable")
        page.evaluate(_WATCH)
        print("open", flush=True)
        began = time.monotonic()
        looked = began
        while ended.is_alive() or looked == began:
            page.wait_for_timeout(100)
            if ended.is_alive() and time.monotonic() - looked < EVERY:
                continue
            looked = time.monotonic()
            for at, queue, text in page.evaluate("window.__seen.splice(0)"):
                out.write(json.dumps({"at": at, "queue": queue, "text": text}) + "\n")
            wire.send("HeapProfiler.collectGarbage")
            told = {each["name"]: each["value"] for each in wire.send("Performance.getMetrics")["metrics"]}
            memory = {"heap": told["JSHeapUsedSize"], "nodes": told["Nodes"], "listeners": told["JSEventListeners"]}
            out.write(json.dumps({"at": time.time(), "memory": memory}) + "\n")
        frames = page.evaluate("window.__frames")
        took = time.monotonic() - began
        browser.close()
    assert not problems, problems[:3]
    return {"frames_per_second": frames["count"] / took, "longest_frame_ms": frames["longest"]}


if __name__ == "__main__":
    print(json.dumps(watch(sys.argv[1], Path(sys.argv[2]))), flush=True)
