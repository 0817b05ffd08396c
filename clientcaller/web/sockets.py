"""uvicorn's WebSockets, without a fault that any client can cause."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State


class SocketProtocol(WebSocketsSansIOProtocol):
    """
    Takes text that is not UTF-8 although the client's close frame came in the same read.

    uvicorn answers such text with a close frame. After the client's own one it may not, and its error ends the
    transport with a traceback in the log.
    """

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and self.conn.state is not State.OPEN:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError as error:
                self.frames = []
                self.logger.warning("Ignored the last message of a connection, a client sent invalid UTF-8: %s", error)
                return
        super().send_receive_event_to_app()
