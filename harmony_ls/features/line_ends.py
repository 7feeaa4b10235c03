"""The three line ends that the protocol knows, as one."""

__all__ = ["with_plain_line_ends"]


def with_plain_line_ends(text: str) -> str:
    """The text with ``\\n`` for every ``\\r\\n`` and ``\\r``."""
    return text if "\r" not in text else text.replace("\r\n", "\n").replace("\r", "\n")
