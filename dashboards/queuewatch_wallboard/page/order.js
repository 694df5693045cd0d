// Decides which queue stands where: groups, order within them, pages.  Pure.
//
// Lengths are in units of the design: a card is 34 wide and 21 high, whatever the screen.  The unit in pixels follows from
// what has to fit, so that figures are as large as they can be.

import { RANK, stateOf } from "./row.js";

export const CARD = { width: 34, height: 21, band: 3.2, gap: 0.9 };
const PHONE = 600; // pixels; below it a card's trend stands under its counts
const PHONE_CARD = 30;
const ONE_HEIGHT = 24.6; // of the card that has the screen for itself: its figures are larger
export const ROW = { width: 128, height: 4.6, band: 3.6, head: 3.2, tallest: 6.5 };
/** The smallest unit on a wall, as a share of the screen's height: below it nobody reads the small print. */
const SMALLEST = 0.0125;
const MOST_COLUMNS = 6;
const LIST_FROM = 13;

const larger = (field) => (one, other) => (other[field] === null ? -1 : other[field]) - (one[field] === null ? -1 : one[field]);

function gap(row) {
  const level = row.levels[0];
  if (!level) return null;
  const names = ["15m", "5m", "30m", "1h", "interval", "day"].filter((name) => level.windows[name]);
  const ratio = names.length > 0 ? level.windows[names[0]].ratio : null;
  return ratio === null ? null : ratio - level.definition.target;
}

const COMPARE = {
  name: (one, other) => (one.name || one.queue).localeCompare(other.name || other.queue),
  waiting: larger("waiting"),
  wait: larger("longest_wait_seconds"),
  level: (one, other) => {
    const first = gap(one);
    const second = gap(other);
    return (first === null ? Infinity : first) - (second === null ? Infinity : second) || 0;
  },
  state: (one, other) => RANK[stateOf(other)] - RANK[stateOf(one)] || larger("longest_wait_seconds")(one, other),
};

/**
 * [{group, queues}] of a board: groups in the board's order, those with a pinned queue first; in a group pinned queues first,
 * in the address's order, then the service's, then the rest by `sort` or as they came.
 */
export function sections(board, sort, pins) {
  const pinned = (row) => {
    const place = pins.indexOf(row.queue);
    return place >= 0 ? place : row.pinned ? pins.length : Infinity;
  };
  const byGroup = new Map();
  board.groups.forEach((group) => byGroup.set(group.group, []));
  board.queues.forEach((row, index) => {
    if (!byGroup.has(row.group)) byGroup.set(row.group, []);
    byGroup.get(row.group).push({ row: row, index: index, pin: pinned(row) });
  });
  const found = [];
  byGroup.forEach((members, group) => {
    if (members.length === 0) return;
    members.sort((one, other) => {
      if (one.pin !== other.pin) return one.pin < other.pin ? -1 : 1;
      const sorted = sort === null ? 0 : COMPARE[sort](one.row, other.row);
      return sorted || one.index - other.index; // old browsers do not sort stably
    });
    found.push({ group: group, queues: members.map((member) => member.row.queue), pin: members[0].pin, index: found.length });
  });
  found.sort((one, other) => (one.pin !== other.pin ? (one.pin < other.pin ? -1 : 1) : one.index - other.index));
  return found.map((section) => ({ group: section.group, queues: section.queues }));
}

/** Whether a group has a row of its own: for its name where there are several groups, for its sums where it has several queues. */
function hasBand(section, all) {
  return section.queues.length > 1 || all.length > 1;
}

function chunks(queues, most) {
  const count = Math.ceil(queues.length / most);
  const size = Math.ceil(queues.length / count); // 13 of 12 are 7 and 6, not 12 and 1
  const found = [];
  for (let at = 0; at < queues.length; at += size) found.push(queues.slice(at, at + size));
  return found;
}

/** Shelves of sections side by side; each {sections: [{group, queues, span}], rows, band}. */
function shelve(all, columns, rowsOfPage) {
  const shelves = [];
  let shelf = null;
  all.forEach((section) => {
    const band = hasBand(section, all);
    chunks(section.queues, Math.max(1, columns * rowsOfPage)).forEach((queues) => {
      const span = Math.min(columns, queues.length);
      const rows = Math.ceil(queues.length / span);
      if (shelf === null || shelf.used + span > columns || rows > 1 || shelf.rows > 1) {
        shelf = { sections: [], rows: rows, used: 0, band: false };
        shelves.push(shelf);
      }
      shelf.used += span;
      shelf.band = shelf.band || band;
      shelf.sections.push({ group: section.group, queues: queues, span: span, band: band, single: section.queues.length === 1 });
    });
  });
  return shelves;
}

function heightOf(shelf) {
  return shelf.rows * (CARD.height + CARD.gap) + (shelf.band ? CARD.band : 0);
}

function paginate(shelves, height) {
  const pages = [];
  let left = -1;
  shelves.forEach((shelf) => {
    const needed = heightOf(shelf);
    if (pages.length === 0 || needed > left + 1e-6) {
      pages.push([]);
      left = height;
    }
    left -= needed;
    pages[pages.length - 1].push(shelf);
  });
  return pages;
}

/**
 * How cards fill a screen of width x height pixels: {unit, columns, row, pages: [[{group, queues, span, band, single}]]}; `row` is a card's
 * height in pixels, null where it is as high as it must be.
 */
