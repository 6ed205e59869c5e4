/** Lifts the local contrast of a bitmap beside the page: gets `{id, bitmap}`, answers `{id, bitmap}`. */

import { applyCurves, toneCurves } from "./local_contrast.js";

/** Curves are learnt from a copy of this size: as good, and free of fine noise. */
const LEARNT_FROM = 768;
/** Rows at a time, so that a large photo's pixels never lie in memory twice. */
const STRIPE = 256;

self.onmessage = ({ data: { id, bitmap } }) => {
  const size = { width: bitmap.width, height: bitmap.height };
  const curves = learn(bitmap, size);
  const canvas = new OffscreenCanvas(size.width, size.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  for (let top = 0; top < size.height; top += STRIPE) {
    const stripe = context.getImageData(0, top, size.width, Math.min(STRIPE, size.height - top));
    applyCurves(stripe.data, top, size, curves);
    context.putImageData(stripe, 0, top);
  }
  const lifted = canvas.transferToImageBitmap();
  self.postMessage({ id, bitmap: lifted }, [lifted]);
};

function learn(bitmap, { width, height }) {
  const scale = Math.min(1, LEARNT_FROM / Math.max(width, height));
  const [small, low] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  const context = new OffscreenCanvas(small, low).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, small, low);
  return toneCurves(context.getImageData(0, 0, small, low).data, small, low);
}
