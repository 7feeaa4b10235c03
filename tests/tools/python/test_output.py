"""Output of any length is kept at its beginning and its end, whatever the pieces in which it comes."""

from hypothesis import given
from hypothesis import strategies as st

from harmony_ls.tools.python.output import HeadAndTail


@given(st.lists(st.text("abü👍", max_size=20)), st.integers(1, 30), st.integers(4, 30))
def test_beginning_and_end_are_kept_and_what_is_left_out_is_counted(
    pieces: list[str], n_head: int, n_tail: int
) -> None:
    output = HeadAndTail(n_head, n_tail)
    for piece in pieces:
        output.feed(piece.encode())
    whole = "".join(pieces)
    n_left_out = len(whole.encode()) - n_head - n_tail
    if n_left_out <= 0:
        assert output.text() == whole
        return
    head, note, tail = output.text().partition(f"\n… {n_left_out:,} bytes of output left out …\n")
    assert note
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert n_head - 3 <= len(head.encode()) <= n_head
    assert n_tail - 3 <= len(tail.encode()) <= n_tail


def test_what_the_sender_left_out_counts() -> None:
    output = HeadAndTail(3, 4)
    output.feed(b"abc")
    output.skip(1000)
    output.feed(b"wxyz")
    assert output.text() == "abc\n… 1,000 bytes of output left out …\nwxyz"
