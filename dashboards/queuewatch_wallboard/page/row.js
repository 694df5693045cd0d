// Decides what stands in a queue's or a group's row: every figure as text, and the marks that colour and shape follow.  Pure.
// A mark is a data attribute; null leaves it out.
//
// What ticks (the longest wait) is told as a number and counted on by whoever shows it.

import { instant } from "./clock.js";
import { UNKNOWN } from "./format.js";

const ROLLING = ["15m", "5m", "30m", "1h"];
const JUDGED = { longest_wait: "longest", calls_waiting: "waiting", service_level: "level", abandon_ratio: "abandoned" };
const STATES = ["ok", "warning", "critical", "idle", "closed", "unknown"];
/** The states from the best to the worst, as far as one can be better than another. */
export const RANK = { closed: 0, idle: 0, ok: 0, unknown: 1, warning: 2, critical: 3 };

/** The state if it is one that this page knows; a newer service's is "unknown". */
export function stateOf(row) {
  return STATES.indexOf(row.state) >= 0 ? row.state : "unknown";
}

/** The window in which the level stands largest: a rolling one, or else the interval, or whichever there is. */
export function mainWindow(windows) {
  const names = Object.keys(windows);
  const found = ROLLING.concat(["interval", "day"]).filter((name) => names.indexOf(name) >= 0);
  return found.length > 0 ? found[0] : names[0];
}

/** "80 % in 20 s · 15 min · short abandons out". */
export function definitionWords(definition, window, format, text) {
  const of = definition;
  const key = [of.preset, of.target, of.threshold_seconds, of.short_seconds, of.attribution, of.clock, of.hours, window].join();
  return format.once("definition " + key, () => writtenOut(definition, window, format, text));
}

function writtenOut(definition, window, format, text) {
  const parts = [
    text("definition", {
      target: format.goal(definition.target),
      threshold: format.span(definition.threshold_seconds, text),
    }),
  ];
  if (window) parts.push(text("window." + window));
  parts.push(text("definition." + definition.preset));
  if (definition.short_seconds && definition.preset !== "ignore-short") {
    parts.push(text("definition.short", { short: format.span(definition.short_seconds, text) }));
  }
  if (definition.attribution !== "arrival") parts.push(text("definition." + definition.attribution));
  if (definition.clock === "call") parts.push(text("definition.call"));
  if (definition.hours === "open") parts.push(text("definition.open"));
  return parts.join(" · ");
}

function levelParts(level, format, text) {
  const parts = { now: UNKNOWN, target: "", mark: "unknown", interval: UNKNOWN, today: UNKNOWN, words: "", goal: UNKNOWN };
  if (!level) return parts;
  const window = mainWindow(level.windows);
  const ratio = window === undefined ? null : level.windows[window].ratio;
  const target = level.definition.target;
  const share = format.goal(target);
  const ratioIn = (name) => (level.windows[name] ? level.windows[name].ratio : null);
  parts.now = format.share(ratio);
  parts.mark = ratio === null ? "unknown" : ratio >= target ? "met" : "missed";
  parts.target = text(parts.mark === "unknown" ? "target" : "target." + parts.mark, { share: share });
  parts.interval = format.share(ratioIn("interval"));
  parts.today = format.share(ratioIn("day"));
  parts.words = definitionWords(level.definition, window, format, text);
  parts.goal = share;
  return parts;
}

function staleWords(stale, zone, now, format, text) {
  const key = "stale." + (["no_news", "recovering", "never", "not_published", "source_down", "gone"].indexOf(stale.why) >= 0 ? stale.why : "other");
  return text(key, { time: format.since(instant(stale.since), zone, now) });
}

function whyWords(why, format, text) {
  const limits = { longest_wait: format.wait, calls_waiting: format.count, service_level: format.goal, abandon_ratio: format.goal };
  const limit = limits[why.figure];
  return limit ? text("why." + why.figure, { limit: limit.call(format, why.limit) }) : "";
}

function of(object, name) {
  return object === null || object === undefined ? null : object[name];
}

/**
 * A queue's row: `texts` by field, `marks` (data attributes of the row), and what ticks.
 *
 * `zone` is where the queue names none; `now` the server's time in milliseconds since 1970.
 */
