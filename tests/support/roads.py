"""The roads between servers and their clients, of which a test can close some, as a broken network would.

A closed road carries nothing and breaks nothing off: neither end learns of it, and what was on its way
arrives when the road is open again, however late. So does TCP over a network that is down for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from deploy.local.servers import HOST, Mongod, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

CHUNK = 65_536


class Roads:
    """A second address for each server, over which all others are to reach it, until the block ends.

    A road leads from one server to another; everybody who is not one of the servers is None.
    """

    def __init__(self, servers: Sequence[Mongod]) -> None:
        self._servers = servers
        self._ports = [free_port() for _ in servers]
        self._open: dict[tuple[Mongod | None, Mongod], asyncio.Event] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="roads", daemon=True)

    def address(self, server: Mongod) -> str:
        """Where the others find the server, as host:port."""
        return f"{HOST}:{self._ports[self._servers.index(server)]}"

    def close(self, server: Mongod, *, to_clients: bool) -> None:
        """Close all roads from and to the other servers and, if so wanted, those from the clients."""
        others = [other for other in self._servers if other is not server]
        roads: list[tuple[Mongod | None, Mongod]] = [(server, other) for other in others]
        roads += [(other, server) for other in others]
        roads += [(None, server)] if to_clients else []
        self._in_loop(lambda: [self._gate(*road).clear() for road in roads])

    def open(self) -> None:
        """Open all roads."""
        self._in_loop(lambda: [gate.set() for gate in self._open.values()])

    def _gate(self, source: Mongod | None, target: Mongod) -> asyncio.Event:
        gate = self._open.get((source, target))
        if gate is None:
            gate = self._open[source, target] = asyncio.Event()
            gate.set()
        return gate

    def _in_loop(self, work: Callable[[], object]) -> None:
        async def do() -> None:
            work()

        asyncio.run_coroutine_threadsafe(do(), self._loop).result(10)

    async def _serve(self) -> None:
        self._listening = [
            await asyncio.start_server(self._carrier(server), HOST, port)
            for server, port in zip(self._servers, self._ports, strict=True)
        ]

    def _carrier(self, target: Mongod) -> Callable[..., object]:
        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            ports = writer.get_extra_info("peername")[1], writer.get_extra_info("sockname")[1]
            # Where it is cancelled this is the end of it, of which asyncio's streams make a fault (3.11).
            with contextlib.suppress(OSError, asyncio.CancelledError):
                source = await asyncio.to_thread(self._who, *ports)
                gate = self._gate(source, target)
                await gate.wait()
                there, back = await asyncio.open_connection(HOST, target.port)
                async with asyncio.TaskGroup() as both_ways:
                    both_ways.create_task(_pass_on(reader, back, gate))
                    both_ways.create_task(_pass_on(there, writer, gate))
            writer.close()

        return carry

    def _who(self, port: int, to: int) -> Mongod | None:
        """The server that connected from this port; None where none of them did."""
        if not (inode := _inode(port, to)):
            return None
        return next((one for one in self._servers if f"socket:[{inode}]" in _sockets(one.pid)), None)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for server in self._listening:
            server.close()
        carrying = asyncio.all_tasks() - {asyncio.current_task()}
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
    try:
        while chunk := await reader.read(CHUNK):
            await gate.wait()
            writer.write(chunk)
            await writer.drain()
        await gate.wait()
    except OSError:
        pass
    finally:
        writer.close()


def _inode(port: int, to: int) -> str | None:
    """The socket on this machine that goes from one port to the other, by the kernel's table (proc(5))."""
    ends = f":{port:04X}", f":{to:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(ends[0]) and fields[2].endswith(ends[1]):
            return fields[9]
    return None


def _sockets(pid: int) -> Iterable[str]:
    found = set()
    with contextlib.suppress(FileNotFoundError, PermissionError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found.add(os.readlink(entry.path))  # noqa: PTH115 - no path
    return found
