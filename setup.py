"""Which extensions are compiled, and how; everything else about the package is in pyproject.toml.

PYSERVER_BUILD chooses a variant:
    release  (default) optimised, assertions left out
    debug    annotated (`build/debug/c/pyserver/*.html`), unoptimised, with debug symbols and assertions
    asan     with the address and undefined-behaviour sanitizers, for `make sanitize`
    tsan     with the thread sanitizer, for `make soak-tsan`

Each variant keeps its generated C and its objects under `build/<variant>`.
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

COMMON_FLAGS = [
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
]
SANITIZERS = "-fsanitize=address,undefined"
# Flags of the compiler, flags of the linker.
VARIANTS = {
    "release": (["-O3", "-DCYTHON_WITHOUT_ASSERTIONS=1"], []),
    "debug": (["-O0", "-g", "-UNDEBUG"], []),
    "asan": (
        ["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", SANITIZERS],
        [SANITIZERS],
    ),
    "tsan": (["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", "-fsanitize=thread"], ["-fsanitize=thread"]),
}
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "nonecheck": False,
    "overflowcheck": False,
    "cdivision": True,
    "binding": False,
    "embedsignature": False,
    "auto_pickle": False,
}


def chosen_variant() -> str:
    """The variant that PYSERVER_BUILD names; exits with one line when there is none of that name."""
    variant = os.environ.get("PYSERVER_BUILD") or "release"
    if variant not in VARIANTS:
        sys.exit(f"PYSERVER_BUILD is {variant!r}; it can be one of {', '.join(VARIANTS)}")
    return variant


def extensions(variant: str) -> list[Extension]:
    """One extension for each `pyserver/_<name>.pyx`."""
    compiler_flags, linker_flags = VARIANTS[variant]
    flags = [*COMMON_FLAGS, *compiler_flags]
    if sys.platform == "linux":
        # On ELF a call within a library goes through its table unless this is promised.
        flags.append("-fno-semantic-interposition")
    return [
        Extension(
            f"pyserver.{source.stem}",
            [source.as_posix()],
            include_dirs=["pyserver"],
            extra_compile_args=flags,
            extra_link_args=linker_flags,
            depends=["setup.py"],
        )
        for source in sorted(Path("pyserver").glob("_*.pyx"))
    ]


def main() -> None:
    variant = chosen_variant()
    jobs = os.cpu_count() or 1
    base = Path("build", variant)
    parts = extensions(variant)
    generated = [base / "c" / Path(part.sources[0]).with_suffix(".c") for part in parts]
    changed = Path(__file__).stat().st_mtime
    setup(
        ext_modules=cythonize(
            parts,
            build_dir=str(base / "c"),
            compiler_directives=DIRECTIVES,
            annotate=variant == "debug",
            nthreads=jobs,
            # Cython compares sources only: without this a changed directive would have no effect.
            force=any(path.exists() and path.stat().st_mtime < changed for path in generated),
        ),
        options={
            "build": {"build_base": str(base)},
            "build_ext": {"parallel": jobs},
        },
    )


# Parallel compilation imports this file again where processes are spawned and not forked.
if __name__ == "__main__":
    main()
