"""What pyproject.toml cannot say: the compiled code of `architectures/native`, for the processors there may be.

All of it is optional. Where it cannot be compiled, fits of latent grids run in JAX, more slowly.
"""

import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

SOURCES = Path("architectures/native")
FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"]
VARIANTS = {"plain": []}
if platform.machine() in ("x86_64", "AMD64"):
    VARIANTS = {"avx512": ["-march=skylake-avx512", "-mprefer-vector-width=512"], "avx2": ["-march=haswell"]}
OPENMP = [] if platform.system() == "Darwin" else ["-fopenmp"]


class BuildAnyway(build_ext):
    """Without OpenMP, on one thread, where the compiler does not have it."""

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except (CompileError, LinkError):
            for options in (ext.extra_compile_args, ext.extra_link_args):
                options[:] = [option for option in options if option not in OPENMP]
            super().build_extension(ext)


setup(
    cmdclass={"build_ext": BuildAnyway},
    ext_modules=[
        Extension(
            f"inrzip.architectures._grid_{name}",
            [str(SOURCES / "grid_kernels.cpp")],
            depends=["setup.py", *map(str, sorted(SOURCES.glob("*.hpp")))],
            extra_compile_args=[*FLAGS, *options, *OPENMP],
            extra_link_args=[*OPENMP],
            optional=True,
        )
        for name, options in VARIANTS.items()
    ],
)
