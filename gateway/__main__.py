"""``python -m gateway``: the same as ``pilot-gateway``."""

from gateway.cli import main

if __name__ == "__main__":
    main()
