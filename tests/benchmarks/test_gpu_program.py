"""Programs for a GPU that are compiled without one: what is read off their text, and the counts."""

import csv
import os
import subprocess
import sys

import pytest

from benchmarks.compiled import hlo, kernel_count, target
from core import checks

# One round of the loop: a product with what is fused into it, a slice of a large array, an update
# in place, and a branch. Bitcasts and the like are no kernels.
_TEXT = """
HloModule jit_learn, is_scheduled=true

%fused_product (p0: f32[32,64], p1: f32[64,128]) -> f32[32,128] {
  %p0 = f32[32,64]{1,0} parameter(0)
  %p1 = f32[64,128]{1,0} parameter(1)
  ROOT %dot.1 = f32[32,128]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}
}

%fused_slice (p0: f32[1000000,4], p1: s32[]) -> f32[1,4] {
  %p0 = f32[1000000,4]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice = f32[1,4]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,4}
}

%fused_write (p0: f32[1000000,4], p1: f32[1,4], p2: s32[]) -> f32[1000000,4] {
  %p0 = f32[1000000,4]{1,0} parameter(0)
  %p1 = f32[1,4]{1,0} parameter(1)
  %p2 = s32[] parameter(2)
  %zero = s32[] constant(0)
  ROOT %write = f32[1000000,4]{1,0} dynamic-update-slice(%p0, %p1, %p2, %zero)
}

%copies (c0: (f32[8], f32[8])) -> (f32[8], f32[8]) {
  %c0 = (f32[8]{0}, f32[8]{0}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%c0), index=0
  %y = f32[8]{0} get-tuple-element(%c0), index=1
  %copy.1 = f32[8]{0} copy(%x)
  %copy.2 = f32[8]{0} copy(%y)
  ROOT %both = (f32[8]{0}, f32[8]{0}) tuple(%copy.1, %copy.2)
}

%copies_more (c1: (f32[8], f32[8])) -> (f32[8], f32[8]) {
  %c1 = (f32[8]{0}, f32[8]{0}) parameter(0)
  %x.1 = f32[8]{0} get-tuple-element(%c1), index=0
  %copy.3 = f32[8]{0} copy(%x.1)
  %copy.4 = f32[8]{0} copy(%x.1)
  %copy.5 = f32[8]{0} copy(%x.1)
  ROOT %both.1 = (f32[8]{0}, f32[8]{0}) tuple(%copy.3, %copy.4)
}

%body (state: (s32[], f32[1000000,4], f32[32,64])) -> (s32[], f32[1000000,4], f32[32,64]) {
  %state = (s32[], f32[1000000,4]{1,0}, /*index=2*/f32[32,64]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %ring = f32[1000000,4]{1,0} get-tuple-element(%state), index=1
  %x.2 = f32[32,64]{1,0} get-tuple-element(%state), index=2
  %w = f32[64,128]{1,0} bitcast(%ring)
  %product = f32[32,128]{1,0} fusion(%x.2, %w), kind=kCustom, calls=%fused_product
  %row = f32[1,4]{1,0} fusion(%ring, %i), kind=kLoop, calls=%fused_slice
  %target = (f32[8]{0}, f32[8]{0}) conditional(%i), branch_computations={%copies, %copies_more}
  %ring.2 = f32[1000000,4]{1,0} fusion(%ring, %row, %i), kind=kLoop, calls=%fused_write
  ROOT %next = (s32[], f32[1000000,4]{1,0}, f32[32,64]{1,0}) tuple(%i, %ring.2, %x.2)
}

%condition (s: (s32[], f32[1000000,4], f32[32,64])) -> pred[] {
  %s = (s32[], f32[1000000,4]{1,0}, f32[32,64]{1,0}) parameter(0)
  %j = s32[] get-tuple-element(%s), index=0
  %end = s32[] constant(16)
  ROOT %less = pred[] compare(%j, %end), direction=LT
}

ENTRY %main (a: s32[], b: f32[1000000,4], c: f32[32,64]) -> f32[32,64] {
  %a = s32[] parameter(0)
  %b = f32[1000000,4]{1,0} parameter(1)
  %c = f32[32,64]{1,0} parameter(2)
  %begin = (s32[], f32[1000000,4]{1,0}, f32[32,64]{1,0}) tuple(%a, %b, %c)
  %loop = (s32[], f32[1000000,4]{1,0}, f32[32,64]{1,0}) while(%begin), condition=%condition, \
body=%body, backend_config={"known_trip_count":{"n":"16"}}
  ROOT %result = f32[32,64]{1,0} get-tuple-element(%loop), index=2
}
"""


def test_kernels_of_an_update_are_those_of_the_loop_s_body():
    """The product, the slice, the write, and the two copies of the smaller branch."""
    counts = kernel_count.of_update(hlo.parse(_TEXT))
    assert (counts.kernels, counts.products) == (5, 1)


def test_bytes_are_those_that_are_touched():
    """Of the large array the slice reads a row, and the write writes one."""
    product = 4 * (32 * 64 + 64 * 128 + 32 * 128)
    sliced = 4 + 16 + 16
    written = 16 + 4 + 16
    copies = 2 * 2 * 32
    counts = kernel_count.of_update(hlo.parse(_TEXT))
    assert counts.num_bytes == product + sliced + written + copies


def test_the_model_is_a_gap_the_bytes_and_two_microseconds_for_a_product():
    """All five kernels move little: 0.8 us each."""
    counts = kernel_count.of_update(hlo.parse(_TEXT))
    assert counts.microseconds == pytest.approx(5 * (1.2 + 0.8) + 2.0)


def test_a_call_has_all_rounds_of_its_loops():
    assert kernel_count.of_program(hlo.parse(_TEXT)).kernels == 16 * 5


def test_a_program_without_a_loop_has_no_update():
    text = _TEXT.replace("while(%begin)", "call(%begin)").replace("body=%body", "to_apply=%body")
    with pytest.raises(ValueError, match="a loop over updates"):
        kernel_count.of_update(hlo.parse(text))


def test_without_the_packages_the_remedy_is_one_line(monkeypatch):
    monkeypatch.setattr(target, "_version", lambda package: None)
    with pytest.raises(checks.ConfigError, match=r"^jax-cuda12-plugin = missing: .* pip install"):
        target.find()


def test_packages_of_another_version_are_refused(monkeypatch):
    monkeypatch.setattr(target, "_version", lambda package: "0.1")
    with pytest.raises(checks.ConfigError, match=r"^jax-cuda12-plugin = 0\.1: expected "):
        target.find()


@pytest.mark.slow
@pytest.mark.skipif(bool(target.missing()), reason=target.missing() or "all there")
@pytest.mark.parametrize(
    ("formulation", "most"),
    [
        ("few_kernels", {"rainbow": 98, "rainbow_nap": 120}),
        ("pallas", {"rainbow": 84, "rainbow_nap": 106}),
    ],
)
def test_the_counts_do_not_rise(formulation, most):
    """Kernels of an update, as docs/speed.md has them."""
    # Without the switches that tests are run under, which change what is compiled.
    env = {k: v for k, v in os.environ.items() if k != "JAX_DISABLE_MOST_OPTIMIZATIONS"}
    flags = ["--programs=learn", "--num_seeds=1", f"--set=formulation={formulation}"]
    flags.append(f"--configs={','.join(most)}")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_program", *flags],
        capture_output=True,
        text=True,
        env=env,
        check=True,
    )
    found = {
        row["config"]: float(row["kernels"]) for row in csv.DictReader(done.stdout.splitlines())
    }
    assert found.keys() == most.keys()
    assert all(found[name] <= most[name] for name in most), found
