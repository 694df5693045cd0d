// Decides when the page loads itself anew: when the service serves another version, and once a night.  Pure.
//
// Never in a loop (a cache may go on serving the old page) and never into a dead service, which would leave the browser's
// own error page on the wall: whoever reloads asks the service first.

const SPREAD_MS = 8000;
const AGAIN_MS = 15 * 60 * 1000;
const NIGHT_FROM_MINUTE = 3 * 60;
const NIGHT_MINUTES = 60;
const YOUNG_MS = 6 * 3600 * 1000;

export class Reload {
  /** `own` is the page's version; `tried` the one for which this screen was loaded anew before, or null. */
  constructor(own, tried, random) {
    this.own = own;
    this.tried = tried;
    this.other = null;
    this.at = null;
    this.random = random;
    this.minute = NIGHT_FROM_MINUTE + Math.floor(random() * NIGHT_MINUTES); // not all screens of a house at once
  }

  /** The service says its version; `monotonic` milliseconds since the page was loaded. */
  hear(version, monotonic) {
    if (version === this.own) {
      this.other = null;
      this.at = null;
    } else if (version !== this.other) {
      this.other = version;
      this.at = monotonic + this.random() * SPREAD_MS;
      if (version === this.tried) this.at = Math.max(this.at, AGAIN_MS);
    }
  }

  /** The version to load, "night", or null; `minute` is that of the day by the server's time and the board's zone. */
  due(monotonic, minute) {
    if (this.at !== null && monotonic >= this.at) return this.other;
    if (minute === this.minute && monotonic > YOUNG_MS) return "night";
    return null;
  }

  /** It could not be done now: again in a while. */
  postpone(monotonic) {
    if (this.at !== null) this.at = monotonic + AGAIN_MS;
  }
}
