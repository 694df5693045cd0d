// Decides how one talks with the service: ticket, stream, poll.  What is done when is connection.js' to say.
//
// The link's token leaves this page in one header only, on its way to the ticket.  Every stream gets a fresh ticket, since
// it stands in the stream's address.

import { selection } from "./options.js";

const ANSWER_MS = 8000;
const MARGIN_MS = 5000;

class Refusal extends Error {
  constructor(status, after) {
    super("status " + status);
    this.status = status;
    this.after = after;
  }
}

async function ask(address, options) {
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(), ANSWER_MS);
  try {
    const base = { cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer", signal: control.signal };
    const answer = await fetch(address, Object.assign(base, options));
    if (!answer.ok) throw new Refusal(answer.status, Number(answer.headers.get("Retry-After")) * 1000 || 0);
    return await answer.json();
  } finally {
    clearTimeout(timer);
  }
}

export class Transport {
  /**
   * `hears`: board(board), heartbeat(heartbeat), closed(milliseconds to wait), polled(board, when it was asked for),
   * failed(milliseconds to wait), refused(status).
   */
  constructor(options, hears) {
    this.options = options;
    this.hears = hears;
    this.source = null;
    this.attempt = 0; // whatever an older one still says is not heard
    this.ticket = null;
    this.ticketUntil = 0;
  }

  async freshTicket() {
    const asked = performance.now();
    const answer = await ask("api/v1/ticket", { method: "POST", headers: { Authorization: "Bearer " + this.options.token } });
    this.ticket = answer.ticket;
    this.ticketUntil = asked + answer.expires_in_seconds * 1000 - MARGIN_MS;
    return answer.ticket;
  }

  async open() {
    this.close();
    const attempt = this.attempt;
    let ticket = null;
    if (this.options.token !== null) {
      try {
        ticket = await this.freshTicket();
      } catch (error) {
        if (attempt !== this.attempt) return;
        if (error.status === 401 || error.status === 403) this.hears.refused(error.status);
        else this.hears.closed(error.after || 0);
        return;
      }
      if (attempt !== this.attempt) return;
    }
    const source = new EventSource("api/v1/stream" + selection(this.options, ticket === null ? {} : { ticket: ticket }));
    this.source = source;
    const heard = (handler) => (event) => {
      if (attempt !== this.attempt) return;
      let message;
      try {
        message = JSON.parse(event.data);
      } catch (unreadable) {
        return; // no news is no news: the figures will be greyed
      }
      handler(message);
    };
    source.addEventListener("board", heard((board) => this.hears.board(board)));
    source.addEventListener("heartbeat", heard((heartbeat) => this.hears.heartbeat(heartbeat)));
    source.addEventListener("error", () => {
      if (attempt !== this.attempt) return;
      this.close();
      this.hears.closed(0);
    });
  }

  close() {
    this.attempt += 1;
    if (this.source !== null) this.source.close();
    this.source = null;
  }

  async poll() {
    const asked = performance.now();
    try {
      const board = await this.pollOnce(true);
      this.hears.polled(board, asked);
    } catch (error) {
      if (error.status === 401 || error.status === 403) this.hears.refused(error.status);
      else this.hears.failed(error.after || 0);
    }
  }

  async pollOnce(again) {
    const headers = {};
    if (this.options.token !== null) {
      const valid = this.ticket !== null && performance.now() < this.ticketUntil;
      headers.Authorization = "Bearer " + (valid ? this.ticket : await this.freshTicket());
    }
    try {
      return await ask("api/v1/queues" + selection(this.options), { headers: headers });
    } catch (error) {
      if (!again || error.status !== 401 || this.options.token === null) throw error;
      this.ticket = null; // the ticket ran out, perhaps, and not the link
      return this.pollOnce(false);
    }
  }

  /** Whether the service would serve the page now. */
  async serves() {
    try {
      const answer = await fetch("./" + window.location.search, { cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer" });
      return answer.ok;
    } catch (unreachable) {
      return false;
    }
  }
}
