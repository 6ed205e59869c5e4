/** Two people's versions of a photo's labels: what each did, in words, and a look at either on the canvas. */

import { changesBetween } from "./changes.js";
import { make } from "./dom.js";
import { stateWords } from "./review.js";

const MOST_ROWS = 5;
const VERBS = { added: "added", changed: "changed", removed: "removed", state: "set it to", note: "wrote" };
const APART = {
  added: "Only in yours", changed: "Different in yours", removed: "Missing in yours", state: "Yours is", note: "Your note",
};

/**
 * What a side did, one sentence each: `{text, id, isGone}`; `id` is the object's, null where it is none,
 * `isGone` when that side has the object no more.
 */
export function sentencesOf(before, after, nameOf, say) {
  const changes = changesBetween(before.annotations ?? [], after.annotations ?? []);
  const rows = Object.entries(changes).flatMap(([kind, list]) =>
    list.map((each) => ({ text: say(kind, nameOf(each)), id: each.id, isGone: kind === "removed" })),
  );
  const hasBegun = before.state === "unlabelled" && after.state === "in_progress"; // says nothing new
  if (before.state !== after.state && !hasBegun) {
    rows.push({ text: say("state", stateWords(after.state, after.annotations ?? [])), id: null, isGone: false });
  }
  if ((before.note ?? "") !== (after.note ?? "")) {
    rows.push({ text: say("note", after.note ? `“${after.note}”` : "no note"), id: null, isGone: false });
  }
  return rows;
}

export class Comparison {
  #labeler;
  #sides;
  #looks;

  /**
   * @param sides `{base, theirs, who, both(), mine?}`: contents; `base` null when nobody knows where both
   *   started; `mine` where the canvas does not show it already
   */
  constructor(labeler, sides) {
    this.#labeler = labeler;
    this.#sides = sides;
    this.#looks = ["mine", "theirs", "both"].map((name) => this.#look(name));
    const rows = make("ul", { class: "changes", "data-testid": "changes" }, ...this.#rows());
    const looks = make("div", { class: "looks", role: "group", "aria-label": "Look at" }, ...this.#looks);
    this.element = make("div", { class: "comparison" }, rows, looks);
  }

  #look(name) {
    const isShown = name === (this.#sides.mine ? "theirs" : "mine");
    return make("button", {
      type: "button", class: "quiet", "aria-pressed": String(isShown), "data-testid": `look-at-${name}`,
      "data-look": name, onclick: () => this.#show(name),
    }, { mine: "See mine", theirs: "See theirs", both: "See both" }[name]);
  }

  /** Null where the canvas shows that side anyway. */
  #annotationsOf(name) {
    const { mine, theirs, both } = this.#sides;
    if (name === "both") return both().annotations;
    if (name === "mine") return mine?.annotations ?? null;
    return mine ? null : (theirs.annotations ?? []);
  }

  #show(name, id = null) {
    for (const look of this.#looks) look.setAttribute("aria-pressed", String(look.dataset.look === name));
    this.#labeler.showPreview(this.#annotationsOf(name), id);
  }

  #rows() {
    const { base, theirs, who, mine = this.#labeler.content } = this.#sides;
    const nameOf = (annotation) => this.#labeler.nameOf(annotation);
    if (!base) {
      const apart = (kind, what) => `${APART[kind]}: ${what}`;
      return this.#listed(sentencesOf(theirs, mine, nameOf, apart), "mine", "theirs");
    }
    const say = (person) => (kind, what) => `${person} ${VERBS[kind]}: ${what}`;
    return [
      ...this.#listed(sentencesOf(base, theirs, nameOf, say(who)), "theirs", "mine"),
      ...this.#listed(sentencesOf(base, mine, nameOf, say("You")), "mine", "theirs"),
    ];
  }

  #listed(sentences, side, other) {
    const rows = sentences.slice(0, MOST_ROWS).map(({ text, id, isGone }) => {
      const show = () => this.#show(isGone ? other : side, id);
      return make("li", {}, id === null ? text : make("button", { type: "button", onclick: show }, text));
    });
    const rest = sentences.length - rows.length;
    return rest > 0 ? [...rows, make("li", {}, `and ${rest} more`)] : rows;
  }
}
