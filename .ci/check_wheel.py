"""The wheel holds what it must, nothing that it must not, and is small enough. Usage: check_wheel.py WHEEL"""

import sys
import zipfile
from pathlib import Path

MAX_BYTES = 22_000_000
REQUIRED = {
    "harmony_ls/__main__.py",
    *(
        f"harmony_ls/embedded/{name}"
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "MODEL_CARD.md")
    ),
}
FORBIDDEN = ("harmony_ls/embedded/training/", "tests/", "fixtures/", "editors/")


def faults(wheel: Path) -> list[str]:
    """What is wrong with the wheel, one sentence each."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    found = [f"{name} is missing" for name in sorted(REQUIRED - names)]
    found += [f"{name} does not belong into it" for name in sorted(names) if name.startswith(FORBIDDEN)]
    if wheel.stat().st_size > MAX_BYTES:
        found.append(f"{wheel.stat().st_size:,} bytes are more than {MAX_BYTES:,}")
    return found


if __name__ == "__main__":
    path = Path(sys.argv[1])
    problems = faults(path)
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB", *problems, sep="\n  ")
    sys.exit(1 if problems else 0)
