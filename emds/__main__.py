"""``python -m emds``: the same as the ``emds`` command."""

from __future__ import annotations

from emds.cli.app import main

if __name__ == "__main__":
    main()
