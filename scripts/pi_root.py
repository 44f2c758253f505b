"""A Raspberry Pi's Debian bookworm, arm64 or armhf, as a folder on this machine; scripts/pi_enter.sh runs commands in it.

    python3 scripts/pi_root.py arm64 armhf     makes build/pi/arm64 and build/pi/armhf, or finds them there already
    python3 scripts/pi_root.py check           says what is missing for that on this machine

What debootstrap does, without its need for root: apt finds and checks the packages (Debian's keyring vouches for them),
they are unpacked, and the little that their installation scripts would do for us is done here. Unlike Raspberry Pi OS it
has no kernel of its own, no camera and no desktop. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
CACHE = SCRIPTS.parent / "build" / "pi"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCE = f"deb [signed-by={KEYRING}] http://deb.debian.org/debian bookworm main"
PACKAGES = ("?essential", "python3-venv")
RECIPE = "etc/pi_root.sha256"  # in a finished root: of the text of this file, so that a changed recipe makes it anew
INSTALL_LINE = "sudo apt install qemu-user gcc debian-archive-keyring"


class RootError(Exception):
    """There is no emulated Pi; the words say why and what to do."""


class DownloadError(RootError):
    """Debian's packages could not be had."""


@dataclass(frozen=True)
class Pi:
    """One kind of Pi: Debian's name for it, its `uname -m`, and the packages beyond PACKAGES that are in every one."""

    arch: str
    machine: str
    packages: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        return CACHE / self.arch

    @property
    def home(self) -> Path:
        """Where commands start, seen from this machine."""
        return self.root / "home" / "pi"

    def run(self, *command: str, plugin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in the emulated Pi's home, its output captured.

        Args:
            plugin: for qemu, its path inside the root.

        Raises:
            RootError: the command failed; its last words are in the message.
        """
        environment = {name: value for name, value in os.environ.items() if name != "QEMU_PLUGIN"}
        if plugin:
            environment["QEMU_PLUGIN"] = plugin
        done = subprocess.run(
            [str(SCRIPTS / "pi_enter.sh"), self.arch, *command], env=environment, capture_output=True, text=True
        )
        if done.returncode:
            words = f"{done.stdout}\n{done.stderr}".strip()[-2000:]
            raise RootError(f"{self.arch}: {' '.join(command)}\nfailed with exit code {done.returncode}:\n{words}")
        return done


# 32-bit takes numpy from apt, as PyPI has no wheel.
PIS = {pi.arch: pi for pi in (Pi("arm64", "aarch64"), Pi("armhf", "armv7l", ("python3-numpy",)))}


def obstacle() -> str | None:
    """Why no root can be made and run on this machine, and what to do; None when nothing speaks against it."""
    if platform.machine() != "x86_64":
        return f"given a machine of type {platform.machine()}, expected x86_64: other hosts were never tried"
    needed = ("apt-get", "dpkg-deb", "unshare", "qemu-aarch64", "qemu-arm", "gcc")
    missing = [name for name in needed if shutil.which(name) is None]
    if not KEYRING.is_file():
        missing.append(str(KEYRING))
    if missing:
        return f"{', '.join(missing)} not found. Run, on Debian or Ubuntu: {INSTALL_LINE}"
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "binfmt_misc", "binfmt_misc", "/mnt"]
    done = subprocess.run(namespace, capture_output=True, text=True)
    if done.returncode:
        return f"{done.stderr.strip()}: expected Linux 6.7 or later with binfmt_misc, and user namespaces allowed"
    return None


def build(pi: Pi) -> None:
    """Make pi.root, or find it there already. One that is cut short is never taken for a good one.

    Raises:
        RootError: something is missing on this machine.
        DownloadError: the packages could not be had.
    """
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    stamp = pi.root / RECIPE
    if stamp.is_file() and stamp.read_text() == recipe:
        return
    reason = obstacle()
    if reason:
        raise RootError(reason)
    part = CACHE / f".{pi.arch}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        packages = download(pi, part / "apt")
        print(f"{pi.arch}: unpacking {len(packages)} packages", flush=True)
        root = part / "root"
        unpack(packages, root)
        settle(root)
        (root / RECIPE).write_text(recipe)
        shutil.rmtree(pi.root, ignore_errors=True)
        root.rename(pi.root)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def download(pi: Pi, folder: Path) -> list[Path]:
    """The .deb files of pi's packages and of all that they depend on. Raises DownloadError."""
    print(f"{pi.arch}: downloading Debian packages", flush=True)
    archives = folder / "cache" / "archives"
    for path in (archives / "partial", folder / "lists" / "partial"):
        path.mkdir(parents=True)
    (folder / "status").touch()  # nothing is installed yet
    (folder / "sources.list").write_text(SOURCE + "\n")
    settings = {
        "APT::Architecture": pi.arch, "APT::Architectures": pi.arch, "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "", "Acquire::Languages": "none",
        "Dir::State": folder, "Dir::State::Lists": folder / "lists", "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache", "Dir::Etc::SourceList": folder / "sources.list", "Dir::Etc::SourceParts": "-",
        "Dir::Etc::Preferences": "-", "Dir::Etc::PreferencesParts": "-",
    }
    apt = ["apt-get", "--quiet", "--yes", *(f"--option={name}={value}" for name, value in settings.items())]
    for command in (["update"], ["install", "--download-only", *PACKAGES, *pi.packages]):
        done = subprocess.run([*apt, *command], capture_output=True, text=True)
        if done.returncode:
            raise DownloadError(f"{pi.arch}: apt-get {command[0]} failed:\n{done.stderr.strip()}\nIs there a network?")
    return sorted(archives.glob("*.deb"))


def unpack(packages: list[Path], root: Path) -> None:
    """Lay the packages' files into an empty root, and enter the packages in dpkg's list of what is installed."""
    for name in ("bin", "sbin", "lib"):  # the links of a merged /usr are there before the first package
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    entries = []
    for package in packages:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as files:
            subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", str(root)], stdin=files.stdout, check=True)
        fields = subprocess.run(["dpkg-deb", "--field", str(package)], capture_output=True, text=True, check=True).stdout
        entries.append(f"Status: install ok installed\n{fields}")
    (root / "var" / "lib" / "dpkg" / "status").write_text("\n".join(entries))


def settle(root: Path) -> None:
    """What the packages' installation scripts would do, as far as anything here needs it."""
    (root / "home" / "pi").mkdir(parents=True)
    for name in ("blas", "lapack"):  # update-alternatives links them for numpy
        for library in root.glob(f"usr/lib/*/{name}/lib{name}.so.3"):
            (library.parents[1] / library.name).symlink_to(f"{name}/{library.name}")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description="Make the roots of emulated Raspberry Pis.")
    parser.add_argument("what", nargs="+", choices=["check", *PIS], help="check: only say what is missing on this machine")
    options = parser.parse_args(arguments)
    reason = obstacle()
    if reason:
        print(f"pi_root: {reason}", file=sys.stderr)
        return 1
    try:
        for pi in (PIS[name] for name in options.what if name in PIS):
            build(pi)
            print(f"{pi.arch}: {pi.root}")
    except RootError as error:
        print(f"pi_root: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
