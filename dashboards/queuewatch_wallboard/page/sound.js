// Decides when something is to be heard: a queue got worse, or the figures are no longer true.  Browsers forbid sound until
// somebody has touched the page, so a button asks for it.

import { RANK, stateOf } from "./row.js";

const QUIET_MS = 10000;

/** How much worse the board is than before: the worst state that a queue has newly come to; 0 where none got worse. */
export function worsened(before, board) {
  let worst = 0;
  const now = new Map();
  board.queues.forEach((row) => {
    const rank = RANK[stateOf(row)];
    now.set(row.queue, rank);
    if (before !== null && before.has(row.queue) && rank > before.get(row.queue)) worst = Math.max(worst, rank);
  });
  return { worst: worst, ranks: now };
}

export class Sound {
  constructor() {
    this.context = null;
    this.last = -Infinity;
    this.ranks = null;
  }

  /** Whether the browser lets it sound. */
  get allowed() {
    return this.context !== null && this.context.state === "running";
  }

  /** Tries to begin; true where nobody has to click first. */
  async begin() {
    const Context = window.AudioContext || window.webkitAudioContext;
    if (!Context) return false;
    if (this.context === null) this.context = new Context();
    this.context.resume(); // where it is forbidden, its promise stays open for ever
    await new Promise((done) => setTimeout(done, 200));
    return this.allowed;
  }

  /** A board came. */
  hear(board, monotonic) {
    const found = worsened(this.ranks, board);
    this.ranks = found.ranks;
    if (found.worst > 0) this.play(found.worst, monotonic);
  }

  /** Two notes, falling; lower and longer the worse it is.  At most every ten seconds. */
  play(rank, monotonic) {
    if (!this.allowed || monotonic - this.last < QUIET_MS) return;
    this.last = monotonic;
    const notes = rank >= 3 ? [659, 440, 659, 440] : [587, 494];
    notes.forEach((pitch, index) => {
      const tone = this.context.createOscillator();
      const volume = this.context.createGain();
      const start = this.context.currentTime + index * 0.28;
      tone.frequency.value = pitch;
      volume.gain.setValueAtTime(0, start);
      volume.gain.linearRampToValueAtTime(0.25, start + 0.03);
      volume.gain.linearRampToValueAtTime(0, start + 0.26);
      tone.connect(volume);
      volume.connect(this.context.destination);
      tone.start(start);
      tone.stop(start + 0.28);
    });
  }
}
