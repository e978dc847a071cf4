"""The cache of compiled programs: where it is, and who may say otherwise."""

import jax
import pytest

from training.system import compilation_cache


@pytest.fixture
def config(monkeypatch, tmp_path):
    """What would be set of JAX's configuration, with no directory chosen yet."""
    changed = {}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jax.config, "update", changed.__setitem__)
    with jax_config(jax_compilation_cache_dir=None, jax_enable_compilation_cache=True):
        yield changed


class jax_config:  # noqa: N801 - a context manager
    """Sets values of JAX's configuration for a while."""

    def __init__(self, **values):
        self._values = values

    def __enter__(self):
        self._before = {name: getattr(jax.config, name) for name in self._values}
        self._set(self._values)

    def __exit__(self, *_):
        self._set(self._before)

    def _set(self, values):
        for name, value in values.items():
            type(jax.config).update(jax.config, name, value)


def test_it_is_on_in_the_user_s_cache_directory(config, tmp_path):
    compilation_cache.set_up()
    (path,) = config.values()
    assert config.keys() == {"jax_compilation_cache_dir"}
    assert path.startswith(str(tmp_path / "effective-rainbow" / "jaxlib-"))
    assert path == str(compilation_cache.directory())


def test_a_directory_that_was_chosen_stays(config, tmp_path):
    with jax_config(jax_compilation_cache_dir=str(tmp_path / "mine")):
        compilation_cache.set_up()
    assert not config


def test_it_stays_off_where_it_was_turned_off(config):
    with jax_config(jax_enable_compilation_cache=False):
        compilation_cache.set_up()
    assert not config


def test_without_a_place_for_it_programs_are_compiled_all_the_same(config, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    compilation_cache.set_up()
    assert not config


def test_each_kind_of_processor_has_its_own(monkeypatch):
    """A home directory may be shared by machines whose programs don't run on each other."""
    found = set()
    for kind in ("x86_64 one", "x86_64 two"):
        monkeypatch.setattr(compilation_cache, "_processor", lambda kind=kind: kind)
        found.add(compilation_cache.directory())
    assert len(found) == 2


def test_processors_differ_by_model_and_flags_not_by_their_speed(tmp_path):
    text = "processor : 0\nmodel name : A\ncpu MHz : 1.0\nflags : sse avx\n\nprocessor : 1\n"
    path, found = tmp_path / "cpuinfo", []
    for changed in (text, text.replace("1.0", "2.0"), text.replace("avx", "")):
        path.write_text(changed)
        found.append(compilation_cache._processor(path))
    assert found[0] == found[1] != found[2]
