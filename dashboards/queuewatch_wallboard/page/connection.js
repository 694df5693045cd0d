// Decides how news is fetched: a stream, polling where streams are blocked, and when to try again.  Pure: it is told what
// happened and when (monotonic milliseconds), and says what to do: "open", "close", "poll".
//
// A closed EventSource is terminal, and one that reconnects by itself would show its old ticket: any error is a closed
// stream, and another one is built, later each time, with jitter, since hundreds of screens lose the service at once.

/** Milliseconds. */
export const TIMES = {
  patience: 4000, // so long without news from the stream, and polling steps in
  silence: 15000, // so long without a heartbeat, and the stream is given up
  poll: 2000, // between polls
  longest: 10000, // between two tries while the service is away
  blocked: 30000, // until the next try where streams bring nothing though polling works
  refused: 60000, // until the next try after "you may not"
};

export class Connection {
  /** `random` is Math.random or a stand-in. */
  constructor(random) {
    this.random = random;
    this.open = false; // there is a stream, or one is being opened
    this.opened = 0; // since when
    this.heard = null; // when the stream brought something; null: nothing yet
    this.tryAt = 0; // when to open the next one
    this.failures = 0; // streams in a row that brought nothing
    this.quiet = null; // since when no stream brings news; null while one does
    this.polling = false; // a poll is under way
    this.pollAt = 0;
    this.pollFailures = 0;
    this.pollWorks = false;
    this.refused = null; // 401 or 403
  }

  /** "live", "polling", "connecting" or "refused". */
  get mode() {
    if (this.refused !== null) return "refused";
    if (this.quiet === null) return "live";
    return this.pollWorks ? "polling" : "connecting";
  }

  /** Time passed. */
  tick(now) {
    const todo = [];
    if (this.quiet === null && this.heard === null) this.quiet = now; // the very first call
    if (this.open && now - Math.max(this.opened, this.heard === null ? 0 : this.heard) > TIMES.silence) {
      todo.push("close");
      this.lost(now, true);
    }
    if (this.refused !== null) {
      if (now >= this.tryAt && !this.polling) {
        this.tryAt = now + this.spread(TIMES.refused);
        this.polling = true;
        todo.push("poll"); // a stream cannot say why it was refused
      }
      return todo;
    }
    if (!this.open && now >= this.tryAt) {
      this.open = true;
      this.opened = now;
      this.heard = null;
      todo.push("open");
    }
    const waits = this.quiet !== null && now - this.quiet >= TIMES.patience;
    const silent = this.open && this.heard !== null && now - this.heard >= TIMES.silence - TIMES.patience;
    if ((waits || silent) && !this.polling && now >= this.pollAt) {
      this.polling = true;
      todo.push("poll");
    }
    return todo;
  }

  /** The stream brought a board or a heartbeat. */
  streamed(now) {
    this.heard = now;
    this.quiet = null;
    this.failures = 0;
    this.refused = null;
    this.pollWorks = false;
    this.pollFailures = 0;
    this.pollAt = 0;
  }

  /** The stream was closed, or could not be opened; the service may say when to come back, in milliseconds. */
  closed(now, after) {
    if (!this.open) return;
    this.lost(now, false);
    this.tryAt = Math.max(this.tryAt, now + (after || 0));
  }

  lost(now, silent) {
    const brought = this.heard !== null;
    this.open = false;
    this.heard = null;
    if (this.quiet === null) this.quiet = now;
    this.failures = brought ? 0 : this.failures + 1;
    if (silent && this.pollWorks) {
      this.tryAt = now + this.spread(TIMES.blocked);
    } else {
      this.tryAt = now + this.spread(Math.min(1000 * Math.pow(2, this.failures), TIMES.longest));
    }
    // A stream that brought nothing was perhaps refused, which only a plain request can tell.
    if (!brought && !silent && !this.pollWorks) {
      this.quiet = Math.min(this.quiet, now - TIMES.patience);
      this.pollAt = Math.min(this.pollAt, now);
    }
  }

  /** A poll brought a board. */
  polled(now) {
    const back = this.refused !== null || this.pollFailures > 0;
    this.polling = false;
    this.refused = null;
    this.pollFailures = 0;
    this.pollWorks = this.quiet !== null;
    this.pollAt = now + this.spread(TIMES.poll);
    if (back && !this.open) this.tryAt = Math.min(this.tryAt, now + this.spread(1000)); // the service is there again
  }

  /** A poll failed; the service may say when to come back, in milliseconds. */
  pollFailed(now, after) {
    this.polling = false;
    this.pollWorks = false;
    this.pollFailures += 1;
    const wait = Math.min(TIMES.poll * Math.pow(1.5, this.pollFailures - 1), TIMES.longest);
    this.pollAt = now + Math.max(this.spread(wait), after || 0);
  }

  /** The service says who asks may not see this: 401 or 403. */
  refuse(now, status) {
    this.open = false;
    this.heard = null;
    this.polling = false;
    this.pollWorks = false;
    this.refused = status;
    if (this.quiet === null) this.quiet = now;
    this.tryAt = now + this.spread(TIMES.refused);
  }

  /** The computer slept, or the network changed: the stream may be dead without knowing. */
  doubt(now) {
    if (this.refused !== null || !this.open) {
      this.tryAt = Math.min(this.tryAt, now);
      return [];
    }
    this.lost(now, false);
    this.tryAt = now;
    return ["close"];
  }

  spread(milliseconds) {
    return milliseconds * (0.5 + this.random());
  }
}
