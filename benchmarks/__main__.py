"""The benchmarks by name.

make bench                                      # of serving
make bench ARGS="serving --short"
make bench ARGS="score_batch --help"
"""

import runpy
import sys
from pathlib import Path

DEFAULT = "serving"


def main() -> None:
    """Run the benchmark that the first argument names, with the other arguments."""
    files = Path(__file__).parent.glob("[a-z]*.py")
    names = sorted(file.stem for file in files if "__main__" in file.read_text())
    arguments = sys.argv[1:]
    name = arguments.pop(0) if arguments and not arguments[0].startswith("-") else DEFAULT
    if name not in names:
        sys.exit(f"benchmarks: {name!r} is not one of {', '.join(names)}")
    sys.argv[1:] = arguments
    runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
