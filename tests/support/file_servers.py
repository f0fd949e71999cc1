"""File servers on the loopback interface, which keep all their files in the test's folder."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import threading
from pathlib import Path
from typing import Any, Self

from support.programs import Client, absent, free_port, listens, program, run, until

SMB_USER = "nobody"
SMB_PASSWORD = "no secret"  # noqa: S105 - for a server that only this test reaches


class Sshd:
    """An SSH server for the test's user, and clients that know it."""

    def __init__(self, folder: Path) -> None:
        """Start it.

        Args:
            folder: for its keys; nobody else may write there.
        """
        self.port = free_port()
        self._folder = folder
        for name in ("host", "key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
        settings = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": folder / "host",
            "AuthorizedKeysFile": folder / "key.pub",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "Subsystem": "sftp internal-sftp",
        }
        (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # as its unit does
        self.server = Client("sshd", "-D", "-e", "-f", folder / "sshd_config")
        until(lambda: listens(self.port) or not self.server.running)
        assert self.server.running, "sshd did not start"

    @property
    def options(self) -> list[str]:
        """Options of ssh, scp and sftp."""
        known = f"UserKnownHostsFile={self._folder / 'known'}"
        options = [known, "StrictHostKeyChecking=no", "IdentitiesOnly=yes", "LogLevel=ERROR"]
        return ["-F", "none", "-i", str(self._folder / "key"), *(part for o in options for part in ("-o", o))]

    @property
    def shell(self) -> str:
        """The value of rsync -e."""
        return " ".join([program("ssh"), "-p", str(self.port), *self.options])

    def address(self, path: Path) -> str:
        """The address of a path there, as for scp and sftp."""
        return f"{getpass.getuser()}@127.0.0.1:{path}"

    def ssh(self, name: str, *arguments: object) -> list[object]:
        """The command line of scp or sftp."""
        return [name, "-P", self.port, *self.options, *arguments]


class Samba:
    """A Samba server with one share and one user, `nobody`."""

    def __init__(self, folder: Path, shared: Path) -> None:
        """Start it.

        Args:
            folder: for all that it keeps.
            shared: the folder that it serves.
        """
        if os.geteuid() != 0:
            absent("smbd has to be started by root")
        self.port = free_port()
        self._conf = folder / "smb.conf"
        kept = {f"{name} directory": folder / name for name in ("lock", "state", "cache", "pid")}
        kept |= {f"{name} dir": folder / name for name in ("private", "ncalrpc")}
        lines = {
            **kept,
            "log file": folder / "log",
            "server role": "standalone server",
            "smb ports": self.port,
            "interfaces": "lo",
            "bind interfaces only": "yes",
            "disable netbios": "yes",
            "load printers": "no",
            "disable spoolss": "yes",
            "smb2 max write": 65536,  # so that a clip comes in many pieces
        }
        for path in kept.values():
            path.mkdir(mode=0o755)
        share = {"path": shared, "read only": "no", "create mask": "0664", "directory mask": "2775"}
        self._conf.write_text("[global]\n" + _settings(lines) + "[inputs]\n" + _settings(share))
        run("smbpasswd", "-c", self._conf, "-s", "-a", SMB_USER, input=f"{SMB_PASSWORD}\n{SMB_PASSWORD}\n")
        self.server = Client("smbd", "--foreground", "--no-process-group", f"--configfile={self._conf}")
        until(lambda: listens(self.port) or not self.server.running)
        assert self.server.running, "smbd did not start: " + (folder / "log").read_text()

    def client(self, commands: str, *, port: int | None = None) -> list[object]:
        """The command line of smbclient for some commands; `port` is that of a wire, if not the server's."""
        who = f"{SMB_USER}%{SMB_PASSWORD}"
        return ["smbclient", "//127.0.0.1/inputs", "-p", port or self.port, "-U", who, "-s", self._conf, "-c", commands]


class Wire:
    """A connection to a server that goes dead after so many bytes, until it is mended or torn."""

    def __init__(self, port: int, most: int) -> None:
        """Wait for one client.

        Args:
            port: the server's, on the loopback interface.
            most: bytes from the client to the server before it goes dead.
        """
        self._left = most
        self._mended = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._ends: list[socket.socket] = [self._listening]
        self._threads = [threading.Thread(target=self._connect, args=(port,))]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.tear()
        for thread in self._threads:
            thread.join()

    def mend(self) -> None:
        """Let everything through from now on."""
        self._mended.set()

    def tear(self) -> None:
        """Close the connection at both ends."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._mended.set()  # after that: what it held back is not to get through

    def _connect(self, port: int) -> None:
        with contextlib.suppress(OSError):  # torn
            client, _ = self._listening.accept()
            server = socket.create_connection(("127.0.0.1", port))
            self._ends += [client, server]
            back = threading.Thread(target=self._back, args=(server, client))
            self._threads.append(back)
            back.start()
            while data := client.recv(16384):
                self._left -= len(data)
                if self._left < 0:
                    self._mended.wait()
                server.sendall(data)

    @staticmethod
    def _back(server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)


def _settings(lines: dict[str, Any]) -> str:
    return "".join(f"{key} = {value}\n" for key, value in lines.items())