function cards(all, width, height, paged, one) {
  const each = one ? Math.max(CARD.width, Math.min(46, (width / height) * ONE_HEIGHT)) : CARD.width;
  const unitOf = (columns) => width / (columns * (each + CARD.gap) + CARD.gap);
  if (!paged) {
    const columns = Math.max(1, Math.min(MOST_COLUMNS, Math.floor(width / 400)));
    const unit = width < PHONE ? width / (PHONE_CARD + 2 * CARD.gap) : Math.min(unitOf(columns), 24);
    const page = [].concat(...shelve(all, columns, Infinity).map((shelf) => shelf.sections));
    return { unit: unit, columns: columns, row: null, pages: [page] };
  }
  const smallest = SMALLEST * height;
  const count = all.reduce((sum, section) => sum + section.queues.length, 0);
  if (one) {
    const pages = [];
    all.forEach((section) => section.queues.forEach((queue) => pages.push([{ group: section.group, queues: [queue], span: 1, band: false }])));
    const unit = Math.min(unitOf(1), height / (ONE_HEIGHT + CARD.gap));
    return { unit: unit, columns: 1, row: height - CARD.gap * unit, pages: pages };
  }
  const rowsIn = (unit) => Math.max(1, Math.floor((height / unit - CARD.band - CARD.gap) / (CARD.height + CARD.gap) + 1e-6));
  const unitFor = (rows) => height / (rows * (CARD.height + CARD.gap) + CARD.band + CARD.gap);
  const pagesOf = (columns, unit) => paginate(shelve(all, columns, rowsIn(unit)), height / unit - CARD.gap);
  let best = null;
  for (let columns = 1; columns <= MOST_COLUMNS; columns += 1) {
    const wide = unitOf(columns);
    const whole = shelve(all, columns, Infinity).reduce((sum, shelf) => sum + heightOf(shelf), 0);
    const single = Math.min(wide, height / (whole + CARD.gap));
    if (single >= smallest && (best === null || best.pages.length > 1 || single > best.unit)) {
      best = { columns: columns, unit: single, pages: paginate(shelve(all, columns, Infinity), Infinity) };
    }
    for (let rows = 1; unitFor(rows) >= smallest && wide >= smallest && (best === null || best.pages.length > 1); rows += 1) {
      const unit = Math.min(wide, unitFor(rows));
      const pages = pagesOf(columns, unit);
      if (best === null || pages.length < best.pages.length || (pages.length === best.pages.length && unit > best.unit)) {
        best = { columns: columns, unit: unit, pages: pages };
      }
    }
  }
  if (best === null) {
    const unit = Math.min(unitOf(1), unitFor(1));
    best = { columns: 1, unit: unit, pages: pagesOf(1, unit) };
  }
  const pages = best.pages;
  // What is left of the fullest page goes to its cards.
  const spare = pages.map((page) => {
    const rows = page.reduce((sum, shelf) => sum + shelf.rows, 0);
    const free = height / best.unit - CARD.gap - page.reduce((sum, shelf) => sum + heightOf(shelf), 0);
    return CARD.height + Math.max(0, free) / rows;
  });
  const tallest = count > 1 ? CARD.height * 1.35 : CARD.height * 1.6;
  return {
    unit: best.unit,
    columns: best.columns,
    row: Math.min(Math.min.apply(null, spare), tallest) * best.unit,
    pages: pages.map((page) => [].concat(...page.map((shelf) => shelf.sections))),
  };
}

/** How rows fill a screen; the same form, `row` is a row's height in pixels. */
function rows(all, width, height, paged) {
  const unit = width / ROW.width;
  if (!paged) {
    const narrow = width < 900;
    const pages = [all.map((section) => ({ group: section.group, queues: section.queues, span: 1, band: hasBand(section, all) }))];
    return { unit: narrow ? Math.max(9.5, Math.min(width / 42, 14)) : Math.max(9, Math.min(unit, 20)), columns: 1, row: null, pages: pages };
  }
  const band = (section) => (hasBand(section, all) ? ROW.band : 0);
  const room = height / unit - ROW.head;
  const pages = [];
  let left = -1;
  all.forEach((section) => {
    const most = Math.max(1, Math.floor((room - band(section)) / ROW.height));
    const whole = section.queues.length * ROW.height + band(section);
    const parts = whole <= left || whole <= room ? [section.queues] : chunks(section.queues, most);
    parts.forEach((queues) => {
      const needed = queues.length * ROW.height + band(section);
      if (pages.length === 0 || needed > left + 1e-6) {
        pages.push([]);
        left = room;
      }
      left -= needed;
      pages[pages.length - 1].push({ group: section.group, queues: queues, span: 1, band: band(section) > 0 });
    });
  });
  const spare = pages.map((page) => {
    const bands = page.reduce((sum, section) => sum + band(section), 0);
    const count = page.reduce((sum, section) => sum + section.queues.length, 0);
    return (room - bands) / Math.max(1, count);
  });
  const tall = Math.max(ROW.height, Math.min(Math.min.apply(null, spare.concat([ROW.tallest])), ROW.tallest));
  return { unit: unit, columns: 1, row: tall * unit, pages: pages };
}

/**
 * The whole plan: {layout, paged, unit, columns, row, pages}.
 *
 * `asked` is the layout that the address asks for, or null; `rotate` its seconds, 0, or null; width and height are those of the
 * room for queues, in pixels.
 */
export function plan(all, asked, rotate, width, height) {
  const count = all.reduce((sum, section) => sum + section.queues.length, 0);
  const layout = asked !== null ? asked : count === 1 ? "one" : count < LIST_FROM ? "grid" : "list";
  const paged = rotate === 0 ? false : rotate !== null ? width >= 600 && height >= 300 : width >= 900 && width > height && height >= 420;
  const found = layout === "list" ? rows(all, width, height, paged) : cards(all, width, height, paged, layout === "one");
  return Object.assign({ layout: layout, paged: paged }, found);
}
