"""A real RTSP server, GStreamer's, as a process that tests can stop, freeze and start again.

Needs Debian's packages gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-good, gstreamer1.0-plugins-ugly (for
H.264) and python3-gi, which work with the system's Python only.
"""

import signal
import subprocess
import sys

from typing_extensions import Self

_SYSTEM_PYTHON = "/usr/bin/python3"
_PROBE = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert all(map(Gst.ElementFactory.find, ("videotestsrc", "x264enc", "rtph264pay")))
"""
_SERVER = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory.new()
factory.set_launch(
    "( videotestsrc is-live=true pattern=" + sys.argv[2] + " ! video/x-raw,width=320,height=240,framerate=25/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 pt=96 )"
)
factory.set_shared(True)
if len(sys.argv) > 3:
    auth = GstRtspServer.RTSPAuth.new()
    token = GstRtspServer.RTSPToken.new()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(sys.argv[3], sys.argv[4]), token)
    server.set_auth(auth)
    factory.add_role_from_structure(Gst.Structure.from_string(
        "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true;")[0])
server.get_mount_points().add_factory("/bees", factory)
assert server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""


def why_no_rtsp_server() -> str:
    """Say what is missing; empty if nothing is."""
    try:
        probe = subprocess.run([_SYSTEM_PYTHON, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        return f"no RTSP server: {error}"
    return "" if probe.returncode == 0 else "GStreamer's RTSP server is not installed for the system's Python"


class RtspServer:
    """Serves a moving test image of 320x240 at 25 frames/s under `/bees` on 127.0.0.1.

    Args:
        port: 0 for any free one.
        pattern: pattern of videotestsrc.
        credentials: user and password to ask for, or none.
    """

    def __init__(self, port: int = 0, *, pattern: str = "ball", credentials: tuple[str, ...] = ()) -> None:
        self._process = subprocess.Popen(
            [_SYSTEM_PYTHON, "-c", _SERVER, str(port), pattern, *credentials], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit("the RTSP server did not start")
        self.port = int(line)
        self.url = f"rtsp://127.0.0.1:{self.port}/bees"

    def freeze(self) -> None:
        """Let it hang, with its connections open."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
