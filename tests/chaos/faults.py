"""The faults, and the script of a run: which faults one after the other, with all their chances drawn from the seed."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chaos.proxy import Way
from queuewatch_schemas.topics import changelog_name

if TYPE_CHECKING:
    from chaos.processes import Worker
    from chaos.site import Site

__all__ = ["FAULTS", "LAST", "SESSION", "Script", "script"]

SESSION: Final = 4.0
"""The workers' session timeout, in seconds."""
BEYOND_SESSION: Final = (SESSION + 1.5, SESSION + 3.0)
"""Seconds of a silence that is longer than the session timeout, by enough for another worker to take over."""

Fault = Callable[["Site", random.Random], None]


def kill(site: Site, chance: random.Random) -> None:
    """kill -9 of a worker, and its restart: at once, or when another has taken over."""
    worker = chance.choice(site.pair)
    worker.kill()
    site.rest(chance.choice([0.0, 1.0, chance.uniform(*BEYOND_SESSION)]))
    worker.start()


def kill_both(site: Site, chance: random.Random) -> None:
    """kill -9 of all workers at once: nobody has what was not written."""
    for worker in site.pair:
        worker.kill()
    site.rest(chance.uniform(0, 2))
    for worker in site.pair:
        worker.start()


def stop(site: Site, chance: random.Random) -> None:
    """A graceful stop, and a restart."""
    worker = chance.choice(site.pair)
    site.stopped(worker)
    site.rest(chance.uniform(0, 3))
    worker.start()


def third(site: Site, chance: random.Random) -> None:
    """A third worker joins, and leaves gracefully or not, sometimes before it has settled."""
    worker = site.third
    worker.start()
    if chance.random() < 0.7:
        site.await_shown()
        site.rest(chance.uniform(0, 1))
    else:
        site.rest(chance.uniform(1, 4))
    if chance.random() < 0.5:
        worker.kill()
    else:
        site.stopped(worker)


def broker(site: Site, chance: random.Random) -> None:
    """kill -9 of the broker, and its restart with what it had stored."""
    site.broker.kill()
    site.rest(chance.choice([0.0, chance.uniform(1, 3), chance.uniform(*BEYOND_SESSION)]))
    site.broker.start()


def pause(site: Site, chance: random.Random) -> None:
    """A worker is stopped for longer than its session, then goes on as if nothing had been."""
    worker = chance.choice(site.pair)
    worker.freeze()
    site.rest(chance.uniform(*BEYOND_SESSION))
    worker.thaw()


def pause_in_checkpoint(site: Site, chance: random.Random) -> None:
    """The same in the middle of a checkpoint: its records are on their way and arrive behind its successor's."""
    _pause_in_checkpoint(site, chance.choice(site.pair))
    site.rest(chance.uniform(*BEYOND_SESSION))
    _go_on(site)


def pause_past_end(site: Site, chance: random.Random) -> None:
    """In the middle of a checkpoint too; it ends only after the traffic has ended, and then all workers restart."""
    _pause_in_checkpoint(site, chance.choice(site.pair))
    site.rest(chance.uniform(*BEYOND_SESSION))

    def end() -> None:
        site.await_shown()
        site.rest(2 * site.checkpoint_seconds)  # the other has written all since
        _go_on(site)
        site.rest(2)

    site.after_traffic.append(end)
    site.restart_all = True


def _pause_in_checkpoint(site: Site, worker: Worker) -> None:
    proxy = site.proxies.by_name[worker.name]
    proxy.trap(changelog_name(site.configuration.application), worker.freeze)
    if not proxy.trapped.wait(8):
        proxy.untrap()
        site.note(f"{worker.name} wrote no checkpoint within 8 s; it was paused all the same")
        worker.freeze()


def _go_on(site: Site) -> None:
    for worker in site.pair:
        site.proxies.by_name[worker.name].set(Way.OPEN)
        if worker.frozen:
            worker.thaw()


def cut(site: Site, chance: random.Random) -> None:
    """A worker is cut off from the broker and can still be scraped: in silence, or with every connection refused."""
    proxy = site.proxies.by_name[chance.choice(site.pair).name]
    proxy.set(chance.choice([Way.HOLD, Way.REFUSE]))
    site.rest(chance.choice([chance.uniform(2, 5), chance.uniform(*BEYOND_SESSION), chance.uniform(*BEYOND_SESSION)]))
    proxy.set(Way.OPEN)


def twice(site: Site, chance: random.Random) -> None:
    """Producers send everything twice for a while, each batch behind its successor, and a worker is killed meanwhile."""
    site.publisher.twice = True
    site.rest(chance.uniform(1, 3))
    worker = chance.choice(site.pair)
    worker.kill()
    worker.start()
    site.rest(chance.uniform(1, 3))
    site.publisher.twice = False


def slow(site: Site, chance: random.Random) -> None:
    """A slow consumer: stopped in short bursts, below its session timeout."""
    worker = chance.choice(site.pair)
    end = time.monotonic() + chance.uniform(3, 6)
    while time.monotonic() < end:
        worker.freeze()
        site.rest(chance.uniform(0.2, 1.5))
        worker.thaw()
        site.rest(chance.uniform(0.05, 0.3))


def slow_way(site: Site, chance: random.Random) -> None:
    """A consumer that is slow by its line: it falls behind, and another has to take over or to share in the midst of it."""
    worker = chance.choice(site.pair)
    proxy = site.proxies.by_name[worker.name]
    proxy.set(Way.SLOW)
    site.rest(chance.uniform(2, 4))
    if chance.random() < 0.5:
        worker.kill()
        worker.start()
    site.rest(chance.uniform(2, 4))
    proxy.set(Way.OPEN)


def storm(site: Site, chance: random.Random) -> None:
    """Workers stop and join one after the other, faster than a group settles."""
    everyone = (*site.pair, site.third)
    for _ in range(chance.randint(5, 8)):
        worker = chance.choice(everyone)
        if worker.running:
            if chance.random() < 0.5:
                worker.signal(signal.SIGTERM)
                worker.wanted = False
            else:
                worker.kill()
        else:
            worker.start()
        site.rest(chance.uniform(0.3, 2.5))
    with ThreadPoolExecutor() as pool:
        list(pool.map(site.stopped, [worker for worker in everyone if not worker.wanted or worker is site.third]))
    for worker in site.pair:
        worker.start()


FAULTS: Final[Mapping[str, Fault]] = {
    each.__name__.replace("_", "-"): each
    for each in (kill, stop, third, broker, pause, pause_in_checkpoint, cut, twice, slow, slow_way, storm, kill_both,
                 pause_past_end)
}  # fmt: skip
LAST: Final = "pause-past-end"
"""Ends after the traffic, so nothing can follow it."""


@dataclass(frozen=True, slots=True)
class Script:
    """The faults of one run, and the seed of all that is drawn in it."""

    seed: int
    faults: tuple[str, ...]


def script(seed: int, count: int = 3, faults: Sequence[str] = ()) -> Script:
    """A run's script.  Each fault is the first in some runs that follow each other; the others are drawn."""
    chance = random.Random(seed)
    names = list(FAULTS)
    chosen = list(faults) or [names[seed % len(names)], *chance.choices(names, k=count - 1)]
    if LAST in chosen:
        chosen = [name for name in chosen if name != LAST] + [LAST]
    return Script(seed, tuple(chosen))
