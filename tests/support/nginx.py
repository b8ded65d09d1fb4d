"""A real nginx with the configuration that is delivered, before whatever a test puts behind it."""

from __future__ import annotations

import os
import re
import shutil
import signal
from typing import TYPE_CHECKING

import httpx

from deploy.local.process import Failed
from deploy.local.servers import HOST, Server, free_port
from deploy.local.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CONFIGURATION = ROOT / "deploy" / "nginx.conf"


class Nginx(Server):
    """The delivered configuration with the parts named, and what differs from place to place replaced."""

    name = "nginx"
    needs = "see its log"

    def __init__(
        self,
        directory: Path,
        behind: int,
        parts: Iterable[str] = (),
        changes: Mapping[str, str] | None = None,
    ) -> None:
        # Whatever takes the place of these folders can have a space in its path.
        self._text = re.sub(r"(/(?:tmp|etc/nginx)/[\w.]+);", r'"\1";', CONFIGURATION.read_text())
        for part in parts:
            self._text = re.sub(rf"# {part}: ", "", self._text)
        self.tls_port = free_port()
        for old, new in {
            "server web:3003;": f"server {HOST}:{behind};",
            "listen 8443 ": f"listen {HOST}:{self.tls_port} ",
            "/tmp/": f"{directory}/",
            "10.0.0.0/8 1;": f"{HOST} 1;",
            **(changes or {}),
        }.items():
            self._text = self._text.replace(old, new)
        super().__init__(directory)

    @property
    def url(self) -> str:
        """Where it listens, without TLS."""
        return f"http://{HOST}:{self.port}"

    def reload(self, changes: Mapping[str, str]) -> None:
        """Have it take up a changed configuration while it serves."""
        for old, new in changes.items():
            self._text = self._text.replace(old, new)
        self._command()
        self.process.send(signal.SIGHUP)

    def _command(self) -> list[str]:
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        if nginx is None:
            raise Failed("nginx is missing: apt-get install nginx-light (Debian, Ubuntu)")
        configuration = self.directory / "nginx.conf"
        text = self._text.replace("listen 8080 ", f"listen {HOST}:{self.port} ")
        configuration.write_text(text)
        return [nginx, "-p", str(self.directory), "-c", str(configuration), "-g", "daemon off;"]

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/metrics", trust_env=False).status_code == 404
        except httpx.TransportError:
            return False
