"""The optional compiled loops: built where there is a C compiler, left out, with a warning, where there is none."""

import zlib
from pathlib import Path

from setuptools import Extension, setup

SOURCE = "charlm/nn/kernel.c"
kernel = Extension(
    "charlm.nn._kernel",
    sources=[SOURCE],
    define_macros=[("SOURCE_CRC", str(zlib.crc32(Path(SOURCE).read_bytes())))],  # kernel.py takes no other's build
    extra_compile_args=["-O3", "-fno-math-errno", "-fno-trapping-math"],
    optional=True,
)

setup(ext_modules=[kernel])
