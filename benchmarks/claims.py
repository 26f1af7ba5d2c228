"""What papers claim, and how each claim is tried here as soon as its system exists.

`claimed` is a number only where the paper gives one for the very comparison that is made here (dB at equal bytes, or %
of bytes at equal quality); else the direction alone is judged. Claims are quoted from abstracts and tables that were
read; where only a second hand was at hand, the text says so.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

CLIP_EFFORT, CLIP_QUALITIES = 4, (82.0, 91.0, 100.0)
"""0.12 to 0.32 bits per pixel: a clip this small needs more than a large one."""
SHORT_EFFORT, SHORT_QUALITIES = 1, (72.0, 86.0, 100.0)
"""For networks whose steps are dear: half the clip, 360 steps, 0.07 to 0.32 bits per pixel."""
ORDER_EFFORT = 4
"""Where the papers' order is at stake: 101 epochs of 12 frames, where the papers have 300 of 132."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Two methods on one small signal (see `benchmarks/papers.py`), at several qualities.

    `codec` and `anchor` are recipes ("recipe" or "recipe:codec") or peers. `unit`: what is judged, the BD-PSNR or the
    BD-rate of `codec` against `anchor`.
    """

    signal: Literal["photo", "large photo", "clip", "short clip"]
    codec: str
    anchor: str
    unit: Literal["dB", "%"]
    words: str
    claimed: float | None = None
    effort: int = 2
    qualities: tuple[float, ...] = (30.0, 40.0, 50.0, 60.0)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A paper's headline, in our words, and how it is tried: by a protocol, or `elsewhere`, on a page of its own. With
    neither its system is not built.
    """

    paper: str
    source: str
    text: str
    protocol: Protocol | None = None
    elsewhere: str = ""


