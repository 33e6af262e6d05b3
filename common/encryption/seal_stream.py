"""SEAL's own byte layout (version 4.3), written and read for objects whose shape is known beforehand.

The library parses only streams that are built here, from residues that have been checked; its loader never sees a
header that somebody else wrote. Reading goes the other way, over streams that this process's library saved, and
stops at the first byte that is not as this layout says.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import zstandard

from common.encryption.residues import SEED_BYTES
from common.errors import EncryptionError

_HEADER = struct.Struct("<HBBBBHQ")
_MAGIC, _MAJOR, _MINOR = 0xA15E, 4, 3
_PLAIN, _ZSTD = 0, 2
_BLAKE2XB = 1

Polynomial = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Shape:
    """What a ciphertext is at one level: (32 bytes) parameter id, primes, degree, scale; ``evaluated``: in
    evaluation form (NTT), else as coefficients."""

    parms_id: bytes
    primes: int
    degree: int
    scale: float
    evaluated: bool = True


def ciphertext(shape: Shape, first: Polynomial, second: Polynomial | bytes) -> bytes:
    """The stream of a two-polynomial ciphertext, each (L, N); the second may be its 64-byte seed."""
    head = shape.parms_id + struct.pack("<?QQQdQ", shape.evaluated, 2, shape.degree, shape.primes, shape.scale, 1)
    if isinstance(second, bytes):
        generator = _stream(bytes([_BLAKE2XB]) + second)
        return _stream(head + _array(first) + generator)
    return _stream(head + _array(np.concatenate([first, second])))


def plaintext(shape: Shape, polynomial: Polynomial) -> bytes:
    """The stream of a plaintext in evaluation form, (L, N)."""
    count = shape.primes * shape.degree
    return _stream(shape.parms_id + struct.pack("<Qd", count, shape.scale) + _array(polynomial))


SwitchingKey = Sequence[tuple[Polynomial, bytes]]
"""One (polynomial, seed) a data prime."""


def galois_keys(shape: Shape, keys: Mapping[int, SwitchingKey]) -> bytes:
    """The stream of seeded Galois keys by Galois element."""
    return _switching_keys(shape, {(element - 1) // 2: key for element, key in keys.items()}, shape.degree)


def product_key(shape: Shape, key: SwitchingKey) -> bytes:
    """The stream of the seeded key that relinearises a product."""
    return _switching_keys(shape, {0: key}, 1)


def _switching_keys(shape: Shape, keys: Mapping[int, SwitchingKey], places: int) -> bytes:
    body = [shape.parms_id, struct.pack("<Q", places)]
    for place in range(places):
        key = keys.get(place, ())
        body.append(struct.pack("<Q", len(key)))
        body.extend(ciphertext(shape, first, seed) for first, seed in key)
    return _stream(b"".join(body))


def read_ciphertext(stream: bytes, shape: Shape) -> tuple[Polynomial, Polynomial]:
    """The two polynomials of a ciphertext saved by the library, (L, N) each."""
    count = shape.primes * shape.degree
    body = _body(stream, limit=2 * count * 8 + 4096)
    both = _numbers(body, len(body) - 2 * count * 8, 2 * count).reshape(2, shape.primes, shape.degree)
    _agree(_body(ciphertext(shape, both[0], both[1])), body)
    return both[0], both[1]


def read_seeded_ciphertext(stream: bytes, shape: Shape) -> tuple[Polynomial, bytes]:
    """The first polynomial (L, N) and the seed of a seeded ciphertext saved by the library."""
    count = shape.primes * shape.degree
    body = _body(stream, limit=count * 8 + 4096)
    start = len(body) - count * 8 - _HEADER.size - 1 - SEED_BYTES
    first = _numbers(body, start, count).reshape(shape.primes, shape.degree)
    seed = body[-SEED_BYTES:]
    _agree(_body(ciphertext(shape, first, seed)), body)
    return first, seed


def read_galois_keys(stream: bytes, shape: Shape, elements: Sequence[int]) -> dict[int, SwitchingKey]:
    """For each Galois element its (polynomial, seed) pairs, out of seeded keys saved by the library."""
    places = [(element - 1) // 2 for element in sorted(elements)]
    found = _read_switching_keys(stream, shape, places, shape.degree)
    return {element: found[place] for element, place in zip(sorted(elements), places, strict=True)}


def read_product_key(stream: bytes, shape: Shape) -> SwitchingKey:
    """The (polynomial, seed) pairs of a seeded key for products saved by the library."""
    return _read_switching_keys(stream, shape, [0], 1)[0]


def _read_switching_keys(stream: bytes, shape: Shape, held: Sequence[int], places: int) -> dict[int, SwitchingKey]:
    count = shape.primes * shape.degree
    empty = len(_body(_switching_keys(shape, {}, places)))
    one = len(ciphertext(shape, np.zeros((shape.primes, shape.degree), np.uint64), bytes(SEED_BYTES)))
    pairs = shape.primes - 1
    body = _body(stream, limit=empty + len(held) * pairs * one + 4096)
    keys: dict[int, SwitchingKey] = {}
    start, previous = len(shape.parms_id) + 8, -1
    for held_place in held:
        start += 8 * (held_place - previous)
        previous = held_place
        key = []
        for _ in range(pairs):
            inner = body[start : start + one]
            place = one - SEED_BYTES - 1 - _HEADER.size - count * 8
            first = _numbers(inner, place, count).reshape(shape.primes, shape.degree)
            key.append((first, inner[-SEED_BYTES:]))
            start += one
        keys[held_place] = key
    _agree(_body(_switching_keys(shape, keys, places)), body)
    return keys


def _stream(body: bytes) -> bytes:
    return _HEADER.pack(_MAGIC, _HEADER.size, _MAJOR, _MINOR, _PLAIN, 0, _HEADER.size + len(body)) + body


def _array(polynomial: Polynomial) -> bytes:
    return _stream(struct.pack("<Q", polynomial.size) + np.ascontiguousarray(polynomial, dtype="<u8").tobytes())


def _body(stream: bytes, *, limit: int | None = None) -> bytes:
    compression = _HEADER.unpack_from(stream)[4]
    if compression == _PLAIN:
        return stream[_HEADER.size :]
    if compression != _ZSTD or limit is None:
        raise _foreign()
    try:
        with zstandard.ZstdDecompressor().stream_reader(stream[_HEADER.size :]) as reader:
            return reader.read(limit)
    except zstandard.ZstdError as error:
        raise _foreign() from error


def _numbers(body: bytes, start: int, count: int) -> Polynomial:
    if start < 0 or start + count * 8 > len(body):
        raise _foreign()
    return np.frombuffer(body, dtype="<u8", count=count, offset=start)


def _agree(expected: bytes, body: bytes) -> None:
    if expected != body:
        raise _foreign()


def _foreign() -> EncryptionError:
    return EncryptionError(
        "the homomorphic library writes another byte layout than the one this version knows",
        remedy="install the pinned version of tenseal",
    )
