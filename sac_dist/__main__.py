import sys

from sac_dist.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
