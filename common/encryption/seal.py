"""CKKS by SEAL, through ``tenseal.sealapi``. Runs in worker processes only.

SEAL saves to and loads from file paths, so the scheme is given a private folder, best on a memory file system.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tenseal.sealapi as sealapi

from common.encryption import residues, seal_stream
from common.encryption.parameters import LINEAR, Parameters
from common.encryption.refusal import refused
from common.encryption.scheme import Residues
from common.encryption.sizes import galois_elements, keys_bytes, query_bytes
from common.errors import EncryptionError


@dataclass(frozen=True)
class _SecretKeys:
    key: Any
    encryptor: Any
    decryptor: Any


@dataclass(frozen=True)
class _PublicKeys:
    encryptor: Any
    galois: Any
    product: Any


class SealScheme:
    """``Scheme`` over SEAL.

    Args:
        folder: private and empty; each file in it is removed as soon as it has been used.

    Raises:
        EncryptionError: the library makes other primes than the parameters name.
    """

    def __init__(self, folder: Path, parameters: Parameters = LINEAR) -> None:
        self.parameters = parameters
        self._path = str(folder / "object")
        settings = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.CKKS)
        settings.set_poly_modulus_degree(parameters.degree)
        settings.set_coeff_modulus(sealapi.CoeffModulus.Create(parameters.degree, list(parameters.bits)))
        if tuple(int(prime.value()) for prime in settings.coeff_modulus()) != parameters.moduli:
            raise EncryptionError(
                "the homomorphic library makes other primes", remedy="install the pinned version of tenseal"
            )
        self._context = sealapi.SEALContext(settings, True, sealapi.SEC_LEVEL_TYPE.TC128)
        self._encoder = sealapi.CKKSEncoder(self._context)
        self._evaluator = sealapi.Evaluator(self._context)
        self._levels = self._identities()
        self._query = self._shape(self._levels[parameters.level], parameters.level, parameters.scale)
        self._key = self._shape(list(self._context.key_parms_id()), len(parameters.moduli), 1.0)
        self._answer = self._shape(self._levels[1], 1, parameters.scale)

    def make_keys(self, rotations: Sequence[int]) -> tuple[_SecretKeys, bytes]:
        """Fresh keys; see ``Scheme.make_keys``."""
        maker = sealapi.KeyGenerator(self._context)
        secret = maker.secret_key()
        elements = galois_elements(rotations, self.parameters)
        galois = seal_stream.read_galois_keys(self._save(maker.create_galois_keys(elements)), self._key, elements)
        # A public key is an encryption of zero; made so, its second half is a seed.
        zero = sealapi.Encryptor(self._context, secret).encrypt_zero_symmetric(list(self._context.key_parms_id()))
        first, seed = seal_stream.read_seeded_ciphertext(self._save(zero), self._key)
        payload = [residues.pack(first, self.parameters.moduli), seed]
        switching = [galois[element] for element in elements]
        if self.parameters.squares:
            switching.append(seal_stream.read_product_key(self._save(maker.create_relin_keys()), self._key))
        for key in switching:
            for polynomial, seed in key:
                payload += [residues.pack(polynomial, self.parameters.moduli), seed]
        return self._secret_keys(secret), b"".join(payload)

    def save_secret(self, secret: _SecretKeys, cover: Callable[[bytes], bytes]) -> bytes:
        """See ``Scheme.save_secret``. The clear key passes through anonymous memory, never through a file."""
        with os.fdopen(os.memfd_create("secret", os.MFD_CLOEXEC), "rb") as memory:
            secret.key.save(f"/proc/self/fd/{memory.fileno()}")
            return cover(memory.read())

    def load_secret(self, content: bytes) -> _SecretKeys:
        """See ``Scheme.load_secret``."""
        with os.fdopen(os.memfd_create("secret", os.MFD_CLOEXEC), "wb", buffering=0) as memory:
            memory.write(content)
            secret = sealapi.SecretKey()
            secret.load(self._context, f"/proc/self/fd/{memory.fileno()}")
            return self._secret_keys(secret)

    def load_keys(self, payload: bytes, rotations: Sequence[int]) -> _PublicKeys:
        """See ``Scheme.load_keys``.

        Raises:
            EncryptionError: the payload is not of the exact length, or holds residues above a prime.
        """
        parameters = self.parameters
        _exact(payload, keys_bytes(rotations, parameters))
        polynomial = residues.size(parameters.moduli, parameters.degree)
        cursor = _Cursor(payload)

        def next_polynomial() -> npt.NDArray[np.uint64]:
            return residues.unpack(cursor.take(polynomial), parameters.moduli, parameters.degree)

        # Only the seed of the public key's second half: chosen freely, it could keep Enc(0) from hiding c1.
        stream = seal_stream.ciphertext(self._key, next_polynomial(), cursor.take(residues.SEED_BYTES))
        public = self._load(sealapi.PublicKey(), stream)

        def next_key() -> seal_stream.SwitchingKey:
            return [(next_polynomial(), cursor.take(residues.SEED_BYTES)) for _ in parameters.data_moduli]

        keys = {element: next_key() for element in galois_elements(rotations, parameters)}
        galois = self._load(sealapi.GaloisKeys(), seal_stream.galois_keys(self._key, keys))
        product = None
        if parameters.squares:
            product = self._load(sealapi.RelinKeys(), seal_stream.product_key(self._key, next_key()))
        return _PublicKeys(sealapi.Encryptor(self._context, public), galois, product)

    def encrypt(self, slots: npt.NDArray[np.float64], secret: _SecretKeys) -> bytes:
        """A fresh query: c0, and the seed of c1."""
        plain = sealapi.Plaintext()
        self._encoder.encode(slots.tolist(), self.parameters.scale, plain)
        stream = self._save(secret.encryptor.encrypt_symmetric(plain))
        first, seed = seal_stream.read_seeded_ciphertext(stream, self._query)
        return residues.pack(first, self.parameters.data_moduli) + seed

    def decrypt_sum(self, answers: Sequence[bytes], secret: _SecretKeys) -> npt.NDArray[np.complex128]:
        """(M,) slots of the sum of the answers, each c0 and c1 at the last level."""
        modulus, degree = self.parameters.answer_modulus, self.parameters.degree
        total = np.zeros((2, 1, degree), dtype=np.uint64)
        for answer in answers:
            half = residues.size((modulus,), degree)
            _exact(answer, 2 * half)
            for index in (0, 1):
                part = residues.unpack(answer[index * half : (index + 1) * half], (modulus,), degree)
                total[index] = (total[index] + part) % np.uint64(modulus)
        summed = self._load(sealapi.Ciphertext(), seal_stream.ciphertext(self._answer, total[0], total[1]))
        plain = sealapi.Plaintext()
        secret.decryptor.decrypt(summed, plain)
        return np.array(self._encoder.decode_complex(plain), dtype=np.complex128)

    def admit(self, payload: bytes, keys: _PublicKeys) -> Any:
        """See ``Scheme.admit``.

        Raises:
            EncryptionError: the payload is not of the exact length, or holds residues above a prime.
        """
        parameters = self.parameters
        _exact(payload, query_bytes(parameters))
        first = residues.unpack(payload[: -residues.SEED_BYTES], parameters.data_moduli, parameters.degree)
        stream = seal_stream.ciphertext(self._query, first, payload[-residues.SEED_BYTES :])
        query = self._load(sealapi.Ciphertext(), stream)
        conjugate = sealapi.Ciphertext()
        self._evaluator.complex_conjugate(query, keys.galois, conjugate)
        self._evaluator.add_inplace(conjugate, query)
        return conjugate

    def encode(self, slots: npt.NDArray[np.generic], *, level: int, scale: float) -> Any | None:
        """See ``Scheme.encode``."""
        if not np.any(slots):
            return None
        plain = sealapi.Plaintext()
        self._encoder.encode(slots.tolist(), self._levels[level], scale, plain)
        # Values far below the scale's precision encode as zero too, and SEAL refuses to multiply by zero.
        return None if plain.is_zero() else plain

    def rotate(self, ciphertext: Any, step: int, keys: _PublicKeys) -> Any:
        """Slots turned left by ``step``."""
        turned = sealapi.Ciphertext()
        self._evaluator.rotate_vector(ciphertext, step, keys.galois, turned)
        return turned

    def inner_product(self, ciphertexts: Sequence[Any], plaintexts: Sequence[Any | None]) -> Any | None:
        """Sum of products, at the scale squared."""
        total, product = None, sealapi.Ciphertext()
        for ciphertext, plain in zip(ciphertexts, plaintexts, strict=True):
            if plain is None:
                continue
            if total is None:
                total = sealapi.Ciphertext()
                self._evaluator.multiply_plain(ciphertext, plain, total)
            else:
                self._evaluator.multiply_plain(ciphertext, plain, product)
                self._evaluator.add_inplace(total, product)
        return total

    def add(self, first: Any, second: Any) -> None:
        """In place."""
        self._evaluator.add_inplace(first, second)

    def add_plain(self, ciphertext: Any, slots: npt.NDArray[np.float64]) -> None:
        """In place."""
        plain = sealapi.Plaintext()
        self._encoder.encode(slots.tolist(), ciphertext.parms_id(), ciphertext.scale, plain)
        self._evaluator.add_plain_inplace(ciphertext, plain)

    def multiply(self, first: Any, second: Any, keys: _PublicKeys) -> Any:
        """Product, relinearised and rescaled."""
        product = sealapi.Ciphertext()
        if first is second:
            self._evaluator.square(first, product)
        else:
            self._evaluator.multiply(first, second, product)
        self._evaluator.relinearize_inplace(product, keys.product)
        self._evaluator.rescale_to_next_inplace(product)
        return product

    def rescale(self, ciphertext: Any) -> None:
        """In place."""
        self._evaluator.rescale_to_next_inplace(ciphertext)

    def release(
        self, ciphertext: Any | None, keys: _PublicKeys, *, noise: npt.NDArray[np.complex128], mask: Residues
    ) -> bytes:
        """See ``Scheme.release``: c0 and c1 at the last level."""
        fresh = sealapi.Ciphertext()
        keys.encryptor.encrypt_zero(self._levels[1], fresh)
        fresh.scale = self._answer.scale
        if ciphertext is not None:
            # Every silo arrives at the same scale; pinned so that no rounding of it stops the addition.
            ciphertext.scale = self._answer.scale
            self._evaluator.add_inplace(fresh, ciphertext)
        blur = sealapi.Plaintext()
        self._encoder.encode(noise.tolist(), self._levels[1], self._answer.scale, blur)
        self._evaluator.add_plain_inplace(fresh, blur)
        cover = self._load(sealapi.Plaintext(), seal_stream.plaintext(self._answer, mask))
        self._evaluator.add_plain_inplace(fresh, cover)
        first, second = seal_stream.read_ciphertext(self._save(fresh), self._answer)
        moduli = (self.parameters.answer_modulus,)
        return residues.pack(first, moduli) + residues.pack(second, moduli)

    def _secret_keys(self, secret: Any) -> _SecretKeys:
        encryptor = sealapi.Encryptor(self._context, secret)
        return _SecretKeys(secret, encryptor, sealapi.Decryptor(self._context, secret))

    def _identities(self) -> dict[int, list[int]]:
        """SEAL's parameter id of each level."""
        plain, found = sealapi.Plaintext(), {}
        self._encoder.encode(1.0, self.parameters.scale, plain)
        for level in range(self.parameters.level, 0, -1):
            found[level] = list(plain.parms_id())
            if level > 1:
                self._evaluator.mod_switch_to_next_inplace(plain)
        return found

    def _shape(self, parms_id: list[int], primes: int, scale: float) -> seal_stream.Shape:
        identity = b"".join(word.to_bytes(8, "little") for word in parms_id)
        return seal_stream.Shape(identity, primes, self.parameters.degree, scale)

    def _save(self, item: Any) -> bytes:
        path = Path(self._path)
        try:
            item.save(self._path)
            return path.read_bytes()
        finally:
            path.unlink(missing_ok=True)

    def _load(self, item: Any, stream: bytes) -> Any:
        path = Path(self._path)
        try:
            path.write_bytes(stream)
            item.load(self._context, self._path)
        finally:
            path.unlink(missing_ok=True)
        return item


class _Cursor:
    def __init__(self, payload: bytes) -> None:
        self._rest = memoryview(payload)

    def take(self, count: int) -> bytes:
        part, self._rest = bytes(self._rest[:count]), self._rest[count:]
        return part


def _exact(payload: bytes, size: int) -> None:
    if len(payload) != size:
        raise refused()
