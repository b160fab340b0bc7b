"""bf16 is tried only where it is there and faster."""

from pathlib import Path

import pytest

from penstock.embed.engine.precision import candidates, cpu_flags


def never() -> float:
    raise AssertionError("measured although it was decided already")


def test_without_the_instructions_nothing_is_measured() -> None:
    """A CPU without bf16 computes in fp32, and the reason says so."""
    (only,) = candidates("auto", low="bfloat16", flags=(), speedup=never)
    assert (only.dtype, only.why) == ("float32", "no bfloat16 instructions")


def test_instructions_that_are_slow_are_not_used() -> None:
    """A flag is not believed when the measurement says that it gains nothing."""
    (only,) = candidates("auto", low="bfloat16", flags=("amx_bf16",), speedup=lambda: 0.4)
    assert only.dtype == "float32"
    assert "0.40x" in only.why


def test_a_fast_format_is_tried_first_and_fp32_is_what_remains() -> None:
    """Parity decides between the two; the reasons name the instructions and the gain."""
    tried = candidates("auto", low="bfloat16", flags=("avx512_bf16",), speedup=lambda: 2.0)
    assert [each.dtype for each in tried] == ["bfloat16", "float32"]
    assert tried[0].why == "avx512_bf16, 2.0x fp32"


def test_a_format_asked_for_by_name_is_the_only_one() -> None:
    """A configured format is never silently replaced."""
    (only,) = candidates("bfloat16", low="bfloat16", flags=(), speedup=never)
    assert only.dtype == "bfloat16"


def test_an_unknown_format_is_refused() -> None:
    """The error lists what there is."""
    with pytest.raises(ValueError, match="auto, float32 or bfloat16"):
        candidates("int4", low="bfloat16", flags=(), speedup=never)


def test_flags_are_read_from_cpuinfo(tmp_path: Path) -> None:
    """Both instruction sets are recognised, as whole words."""
    info = tmp_path / "cpuinfo"
    info.write_text("model name : x\nflags\t\t: fpu avx512_bf16 amx_bf16_not\n")
    assert cpu_flags(info) == ("avx512_bf16",)
    assert cpu_flags(tmp_path / "absent") == ()
