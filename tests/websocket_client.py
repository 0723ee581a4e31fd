"""A raw WebSocket client: it sends the frames that it is told, and reads frames strictly."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from conformance.frames import BINARY, CLOSE, TEXT, frame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support import Client, Response, Server

__all__ = ["WebSocketClient", "handshake"]

_FIELDS = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)


def handshake(target: str = "/", fields: Iterable[str] = ()) -> bytes:
    """The request to become a WebSocket."""
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: a", *_FIELDS, *fields, "", ""]).encode()


class WebSocketClient:
    """A connection that has become a WebSocket.

    Args:
        server: to connect to.
        target: what for.
        fields: more lines of the handshake.
        behind: what is sent along with it.
        timeout: how long each operation may take, seconds.
        client: the connection, where it is not a new one to the server.

    Attributes:
        response: the answer to the handshake.
    """

    def __init__(
        self,
        server: Server,
        target: str = "/",
        fields: Iterable[str] = (),
        behind: bytes = b"",
        timeout: float = 10.0,
        client: Client | None = None,
    ) -> None:
        self.client: Client = client or server.client(timeout)
        self.socket = self.client.socket
        try:
            self.client.send(handshake(target, fields) + behind)
            self.response: Response = self.client.receive_response()
            assert self.response.status == 101, self.response
        except BaseException:
            self.client.close()
            raise

    def __enter__(self) -> WebSocketClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.client.close()

    def send(self, message: str | bytes) -> None:
        """Send it in one frame."""
        opcode, data = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
        self.client.send(frame(opcode, data))

    def send_frame(self, opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        self.client.send(frame(opcode, data, fin=fin, rsv=rsv))

    def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        self.send_frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())

    def receive_frame(self) -> tuple[int, int, bytes]:
        """Opcode, reserved bits and payload of the next frame, which is whole and not masked (RFC 6455 §5.1)."""
        first, second = self.client.receive(2)
        assert first & 0x80, "the server sends fragments"
        assert not second & 0x80, "the server masks"
        length = second
        if length == 126:
            (length,) = struct.unpack("!H", self.client.receive(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.client.receive(8))
        return first & 0x0F, first >> 4 & 7, self.client.receive(length)

    def receive_message(self) -> str | bytes:
        """The next message, which is not compressed."""
        opcode, rsv, data = self.receive_frame()
        assert (opcode in (TEXT, BINARY), rsv) == (True, 0), f"opcode {opcode}, reserved bits {rsv}: {data!r}"
        return data.decode() if opcode == TEXT else data

    def receive_close(self) -> tuple[int | None, str]:
        """Code and reason of the close frame that comes next."""
        opcode, _, data = self.receive_frame()
        assert opcode == CLOSE, f"opcode {opcode}: {data!r}"
        return (struct.unpack("!H", data[:2])[0], data[2:].decode()) if data else (None, "")

    def end(self) -> tuple[int | None, str]:
        """Code and reason with which the server closes, which is answered; and it hangs up."""
        code, reason = self.receive_close()
        self.send_close(code)
        assert self.client.is_closed_by_server()
        return code, reason
