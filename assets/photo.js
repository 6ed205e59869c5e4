/**
 * The photo under the labels: its preview at once, the full resolution when it is there.
 * Photos of the next images are fetched ahead, so going on costs one decode.
 */

const MOST_AHEAD = 4;

export class Photo {
  #ahead = new Map();
  #request = null;
  preview = null;
  full = null;

  /** @param onChange called when there is something new to draw; onFail with a sentence */
  constructor(onChange, onFail) {
    this.onChange = onChange;
    this.onFail = onFail;
  }

  /** Show another photo; the previous one's requests are dropped. */
  async open({ previewUrl, fullUrl, preload }) {
    this.close();
    const request = new AbortController();
    this.#request = request;
    const isCurrent = () => this.#request === request;
    try {
      if (previewUrl !== fullUrl) await this.#load(previewUrl, request.signal, "preview", isCurrent);
      await this.#load(fullUrl, request.signal, "full", isCurrent);
      if (isCurrent()) this.#fetchAhead(preload);
    } catch (error) {
      if (isCurrent()) this.onFail(error.message);
    }
  }

  async #load(url, signal, slot, isCurrent) {
    const blob = await (this.#ahead.get(url) ?? fetchBlob(url, signal));
    const bitmap = await createImageBitmap(blob);
    if (!isCurrent()) return bitmap.close();
    this[slot] = bitmap;
    this.onChange();
  }

  #fetchAhead(urls) {
    for (const url of urls) {
      if (this.#ahead.has(url)) continue;
      const blob = fetchBlob(url);
      this.#ahead.set(url, blob);
      blob.catch(() => this.#ahead.delete(url)); // asked for again when it is its turn
    }
    for (const url of [...this.#ahead.keys()].slice(0, -MOST_AHEAD)) this.#ahead.delete(url);
  }

  /** The bitmap to draw at a scale (device pixels per image pixel), or null while nothing is there. */
  best(width, scale) {
    if (!this.full || !this.preview) return this.full ?? this.preview;
    return width * scale <= this.preview.width ? this.preview : this.full;
  }

  close() {
    this.#request?.abort();
    this.#request = null;
    this.preview?.close();
    this.full?.close();
    this.preview = this.full = null;
  }
}

async function fetchBlob(url, signal) {
  const response = await fetch(url, { signal, priority: signal ? "high" : "low" });
  if (response.ok) return response.blob();
  const isExpired = response.status === 403;
  throw new Error(isExpired ? "The photo's link has expired. Reload the page." : "The photo could not be loaded.");
}
