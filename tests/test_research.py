"""`inrzip.fit`: arrays in, bytes out."""

from __future__ import annotations

import numpy as np

import inrzip
from tests.common import reference_psnr


def test_fit_tells_the_truth() -> None:
    """Its bytes are a file that decodes to what it measured, and no larger than what was asked for."""
    y, x = np.mgrid[0:24, 0:20]
    samples = (127 + 100 * np.sin(x / 5) * np.cos(y / 7)).astype(np.uint8)
    fitted = inrzip.fit(samples, "siren", kind="image", target_size=300, effort=1)
    assert fitted.n_bytes == len(fitted.data) <= 300
    with inrzip.open(fitted.data) as reader:
        decoded = reader[...]
    assert decoded.shape == samples.shape
    assert abs(reference_psnr(samples, decoded, 255) - fitted.quality["psnr_db"]) < 1e-6
    assert fitted.quality["psnr_db"] > 20
