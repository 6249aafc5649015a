"""Fuzz one target with atheris; see README.md in this folder."""

import sys
from contextlib import suppress
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["beeagent", "tomllib", "tomli", "zipfile"]):
    import zipfile  # noqa: F401 - these are instrumented when they are first imported

    with suppress(ImportError):  # Python 3.10 has it not, and uses tomli
        import tomllib  # noqa: F401 - as above

    from targets import TARGETS


def main() -> None:
    """Take the target's name, a folder for what is found interesting, and options of libFuzzer."""
    if len(sys.argv) < 3 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: fuzz.py {'|'.join(TARGETS)} FOLDER [-max_total_time=SECONDS …]")
    target = TARGETS[sys.argv.pop(1)]
    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
