"""The command `charlm`, which `python -m charlm` is too."""

import sys


def main() -> None:
    """Run the command; Ctrl-C ends it without a traceback also while its modules are being read."""
    try:
        from charlm.cli import main as command
    except KeyboardInterrupt:
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
