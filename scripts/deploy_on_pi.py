"""The half of deploy.py that runs on the Pi: deploy.py sends this text over ssh, and behind it the bundle.

    ~/janken-releases/janken-0.1.0-1a2b3c4d/    an unpacked bundle; the digits begin its .tar.gz's sha256
                      janken-0.1.0-5e6f7a8b/
                      current  -> janken-0.1.0-5e6f7a8b
                      previous -> janken-0.1.0-1a2b3c4d

Standard library only. Whatever fails leaves `current` as it was, and nothing of what was sent.
"""
from __future__ import annotations

import argparse
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

KEPT = 3  # releases, `current` and `previous` among them
MANIFEST = "manifest.json"
INSTALLER = "pi_install.sh"
UNIT = "janken.service"
FAILED, REFUSED, INTERPRETER, PASSWORD, DISK_FULL = 1, 3, 5, 6, 7  # exit codes, listed in deploy.py's help


class Stop(Exception):
    """The end of it: an exit code, and words for the person at the workstation."""

    def __init__(self, code: int, words: str):
        super().__init__(words)
        self.code = code


def say(line: str) -> None:
    print(line, flush=True)


# --- what was sent ----------------------------------------------------------------------------------------------------


def receive(length: int, sha256: str) -> bytes:
    """The bundle's .tar.gz from standard input. Raises Stop when it is not what was sent."""
    content = sys.stdin.buffer.read(length)
    if len(content) < length:
        raise Stop(REFUSED, f"the upload broke off: {len(content)} of {length} bytes came")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Stop(REFUSED, "the upload was altered on its way: its sha256 differs")
    return content


def unpack(content: bytes, folder: Path) -> None:
    """The files of the one folder in the .tar.gz into `folder`. Raises Stop for anything but plain files inside it."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
            members = [(member, PurePosixPath(member.name)) for member in tar if not member.isdir()]
            tops = {path.parts[0] for _, path in members}
            for member, path in members:
                if not member.isfile() or ".." in path.parts or len(path.parts) < 2 or len(tops) > 1 or path.is_absolute():
                    raise Stop(REFUSED, f"no bundle: {member.name} is not a plain file in the one folder it should hold")
                target = folder.joinpath(*path.parts[1:])
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(tar.extractfile(member).read())
                target.chmod(0o755 if member.mode & 0o100 else 0o644)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise Stop(REFUSED, f"no bundle: the .tar.gz is damaged ({error})") from error


def check_files(folder: Path, *, alone: bool) -> str:
    """Hold every file against the manifest; returns the bundle's name and version.

    Args:
        alone: other files may not be there. In a release that has been used there may be: recordings, bytecode.

    Raises:
        Stop: a file is missing, differs, or may not be there.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        listed = {name: (entry["sha256"], entry["bytes"]) for name, entry in manifest["files"].items()}
        title = f"{manifest['name']}-{manifest['version']}"
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Stop(REFUSED, f"{MANIFEST} is missing or damaged ({error})") from error
    if not re.fullmatch(r"\w[\w.+-]*", title, re.ASCII):
        raise Stop(REFUSED, f"{MANIFEST}: {title!r} cannot be the name of a folder")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    if not listed.keys() <= files:
        raise Stop(REFUSED, f"missing: {', '.join(sorted(listed.keys() - files))}")
    if alone and not files <= listed.keys():
        raise Stop(REFUSED, f"not in {MANIFEST}: {', '.join(sorted(files - listed.keys()))}")
    for name in sorted(listed):
        content = (folder / name).read_bytes()
        if (hashlib.sha256(content).hexdigest(), len(content)) != listed[name]:
            raise Stop(REFUSED, f"{name} is not the file that {MANIFEST} names: its sha256 or size differs")
    return title


def try_out(release: Path, venv: Path, install: bool) -> None:
    """`doctor` and one frame by the release's own installer, which first installs where it must. Raises Stop."""
    installer = release / INSTALLER
    if not installer.is_file():
        raise Stop(REFUSED, f"the bundle holds no {INSTALLER}: pack it anew with `make dist`")
    verb = "install" if install or not (venv / "bin/python").exists() else "check"
    code = subprocess.run([installer, "--venv", venv, verb], stdin=subprocess.DEVNULL).returncode
    if code:
        hint = "; ARGS=--install installs what this bundle needs" if verb == "check" and code == INTERPRETER else ""
        raise Stop(max(code, FAILED), f"{INSTALLER} {verb} ended with {code}, its words are above{hint}")


# --- which one runs ---------------------------------------------------------------------------------------------------


