"""Every form of a host works, or is refused before anything is started; so is a busy port."""

import socket

import pytest

from cluster.roles import address
from core import checks
from replay.reverb.server import confine

_HAS_IPV6 = confine._is_own("::1")


@pytest.mark.parametrize(
    ("host", "published"),
    [
        ("localhost", "localhost:80"),
        ("127.0.0.1", "127.0.0.1:80"),
        ("127.0.0.9", "127.0.0.9:80"),
        ("::1", "[::1]:80"),
        ("[::1]", "[::1]:80"),
        ("0:0:0:0:0:0:0:1", "[::1]:80"),
        ("::ffff:127.0.0.1", "[::ffff:7f00:1]:80"),
    ],
)
def test_hosts_of_this_machine(host, published):
    if ":" in host and not _HAS_IPV6:
        pytest.skip("no IPv6 here")
    checked = address.check_host(host, is_here=True)
    assert address.publish(checked, 80).replace("::ffff:127.0.0.1", "::ffff:7f00:1") == published
    assert confine.resolve(checked)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "0:0:0:0:0:0:0:0"])
def test_every_address_is_told_as_a_name_that_clients_can_use(host):
    checked = address.check_host(host, is_here=True)
    assert confine.resolve(checked) is None
    name = address.publish(checked, 80).removesuffix(":80")
    assert confine.resolve(name)


@pytest.mark.parametrize(
    "host",
    [
        *("", " ", "a b", "[localhost]", "http://x", "x" * 300, "é..x", "-x", "a..b"),
        *("127.1", "0", "1.2.3", "0x7f000001", "999.1.1.1", "::1::", "[::1"),
    ],
)
@pytest.mark.parametrize("is_here", [True, False])
def test_what_is_no_host(host, is_here):
    with pytest.raises(checks.ConfigError, match=r"host = .*: expected a name or number"):
        address.check_host(host, is_here)


@pytest.mark.parametrize("host", ["localhost:80", "127.0.0.1:80", "[::1]:80"])
def test_a_host_with_a_port(host):
    with pytest.raises(checks.ConfigError, match="a port goes into --port"):
        address.check_host(host, is_here=True)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "name.invalid"])
def test_other_machines(host):
    """Documentation's numbers and names (RFC 5737, 3849, 2606), which nobody has."""
    with pytest.raises(checks.ConfigError, match="expected a name or number of this machine"):
        address.check_host(host, is_here=True)
    checked = address.check_host(host, is_here=False)
    assert address.publish(checked, 80).strip("[").startswith(host)


@pytest.mark.parametrize(
    ("family", "host"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, ""), (socket.AF_INET6, "::1")],
)
def test_busy_ports(family, host):
    if family == socket.AF_INET6 and not _HAS_IPV6:
        pytest.skip("no IPv6 here")
    with socket.socket(family) as other:
        other.bind((host, 0))
        other.listen()
        port = other.getsockname()[1]
        assert not address.is_free(port)
        with pytest.raises(checks.ConfigError, match=f"port = {port}: expected a free one"):
            address.check_port(port)
    assert address.is_free(port)
    address.check_port(0)
