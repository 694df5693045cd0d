// Decides how the last hour is drawn: one bar per five minutes, the abandoned part of it apart.  Pure.

import { UNKNOWN } from "./format.js";

export const WIDTH = 120;
export const HEIGHT = 40;
const BASE = HEIGHT - 1;
const POINTS = 12;

/** {offered, abandoned, words}: two paths in a box of WIDTH x HEIGHT, and the same in words. */
export function spark(history, format, text) {
  if (!history || history.length === 0) return { offered: "", abandoned: "", words: text("spark.none") };
  const points = history.slice(-POINTS);
  const top = points.reduce((most, point) => Math.max(most, point.offered), 4); // a single call is no full bar
  const step = WIDTH / POINTS;
  const bars = { offered: "", abandoned: "" };
  points.forEach((point, index) => {
    const x = (index + POINTS - points.length) * step + 1;
    const width = step - 2;
    const full = (point.offered / top) * (BASE - 2);
    const lost = (Math.min(point.abandoned, point.offered) / top) * (BASE - 2);
    const bar = (from, to) => "M" + x.toFixed(1) + " " + (BASE - from).toFixed(1) + "h" + width.toFixed(1) + "V" + (BASE - to).toFixed(1) + "h-" + width.toFixed(1) + "z";
    if (full > lost) bars.offered += bar(lost, full);
    if (lost > 0) bars.abandoned += bar(0, lost);
  });
  const list = (field) => points.map((point) => (point[field] === null ? UNKNOWN : format.count(point[field]))).join(", ");
  bars.words = text("spark", { offered: list("offered"), abandoned: list("abandoned") });
  return bars;
}