CLAIMS = (
    Claim(
        "SIREN / COIN",
        "Dupont et al. 2021, arXiv 2103.03123, abstract",
        "A network overfitted to an image beats JPEG at low bit rates (Kodak).",
        Protocol(
            "large photo", "siren", "jpeg", "dB", "PSNR at equal bytes, low rates", qualities=(26.0, 34.0, 42.0, 50.0)
        ),
    ),
    Claim(
        "NeRV",
        "Chen et al. 2021, arXiv 2110.13903, table 2 (equal parameters, not bytes)",
        "Frames from their time beat a SIREN of pixels: 34.21 against 31.39 dB at 3.2 M parameters (Bunny, 720p).",
        Protocol("clip", "nerv", "siren", "dB", "PSNR at equal bytes", 2.82, CLIP_EFFORT, CLIP_QUALITIES),
    ),
    Claim(
        "HNeRV",
        "Chen et al. 2023, arXiv 2304.02633, abstract",
        "Embeddings made from the content beat NeRV by 4.7 dB at equal parameters.",
        Protocol("short clip", "hnerv", "nerv", "dB", "PSNR at equal bytes", 4.7, ORDER_EFFORT, SHORT_QUALITIES),
    ),
    Claim(
        "E-NeRV",
        "Chen et al. 2023, arXiv 2304.02633, table 2 (HNeRV's; of E-NeRV's own paper, code and notes only)",
        "Time and place on separate ways beat NeRV by 1.2 dB at 1.5 M parameters (Bunny, 300 epochs).",
        Protocol("short clip", "enerv", "nerv", "dB", "PSNR at equal bytes", 1.22, SHORT_EFFORT, SHORT_QUALITIES),
    ),
    Claim(
        "NeRV++",
        "Ghorbel et al. 2024, notes only",
        "A better block than NeRV's at equal size.",
        Protocol("short clip", "nerv++", "nerv", "dB", "PSNR at equal bytes", None, ORDER_EFFORT, SHORT_QUALITIES),
    ),
    Claim(
        "Boosting-NeRV",
        "Zhang et al. 2024, figure in their repository (read off the plot)",
        "HNeRV with conditional decoding gains about 2.6 dB (Bunny, 1.5 M parameters, 300 epochs).",
        Protocol("short clip", "boost", "hnerv", "dB", "PSNR at equal bytes", 2.6, ORDER_EFFORT, SHORT_QUALITIES),
    ),
    Claim(
        "HiNeRV",
        "Kwan et al. 2023, abstract",
        "72.3 % fewer bytes than HNeRV at equal PSNR (UVG).",
        Protocol("short clip", "hinerv", "hnerv", "dB", "PSNR at equal bytes", None, ORDER_EFFORT, SHORT_QUALITIES),
    ),
    Claim(
        "NIRVANA",
        "Maiya et al. 2023, abstract",
        "Autoregressive patch networks: 37.70 against 37.36 dB on UVG, 12 times faster to encode, 6 to decode.",
        Protocol("short clip", "nirvana", "nerv", "dB", "PSNR at equal bytes", 0.34, SHORT_EFFORT, SHORT_QUALITIES),
    ),
    Claim(
        "PFNR",
        "ICLR 2024, notes only",
        "One network for a sequence of videos, without forgetting the earlier ones.",
        Protocol("short clip", "pfnr", "nerv", "dB", "PSNR at equal bytes", None, SHORT_EFFORT, SHORT_QUALITIES),
    ),
    Claim(
        "MVC",
        "Scene Matters, 2023, abstract",
        "Up to 20 % fewer bits than H.266 on conference and surveillance; here only next to another network.",
        Protocol("short clip", "mvc", "hnerv", "dB", "PSNR at equal bytes", None, SHORT_EFFORT, SHORT_QUALITIES),
    ),
    Claim(
        "COMBINER",
        "Guo et al. 2023, notes only",
        "Bayesian INRs by relative entropy coding beat COIN on images and sound.",
        Protocol("photo", "combiner", "siren", "dB", "PSNR at equal bytes"),
    ),
    Claim(
        "RECOMBINER",
        "He et al. 2024, arXiv 2309.17182, appendix G",
        "30.44 dB at 0.316 bits per pixel on Kodak; 42.6 dB at 5.7 kbit/s on LibriSpeech.",
        elsewhere="bayesian.md",
    ),
    Claim(
        "COIN++",
        "Dupont et al. 2022 (numbers of its repository)",
        "Modulations of one network beat COIN: 28.90 dB at 1.65 bits per pixel on CIFAR-10, which COIN has at 5.8.",
        Protocol("photo", "coin++", "siren", "dB", "PSNR at equal bytes"),
    ),
    Claim(
        "VC-INR",
        "Schwarz et al. 2023 (numbers by way of C3's repository)",
        "Gated sub-networks and learned codes of their latents: 28.3 dB at 0.14 bpp on Kodak, where COIN++ has 24.9.",
        Protocol("photo", "vc-inr", "coin++", "dB", "PSNR at equal bytes"),
    ),
    Claim(
        "LosslessINR",
        "Han et al. 2025, arXiv 2502.21001, table",
        "Bit planes: images of 256x256 become exact in 790 steps on average (8 bits). No file is written there.",
        elsewhere="lossless.md",
    ),
    Claim(
        "F-INR",
        "arXiv 2503.21507v2, abstract",
        "Factorised networks train up to 20 times faster, with over 6 dB more.",
        Protocol("photo", "finr", "siren", "dB", "PSNR at equal bytes (time: benchmarks.factorised_speed)"),
    ),
    Claim(
        "D'OH",
        "abstract",
        "A decoder-only hypernetwork of random projections saves parameters.",
        Protocol("photo", "doh", "siren", "%", "bytes at equal PSNR against a network fitted directly"),
    ),
    Claim(
        "PRANC",
        "README of its repository",
        "Networks as combinations of random ones: over 50 times smaller.",
        Protocol("photo", "pranc", "siren", "%", "bytes at equal PSNR against a network fitted directly"),
    ),
    Claim(
        "ANI",
        "arXiv 2405.16807v3, abstract",
        "Networks of 4-bit weights: 8 times fewer bits per pixel without losing detail.",
        Protocol(
            "photo", "siren:few-bits", "siren:half", "%", "bytes at equal PSNR against half floats", claimed=-87.5
        ),
    ),
    Claim(
        "NeuRBF",
        "Chen et al. 2023, arXiv 2309.15426, table",
        "58.56 dB, Instant-NGP 47.56 dB, with 4.3 and 4.9 M parameters for DIV2K (kernels not counted).",
        Protocol("photo", "neurbf", "hash", "dB", "PSNR at equal bytes against a hash grid", 11.0),
    ),
    Claim(
        "Poly-INR",
        "Singh et al. 2023, notes only",
        "Polynomials in place of positional encodings and sines.",
        Protocol("photo", "poly", "relu", "dB", "PSNR at equal bytes against Fourier features"),
    ),
    Claim(
        "DeepCABAC",
        "Wiedemann et al. 2019, arXiv 1905.08318, abstract",
        "Context-adaptive arithmetic coding of weights: VGG16 63.6 times smaller. No number against Huffman.",
        Protocol("photo", "siren:cabac", "siren:huffman", "%", "bytes at equal PSNR against 8 bits with Huffman words"),
    ),
    Claim(
        "JLCM",
        "ICLR 2024 submission, abstract (Llama 7B in 2 GB)",
        "Codebooks learned together with the assignments keep quality at few bits. For INRs, no number read.",
        Protocol(
            "photo", "siren:codebook", "siren:huffman", "%", "bytes at equal PSNR against 8 bits with Huffman words"
        ),
    ),
)
