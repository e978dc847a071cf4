"""Restricts a listening socket to some of the machine's addresses.

Reverb's server listens on every address and authenticates nobody. Its sockets belong to this
process, so the kernel can be told to drop packets to any address but the allowed ones, by a
classic BPF program (linux/filter.h, man 7 socket) that compares the packet's destination. Accepted
sockets inherit it.
"""

import ctypes
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Sequence

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; not in Python's socket module
_LOAD_BYTE, _LOAD_WORD, _SHIFT_RIGHT, _JUMP_EQUAL, _RETURN = 0x30, 0x20, 0x74, 0x15, 0x06
_NETWORK_HEADER = 2**32 - 0x100000  # SKF_NET_OFF: offsets are counted from the IP header
_DESTINATION = {4: 16, 6: 24}  # where an IP header of that version has it
_ACCEPT, _DROP = 2**32 - 1, 0
_LOOPBACK = ("127.0.0.1", "::1")
_EVERY_ADDRESS = ("0.0.0.0", "::")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Instruction = tuple[int, int, int, int]


def resolve(address: str) -> list[Address] | None:
    """The addresses of this machine that a name or number stands for; None for all.

    Raises:
      ValueError: it has no such address, or the name is unknown.
    """
    if address in _EVERY_ADDRESS:
        return None
    numbers = set(_LOOPBACK) if address in ("localhost", *_LOOPBACK) else _look_up(address)
    own = [number for number in sorted(numbers) if _is_own(number)]
    # The other loopback address is no substitute for the one that clients are told.
    if not own or (address in _LOOPBACK and address not in own):
        raise ValueError(f"address = {address!r}: expected one of this machine")
    return [_as_in_packets(ipaddress.ip_address(number)) for number in own]


def _as_in_packets(address: Address) -> Address:
    """Packets to ::ffff:10.0.0.7 have the destination 10.0.0.7."""
    return getattr(address, "ipv4_mapped", None) or address


def _look_up(name: str) -> set[str]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: not a name at all
        raise ValueError(f"address = {name!r}: expected one of this machine: {error}") from error
    return {str(row[4][0]).partition("%")[0] for row in found}


def _is_own(number: str) -> bool:
    family = socket.AF_INET6 if ":" in number else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((number, 0))
    except OSError:  # another machine's, or no IPv6 here
        return False
    return True


def listening(port: int = 0) -> list[socket.socket]:
    """This process's listening TCP sockets, as duplicates; with a port, only those on it."""
    found: dict[str, socket.socket] = {}
    for name in os.listdir("/proc/self/fd"):
        listener = _listener(int(name))
        if listener is None:
            continue
        # A duplicate may have a number that is also in the list.
        inode = os.readlink(f"/proc/self/fd/{listener.fileno()}")
        if inode not in found and (not port or listener.getsockname()[1] == port):
            found[inode] = listener
        else:
            listener.close()
    return list(found.values())


def _listener(descriptor: int) -> socket.socket | None:
    try:
        if not os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
            return None
        candidate = socket.socket(fileno=os.dup(descriptor))
        inet = candidate.family in (socket.AF_INET, socket.AF_INET6)
        if inet and candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return candidate
    except OSError:  # closed in the meantime, or no such option on this kind of socket
        return None
    candidate.close()
    return None


def confine(sockets: Iterable[socket.socket], addresses: Sequence[Address]) -> None:
    """Drops packets to these sockets for any but the given addresses.

    Raises:
      OSError: the kernel has no socket filters.
    """
    program = _program(addresses)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in program))
    for listener in sockets:
        pointer = struct.pack("HP", len(program), ctypes.addressof(code))  # struct sock_fprog
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)


def _program(addresses: Sequence[Address]) -> list[Instruction]:
    """Instructions (code, jump if true, jump if false, operand), one block per address."""
    blocks = [_accept(address) for address in addresses]
    return [*(row for block in blocks for row in block), (_RETURN, 0, 0, _DROP)]


def _accept(address: Address) -> list[Instruction]:
    """Accepts packets to the address; others go on to what follows."""
    begin = _NETWORK_HEADER + _DESTINATION[address.version]
    words = [word for (word,) in struct.iter_unpack("!I", address.packed)]
    tests = [
        (_LOAD_BYTE, _NETWORK_HEADER, 4),
        *((_LOAD_WORD, begin + 4 * i, 0) for i in range(len(words))),
    ]
    wanted = [address.version, *words]
    # Instructions that are left after the comparison of each test: those of later tests, the end.
    left = [2 * (len(tests) - i - 1) + 1 for i in range(len(tests))]
    block: list[Instruction] = []
    for (code, offset, shift), value, rest in zip(tests, wanted, left):
        block.append((code, 0, 0, offset))
        if shift:
            block.append((_SHIFT_RIGHT, 0, 0, shift))
        block.append((_JUMP_EQUAL, 0, rest, value))
    return [*block, (_RETURN, 0, 0, _ACCEPT)]
