"""What is read off a trace of a GPU."""

import jax
import pytest

from benchmarks import kernels

_TRACE = """
planes {
  name: "/device:GPU:0"
  lines {
    name: "Stream #17(Compute)"
    events { metadata_id: 1 offset_ps: 0 duration_ps: 4000000 }
    events { metadata_id: 2 offset_ps: 5000000 duration_ps: 1000000 }
    events { metadata_id: 1 offset_ps: 7000000 duration_ps: 2000000 }
  }
  lines {
    name: "XLA Ops"
    events { metadata_id: 1 offset_ps: 0 duration_ps: 9000000 }
  }
  event_metadata { key: 1 value { id: 1 name: "gemm" } }
  event_metadata { key: 2 value { id: 2 name: "loop_add_fusion" } }
}
planes {
  name: "/host:CPU"
  lines {
    name: "Stream of the host"
    events { metadata_id: 1 duration_ps: 5000000 }
  }
  event_metadata { key: 1 value { id: 1 name: "python" } }
}
"""


@pytest.mark.skipif(not hasattr(jax.profiler, "ProfileData"), reason="jax without ProfileData")
def test_kernels_of_an_update_are_those_on_the_streams_of_the_device():
    profile = jax.profiler.ProfileData.from_text_proto(_TRACE)
    found = kernels.read(profile, num_updates=2)
    assert found.number == 1.5
    assert found.microseconds == pytest.approx(3.5)
    assert found.longest == pytest.approx({"gemm": 3.0, "loop_add_fusion": 0.5})
