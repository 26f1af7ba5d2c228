"""Serves a signal to neuroglancer, and to all who read its *precomputed* format:
`python docs/serve_volume.py FILE [PORT]`.

Every scale is decoded as it is, from the function in the file, when a chunk of it is asked for. Images have one slice,
videos their frames for slices. The format: github.com/google/neuroglancer, "Precomputed volume format".
"""

from __future__ import annotations

import http.server
import json
import re
import sys

import numpy as np

import inrzip

CHUNK = 64
KNOWN_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")


def served(path: str, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server on this computer alone; port 0 is any that is free. `serve_forever` starts it."""
    reader = inrzip.open(path)
    stores = inrzip.pyramid(reader)
    rank = len(reader.spec.shape)
    dtype = reader.dtype.name if reader.dtype.name in KNOWN_TYPES else "uint8" if reader.dtype == bool else "float32"
    if rank > 3:
        raise SystemExit("a volume of four axes; neuroglancer shows three")
    grids = [(1,) * (3 - rank) + store.shape[:rank] for store in stores]
    scales = [
        {
            "key": str(number),
            "size": grid[::-1],
            "resolution": [full / n for full, n in zip(grids[0][::-1], grid[::-1], strict=True)],
            "chunk_sizes": [[CHUNK, CHUNK, CHUNK if reader.spec.kind in (3, 4) else 1]],
            "encoding": "raw",
        }
        for number, grid in enumerate(grids)
    ]
    info = {
        "@type": "neuroglancer_multiscale_volume",
        "type": "image",
        "data_type": dtype,
        "num_channels": reader.spec.channels,
        "scales": scales,
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = re.fullmatch(r"/(\d+)/(\d+)-(\d+)_(\d+)-(\d+)_(\d+)-(\d+)", self.path)
            if self.path == "/info":
                self.answer(json.dumps(info).encode(), "application/json")
            elif asked and int(asked[1]) < len(stores):
                x, y, z = (slice(int(asked[i]), int(asked[i + 1])) for i in (2, 4, 6))
                samples = stores[int(asked[1])][(z, y, x)[3 - rank :]].read().result()
                planes = samples if reader.spec.channels > 1 else samples[..., None]
                chunk = np.ascontiguousarray(np.moveaxis(planes, -1, 0), dtype)
                self.answer(chunk.tobytes(), "application/octet-stream")
            else:
                self.send_error(404)

        def answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Access-Control-Allow-Origin", "*")  # neuroglancer's page comes from elsewhere
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    with served(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8765) as server:
        print(f"precomputed://http://127.0.0.1:{server.server_port} (Ctrl-C ends it)")
        server.serve_forever()
