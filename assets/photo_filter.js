/**
 * Photos with their local contrast lifted: each bitmap once, in a worker, only when somebody asks.
 * The photo itself stays as it is; the stage blends the lifted one over it.
 */

export class LiftedPhotos {
  #worker = null;
  #lifted = new Map(); // bitmap -> its lifted copy; null while that is under way
  #sources = new Map(); // id -> bitmap
  #count = 0;
  #onChange;
  #onFail;

  /** @param onChange called when a lifted bitmap is there; onFail with a sentence, once */
  constructor(onChange, onFail) {
    this.#onChange = onChange;
    this.#onFail = onFail;
  }

  /** The lifted copy of a bitmap, or null while it is made. */
  of(bitmap) {
    if (!this.#lifted.has(bitmap)) {
      this.#lifted.set(bitmap, null);
      this.#ask(bitmap);
    }
    return this.#lifted.get(bitmap);
  }

  async #ask(bitmap) {
    const id = ++this.#count;
    this.#sources.set(id, bitmap);
    try {
      const copy = await createImageBitmap(bitmap);
      if (this.#sources.get(id) !== bitmap) return copy.close();
      this.#worker ??= this.#start();
      this.#worker.postMessage({ id, bitmap: copy }, [copy]);
    } catch {
      // the photo was closed meanwhile: nobody waits for it
    }
  }

  #start() {
    const worker = new Worker(new URL("local_contrast_worker.js", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => this.#take(data);
    worker.onerror = () => this.#onFail("This browser cannot lift the local contrast.");
    return worker;
  }

  #take({ id, bitmap }) {
    const source = this.#sources.get(id);
    this.#sources.delete(id);
    if (!this.#lifted.has(source)) return bitmap.close(); // of a photo that is gone
    this.#lifted.set(source, bitmap);
    this.#onChange();
  }

  /** Another photo: let go of the old one's. */
  forget() {
    for (const bitmap of this.#lifted.values()) bitmap?.close();
    this.#lifted.clear();
    this.#sources.clear();
  }

  close() {
    this.forget();
    this.#worker?.terminate();
    this.#worker = null;
  }
}
