"""The optional compiled loops: built where there is a C compiler, left out, with a warning, where there is none."""

import zlib
from pathlib import Path

from setuptools import Extension, setup

SOURCES = ["charlm/nn/kernel.c", "charlm/nn/counts.c"]  # the first includes the second
CRC = zlib.crc32(b"".join(Path(source).read_bytes() for source in SOURCES))
kernel = Extension(
    "charlm.nn._kernel",
    sources=SOURCES[:1],
    depends=SOURCES[1:],
    define_macros=[("SOURCE_CRC", str(CRC))],  # kernel.py takes no other's build
    extra_compile_args=["-O3", "-fno-math-errno", "-fno-trapping-math"],
    optional=True,
)

setup(ext_modules=[kernel])
