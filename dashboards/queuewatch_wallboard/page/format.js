// Decides how figures are written.  Pure.  What is unknown is a dash, never 0.

export const UNKNOWN = "–";
const DAY_MS = 86400000;
const REMEMBERED = 5000; // texts; then all are forgotten, so that memory stays flat

function known(value) {
  return typeof value === "number" && isFinite(value);
}

/** Numbers, waits and times in one language. */
export class Format {
  constructor(language) {
    this.language = language;
    this.integers = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
    this.decimals = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
    this.zones = new Map(); // formatters are dear: one per zone and form, and there are few zones
    this.memory = new Map();
  }

  /** What `make` makes, remembered under a key: the same few texts are written again and again. */
  once(key, make) {
    let found = this.memory.get(key);
    if (found === undefined) {
      if (this.memory.size >= REMEMBERED) this.memory.clear();
      found = make();
      this.memory.set(key, found);
    }
    return found;
  }

  count(value) {
    if (!known(value)) return UNKNOWN;
    return value >= 0 && value < 1000 ? String(value) : this.once("count " + value, () => this.integers.format(value));
  }

  /** A wait as m:ss or h:mm:ss, cut to whole seconds. */
  wait(seconds) {
    if (!known(seconds)) return UNKNOWN;
    const whole = Math.max(0, Math.floor(seconds));
    const two = (value) => (value < 10 ? "0" : "") + value;
    const hours = Math.floor(whole / 3600);
    const minutes = Math.floor(whole / 60) % 60;
    return (hours > 0 ? hours + ":" + two(minutes) : String(minutes)) + ":" + two(whole % 60);
  }

  /** A share in whole percent, cut and not rounded: 79.9 % is no 80 %. */
  share(ratio) {
    return known(ratio) ? this.count(Math.floor(ratio * 100 + 1e-9)) + "\u202f%" : UNKNOWN;
  }

  /** A goal in percent, as it was set. */
  goal(ratio) {
    return known(ratio) ? this.once("goal " + ratio, () => this.decimals.format(ratio * 100)) + "\u202f%" : UNKNOWN;
  }

  /** Seconds of a definition: "20 s", "2 min". */
  span(seconds, text) {
    if (!known(seconds)) return UNKNOWN;
    return seconds >= 120 && seconds % 60 === 0
      ? text("span.minutes", { n: this.integers.format(seconds / 60) })
      : text("span.seconds", { n: this.decimals.format(seconds) });
  }

  formatter(zone, form, options) {
    const key = form + " " + (zone || "");
    let found = this.zones.get(key);
    if (found === undefined) {
      const all = Object.assign({ hour12: false }, options);
      try {
        found = new Intl.DateTimeFormat(this.language, zone ? Object.assign({ timeZone: zone }, all) : all);
      } catch (unknownZone) {
        found = new Intl.DateTimeFormat(this.language, Object.assign({ timeZone: "UTC", timeZoneName: "short" }, all));
      }
      this.zones.set(key, found);
    }
    return found;
  }

  /** hh:mm:ss of an instant in a zone; without one in the browser's. */
  clock(instant, zone) {
    if (!known(instant)) return UNKNOWN;
    const options = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
    const second = Math.floor(instant / 1000);
    return this.once("clock " + second + zone, () => midnight(this.formatter(zone, "clock", options).format(instant)));
  }

  /** hh:mm of an instant. */
  minute(instant, zone) {
    if (!known(instant)) return UNKNOWN;
    const options = { hour: "2-digit", minute: "2-digit" };
    const minute = Math.floor(instant / 60000);
    return this.once("minute " + minute + zone, () => midnight(this.formatter(zone, "minute", options).format(instant)));
  }

  /** hh:mm:ss, or date and hh:mm where it is long ago. */
  since(instant, zone, now) {
    return !known(now) || now - instant < DAY_MS / 2 ? this.clock(instant, zone) : this.dated(instant, zone);
  }

  /** hh:mm, with the date where it is long ago. */
  sinceMinute(instant, zone, now) {
    return !known(now) || now - instant < DAY_MS / 2 ? this.minute(instant, zone) : this.dated(instant, zone);
  }

  dated(instant, zone) {
    if (!known(instant)) return UNKNOWN;
    const options = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" };
    return midnight(this.formatter(zone, "date", options).format(instant));
  }

  /** The minute of the day, 0 to 1439. */
  minuteOfDay(instant, zone) {
    const parts = { hour: 0, minute: 0 };
    this.formatter(zone, "parts", { hour: "2-digit", minute: "2-digit" })
      .formatToParts(instant)
      .forEach((part) => {
        parts[part.type] = Number(part.value);
      });
    return ((parts.hour % 24) * 60 + parts.minute) % 1440;
  }
}

/** Some browsers write midnight as 24. */
function midnight(text) {
  return text.replace(/\b24:/, "00:");
}
