/**
 * What may be seen and what may be touched: single objects and whole classes, hidden or locked.
 * An access is an immutable value of four sets: annotation ids and category ids.
 */

export const OPEN = Object.freeze({
  hidden: new Set(), locked: new Set(), hiddenCategories: new Set(), lockedCategories: new Set(),
});

/** With one id put into the named set, or taken out of it. */
export function toggled(access, name, id) {
  const ids = new Set(access[name]);
  if (!ids.delete(id)) ids.add(id);
  return { ...access, [name]: ids };
}

/** Another image: its objects start open, the classes stay as they were left. */
export function forNextImage(access) {
  return { ...access, hidden: OPEN.hidden, locked: OPEN.locked };
}

/** With everything open that keeps an annotation out of sight. */
export function revealed(access, { id, category_id: categoryId }) {
  const less = (ids, gone) => new Set([...ids].filter((each) => each !== gone));
  return { ...access, hidden: less(access.hidden, id), hiddenCategories: less(access.hiddenCategories, categoryId) };
}

export function isHidden(access, { id, category_id: categoryId }) {
  return access.hidden.has(id) || access.hiddenCategories.has(categoryId);
}

export function isLocked(access, { id, category_id: categoryId }) {
  return access.locked.has(id) || access.lockedCategories.has(categoryId);
}