class Releases:
    """The folder of releases, its two links, and the service that follows `current`."""

    def __init__(self, folder: Path, venv: Path, restarts: bool):
        self.folder, self.venv, self._restarts = folder, venv, restarts
        folder.mkdir(parents=True, exist_ok=True)

    def linked(self, link: str) -> Path | None:
        """The release that `current` or `previous` points to, if it is there."""
        path = self.folder / link
        if path.exists() and not path.is_symlink():
            raise Stop(FAILED, f"{path} is no link: move it away")
        return self.folder / os.readlink(path) if path.exists() else None

    def _link(self, link: str, release: Path | None) -> None:
        path, fresh = self.folder / link, self.folder / f".{link}"
        if release is None:
            path.unlink(missing_ok=True)
            return
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(release.name)
        os.replace(fresh, path)  # at once: at no time is there no link

    @contextmanager
    def alone(self) -> Iterator[None]:
        with open(self.folder / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Stop(FAILED, f"another deploy is at work in {self.folder}") from error
            yield

    def switch(self, release: Path, service: list[str] | None) -> None:
        """Make `release` current and restart the service; if that fails, back to what was. Raises Stop."""
        current, previous = self.linked("current"), self.linked("previous")
        self._require_restart(service)
        os.utime(release)  # `prune` goes by it
        os.sync()  # a Pi is switched off by its plug: the files first, then the links
        if current != release:
            self._link("previous", current)
        self._link("current", release)
        os.sync()
        try:
            self._start(service)
        except BaseException:  # the connection may be gone too
            self._link("current", current)
            self._link("previous", previous)
            if current and self._follows():
                self._restart()
            raise

    def _require_restart(self, service: list[str] | None) -> None:
        """Raises Stop when there is a service to restart and sudo would ask for a password."""
        if os.geteuid() != 0 and (service or self._follows()) and subprocess.run(["sudo", "-n", "true"]).returncode:
            raise Stop(PASSWORD, f"restarting {UNIT} needs sudo without a password; or give ARGS=--no-restart, and then run"
                                 f" on the Pi: sudo systemctl restart {UNIT}")

    def _follows(self) -> bool:
        """Whether there is a service to restart."""
        installed = shutil.which("systemctl") and not subprocess.run(["systemctl", "cat", UNIT], capture_output=True).returncode
        return bool(installed) and self._restarts

    def _start(self, service: list[str] | None) -> None:
        if service:
            command = [self.folder / "current" / INSTALLER, "--venv", self.venv, "service", *service]
            if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
                raise Stop(FAILED, f"{UNIT} could not be installed or does not start, see above")
        elif self._follows():
            say(f"restarting {UNIT}, which counts as started with its first frame")
            if not self._restart():
                raise Stop(FAILED, f"{UNIT} does not start with it. Look: journalctl -u {UNIT} -n 30")

    def _restart(self) -> bool:
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        return subprocess.run([*sudo, "systemctl", "restart", UNIT]).returncode == 0

    def prune(self) -> None:
        """Remove all but the last KEPT releases."""
        linked = {self.linked("current"), self.linked("previous")}
        releases = [path.parent for path in self.folder.glob(f"[!.]*-????????/{MANIFEST}") if not path.parent.is_symlink()]
        releases.sort(key=lambda path: (path in linked, path.stat().st_mtime), reverse=True)
        for old in releases[KEPT:]:
            shutil.rmtree(old)
            say(f"removed {old.name}")


def deploy(releases: Releases, options: argparse.Namespace) -> None:
    for litter in releases.folder.glob(".incoming-*"):  # of a deploy that was cut off with the power
        shutil.rmtree(litter)
    incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=releases.folder))
    try:
        content = receive(options.bytes, options.sha256)
        unpack(content, incoming / "new")
        title = check_files(incoming / "new", alone=True)
        release = releases.folder / f"{title}-{options.sha256[:8]}"
        if release.exists():
            release.rename(incoming / "old")  # the same bundle once more: perhaps to mend it
        (incoming / "new").rename(release)
    finally:
        shutil.rmtree(incoming)
    try:
        say(f"all files of {release.name} are as its manifest says")
        try_out(release, releases.venv, options.install)
        releases.switch(release, shlex.split(options.service))
    except BaseException:
        if release not in (releases.linked("current"), releases.linked("previous")):
            shutil.rmtree(release, ignore_errors=True)
        raise
    releases.prune()
    say(f"{release.name} is current: {releases.venv}/bin/python {releases.folder}/current/runtime/janken.py")


def rollback(releases: Releases) -> None:
    previous = releases.linked("previous")
    if not previous:
        raise Stop(FAILED, f"there is no previous version in {releases.folder}")
    check_files(previous, alone=False)
    try_out(previous, releases.venv, install=False)
    releases.switch(previous, None)
    say(f"{previous.name} is current again")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("deploy_on_pi.py")
    parser.add_argument("verb", choices=["deploy", "rollback"])
    parser.add_argument("--releases", type=Path, required=True)
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("--bytes", type=int)
    parser.add_argument("--sha256")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--no-restart", action="store_true")
    parser.add_argument("--service", default="")
    return parser.parse_args()


def main() -> int:
    """Returns the exit code."""
    options = parse()
    folder, venv = (Path(os.path.abspath(path.expanduser())) for path in (options.releases, options.venv))
    try:
        releases = Releases(folder, venv, restarts=not options.no_restart)
        with releases.alone():
            if options.verb == "deploy":
                deploy(releases, options)
            else:
                rollback(releases)
    except Stop as stop:
        code, words = stop.code, str(stop)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        code = DISK_FULL if full else FAILED
        words = f"{error.strerror or error}: {error.filename or folder}"
        words += "; make room, `df -h` shows where there is some" if full else ""
    else:
        return 0
    current = folder / "current"
    still = f"{os.readlink(current)} is still current" if current.is_symlink() else "nothing is current yet"
    print(f"{options.verb} refused: {words}. {still}.", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
