"""``wsss suggest`` as a script."""

import sys

from wsss.cli import command

if __name__ == "__main__":
    sys.exit(command("suggest"))
