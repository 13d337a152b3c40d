"""The device: its name, what it can do at most, how busy it is, and its memory."""

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from ratios import peak_mib

from gpu_parts.figures import Divisor, Fact, Figure, Found, Share
from wsss.parallel.cores import available_cores
from wsss.parallel.devices import full_float32

SHEETS = {
    "H200": {"float32": 67e12, "tf32": 494.7e12, "bf16": 989.4e12},
    "H100 80GB HBM3": {"float32": 67e12, "tf32": 494.7e12, "bf16": 989.4e12},
    "A100": {"float32": 19.5e12, "tf32": 156e12, "bf16": 312e12},
}
"""Dense FLOP/s of NVIDIA's data sheets, SXM modules, by a part of the card's name."""


class Machine(NamedTuple):
    """The device that is measured.

    Args:
        device: The device.
        peaks: FLOP/s of a large matrix product, by precision: float32, tf32, bf16.
    """

    device: torch.device
    peaks: dict[str, float]

    @property
    def cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.device.type == "cuda"

    @property
    def sheet(self) -> dict[str, float]:
        """FLOP/s by precision of the card's data sheet; empty where it is not known here."""
        name = torch.cuda.get_device_name(self.device) if self.cuda else ""
        return next((peaks for part, peaks in SHEETS.items() if part in name), {})

    def wait(self) -> None:
        """Wait for all that the device was asked to do."""
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def forget_memory(self) -> None:
        """Begin the count of `memory` anew, where the device can do that."""
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def memory(self, name: str) -> Figure:
        """Largest memory since `forget_memory`."""
        if self.cuda:
            total = torch.cuda.get_device_properties(self.device).total_memory / 2**20
            used = torch.cuda.max_memory_allocated(self.device) / 2**20
            return Figure(
                f"memory_{name}", used, "MiB", (Divisor("device", "MiB of the device", total),)
            )
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
        words = "MiB of this machine; of the process up to here, since a CPU counts no parts"
        return Figure(f"memory_{name}", peak_mib(), "MiB", (Divisor("device", words, total),))


def device_of(name: str) -> torch.device:
    """The device that is measured, by its kind."""
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise SystemExit(
            "device: torch sees no CUDA GPU, so there is nothing to measure; --device cpu "
            "--seconds 60 rehearses every part on this machine"
        )
    return torch.device("cuda", torch.cuda.current_device())


def facts(device: torch.device, seed: int) -> Iterator[Found]:
    """What the numbers depend on beside the code."""
    cuda = device.type == "cuda"
    yield Fact("device", torch.cuda.get_device_name(device) if cuda else _processor())
    driver = _asked_of_driver("driver_version") if cuda else "none: the device is the CPU"
    yield Fact("driver", driver or "unknown: there is no nvidia-smi")
    yield Fact("torch", f"{torch.__version__}, CUDA {torch.version.cuda}")
    yield Fact("dtype", "float32 where a name says no other")
    yield Fact("seed", str(seed))
    yield Fact("rehearsal", "no" if cuda else "yes: these are numbers of a CPU")
    yield Figure("cores", available_cores(), "cores", ())


def peaks(device: torch.device, share: Share) -> dict[str, float]:
    """FLOP/s of the product of two large matrices, by precision."""
    side = 8192 if device.type == "cuda" else 512
    kinds = ("float32", "tf32", "bf16") if device.type == "cuda" else ("float32", "bf16")
    found = {}
    for kind in kinds:
        dtype = torch.bfloat16 if kind == "bf16" else torch.float32
        one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))

        def multiply(one: torch.Tensor = one, other: torch.Tensor = other) -> None:
            torch.mm(one, other)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        with full_float32():
            if kind == "tf32":
                torch.set_float32_matmul_precision("high")
            # the fastest: what the device can do, not what it usually does
            found[kind] = 2 * side**3 / min(share.rounds(multiply, 0.3))
    return found


@contextmanager
def busy_share(machine: Machine) -> Iterator[list[float]]:
    """Measure how busy the device is meanwhile; the list holds the share on leaving.

    Of a GPU the mean of what the driver says five times a second: the share of time in which any
    kernel ran. Of a CPU its time over that of all cores. The list stays empty where nobody knows.
    """
    found: list[float] = []
    if not machine.cuda:
        start, used = time.perf_counter(), time.process_time()
        yield found
        spent = (time.perf_counter() - start) * available_cores()
        found.append((time.process_time() - used) / spent)
        return
    program = shutil.which("nvidia-smi")
    if program is None:
        yield found
        return
    command = [program, *_QUERY.format("utilization.gpu").split(), "-lms", "200"]
    watching = subprocess.Popen(
        [*command, "-i", _uuid(machine.device)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield found
    finally:
        watching.terminate()
        values = [line.strip() for line in watching.communicate()[0].splitlines()]
    shares = [int(value) / 100 for value in values if value.isdigit()]
    if shares:
        found.append(sum(shares) / len(shares))


_QUERY = "--query-gpu={} --format=csv,noheader,nounits"


def _uuid(device: torch.device) -> str:
    """Name by which the driver knows a device, whatever CUDA_VISIBLE_DEVICES hides."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def _asked_of_driver(field: str) -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, *_QUERY.format(field).split()]
    return subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[0].strip()


def _processor() -> str:
    """Name of the CPU."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1] for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0].strip() if names else platform.machine()
