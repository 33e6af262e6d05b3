"""What a worker process may do: little memory and time, no core dump, no network, no other process, and no
files but its own folder.

Limits are set for every process. The system-call filter (seccomp) and the file rules (Landlock) need Linux on
x86-64 or arm64; elsewhere ``confine`` says which of them it could not set.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from pathlib import Path

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1  # errno EPERM
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4

# socket, connect, sendto, bind, listen, accept, execve, execveat, ptrace, process_vm_readv and _writev, kill,
# tkill, tgkill, pidfd_send_signal, pidfd_getfd, io_uring_setup
_X86_64 = (0xC000003E, (41, 42, 44, 49, 50, 43, 59, 322, 101, 310, 311, 62, 200, 234, 424, 438, 425))
_ARM64 = (0xC00000B7, (198, 203, 206, 200, 201, 202, 221, 281, 117, 270, 271, 129, 130, 131, 424, 438, 425))
_X32_BIT = 0x40000000

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT, _LANDLOCK_PATH = 444, 445, 446, 1
_ALL_FILE_RIGHTS, _READ_FILE = (1 << 13) - 1, 1 << 2


def confine(folder: Path, *, memory: int) -> list[str]:
    """Confine this process for the rest of its life; call it when every module is loaded.

    Args:
        folder: the one folder that it may still read and write.
        memory: bytes of address space.

    Returns:
        What could not be set: any of "seccomp", "landlock".
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    memory = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    missing = []
    libc = ctypes.CDLL(None, use_errno=True)
    no_new = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    if not (no_new and _restrict_files(libc, folder)):
        missing.append("landlock")
    if not (no_new and _filter_calls(libc)):
        missing.append("seccomp")
    return missing


def limit_processor(seconds: int) -> None:
    """Let the system end this process once it has used so many more processor seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + seconds + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _filter_calls(libc: ctypes.CDLL) -> bool:
    known = {"x86_64": _X86_64, "aarch64": _ARM64, "arm64": _ARM64}.get(platform.machine())
    if platform.system() != "Linux" or known is None:
        return False
    architecture, numbers = known
    # Each step: code, jump if true, jump if false, value. A foreign architecture and x32 calls are refused too.
    steps = [(_LOAD, 0, 0, _ARCHITECTURE), (_JUMP_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _REFUSE)]
    steps += [(_LOAD, 0, 0, _NUMBER), (_JUMP_GREATER_EQUAL, len(numbers) + 1, 0, _X32_BIT)]
    steps += [(_JUMP_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) == 0)


def _restrict_files(libc: ctypes.CDLL, folder: Path) -> bool:
    if platform.system() != "Linux":
        return False
    rights = struct.pack("=Q", _ALL_FILE_RIGHTS)
    rules = libc.syscall(_LANDLOCK_CREATE, rights, len(rights), 0)
    if rules < 0:
        return False
    try:
        # The library's generator may read /dev/urandom.
        for path, allowed in ((folder, _ALL_FILE_RIGHTS), (Path("/dev/urandom"), _READ_FILE)):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                rule = struct.pack("=Qi", allowed, place)
                if libc.syscall(_LANDLOCK_ADD, rules, _LANDLOCK_PATH, rule, 0) != 0:
                    return False
            finally:
                os.close(place)
        return bool(libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)