export function queueRow(row, zone, now, format, text) {
  const state = stateOf(row);
  const own = row.time_zone || zone;
  const level = levelParts(row.levels[0], format, text);
  const agents = row.agents;
  const why = row.why.length > 0 ? whyWords(row.why[0], format, text) : "";
  const since = row.state_since === null ? "" : text("state.since", { time: format.sinceMinute(instant(row.state_since), own, now) });
  const bad = {};
  row.why.forEach((one) => {
    const field = JUDGED[one.figure];
    if (field && bad[field] !== "critical") bad[field] = one.severity;
  });
  const started = row.interval && row.interval.start ? format.minute(instant(row.interval.start), own) : null;
  return {
    texts: {
      name: row.name || row.queue,
      site: row.site,
      state: text("state." + state),
      note: row.stale !== null ? staleWords(row.stale, own, now, format, text) : why !== "" ? why : since,
      waiting: format.count(row.waiting),
      level: level.now,
      target: level.target,
      goal: level.goal,
      definition: level.words,
      level_interval: level.interval,
      level_today: level.today,
      interval_start: started === null ? text("interval.none") : text("interval", { time: started }),
      offered_interval: format.count(of(row.interval, "offered")),
      answered_interval: format.count(of(row.interval, "answered")),
      abandoned_interval: format.count(of(row.interval, "abandoned")),
      offered_today: format.count(of(row.today, "offered")),
      answered_today: format.count(of(row.today, "answered")),
      abandoned_today: format.count(of(row.today, "abandoned")),
      talking: format.count(row.talking),
      wrapping: format.count(row.wrapping),
      callbacks: format.count(of(row.callbacks, "waiting")),
      agents_available: format.count(of(agents, "available")),
      agents_busy: format.count(of(agents, "busy")),
      agents_paused: format.count(of(agents, "paused")),
      agents_others: agents === null ? "" : " · " + format.count(agents.busy) + " · " + format.count(agents.paused),
    },
    marks: {
      state: state,
      stale: row.stale === null ? null : row.stale.why,
      "stale-what": row.stale === null ? null : row.stale.what === "waiting" ? "waiting" : "all",
      level: level.mark,
      "long-waiting": row.waiting !== null && row.waiting > 999 ? "yes" : null,
      "bad-waiting": bad.waiting || null,
      "bad-longest": bad.longest || null,
      "bad-level": bad.level || null,
      "bad-abandoned": bad.abandoned || null,
    },
    longest: row.longest_wait_seconds,
    longestToday: row.longest_wait_today_seconds,
    ticks: row.stale === null && row.oldest_waiting_since !== null && row.longest_wait_seconds !== null,
  };
}

/** A group's row, in the same form; `alone`: there is no other group. */
export function groupRow(row, alone, format, text) {
  const level = levelParts(row.level, format, text);
  const notes = [row.queues === 1 ? text("group.queue") : text("group.queues", { n: format.count(row.queues) })];
  if (row.unknown > 0) notes.push(text("group.unknown", { n: format.count(row.unknown) }));
  if (row.incomplete) notes.push(text("group.incomplete"));
  return {
    texts: {
      name: row.group !== "" ? row.group : text(alone ? "group.sum" : "title.none"),
      state: text("state." + stateOf(row)),
      note: notes.join(" · "),
      waiting: format.count(row.waiting),
      talking: format.count(row.talking),
      level: level.now,
      goal: level.goal,
      target: level.target,
      definition: row.level ? level.words : "",
      answered_interval: format.count(of(row.interval, "answered")),
      abandoned_interval: format.count(of(row.interval, "abandoned")),
      answered_today: format.count(of(row.today, "answered")),
      abandoned_today: format.count(of(row.today, "abandoned")),
      agents_available: format.count(of(row.agents, "available")),
    },
    marks: { state: stateOf(row), level: level.mark },
    longest: row.longest_wait_seconds,
    longestToday: row.longest_wait_today_seconds,
    ticks: row.oldest_waiting_since !== null && row.longest_wait_seconds !== null,
  };
}

/**
 * {longest, today}: the longest waits at `now`, in seconds or null: counted on from the board's own time while somebody waits.
 *
 * `asOf` is the board's server time, `now` the server's time, in milliseconds since 1970.
 */
export function waitsAt(row, asOf, now) {
  const longest = row.ticks ? row.longest + Math.max(0, now - asOf) / 1000 : row.longest;
  const today = row.longestToday;
  return { longest: longest, today: row.ticks && today !== null ? Math.max(today, longest) : today };
}
