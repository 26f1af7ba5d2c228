// Answers a page's questions, one after the other, beside its own thread.

import { ImageFile } from "./container.js";

let picture = null;

onmessage = ({ data: { id, open, bounds, scale, quickly, integers } }) => {
  try {
    if (open) {
      picture = new ImageFile(open.bytes, open.prior);
      const { shape, channels } = picture.file;
      postMessage({ id, shape, channels });
    } else if (integers) {
      postMessage({ id, integers: picture.file.payloads.map((_, i) => { const { tensors, latents } = picture.segment(i); return latents ?? tensors.map((tensor) => tensor.integers); }) });
    } else {
      const { shape, data } = picture.render(bounds, scale, quickly);
      postMessage({ id, shape, data }, [data.buffer]);
    }
  } catch (error) {
    postMessage({ id, error: error.message });
  }
};
