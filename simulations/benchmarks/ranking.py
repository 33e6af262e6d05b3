"""What an encrypted query costs a silo, beside TenSEAL's own product and numpy in clear."""

from __future__ import annotations

import statistics
import time

from common.encryption.closed_rows import sealed_bytes
from common.encryption.envelope import HEADER_BYTES, SIGNATURE_BYTES
from common.encryption.layout import Layout
from common.encryption.sanitise import STRICT_NOISE
from common.encryption.sizes import answer_bytes, keys_bytes, query_bytes
from simulations.benchmarks.bench import Bench, Measured
from simulations.benchmarks.end_to_end import HOSPITALS, measure_end_to_end, median_ms
from simulations.benchmarks.gram import measure_gram
from simulations.benchmarks.measuring_process import MeasuringProcess

DIMENSION, SYNDROMES = 512, 300
SINGLE, BATCH = Layout(DIMENSION, SYNDROMES, 1), Layout(DIMENSION, SYNDROMES, 8)
QUADRATIC, PATIENTS = Layout(DIMENSION, 200, 1, "quadratic"), 1000
BATCH_QUERIES, PROCESSES = 64, 2


def measure(bench: Bench) -> Measured:
    """A silo's share of one query (``query_ms``) and of 64 (``batch64_s``), masks, noise and Enc(0) included.

    Random unit embeddings of length 512, 300 prototypes. Sizes count envelopes. ``end_to_end_ms`` is what the
    querier waits, on the clock, between processes over mutual TLS.
    """
    bench.say(f"one query at a time, {bench.repeat} repetitions, and TenSEAL's own product")
    with MeasuringProcess(SINGLE) as process:
        process.ask("answer", times=2)
        query = _milliseconds(process.ask("answer", times=2 * bench.repeat + 1))
        other = 1000 * process.ask("mm")[1]
        clear = _milliseconds(process.ask("clear", times=100))
    bench.say("64 queries at a time, two processes")
    batch, batch_cpu, error, same = _batch(bench.repeat)
    bench.say("the profile strict, and the quadratic kernel")
    with MeasuringProcess(SINGLE, noise=STRICT_NOISE) as process:
        strict = _milliseconds(process.ask("answer", times=bench.repeat + 1))
        _, strict_same = process.ask("agree", times=8 * bench.repeat)
    with MeasuringProcess(QUADRATIC, patients=PATIENTS) as process:
        deep = _milliseconds(process.ask("answer", times=bench.repeat + 1))
        deep_error, deep_same = process.ask("agree", times=bench.repeat)
    bench.say(f"{HOSPITALS} hospitals and a relay over loopback")
    whole = median_ms(measure_end_to_end(4 * bench.repeat))
    folder = bench.folder / "gram"
    folder.mkdir(mode=0o700)
    gram = measure_gram(folder, repeat=bench.repeat, say=bench.say).figures
    envelope = HEADER_BYTES + SIGNATURE_BYTES
    rotations = sorted({*SINGLE.rotations, *BATCH.rotations})
    figures = {
        "query_ms": query,
        "query_vs_mm": other / query,
        "query_clear_ms": clear,
        "batch64_s": batch,
        "batch64_cpu_s": batch_cpu,
        "query_up_bytes": float(envelope + query_bytes(SINGLE.parameters)),
        "query_down_bytes": float(envelope + answer_bytes(SINGLE) + sealed_bytes(SYNDROMES)),
        "rotation_keys_bytes": float(keys_bytes(rotations, SINGLE.parameters)),
        "max_abs_error": error,
        "top10_agreement": same,
        "strict_query_ms": strict,
        "strict_top10_agreement": strict_same,
        "quadratic_query_ms": deep,
        "quadratic_max_abs_error": deep_error,
        "quadratic_top10_agreement": deep_same,
        "quadratic_keys_bytes": float(keys_bytes(QUADRATIC.rotations, QUADRATIC.parameters)),
        **gram,
        "end_to_end_ms": whole,
    }
    rows = (
        ("one query", f"{query:.1f} ms", f"{other / query:.0f} x as fast as mm"),
        ("CKKSVector.mm", f"{other:.0f} ms", "TenSEAL's, product alone"),
        ("numpy in clear", f"{clear:.3f} ms", f"{query / clear:.0f} x as fast"),
        ("64 queries", f"{batch:.2f} s", f"{PROCESSES} processes, {batch_cpu:.2f} CPU-s"),
        ("query, strict", f"{strict:.1f} ms", f"{strict_same:.1%} of the first ten stay"),
        ("query, quadratic", f"{deep:.0f} ms", f"{PATIENTS} patients"),
        ("query, end to end", f"{whole:.0f} ms", f"{HOSPITALS} hospitals over mutual TLS"),
        (
            "1e6 Gram entries",
            f"{gram['gram_s_per_million']:.2f} s",
            f"{gram['gram_vs_scalar']:.0f} x a scalar loop",
        ),
        ("up", f"{figures['query_up_bytes'] / 1e3:.0f} kB", "a ciphertext and silo"),
        ("down", f"{figures['query_down_bytes'] / 1e3:.0f} kB", "the same"),
        ("keys", f"{figures['rotation_keys_bytes'] / 1e6:.1f} MB", "once a key epoch and silo"),
        ("largest error", f"{error:.0e}", f"{same:.1%} of the first ten stay"),
    )
    return Measured(
        figures,
        ("what", "cost", ""),
        rows,
        ("CPU-time; 64 queries and end to end on the clock, from the embedding on.",),
    )


def _batch(repeat: int) -> tuple[float, float, float, float]:
    """(seconds on the clock, CPU-seconds of both processes, largest error, share of the first ten that stay)."""
    processes: list[MeasuringProcess] = []
    share = BATCH_QUERIES // BATCH.queries // PROCESSES
    walls, processor = [], []
    try:
        for number in range(PROCESSES):
            processes.append(MeasuringProcess(BATCH, seed=number))
        for _ in range(repeat + 1):
            started = time.perf_counter()
            for process in processes:
                process.send("answer", times=share)
            answers = [process.receive() for process in processes]
            walls.append(time.perf_counter() - started)
            processor.append(sum(cpu for answer in answers for _, cpu in answer))
        error, same = processes[0].ask("agree", times=repeat)
    finally:
        for process in processes:
            process.close()
    return statistics.median(walls[1:]), statistics.median(processor[1:]), error, same


def _milliseconds(times: list[tuple[float, float]]) -> float:
    """The median CPU-time, of all but the first."""
    return 1000 * statistics.median(cpu for _, cpu in times[1:])
