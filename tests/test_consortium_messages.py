"""Signed messages between members: accepted from the right sender for the right purpose, refused otherwise."""

from __future__ import annotations

import pytest

from common.consortium.identity import Member
from common.consortium.messages import read_message, write_message
from common.errors import EncryptionError

A, B = Member("hospital-a"), Member("hospital-b")
MESSAGE = write_message(b"counts", A, purpose="counts", context=b"epoch 7")


def test_a_message_is_read_by_who_expects_it() -> None:
    assert read_message(MESSAGE, A.card, purpose="counts", context=b"epoch 7") == b"counts"


@pytest.mark.parametrize(
    ("sender", "purpose", "context"),
    [(B, "counts", b"epoch 7"), (A, "query", b"epoch 7"), (A, "counts", b"epoch 8")],
)
def test_another_sender_purpose_or_context_is_refused(sender: Member, purpose: str, context: bytes) -> None:
    with pytest.raises(EncryptionError, match="a message was refused"):
        read_message(MESSAGE, sender.card, purpose=purpose, context=context)


def test_every_changed_or_missing_byte_is_refused() -> None:
    for position in range(len(MESSAGE)):
        changed = bytearray(MESSAGE)
        changed[position] ^= 1
        for hostile in (bytes(changed), MESSAGE[:position]):
            with pytest.raises(EncryptionError, match="a message was refused"):
                read_message(hostile, A.card, purpose="counts", context=b"epoch 7")


def test_a_member_restored_from_its_private_keys_is_the_same() -> None:
    again = Member("hospital-a", A.private_bytes())
    assert again.card == A.card
    key = again.shared_key(B.card, purpose=b"p", context=b"c")
    assert key == B.shared_key(A.card, purpose=b"p", context=b"c")
    assert key != B.shared_key(A.card, purpose=b"p", context=b"d")
