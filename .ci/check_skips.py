"""A test may be skipped here only for what this machine cannot have. Usage: check_skips.py JUNIT_XML [REASON...]

A REASON is the beginning of one more that the caller could not remove here. Every other reason means that the caller
should have installed something: it fails, and names the test.
"""

import sys
from pathlib import Path
from xml.etree import ElementTree

CANNOT_HAVE = ("needs Metal", "needs macOS", "needs Windows", "needs a GPU")


def skipped(report: Path) -> list[tuple[str, str]]:
    """The skipped tests and their reasons."""
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return [
        (f"{case.get('classname')}::{case.get('name')}", reason.get("message", ""))
        for case in cases
        for reason in case.findall("skipped")
        if reason.get("type") != "pytest.xfail"
    ]


if __name__ == "__main__":
    all_skipped = skipped(Path(sys.argv[1]))
    avoidable = [(name, reason) for name, reason in all_skipped if not reason.startswith((*CANNOT_HAVE, *sys.argv[2:]))]
    print(f"{len(all_skipped)} skipped, {len(avoidable)} of them for want of something that belongs here")
    for name, reason in avoidable:
        print(f"  {name}: {reason}")
    sys.exit(1 if avoidable else 0)
