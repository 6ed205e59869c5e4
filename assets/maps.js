/**
 * Photos and label maps from their URLs: fetched once, decoded exactly, the newest kept.
 *
 * A map is `{width, height, pixels}`, `pixels` being the grey values of an 8-bit grey PNG.
 */

import { indicesFromRgba } from "./pixels.js";

/** Decoded maps kept, in bytes; 80 maps of 1024 x 768. */
const MAX_DECODED_BYTES = 64 * 2 ** 20;

/** Files kept as they came: a map takes some kilobytes, so this is every epoch of a long run. */
const MAX_FILES = 1000;

const PARALLEL_LOADS = 3;

/** What a source holds is remembered by URL; a URL that failed is asked for again next time. */
export class LabelMaps {
  #decoded = new Map();
  #files = new Map();
  #bytes = 0;
  #decoding = 0;
  #queue = [];

  /** `fetchFile` gives a Promise of a file's Blob, `decode` one of its map; tests bring their own. */
  constructor({ fetchFile = fetchBlob, decode = decodeGrey, limit = MAX_DECODED_BYTES } = {}) {
    Object.assign(this, { fetchFile, decode, limit });
  }

  /** The map, if it is decoded already. */
  peek(url) {
    const map = this.#decoded.get(url);
    if (map) this.#touch(url, map);
    return map ?? null;
  }

  /** The map behind a URL; the promise rejects when it cannot be loaded. */
  async get(url) {
    const known = this.peek(url);
    if (known) return known;
    const map = await this.decode(await this.#file(url));
    if (!this.#decoded.has(url)) this.#keep(url, map);
    return map;
  }

  /**
   * Get ready what will be wanted next, the most urgent first; a later call replaces the queue.
   * Decodes while there is room and only fetches the rest. Failures are left for `get` to tell.
   */
  async prefetch(urls) {
    const queue = [...urls];
    this.#queue = queue;
    const work = async () => {
      while (queue.length && this.#queue === queue) await this.#prepare(queue.shift()).catch(() => {});
    };
    await Promise.all(Array.from({ length: PARALLEL_LOADS }, work));
  }

  get decodedBytes() {
    return this.#bytes;
  }

  async #prepare(url) {
    await this.#file(url);
    const typical = this.#decoded.size ? this.#bytes / this.#decoded.size : 0;
    if (this.#bytes + (this.#decoding + 1) * typical > this.limit) return;
    this.#decoding += 1;
    await this.get(url).finally(() => (this.#decoding -= 1));
  }

  #file(url) {
    const known = this.#files.get(url);
    if (known) return known;
    const file = this.fetchFile(url);
    this.#files.set(url, file);
    file.catch(() => this.#files.delete(url));
    if (this.#files.size > MAX_FILES) this.#files.delete(this.#files.keys().next().value);
    return file;
  }

  #touch(url, map) {
    this.#decoded.delete(url);
    this.#decoded.set(url, map);
  }

  #keep(url, map) {
    this.#decoded.set(url, map);
    this.#bytes += map.pixels.length;
    for (const [oldUrl, old] of this.#decoded) {
      if (this.#bytes <= this.limit || this.#decoded.size === 1) break;
      this.#decoded.delete(oldUrl);
      this.#bytes -= old.pixels.length;
    }
  }
}

/** The photo behind a URL as an ImageBitmap. */
export async function loadPhoto(url) {
  return createImageBitmap(await fetchBlob(url));
}

async function fetchBlob(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${response.status} for ${url}`);
  return response.blob();
}

/** Colour management and alpha would change the numbers, so both are off. */
async function decodeGrey(file) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(file, options);
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { width, height, pixels: indicesFromRgba(context.getImageData(0, 0, width, height).data) };
}
