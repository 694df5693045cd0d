// Decides what time it is, and whether what is shown is still true.  Pure: `monotonic` is performance.now(), in milliseconds.
//
// A television's clock is wrong, so the only wall clock here is the server's.  A message that took long to come tells too
// early a time; the greatest of (server time - monotonic) over the last minute or two is the nearest to the truth, and a
// server's clock that was set back is believed after that.

/** News older than this is no longer shown as true: three missed heartbeats of five seconds. */
export const STALE_MS = 15000;
/** What a doubt (the computer has slept) leaves of it. */
export const DOUBT_MS = 2000;
const BUCKET_MS = 60000;
const TIME = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)$/;

/** An RFC 3339 time as milliseconds since 1970; NaN where it is none.  Old browsers read no more than three digits. */
export function instant(text) {
  const found = typeof text === "string" ? TIME.exec(text) : null;
  if (found === null) return NaN;
  const fraction = ((found[3] || "") + "000").slice(0, 3);
  return Date.parse(found[1] + "T" + found[2] + "." + fraction + found[4].toUpperCase());
}

export class ServerClock {
  constructor() {
    this.bucket = null; // when the current bucket began
    this.ahead = null; // the greatest (server - monotonic) in it
    this.before = null; // and in the one before
    this.newest = null; // the server time of the news that came last
  }

  /** News came: the server wrote it at `server`. */
  hear(server, monotonic) {
    if (isNaN(server)) return;
    const ahead = server - monotonic;
    if (this.bucket === null || monotonic - this.bucket >= BUCKET_MS) {
      this.before = this.bucket !== null && monotonic - this.bucket < 2 * BUCKET_MS ? this.ahead : null;
      this.bucket = monotonic;
      this.ahead = ahead;
    } else if (ahead > this.ahead) {
      this.ahead = ahead;
    }
    this.newest = server;
  }

  /** The server's time in milliseconds since 1970; null before any news. */
  now(monotonic) {
    if (this.newest === null) return null;
    return monotonic + (this.before === null ? this.ahead : Math.max(this.ahead, this.before));
  }

  /** How old the newest news is, in milliseconds: since it was written, not since it came. */
  age(monotonic) {
    return this.newest === null ? null : Math.max(0, this.now(monotonic) - this.newest);
  }

  /** Since when, by the server's time, nothing was heard; null while what is shown is true. */
  staleSince(monotonic) {
    const age = this.age(monotonic);
    return age !== null && age > STALE_MS ? this.newest : null;
  }
}

/**
 * Tells when the computer has slept: the wall clock went on and the monotonic one stood still.  Only a hint, since a
 * clock that was merely set looks the same; the answer to it must be harmless then.
 */
export class SleepGuard {
  constructor() {
    this.difference = null;
  }

  slept(wall, monotonic) {
    const difference = wall - monotonic;
    const jumped = this.difference !== null && difference - this.difference > 5000;
    this.difference = difference;
    return jumped;
  }
}
