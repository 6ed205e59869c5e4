/** What the canvas has to ask before labels are overwritten or dropped. */

import { areSame } from "./annotations.js";
import { clockTime } from "./controls.js";

const REFUSED = "refused";

export function openQuestions(labeler) {
  const { controls, saver } = labeler;

  /** Somebody else saved first. */
  function conflict(theirs) {
    const count = theirs.annotations?.length ?? 0;
    const who = theirs.author || "Somebody else";
    const objects = count === 1 ? "1 object" : `${count} objects`;
    const text = `${who} saved this photo at ${clockTime(theirs.saved_at)} (${objects}). Which labels should stay?`;
    controls.ask(text, [
      ["Keep mine", () => decide("mine"), "keep-mine"],
      ["Take theirs", () => decide("theirs"), "take-theirs"],
    ]);
  }

  function decide(choice) {
    const result = saver.resolve(choice);
    controls.ask(null);
    if (choice === "theirs") labeler.replaceLabels(result, { isSaved: true });
    labeler.focus();
  }

  /** An earlier visit could not send its last changes. */
  function draft(rev) {
    const kept = saver.draft();
    if (!kept) return;
    if (areSame(kept.annotations, labeler.annotations) && kept.state === labeler.imageState) saver.dropDraft();
    else if (kept.rev === rev) labeler.replaceLabels(kept, { isSaved: false });
    else askForDraft(kept);
  }

  function askForDraft(kept) {
    const answer = (isRestored) => {
      controls.ask(null);
      if (isRestored) labeler.replaceLabels(kept, { isSaved: false });
      else saver.dropDraft();
      labeler.focus();
    };
    const text = `Changes you made at ${clockTime(kept.at)} were never sent, and the photo has been saved since.`;
    controls.ask(text, [
      ["Restore mine", () => answer(true), "restore-draft"],
      ["Drop them", () => answer(false), "drop-draft"],
    ]);
  }

  /** The server will never take the last change. */
  function refused() {
    if (!saver.isGone) return labeler.hint(saver.message);
    const { has_next: hasNext, has_previous: hasPrevious } = labeler.data;
    const next = ["Next photo", () => labeler.navigate("next"), "leave-next"];
    const previous = ["Previous photo", () => labeler.navigate("previous"), "leave-previous"];
    const ways = [...(hasNext ? [next] : []), ...(hasPrevious ? [previous] : [])];
    controls.ask(`${saver.message} What you draw on it cannot be saved.`, ways, REFUSED);
  }

  /** The user wants to leave a photo whose last change was refused. */
  function leave(to) {
    if (saver.isGone) return; // told just now; who asks again may go
    const goOn = () => {
      saver.giveUp();
      controls.withdraw(REFUSED);
      labeler.navigate(to === "done_next" ? "next" : to);
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
