// Decides what happens when: news comes, time passes, the screen changes.  Everything that can be wrong is decided elsewhere.

import { SleepGuard, ServerClock, STALE_MS, DOUBT_MS, instant } from "./clock.js";
import { Connection } from "./connection.js";
import { Format } from "./format.js";
import { ROTATE_SECONDS, readOptions } from "./options.js";
import { plan, sections } from "./order.js";
import { Reload } from "./reload.js";
import { definitionWords, mainWindow, stateOf } from "./row.js";
import { Sound } from "./sound.js";
import { loadTexts } from "./texts.js";
import { Transport } from "./transport.js";
import { Board, Cell, byId, footnote, mark, place } from "./view.js";

const TICK_MS = 250;
const RESORT_MS = 5000;
const TRIED = "queuewatch-tried-version";
const SUMMARY = ["critical", "warning", "unknown", "ok", "idle", "closed"];

/** What a benchmark or a test may read; nothing here reads it. */
const stats = { boards: 0, heartbeats: 0, renders: 0, renderMs: 0, worstRenderMs: 0, tickMs: 0, ticks: 0 };
window.queuewatch = stats;

function remembered() {
  try {
    return window.sessionStorage.getItem(TRIED);
  } catch (forbidden) {
    return null;
  }
}

function remember(version) {
  try {
    window.sessionStorage.setItem(TRIED, version);
    return true;
  } catch (forbidden) {
    return false;
  }
}

class Page {
  constructor(options, texts) {
    this.options = options;
    this.text = texts.text;
    this.format = new Format(texts.language);
    this.root = document.documentElement;
    this.shown = {}; // marks of the root
    this.clock = new ServerClock();
    this.sleep = new SleepGuard();
    this.connection = new Connection(Math.random);
    this.started = performance.now();
    const version = this.root.getAttribute("data-version");
    this.reload = new Reload(version, remembered(), Math.random);
    this.reloading = false;
    this.sound = options.sound ? new Sound() : null;
    this.view = new Board(byId("board"), this.format, this.text);
    this.board = null;
    this.asOf = 0;
    this.streamedAt = -Infinity;
    this.zone = null;
    this.sections = [];
    this.signature = "";
    this.lines = "";
    this.sortedAt = -Infinity;
    this.plan = null;
    this.page = 0;
    this.turnAt = 0;
    this.paused = false;
    this.replan = true;
    this.pending = false;
    this.stale = null; // since when the whole page is
    this.stoppedAt = null;
    this.transport = new Transport(options, {
      board: (board) => this.hear(board, true, 0),
      heartbeat: (heartbeat) => this.beat(heartbeat),
      closed: (after) => this.connection.closed(performance.now(), after),
      polled: (board, asked) => {
        this.connection.polled(performance.now());
        if (asked > this.streamedAt) this.hear(board, false, asked); // or the stream has brought a newer one meanwhile
      },
      failed: (after) => this.connection.pollFailed(performance.now(), after),
      refused: (status) => this.refuse(status),
    });
    this.furnish();
  }

