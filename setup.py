"""The optional compiled loops: built where there is a C compiler, left out, with a warning, where there is none."""

from setuptools import Extension, setup

kernel = Extension(
    "charlm.nn._kernel",
    sources=["charlm/nn/kernel.c"],
    extra_compile_args=["-O3", "-fno-math-errno", "-fno-trapping-math"],
    optional=True,
)

setup(ext_modules=[kernel])
