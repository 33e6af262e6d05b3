"""Where networks run: a device by its name, and the settings under which a GPU repeats itself.

Networks and the batches that they see lie on the device. Everything else stays on the processor: random numbers,
so that one seed draws the same on every device, and all that is kept or sent, as float32 arrays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from common.errors import ConfigError, TrainingError
from common.models.specs import check_device

CPU = torch.device("cpu")
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
CUBLAS_REPEATABLE = ":4096:8"  # one of the two values under which cuBLAS sums in one order


def find_device(name: str) -> torch.device:
    """The device of that name, with its number; ``auto`` is the first GPU that torch sees, else the processor.

    Raises:
        ConfigError: no such device on this machine, or no such name.
    """
    try:
        check_device(name)
    except ValueError as error:
        raise ConfigError(f"device: {error}", remedy="name one of them") from error
    if name == "cpu":
        return CPU
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count and name == "auto":
        return CPU
    if not count:
        raise ConfigError(
            f"device={name}: torch {torch.__version__} sees no GPU here",
            remedy="set device=cpu or device=auto, or install a torch and a driver for the GPU",
        )
    number = int(name.partition(":")[2] or 0)
    if number >= count:
        raise ConfigError(
            f"device={name}: the GPUs here are numbered 0 to {count - 1}",
            remedy="name one of these, or device=auto",
        )
    # Read when the first matrices are multiplied; whoever set it meant it.
    os.environ.setdefault(CUBLAS, CUBLAS_REPEATABLE)
    return torch.device("cuda", number)


def describe_device(device: torch.device) -> str:
    """What a reader needs to compare figures: 'cpu', or the GPU's name as its driver gives it."""
    return "cpu" if device.type == "cpu" else f"{device} {torch.cuda.get_device_name(device)}"


def device_of(module: nn.Module) -> torch.device:
    """Where the parameters of ``module`` lie; the processor where it has none."""
    parameter = next(module.parameters(), None)
    return CPU if parameter is None else parameter.device


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Let the same work give the same bits on ``device``, as far as torch has such algorithms; ask for float32.

    On a processor this changes nothing. On a GPU, torch warns of an operator that has no repeatable algorithm and
    goes on. Follows https://docs.pytorch.org/docs/stable/notes/randomness.html.

    Raises:
        TrainingError: the GPU's memory does not suffice.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        # TF32 would keep 10 bits of a convolution's inputs, and benchmarks would choose algorithms by the clock.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the memory of {device} does not suffice",
            remedy="lower training.batch_size or the number of silos at once, or set device=cpu",
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
