"""Errors of devices are named for the next move."""

from __future__ import annotations

import subprocess
import sys

import pytest

from penstock.embed.engine.faults import DeviceLost, Fault, OutOfMemory, fault, first_line


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


class AcceleratorError(RuntimeError):
    """As torch names errors of the driver since 2.8."""


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB"),
        AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: 8 GB"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 68719476736 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB)"),
        RuntimeError("HIP out of memory. Tried to allocate 1.00 GiB"),
        RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
        MemoryError(),
        OutOfMemory("of our own"),
    ],
)
def test_what_does_not_fit_is_out_of_memory(error: Exception) -> None:
    """Every known wording of an allocation that failed asks for a smaller batch."""
    assert fault(error) is Fault.OUT_OF_MEMORY


@pytest.mark.parametrize(
    "error",
    [
        AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: unspecified launch failure"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus."),
        RuntimeError("level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)"),
        DeviceLost("already named"),
    ],
)
def test_a_broken_context_is_a_lost_device(error: Exception) -> None:
    """Errors that every later call would repeat ask for another process."""
    assert fault(error) is Fault.DEVICE_LOST


@pytest.mark.parametrize(
    "error",
    [
        ValueError("this text is about being out of memory"),
        KeyError("CUDA error"),
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        RuntimeError("CUDA error: no kernel image is available for execution on the device"),
        KeyboardInterrupt(),
    ],
)
def test_the_rest_is_neither(error: BaseException) -> None:
    """Mistakes, and a driver that no restart would mend, pass through."""
    assert fault(error) is Fault.OTHER


def test_an_error_is_known_by_what_it_was_raised_from() -> None:
    """A library that wraps an error does not hide it."""
    wrapped = ValueError("compilation failed")
    wrapped.__cause__ = OutOfMemoryError("CUDA out of memory")
    assert fault(wrapped) is Fault.OUT_OF_MEMORY


def test_faults_are_named_without_torch() -> None:
    """A process that watches a worker does not load torch for the names of its errors."""
    code = "import sys, penstock.embed.engine.faults; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_reason_is_one_short_line() -> None:
    """torch's errors go on for paragraphs; people are told the first line."""
    assert first_line(RuntimeError("CUDA error: x\nmore\nand more")) == "RuntimeError: CUDA error: x"
    assert len(first_line(RuntimeError("a" * 900))) == 200
