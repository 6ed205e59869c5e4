/** Where the app lies and what the browser lets it keep. */

/** The app's own address: this module lies at <root>/assets/<hash>/. */
const ROOT = new URL("../../", import.meta.url);

/** The full address of a URL relative to the app's root, whatever page it is on. */
export function address(path) {
  return new URL(path.replace(/^\//, ""), ROOT).href;
}

/** The outside world of a Saver. */
export function saverSurroundings({ onStatus, onConflict }) {
  return {
    fetch: (...request) => fetch(...request),
    storage: deviceStorage(),
    setTimeout: (...timer) => setTimeout(...timer),
    clearTimeout: (timer) => clearTimeout(timer),
    now: () => new Date().toISOString(),
    onStatus,
    onConflict,
  };
}

/** Private windows may forbid storage; then unsent work lives as long as the page. */
export function deviceStorage() {
  try {
    return window.localStorage;
  } catch {
    const kept = new Map();
    return {
      getItem: (key) => kept.get(key) ?? null,
      setItem: (key, value) => kept.set(key, value),
      removeItem: (key) => kept.delete(key),
    };
  }
}