  /** The parts around the queues. */
  furnish() {
    this.root.lang = this.format.language;
    this.cells = {
      clock: new Cell(byId("clock")),
      title: new Cell(byId("title")),
      page: new Cell(byId("page")),
      mode: new Cell(byId("mode").querySelector("span")),
      announcement: new Cell(byId("announcement")),
      notes: new Cell(byId("notes")),
      banner: new Cell(byId("banner").querySelector("strong")),
      bannerMore: new Cell(byId("banner").querySelector("span")),
    };
    this.modeIcon = byId("mode").querySelector("use");
    this.modeMarks = {};
    byId("loading").textContent = this.text("loading");
    byId("top").hidden = false;
    this.cells.title.write(this.title());
    const button = (id, label, act) => {
      byId(id).addEventListener("click", act);
      byId(id).setAttribute("aria-label", this.text(label));
    };
    button("previous", "page.previous", () => this.turn(-1));
    button("next", "page.next", () => this.turn(1));
    button("pause", "page.pause", () => this.pause());
    document.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || (this.plan && this.plan.pages.length < 2)) return;
      if (event.key === "ArrowRight" || event.key === "PageDown") this.turn(1);
      else if (event.key === "ArrowLeft" || event.key === "PageUp") this.turn(-1);
      else if (event.key === " " && event.target.tagName !== "BUTTON") this.pause();
      else return;
      event.preventDefault();
    });
    this.summary = SUMMARY.map((state) => {
      const item = document.createElement("li");
      item.setAttribute("data-state", state);
      item.innerHTML = '<svg class="icon" aria-hidden="true"><use href="#state-' + state + '"></use></svg>';
      item.hidden = true;
      byId("summary").appendChild(item);
      return { state: state, item: item, cell: new Cell(item) };
    });
    window.addEventListener("resize", () => this.resized());
    const doubt = () => this.doubt();
    window.addEventListener("online", doubt);
    window.addEventListener("pageshow", (event) => event.persisted && doubt());
    document.addEventListener("visibilitychange", () => document.hidden || this.resized());
    window.addEventListener("hashchange", () => window.location.reload()); // another token
    if (this.sound !== null) this.allowSound();
  }

  allowSound() {
    const button = byId("sound");
    const label = button.querySelector("span");
    const show = () => {
      label.textContent = this.text(this.sound.allowed ? "sound.on" : "sound.allow");
      mark(button, (button.marks = button.marks || {}), "on", this.sound.allowed ? "yes" : "no");
    };
    button.hidden = false;
    show();
    this.sound.begin().then(show);
    button.addEventListener("click", () => this.sound.begin().then(show));
  }

  title() {
    const chosen = this.options.groups;
    if (chosen.length > 0) return chosen.join(this.text("list.and"));
    if (this.board !== null && this.board.queues.length === 1) return this.board.queues[0].name || this.board.queues[0].queue;
    return this.text("title");
  }

  // ------------------------------------------------------------------------------------------------------------ news

  hear(board, streamed) {
    const now = performance.now();
    const time = instant(board.server_time);
    if (isNaN(time) || !Array.isArray(board.queues) || !Array.isArray(board.groups)) return; // no board: the figures will be greyed
    if (streamed) {
      this.streamedAt = now;
      this.connection.streamed(now);
    }
    this.clock.hear(time, now);
    this.reload.hear(board.version, now - this.started);
    this.board = board;
    this.asOf = time;
    stats.boards += 1;
    if (this.sound !== null) this.sound.hear(board, now);
    this.draw();
  }

  beat(heartbeat) {
    const now = performance.now();
    const time = instant(heartbeat.server_time);
    if (isNaN(time)) return;
    stats.heartbeats += 1;
    this.streamedAt = now;
    this.connection.streamed(now);
    this.clock.hear(time, now);
    if (heartbeat.version) this.reload.hear(heartbeat.version, now - this.started);
  }

  refuse(status) {
    this.transport.close();
    this.connection.refuse(performance.now(), status);
    this.board = null; // no name stays on the screen, nor out of sight
    this.plan = null;
    this.signature = this.lines = "";
    this.clock = new ServerClock();
    this.view.clear();
    this.cells.title.write(this.text("title"));
    document.title = this.text("title");
    ["clock", "announcement", "notes", "page"].forEach((name) => this.cells[name].write(""));
    place(byId("partitions"), []);
    ["announcement", "partitions", "notes", "pager", "loading"].forEach((id) => (byId(id).hidden = true));
    this.summary.forEach((entry) => (entry.item.hidden = true));
    byId("refused").querySelector("h2").textContent = this.text("refused." + status);
    byId("refused").querySelector("p").textContent = this.text("refused." + status + ".more");
    byId("refused").hidden = false;
    mark(this.root, this.shown, "refused", "yes");
    this.showFreshness(performance.now());
  }

  doubt() {
    const now = performance.now();
    // What is shown may be older than the monotonic clock tells: it has a moment to be confirmed.
    if (this.clock.newest !== null) this.clock.newest = Math.min(this.clock.newest, this.clock.now(now) - STALE_MS + DOUBT_MS);
    this.act(this.connection.doubt(now));
    this.act(this.connection.tick(now));
  }

  act(todo) {
    todo.forEach((what) => {
      if (what === "open") this.transport.open();
      else if (what === "close") this.transport.close();
      else if (what === "poll") this.transport.poll();
    });
  }

  // ------------------------------------------------------------------------------------------------------------ time

  tick() {
    const now = performance.now();
    if (this.sleep.slept(Date.now(), now)) this.doubt();
    this.act(this.connection.tick(now));
    this.showFreshness(now);
    this.showMode();
    const time = this.clock.now(now);
    if (time !== null && this.board !== null) {
      this.cells.clock.write(this.format.clock(time, this.zone));
      if (!document.hidden) this.view.tick(this.countsTo(time));
    }
    if (this.plan !== null && this.plan.pages.length > 1 && !this.paused && now >= this.turnAt) this.turn(1);
    this.maybeReload(now, time);
    stats.ticks += 1;
    stats.tickMs += performance.now() - now;
  }

  /** Greys the whole page, and takes it back; the banner is written once, not every second. */
  showFreshness(now) {
    let since = this.clock.staleSince(now);
    const silent = since === null && this.clock.newest === null && now - this.started > STALE_MS && this.connection.refused === null;
    const state = this.connection.refused !== null ? null : silent ? "none" : since;
    if (state === this.stale) return;
    this.stale = state;
    this.stoppedAt = state === null ? null : this.clock.now(now);
    mark(this.root, this.shown, "stale", state === null ? null : "yes");
    const banner = byId("banner");
    banner.hidden = state === null;
    if (state === null) {
      this.cells.banner.write("");
      this.cells.bannerMore.write("");
    } else if (silent) {
      this.cells.banner.write(this.text("banner.none"));
      this.cells.bannerMore.write(this.text("banner.none.more"));
    } else {
      this.cells.banner.write(this.text("banner.stale", { time: this.format.clock(since, this.zone) }));
      this.cells.bannerMore.write(this.text("banner.stale.more"));
      if (this.sound !== null) this.sound.play(2, now);
    }
    this.resized();
  }

  /** To which time waits are counted: they stand still once nothing is known to be true any more. */
  countsTo(time) {
    return this.stoppedAt === null ? time : this.stoppedAt;
  }

  showMode() {
    const mode = this.connection.mode;
    if (!mark(byId("mode"), this.modeMarks, "mode", mode)) return;
    this.cells.mode.write(this.text("mode." + mode));
    this.modeIcon.setAttribute("href", "#sign-" + (mode === "refused" ? "connecting" : mode));
  }

  async maybeReload(now, time) {
    if (this.reloading || this.stale !== null || time === null) return;
    const why = this.reload.due(now - this.started, this.format.minuteOfDay(time, this.zone));
    if (why === null) return;
    this.reloading = true;
    if (await this.transport.serves()) {
      const kept = why === "night" || remember(why);
      if (kept || now - this.started > 900000) {
        window.location.reload();
        return;
      }
    }
    this.reload.postpone(now - this.started);
    this.reloading = false;
  }

  // ---------------------------------------------------------------------------------------------------------- drawing

  resized() {
    this.replan = true;
    this.draw();
  }

  /** The next frame shows the newest board: more than one a frame would be for nobody. */
  draw() {
    if (this.pending) return;
    this.pending = true;
    window.requestAnimationFrame(() => {
      this.pending = false;
      if (this.board === null) return;
      const began = performance.now();
      this.render(began);
      const took = performance.now() - began;
      stats.renders += 1;
      stats.renderMs += took;
      stats.worstRenderMs = Math.max(stats.worstRenderMs, took);
    });
  }

  render(now) {
    const board = this.board;
    const queues = new Map(board.queues.map((row) => [row.queue, row]));
    const groups = new Map(board.groups.map((row) => [row.group, row]));
    const zones = new Set(board.queues.map((row) => row.time_zone).filter((zone) => zone !== null));
    this.zone = zones.size === 1 ? zones.values().next().value : null;
    byId("loading").hidden = board.queues.length > 0;
    byId("refused").hidden = true;
    mark(this.root, this.shown, "refused", null);
    if (board.queues.length === 0) byId("loading").textContent = this.text("empty");
    this.cells.title.write(this.title());
    document.title = this.cells.title.shown;
    this.showSummary(board);
    this.showNotices(board, now);
    const notes = this.showNotes(board);
    this.sort(board, now);
    if (this.replan) {
      this.replan = false;
      this.layOut(now);
    }
    this.view.write(queues, groups, this.zone, this.asOf, this.clock.now(now), notes);
    this.view.tick(this.countsTo(this.clock.now(now)));
    this.view.prune(queues, groups);
    this.view.fit(this.size);
  }

  /** Queues change places at most every few seconds, unless there are others. */
  sort(board, now) {
    const found = sections(board, this.options.sort, this.options.pins);
    const signature = JSON.stringify(found);
    if (signature === this.signature) return;
    const members = (all) => JSON.stringify([].concat(...all.map((section) => section.queues)).sort());
    if (now - this.sortedAt < RESORT_MS && members(found) === members(this.sections)) return;
    this.signature = signature;
    this.sections = found;
    this.sortedAt = now;
    this.replan = true;
  }

  layOut(now) {
    const width = window.innerWidth;
    const height = window.innerHeight;
    const base = Math.max(11, Math.min(height * 0.0165, width * 0.0095, 40));
    this.root.style.setProperty("--b", (width < 700 ? 13 : base).toFixed(2) + "px");
    const outline = plan(this.sections, this.options.layout, this.options.rotate, width, height);
    mark(this.root, this.shown, "paged", outline.paged ? "yes" : "no");
    mark(this.root, this.shown, "layout", outline.layout);
    byId("notes").hidden = outline.layout !== "list";
    const board = byId("board");
    const several = this.plan !== null && this.plan.pages.length;
    this.plan = plan(this.sections, this.options.layout, this.options.rotate, board.clientWidth || width, outline.paged ? board.clientHeight : height);
    this.size = this.plan.layout + this.plan.unit + "/" + this.plan.columns + "/" + this.plan.row + " ";
    if (several !== this.plan.pages.length) this.turnAt = now + this.seconds() * 1000;
    if (this.page >= this.plan.pages.length) this.page = 0;
    byId("pager").hidden = this.plan.pages.length < 2;
    this.showPage();
  }

  showPage() {
    this.cells.page.write(this.page + 1 + " / " + this.plan.pages.length);
    byId("page").setAttribute("aria-label", this.text("page", { page: this.page + 1, pages: this.plan.pages.length }));
    if (this.plan.pages.length > 0) this.view.arrange(this.plan, this.page);
    else this.view.clear();
  }

  seconds() {
    return this.options.rotate || ROTATE_SECONDS;
  }

  turn(by) {
    if (this.plan === null) return;
    const pages = this.plan.pages.length;
    this.page = (this.page + by + pages) % pages;
    this.turnAt = performance.now() + this.seconds() * 1000;
    this.showPage();
    this.draw();
  }

  pause() {
    this.paused = !this.paused;
    this.turnAt = performance.now() + this.seconds() * 1000;
    const button = byId("pause");
    button.setAttribute("aria-label", this.text(this.paused ? "page.resume" : "page.pause"));
    button.querySelector("use").setAttribute("href", this.paused ? "#sign-play" : "#sign-pause");
  }

  showSummary(board) {
    const counts = {};
    board.queues.forEach((row) => {
      const state = stateOf(row);
      counts[state] = (counts[state] || 0) + 1;
    });
    this.summary.forEach((entry) => {
      const count = board.queues.length > 1 ? counts[entry.state] || 0 : 0;
      entry.item.hidden = count === 0;
      entry.cell.write(count === 0 ? "" : this.text("summary", { n: this.format.count(count), state: this.text("state." + entry.state) }));
    });
  }

  /** The announcement, and which part of the queues there is no news of. */
  showNotices(board, now) {
    const announcement = board.announcement || "";
    const byReason = new Map();
    board.partitions.without_news.forEach((silent) => {
      const known = byReason.get(silent.why) || { numbers: [], since: null };
      known.numbers.push(silent.partition);
      const since = silent.since === null ? null : instant(silent.since);
      if (since !== null && (known.since === null || since < known.since)) known.since = since;
      byReason.set(silent.why, known);
    });
    const lines = [];
    byReason.forEach((known, why) => {
      const key = "partition." + (why === "recovering" || why === "never" ? why : "no_news");
      lines.push(this.text(key, {
        partitions: known.numbers.map((number) => this.format.count(number)).join(this.text("list.and")),
        time: this.format.since(known.since, this.zone, this.clock.now(now)),
      }));
    });
    const changed = announcement !== this.cells.announcement.shown || lines.join("\n") !== this.lines;
    if (!changed) return;
    this.cells.announcement.write(announcement);
    byId("announcement").hidden = announcement === "";
    this.lines = lines.join("\n");
    byId("partitions").hidden = lines.length === 0;
    place(byId("partitions"), lines.map((line) => {
      const element = document.createElement("p");
      element.textContent = line;
      return element;
    }));
    this.replan = true;
  }

  /** The list has no room for definitions: they stand below it, with numbers where there are several. */
  showNotes(board) {
    const notes = new Map();
    board.queues.forEach((row) => {
      if (row.levels.length === 0) return;
      const level = row.levels[0];
      const words = definitionWords(level.definition, mainWindow(level.windows), this.format, this.text);
      if (!notes.has(words)) notes.set(words, notes.size + 1);
    });
    const parts = [];
    notes.forEach((number, words) => parts.push(notes.size > 1 ? footnote(number) + " " + words : words));
    const text = parts.length === 0 ? "" : this.text("level") + ": " + parts.join("   ");
    if (text !== this.cells.notes.shown) {
      this.cells.notes.write(text);
      this.replan = true;
    }
    return notes;
  }
}

async function begin() {
  const options = readOptions(window.location.search, window.location.hash, navigator.languages || [navigator.language || "en"]);
  document.documentElement.setAttribute("data-theme", options.theme);
  const page = new Page(options, await loadTexts(options.languages));
  document.documentElement.setAttribute("data-running", "yes"); // watch.js loads the page anew where this is missing
  const beat = () => page.tick();
  beat();
  setInterval(beat, TICK_MS);
}

begin();
