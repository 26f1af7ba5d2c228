"""`inrzip view` and `inrzip export-viewer`: signals on a page in the browser, decoded where they are looked at.

- `signals.py`: the files to look at, and their originals;
- `rendering.py`: what the page asks for, as bytes that a canvas takes;
- `server.py`: those over HTTP, on this machine alone;
- `export.py`: a page that decodes by itself;
- `static/`: the page, in plain JavaScript.
"""
