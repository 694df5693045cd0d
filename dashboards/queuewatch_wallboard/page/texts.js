// Decides in which language the page speaks: the first wanted one that has a file, and English for what it leaves out.

async function load(language) {
  const answer = await fetch(new URL("texts/" + language + ".json", import.meta.url).href);
  if (!answer.ok) throw new Error("no texts in " + language);
  return answer.json();
}

/** The languages that have a file in texts/: one more is a file, and its name here. */
export const LANGUAGES = ["en", "zh"];

/** {language, text(key, values)} for the first of these languages that there is, of a region's or in general. */
export async function loadTexts(languages) {
  const english = await load("en");
  const candidates = [];
  languages.forEach((language) => {
    candidates.push(language.toLowerCase(), language.toLowerCase().split("-")[0]);
  });
  const found = candidates.find((candidate) => LANGUAGES.indexOf(candidate) >= 0);
  if (found === undefined || found === "en") return speak("en", english, english);
  return speak(found, await load(found), english);
}

/** Texts of a language; {name} in a text is filled by the value of that name. */
export function speak(language, own, english) {
  const find = (key) => (Object.prototype.hasOwnProperty.call(own, key) ? own[key] : english[key]);
  return {
    language: own["language"] || language,
    has: (key) => find(key) !== undefined,
    text: (key, values) => {
      const pattern = find(key);
      if (pattern === undefined) return key;
      return pattern.replace(/\{(\w+)\}/g, (whole, name) => (values && name in values ? String(values[name]) : whole));
    },
  };
}
