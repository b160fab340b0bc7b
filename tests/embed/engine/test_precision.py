"""bf16 is used only when it is there, is faster, and moves no vector."""

from pathlib import Path

import pytest

from penstock.embed.engine.precision import choose, cpu_flags


def never() -> float:
    raise AssertionError("measured although it was decided already")


def test_without_the_instructions_nothing_is_measured() -> None:
    """A CPU without bf16 computes in fp32, and the reason says so."""
    chosen = choose("auto", low="bfloat16", flags=(), speedup=never, parity=never)
    assert (chosen.dtype, chosen.why) == ("float32", "no bfloat16 instructions")


def test_instructions_that_are_slow_are_not_used() -> None:
    """A flag is not believed when the measurement says that it gains nothing."""
    chosen = choose("auto", low="bfloat16", flags=("amx_bf16",), speedup=lambda: 0.4, parity=never)
    assert chosen.dtype == "float32"
    assert "0.40x" in chosen.why


def test_a_format_that_moves_vectors_is_not_used() -> None:
    """Below the parity bound the ordinary path is taken."""
    flags = ("avx512_bf16",)
    chosen = choose("auto", low="bfloat16", flags=flags, speedup=lambda: 2.0, parity=lambda: 0.9994)
    assert chosen.dtype == "float32"
    assert "0.99940" in chosen.why


def test_a_fast_and_faithful_format_is_used_and_said_why() -> None:
    """Provenance names the instructions, the gain and the cosine."""
    flags = ("avx512_bf16",)
    chosen = choose("auto", low="bfloat16", flags=flags, speedup=lambda: 2.0, parity=lambda: 0.9999)
    assert (chosen.dtype, chosen.why) == ("bfloat16", "avx512_bf16, 2.0x fp32, cosine 0.99990 to fp32")


def test_a_format_asked_for_by_name_must_still_be_faithful() -> None:
    """A configured format that moves vectors is refused, never silently replaced."""
    with pytest.raises(ValueError, match=r"0\.90000"):
        choose("bfloat16", low="bfloat16", flags=(), speedup=never, parity=lambda: 0.9)


def test_an_unknown_format_is_refused() -> None:
    """The error lists what there is."""
    with pytest.raises(ValueError, match="auto, float32 or bfloat16"):
        choose("int4", low="bfloat16", flags=(), speedup=never, parity=never)


def test_flags_are_read_from_cpuinfo(tmp_path: Path) -> None:
    """Both instruction sets are recognised, as whole words."""
    info = tmp_path / "cpuinfo"
    info.write_text("model name : x\nflags\t\t: fpu avx512_bf16 amx_bf16_not\n")
    assert cpu_flags(info) == ("avx512_bf16",)
    assert cpu_flags(tmp_path / "absent") == ()
