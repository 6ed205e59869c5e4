/** What the canvas has to ask before labels are overwritten or dropped. */

import { isSameContent, merged } from "./changes.js";
import { Comparison } from "./comparison.js";
import { clockTime } from "./dom.js";

const REFUSED = "refused";
const CONFLICT = "conflict";
const DRAFT = "draft";

export function openQuestions(labeler) {
  const { controls, saver } = labeler;

  /** Somebody else saved first: what they and you did, side by side, and which of it should stay. */
  function conflict(theirs) {
    const { base } = saver; // resolving it makes theirs the new one
    const who = theirs.author || "Somebody else";
    const text = `${who} saved this photo at ${clockTime(theirs.saved_at)}. Which labels should stay?`;
    const both = () => merged(base, labeler.content, theirs);
    const decide = (choice) => {
      const result = saver.resolve(choice, choice === "both" ? both() : null);
      settle(CONFLICT, result, choice === "mine", true);
    };
    compare(CONFLICT, text, { base, theirs, who, both }, [
      ["Keep both", () => decide("both"), "keep-both"],
      ["Keep mine", () => decide("mine"), "keep-mine"],
      ["Take theirs", () => decide("theirs"), "take-theirs"],
    ]);
  }

  function compare(topic, text, sides, choices) {
    const comparison = new Comparison(labeler, sides);
    controls.ask(text, choices, topic, comparison.element);
  }

  function settle(topic, result, isShown, isSaved) {
    controls.withdraw(topic);
    labeler.showPreview(null);
    if (!isShown) labeler.replaceLabels(result, { isSaved });
    labeler.focus();
  }

  /** An earlier visit could not send its last changes. */
  function draft(rev) {
    const kept = saver.draft();
    if (!kept) return;
    if (isSameContent(kept, labeler.content)) saver.dropDraft();
    else if (kept.rev === rev) labeler.replaceLabels(kept, { isSaved: false });
    else askForDraft(kept);
  }

  /** What both started from is forgotten by now, so "both" keeps every object that either of them has. */
  function askForDraft(kept) {
    saver.holdDraft();
    const theirs = { ...labeler.content, author: "", saved_at: "" };
    const both = () => merged(null, kept, theirs);
    const answer = (result) => {
      if (result) saver.releaseDraft();
      else saver.dropDraft();
      settle(DRAFT, result, !result, false);
    };
    const text = `Changes you made at ${clockTime(kept.at)} were never sent, and the photo has been saved since.`;
    compare(DRAFT, text, { base: null, theirs, who: "Saved since", both, mine: kept }, [
      ["Keep both", () => answer(both()), "keep-both"],
      ["Restore mine", () => answer(kept), "restore-draft"],
      ["Drop them", () => answer(null), "drop-draft"],
    ]);
  }

  /** The server will never take the last change. */
  function refused() {
    if (!saver.isGone) return labeler.hint(saver.message);
    const { has_next: hasNext, has_previous: hasPrevious } = labeler.data;
    const next = ["Next photo", () => labeler.leaving.navigate("next"), "leave-next"];
    const previous = ["Previous photo", () => labeler.leaving.navigate("previous"), "leave-previous"];
    const ways = [...(hasNext ? [next] : []), ...(hasPrevious ? [previous] : [])];
    controls.ask(`${saver.message} What you draw on it cannot be saved.`, ways, REFUSED);
  }

  /** The user wants to leave a photo whose last change was refused. */
  function leave(to) {
    if (saver.isGone) return; // told just now; who asks again may go
    const goOn = () => {
      saver.giveUp();
      controls.withdraw(REFUSED);
      labeler.leaving.navigate(to === "done_next" ? "next" : to);
    };
    const stay = () => {
      controls.withdraw(REFUSED);
      labeler.focus();
    };
    const text = `This photo's last change was refused: ${saver.message} Go on without it?`;
    controls.ask(text, [["Go on without it", goOn, "go-on"], ["Stay", stay, "stay"]], REFUSED);
  }

  /** The server takes labels again, or is asked to. */
  function settled() {
    controls.withdraw(REFUSED);
  }

  return { conflict, draft, refused, leave, settled };
}
