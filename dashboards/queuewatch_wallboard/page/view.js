// Decides how rows become nodes.  Nodes are made once per queue and then written in place: only what differs is touched, and
// nothing is read from the layout but when names are fitted, so that a board of hundreds stays smooth for weeks.

import { groupRow, queueRow, waitsAt } from "./row.js";
import { spark } from "./spark.js";

const FITTED = { name: 5, note: 2 }; // how often each is made smaller
const STRETCH = 1.15; // a line may be so much higher than its box: fonts differ

export function byId(id) {
  return document.getElementById(id);
}

/** Text that is written only when it differs. */
export class Cell {
  constructor(element) {
    this.node = element.appendChild(document.createTextNode(""));
    this.shown = "";
  }

  write(text) {
    if (text === this.shown) return;
    this.shown = text;
    this.node.data = text;
  }
}

/** An attribute that is written only when it differs; null takes it away. */
export function mark(element, shown, name, value) {
  if (shown[name] === value) return false;
  shown[name] = value;
  if (value === null) element.removeAttribute("data-" + name);
  else element.setAttribute("data-" + name, value);
  return true;
}

/** Brings exactly these children into this order and touches none that is right already. */
export function place(parent, wanted) {
  let at = parent.firstElementChild;
  wanted.forEach((child) => {
    if (child === at) {
      at = at.nextElementSibling;
    } else {
      parent.insertBefore(child, at);
    }
  });
  while (at !== null) {
    const next = at.nextElementSibling;
    parent.removeChild(at);
    at = next;
  }
}

/** ¹ for 1; nothing for what has no number. */
export function footnote(number) {
  return number === undefined ? "" : String(number).replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]);
}

/** A copy of a template with its fixed words filled in. */
function copy(id, text) {
  const root = byId(id).content.firstElementChild.cloneNode(true);
  root.querySelectorAll("[data-say]").forEach((element) => {
    element.textContent = text(element.getAttribute("data-say"));
  });
  return root;
}

/** One row of figures: a card, a row of the list, a group's sums. */
class Figures {
  constructor(template, text) {
    this.root = copy(template, text);
    this.cells = {};
    this.root.querySelectorAll("[data-figure]").forEach((element) => {
      this.cells[element.getAttribute("data-figure")] = new Cell(element);
    });
    this.shown = {};
    this.icon = this.root.querySelector(".icon use");
    this.spark = this.root.querySelector(".spark");
    this.fits = Object.keys(FITTED)
      .filter((figure) => this.cells[figure] !== undefined && template !== "section")
      .map((figure) => ({ element: this.cells[figure].node.parentNode, cell: this.cells[figure], most: FITTED[figure], fitted: null }));
    this.row = null;
    this.asOf = 0;
  }

  /** Writes `row` (row.js); `asOf` is its board's time. */
  write(row, asOf) {
    this.row = row;
    this.asOf = asOf;
    const texts = row.texts;
    for (const figure in texts) {
      const cell = this.cells[figure];
      if (cell !== undefined) cell.write(texts[figure]);
    }
    for (const name in row.marks) {
      if (mark(this.root, this.shown, name, row.marks[name]) && name === "state" && this.icon !== null) {
        this.icon.setAttribute("href", "#state-" + row.marks.state);
      }
    }
  }

  /** Writes the longest waits as of `now`. */
  tick(now, format, text) {
    const row = this.row;
    if (row === null || this.cells.longest_wait === undefined) return;
    const waits = waitsAt(row, this.asOf, now);
    const today = format.wait(waits.today);
    const longest = format.wait(waits.longest);
    this.cells.longest_wait.write(longest);
    mark(this.root, this.shown, "long-wait", longest.length > 5 ? "yes" : null);
    if (this.cells.longest_today !== undefined) this.cells.longest_today.write(today);
    if (this.cells.today_words !== undefined) this.cells.today_words.write(text("longest.today", { wait: today }));
  }

  /** Draws the last hour, where it differs. */
  draw(history, format, text) {
    if (this.spark === null) return;
    const last = history.length > 0 ? history[history.length - 1] : null;
    let key = history.length + (last === null ? "" : last.start);
    history.forEach((point) => {
      key += "," + point.offered + "/" + point.abandoned;
    });
    if (key === this.drawn) return;
    this.drawn = key;
    const bars = spark(history, format, text);
    this.spark.querySelector(".offered").setAttribute("d", bars.offered);
    this.spark.querySelector(".abandoned").setAttribute("d", bars.abandoned);
    this.spark.setAttribute("aria-label", bars.words);
  }
}

/** The queues on the screen: cards or rows, in groups. */
export class Board {
  constructor(root, format, text) {
    this.root = root;
    this.format = format;
    this.text = text;
    this.clear();
  }

