"""`python -m beeagent` is `beeagent`."""

from beeagent.cli import main

if __name__ == "__main__":
    main()
