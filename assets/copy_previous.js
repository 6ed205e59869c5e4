/** Copy the objects of the photo before: the same car, photographed once more. */

import { duplicateOf } from "./annotations.js";
import { address } from "./surroundings.js";

/**
 * What of another photo's labels is to be copied onto this one, as new objects of `author`.
 *
 * Gives `{copies, trouble}`: with a sentence in `trouble` there is nothing to copy. Objects fit only a photo
 * of the same size; suggestions, and what lies here already in the same place, stay behind.
 *
 * @param {{annotations: object[], size: [number, number]}} theirs the other photo's newest labels
 * @param {{width: number, height: number}} image this photo
 */
export function copiesFor(theirs, image, annotations, author) {
  const [width, height] = theirs.size;
  if (width !== image.width || height !== image.height) {
    const sizes = `${width} × ${height} pixels, this one ${image.width} × ${image.height}`;
    return { copies: [], trouble: `The photo before has ${sizes}: its objects would not fit.` };
  }
  const drawn = theirs.annotations.filter(({ source }) => source !== "suggested");
  if (drawn.length === 0) return { copies: [], trouble: "The photo before has no objects." };
  const here = new Set(annotations.map(placeOf));
  const fresh = drawn.filter((each) => !here.has(placeOf(each)));
  if (fresh.length === 0) return { copies: [], trouble: "The objects of the photo before are all here already." };
  return { copies: fresh.map((each) => ({ ...duplicateOf(each, author), note: "" })), trouble: "" };
}

/** Ask for the labels of the photo before and add them as one step, which undo takes back. */
export async function copyPrevious(labeler, ask = (url) => fetch(url)) {
  const { image, previous_url: url } = labeler.data;
  if (!url) return labeler.hint("There is no photo before this one in the list.");
  if (labeler.preview || labeler.activeTool.isDrawing) return labeler.hint("Finish the object under way first.");
  const theirs = await newestLabels(address(url), ask);
  if (labeler.data.image.id !== image.id) return undefined; // the person has gone on meanwhile
  if (theirs.trouble) return labeler.hint(theirs.trouble);
  const known = new Set(labeler.data.categories.map(({ category_id }) => category_id));
  const labels = { ...theirs, annotations: theirs.annotations.filter((each) => known.has(each.category_id)) };
  const { copies, trouble } = copiesFor(labels, image, labeler.annotations, labeler.author);
  if (trouble) return labeler.hint(trouble);
  labeler.commit([...labeler.annotations, ...copies]);
  return labeler.hint(`${copies.length === 1 ? "1 object" : `${copies.length} objects`} copied from the photo before.`);
}

async function newestLabels(url, ask) {
  try {
    const answer = await ask(url);
    const said = await answer.json();
    return answer.ok ? said : { trouble: said.message };
  } catch {
    return { trouble: "The photo before could not be read. Try again in a moment." };
  }
}

function placeOf({ category_id, ops }) {
  return JSON.stringify([category_id, ops]);
}
