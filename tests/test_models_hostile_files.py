"""Files made to hurt are refused before they run or allocate anything."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile

import pytest
import torch

from common.errors import WeightsError
from common.models.architectures import build, initialise
from common.models.state import read_state


def weights() -> dict[str, torch.Tensor]:
    return initialise(build("thin", 128), torch.Generator().manual_seed(0)).state_dict()


def saved(data) -> bytes:
    buffer = io.BytesIO()
    torch.save(data, buffer)
    return buffer.getvalue()


def repacked(content: bytes, change) -> bytes:
    """The archive with ``change(name, data)`` applied to each record; None drops it."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w") as new:
        for entry in old.infolist():
            data = change(entry.filename, old.read(entry))
            if data is not None:
                new.writestr(entry.filename, data)
    return result.getvalue()


def read(content: bytes) -> dict[str, torch.Tensor]:
    return read_state(content, build("thin", 128).state_dict(), origin="file")


def with_pickle(data: bytes) -> bytes:
    return repacked(saved(weights()), lambda name, old: data if name.endswith("data.pkl") else old)


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_sound_file_is_read():
    assert set(read(saved(weights()))) == set(weights())


def test_a_tensor_far_larger_than_its_storage_is_refused_unmade():
    bomb = torch.zeros(1).as_strided((100_000, 100_000), (0, 0))
    with pytest.raises(WeightsError, match=r"fewer bytes than elements|other shapes"):
        read(saved({**weights(), "fc.weight": bomb}))


def test_a_stride_trick_of_the_right_shape_is_refused():
    hollow = torch.zeros(1).as_strided((128, 2048), (0, 0))
    with pytest.raises(WeightsError, match=r"fewer bytes than elements in fc\.weight"):
        read(saved({**weights(), "fc.weight": hollow}))


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_that_call_functions_are_refused(protocol, tmp_path):
    mark = tmp_path / "ran"
    evil = pickle.dumps(Call(open, str(mark), "w"), protocol=protocol)
    with pytest.raises(WeightsError, match="more than tensors"):
        read(with_pickle(evil))
    assert not mark.exists()


def test_memory_asked_for_by_bytearray_is_refused():
    with pytest.raises(WeightsError, match="more than tensors"):
        read(with_pickle(pickle.dumps(Call(bytearray, 1 << 40), protocol=2)))


def test_compressed_records_are_refused():
    content, result = saved(weights()), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    with pytest.raises(WeightsError, match="compressed"):
        read(result.getvalue())


def test_records_shorter_than_their_tensors_are_refused():
    shortened = repacked(saved(weights()), lambda name, data: data[:4] if name.endswith("data/0") else data)
    with pytest.raises(WeightsError, match="cannot be read"):
        read(shortened)


@pytest.mark.parametrize("data", [[1, 2], {"a": 1}, {3: torch.zeros(1)}, torch.zeros(3)])
def test_other_contents_are_refused(data):
    with pytest.raises(WeightsError, match="no dictionary of tensors"):
        read(saved(data))


def test_sparse_tensors_are_refused():
    sparse = torch.eye(2).to_sparse()
    with pytest.raises(WeightsError):
        read(saved({**weights(), "fc.bias": sparse}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 no archive",
        b"<html>not found</html>",
        pickle.dumps({"a": 1}),
        struct.pack("<Q", 1 << 60) + b"{}",
        saved({})[:200],
    ],
    ids=["empty", "stub of a zip", "a web page", "plain pickle", "safetensors of 2^60 bytes", "cut off"],
)
def test_files_that_are_no_weights_are_refused(content):
    with pytest.raises(WeightsError):
        read(content)


def test_safetensors_claiming_more_than_they_hold_are_refused():
    header = b'{"fc.weight":{"dtype":"F32","shape":[100000,100000],"data_offsets":[0,4]}}'
    with pytest.raises(WeightsError, match="neither"):
        read(struct.pack("<Q", len(header)) + header + bytes(4))
