/**
 * What two people made of the same labels: compared and merged object by object, as plain values.
 *
 * A content is `{annotations, state, note}`; `base` is the one both started from, null when nobody knows.
 */

import { areSame, duplicateOf } from "./annotations.js";

const LONGEST_NOTE = 1000;
/** From open to looked over; of two states the earlier one asks for less trust. */
const ORDER = ["unlabelled", "in_progress", "rejected", "done", "approved"];

export function isSameObject(left, right) {
  return areSame([left], [right]) && left.source === right.source && (left.note ?? "") === (right.note ?? "");
}

/** Whether two contents say the same; authors do not count. */
export function isSameContent(left, right) {
  const [mine, theirs] = [left.annotations ?? [], right.annotations ?? []];
  if (left.state !== right.state || (left.note ?? "") !== (right.note ?? "")) return false;
  return mine.length === theirs.length && mine.every((each, i) => isSameObject(each, theirs[i]));
}

/** What `after` did to `before`: lists of annotations `{added, changed, removed}`; the removed as they were. */
export function changesBetween(before, after) {
  const [old, now] = [byId(before), byId(after)];
  return {
    added: after.filter(({ id }) => !old.has(id)),
    changed: after.filter((each) => old.has(each.id) && !isSameObject(old.get(each.id), each)),
    removed: before.filter(({ id }) => !now.has(id)),
  };
}

/**
 * Both people's work in one content. An object that one of them changed, added or removed is as that
 * one left it; changed by both, mine stays and theirs is added as a copy; changed by one and removed by
 * the other it stays. The state is the less finished of the two, for nobody has looked at the sum.
 */
export function merged(base, mine, theirs) {
  const [old, ours] = [byId(base?.annotations ?? []), byId(mine.annotations)];
  const hers = byId(theirs.annotations);
  const kept = theirs.annotations.flatMap((their) => mergedObject(old.get(their.id), ours.get(their.id), their));
  const own = mine.annotations.filter(({ id }) => !hers.has(id));
  const added = own.filter((each) => !old.has(each.id) || !isSameObject(each, old.get(each.id)));
  return {
    annotations: [...kept, ...added],
    state: lessFinished(mine.state, theirs.state),
    note: mergedNote(base?.note, mine.note ?? "", theirs.note ?? ""),
  };
}

function mergedObject(old, mine, theirs) {
  const isTheirsUntouched = old !== undefined && isSameObject(theirs, old);
  if (!mine) return isTheirsUntouched ? [] : [theirs];
  if (isSameObject(mine, theirs)) return [theirs];
  if (isTheirsUntouched) return [mine];
  if (old !== undefined && isSameObject(mine, old)) return [theirs];
  return [mine, { ...duplicateOf(theirs, theirs.author), source: theirs.source }];
}

function lessFinished(mine, theirs) {
  const first = Math.min(ORDER.indexOf(mine), ORDER.indexOf(theirs), ORDER.indexOf("done"));
  return ORDER[Math.max(first, ORDER.indexOf("in_progress"))];
}

function mergedNote(old, mine, theirs) {
  if (mine === theirs || mine === old) return theirs;
  if (theirs === old) return mine;
  return [mine, theirs].filter(Boolean).join("\n").slice(0, LONGEST_NOTE);
}

function byId(annotations) {
  return new Map(annotations.map((annotation) => [annotation.id, annotation]));
}