  /** Forgets every name and figure. */
  clear() {
    place(this.root, []);
    this.layout = null;
    this.queues = new Map();
    this.groups = new Map();
    this.visible = []; // of the page that is shown: [{figures, queue}] and [{figures, group}]
    this.sums = [];
    this.table = null;
  }

  made(map, key, template, name) {
    let found = map.get(key);
    if (found === undefined) {
      found = new Figures(template, this.text);
      found.root.setAttribute("data-" + name, key);
      map.set(key, found);
    }
    return found;
  }

  /** Puts one page of a plan (order.js) on the screen. */
  arrange(plan, page) {
    const list = plan.layout === "list";
    if (this.layout !== null && list !== (this.layout === "list")) this.clear();
    this.layout = plan.layout;
    const style = this.root.style;
    style.setProperty("--u", plan.unit.toFixed(3) + "px");
    style.setProperty("--columns", String(plan.columns));
    style.setProperty("--row", plan.row === null ? "auto" : Math.floor(plan.row) + "px");
    this.visible = [];
    this.sums = [];
    const blocks = plan.pages[page].map((section) => {
      const sum = this.made(this.groups, section.group, list ? "sum" : "section", "group");
      const rows = section.queues.map((queue) => {
        const figures = this.made(this.queues, queue, list ? "row" : "card", "queue");
        this.visible.push({ figures: figures, queue: queue });
        return figures.root;
      });
      this.sums.push({ figures: sum, group: section.group });
      const band = sum.root.firstElementChild;
      band.hidden = !section.band;
      if (list) {
        place(sum.root, [band].concat(rows));
      } else {
        sum.root.style.setProperty("--span", String(section.span));
        mark(sum.root, sum.shown, "single", section.single ? "yes" : null);
        mark(sum.root, sum.shown, "span", section.span >= 3 ? "wide" : section.span === 2 ? "middle" : "narrow");
        place(sum.root.querySelector(".cards"), rows);
      }
      return sum.root;
    });
    if (list) {
      if (this.table === null) this.table = copy("list", this.text);
      place(this.table, [this.table.tHead].concat(blocks));
      place(this.root, [this.table]);
    } else {
      place(this.root, blocks);
    }
  }

  /** Forgets queues and groups that are no longer on the board. */
  prune(queues, groups) {
    this.queues.forEach((figures, queue) => {
      if (!queues.has(queue)) this.queues.delete(queue);
    });
    this.groups.forEach((figures, group) => {
      if (!groups.has(group)) this.groups.delete(group);
    });
  }

  /**
   * Writes what is on the screen.  `queues` and `groups` are the board's rows by name, `asOf` its time, `now` the server's time,
   * `notes` the numbers of the definitions' footnotes.
   */
  write(queues, groups, zone, asOf, now, notes) {
    let start = null;
    this.visible.forEach((item) => {
      const row = queues.get(item.queue);
      if (row === undefined) return;
      const told = queueRow(row, zone, now, this.format, this.text);
      told.texts.footnote = notes.size > 1 ? footnote(notes.get(told.texts.definition)) : "";
      if (row.interval !== null) {
        if (start === null) start = told.texts.interval_start;
        else if (start !== told.texts.interval_start) start = this.text("interval.none");
      }
      item.figures.write(told, asOf);
      item.figures.draw(row.history, this.format, this.text);
    });
    this.sums.forEach((item) => {
      const row = groups.get(item.group);
      if (row !== undefined) item.figures.write(groupRow(row, groups.size === 1, this.format, this.text), asOf);
    });
    if (this.table !== null && start !== this.start) {
      this.start = start;
      this.table.querySelectorAll(".start").forEach((element) => {
        element.textContent = start === null ? "" : start;
      });
    }
  }

  /** Counts the waits on to `now`, the server's time. */
  tick(now) {
    this.visible.forEach((item) => item.figures.tick(now, this.format, this.text));
    this.sums.forEach((item) => item.figures.tick(now, this.format, this.text));
  }

  /**
   * Makes names and notes smaller until they fit; `size` tells one arrangement from another.  All are written, then all are
   * read, so that the layout is made a few times and not hundreds; mostly there is nothing to do.
   */
  fit(size) {
    let open = [];
    this.visible.concat(this.sums).forEach((item) => {
      item.figures.fits.forEach((part) => {
        if (part.fitted === size + part.cell.shown) return;
        part.fitted = size + part.cell.shown;
        part.element.setAttribute("data-fit", "0");
        open.push(part);
      });
    });
    for (let step = 1; open.length > 0; step += 1) {
      open = open.filter((part) => step <= part.most && overflows(part.element));
      open.forEach((part) => part.element.setAttribute("data-fit", String(step)));
    }
  }
}

function overflows(element) {
  return element.scrollHeight > element.clientHeight * STRETCH + 1 || element.scrollWidth > element.clientWidth + 1;
}
