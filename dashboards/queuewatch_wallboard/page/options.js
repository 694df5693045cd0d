// Decides what an address asks for.  Pure.  What it gives wrong is ignored: a wall shows something rather than nothing.
//
// ?group= &queue=     which queues, each may be repeated; left out: all that the link may see
// ?layout=            one | grid | list; left out: by the number of queues
// ?rotate=            seconds per page; 0: one long page; left out: 20 where the queues do not fit on a wide screen
// ?theme=             dark | light; left out: dark
// ?lang=              a language that has a file in texts/; left out: the browser's
// ?sort= &pin=        name | waiting | wait | level | state, worst first; pinned queues stand before all others
// ?sound=1            a sound on a change for the worse
// #token=             the link's token: it stays in the fragment, which no server, proxy or referrer ever sees

export const LAYOUTS = ["one", "grid", "list"];
export const THEMES = ["dark", "light"];
export const SORTS = ["name", "waiting", "wait", "level", "state"];
export const ROTATE_SECONDS = 20;
const SHORTEST_ROTATION = 5;
const LANGUAGE = /^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$/;

function oneOf(allowed, given) {
  return allowed.indexOf(given) >= 0 ? given : null;
}

/** What `search` and `hash` of an address ask for; `languages` are the browser's, best first. */
export function readOptions(search, hash, languages) {
  const query = new URLSearchParams(search);
  const fragment = new URLSearchParams(hash.replace(/^#/, ""));
  const seconds = Number(query.get("rotate"));
  const asked = query.get("lang");
  const wanted = (asked === null ? [] : [asked]).concat(languages);
  return {
    groups: query.getAll("group"),
    queues: query.getAll("queue"),
    pins: query.getAll("pin"),
    layout: oneOf(LAYOUTS, query.get("layout")),
    theme: oneOf(THEMES, query.get("theme")) || "dark",
    sort: oneOf(SORTS, query.get("sort")),
    sound: query.get("sound") === "1",
    rotate: !query.get("rotate") || !(seconds >= 0) ? null : seconds === 0 ? 0 : Math.max(SHORTEST_ROTATION, seconds),
    languages: wanted.filter((language) => LANGUAGE.test(language)),
    token: fragment.get("token") || null,
  };
}

/** The same choice of queues for the service: "" or "?group=…&queue=…". */
export function selection(options, more) {
  const query = new URLSearchParams();
  options.groups.forEach((group) => query.append("group", group));
  options.queues.forEach((queue) => query.append("queue", queue));
  Object.keys(more || {}).forEach((name) => query.append(name, more[name]));
  const text = query.toString();
  return text === "" ? "" : "?" + text;
}
