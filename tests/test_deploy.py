"""`make deploy` and `make rollback` against a real sshd on this machine, which stands for the Pi."""

from __future__ import annotations

import fcntl
import getpass
import io
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import pytest

from export import bundle as bundles
from runtime.bundle import load_bundle

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import deploy_on_pi  # noqa: E402

TINY = ROOT / "models" / "tiny"
SSHD = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")
BEHIND_PROGRAM = (ROOT / "scripts/deploy_on_pi.py").stat().st_size + 1000
SECONDS = 120  # a deploy without an installation ends long before

pytestmark = pytest.mark.skipif(not SSHD or not shutil.which("ssh"), reason="no sshd: apt-get install openssh-server")


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run_python(path: Path, python: str) -> None:
    """A program at `path` that is this Python."""
    write_program(path, f'exec {shlex.quote(python)} "$@"')


class Pi:
    """This machine behind an sshd of its own, with a home folder in `folder`; `path` comes first on PATH there."""

    def __init__(self, folder: Path, path: str):
        self.home, self.bin = folder / "home", folder / "bin"
        self.releases, self.venv = self.home / "janken-releases", self.home / "janken"
        self.home.mkdir(parents=True)
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        settings = {
            "Port": self.port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host", "PidFile": "none", "UsePAM": "no",
            "AuthorizedKeysFile": folder / "user.pub", "StrictModes": "no", "PermitRootLogin": "yes",
            "PasswordAuthentication": "no", "KbdInteractiveAuthentication": "no",
            "SetEnv": f"HOME={self.home} PATH={path.format(bin=self.bin)}",
        }
        (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        host = " ".join((folder / "host.pub").read_text().split()[:2])
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {host}\n")
        self.ssh = f"ssh -F none -p {self.port} -i {folder}/user -o IdentitiesOnly=yes -o UserKnownHostsFile={folder}/known"
        self.host = f"{getpass.getuser()}@127.0.0.1"
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._sshd = subprocess.Popen([SSHD, "-D", "-E", folder / "log", "-f", folder / "sshd_config"])
        end = monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", self.port)):
            assert self._sshd.poll() is None and monotonic() < end, (folder / "log").read_text()
            sleep(0.05)

    def close(self) -> None:
        self._sshd.terminate()
        self._sshd.wait(20)

    def run(self, verb: str, *options: object, ssh: str | None = None, seconds: int = SECONDS) -> subprocess.CompletedProcess:
        """scripts/deploy.py as the Makefile calls it."""
        command = [sys.executable, ROOT / "scripts/deploy.py", verb, self.host, "--ssh", ssh or self.ssh, *options]
        return subprocess.run(list(map(str, command)), cwd=self.home.parent, capture_output=True, text=True, timeout=seconds)

    def deploy(self, archive: Path, *options: object, **settings) -> subprocess.CompletedProcess:
        return self.run("deploy", "--bundle", archive, *options, **settings)

    def link(self, name: str) -> str | None:
        path = self.releases / name
        return os.readlink(path) if path.is_symlink() else None

    def there(self) -> set[str]:
        """All that lies in the folder of releases, the lock aside."""
        return {path.name for path in self.releases.iterdir()} - {".lock"} if self.releases.exists() else set()


@pytest.fixture
def make_pi(tmp_path: Path) -> Iterator[Callable[..., Pi]]:
    made = []

    def make(name: str = "pi", path: str = "{bin}:/usr/bin:/bin") -> Pi:
        made.append(Pi(tmp_path / name, path))
        return made[-1]

    yield make
    for pi in made:
        pi.close()


@pytest.fixture
def pi(make_pi) -> Pi:
    """A Pi with python3, and with the environment that pi_install.sh makes."""
    pi = make_pi()
    run_python(pi.bin / "python3", sys._base_executable)
    run_python(pi.venv / "bin/python", sys.executable)
    return pi


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory) -> Callable[..., Path]:
    """A .tar.gz of models/tiny. `edit` changes the folder before the manifest is written, `spoil` after that."""

    def make(version: str, edit: Callable[[Path], None] | None = None, spoil: Callable[[Path], None] | None = None) -> Path:
        folder = bundles.pack(TINY, tmp_path_factory.mktemp("dist"))
        fields = bundles._fields(load_bundle(folder)) | {"version": version}
        if edit:
            edit(folder)
        bundles.write_manifest(folder, fields)
        if spoil:
            spoil(folder)
        bundles.tar(folder, folder)
        return folder.with_name(folder.name + ".tar.gz")

    return make


def without_check(folder: Path) -> None:
    """An installer that writes down how it was called and is content, for tests of what happens around it."""
    write_program(folder / "pi_install.sh", 'echo "$*" >> "$HOME/installer.log"; test ! -e "$HOME/unfit" || exit 5')


@pytest.fixture(scope="session")
def good(make_bundle) -> Path:
    return make_bundle("1.0")


@pytest.fixture(scope="session")
def quick(make_bundle) -> list[Path]:
    """Five bundles that deploy fast."""
    return [make_bundle(f"{number}.0", without_check) for number in range(1, 6)]


# --- the way there ----------------------------------------------------------------------------------------------------


def test_a_bundle_is_put_there_checked_and_made_current(pi, good, make_bundle):
    done = pi.deploy(good)
    assert done.returncode == 0, done.stdout + done.stderr
    first = pi.link("current")
    assert first.startswith("tiny-1.0-") and len(first) == len("tiny-1.0-") + 8
    assert pi.link("previous") is None and pi.there() == {"current", first}
    assert 'first result: {"frame": 0' in done.stdout and "ok    bundle       tiny 1.0" in done.stdout
    assert list((pi.releases / first / "runtime/__pycache__").glob("pipeline.*.pyc"))  # precompiled
    assert f"{pi.venv}/bin/python {pi.releases}/current/runtime/janken.py" in done.stdout
    assert pi.deploy(make_bundle("2.0")).returncode == 0
    assert pi.link("current").startswith("tiny-2.0-") and pi.link("previous") == first
    program = pi.releases / "current/runtime/janken.py"
    shown = subprocess.run([sys.executable, program, "doctor"], capture_output=True, text=True, timeout=SECONDS).stdout
    assert "tiny 2.0" in shown


def test_the_first_deploy_installs_and_the_next_only_check(pi, quick):
    shutil.rmtree(pi.venv)
    assert pi.deploy(quick[0]).returncode == 0
    run_python(pi.venv / "bin/python", sys.executable)
    assert pi.deploy(quick[1]).returncode == 0
    assert pi.deploy(quick[1], "--install").returncode == 0
    calls = (pi.home / "installer.log").read_text().splitlines()
    assert [call.split()[-1] for call in calls] == ["install", "check", "install"]
    assert all(call.startswith(f"--venv {pi.venv} ") for call in calls)


def test_three_releases_are_kept_the_linked_ones_among_them(pi, quick):
    for archive in quick:
        assert pi.deploy(archive).returncode == 0
    current, previous = pi.link("current"), pi.link("previous")
    assert current.startswith("tiny-5.0-") and previous.startswith("tiny-4.0-")
    third, = pi.there() - {"current", "previous", current, previous}
    assert third.startswith("tiny-3.0-")


def test_the_same_bundle_once_more_mends_what_was_spoilt_there(pi, quick):
    for archive in (quick[0], quick[1]):
        pi.deploy(archive)
    before = pi.there()
    (pi.releases / "current/prototypes.npy").write_bytes(b"spoilt")
    assert pi.deploy(quick[1]).returncode == 0
    assert (pi.releases / "current/prototypes.npy").read_bytes() == (TINY / "prototypes.npy").read_bytes()
    assert pi.link("previous").startswith("tiny-1.0-") and pi.there() == before


def test_at_no_time_is_nothing_current(tmp_path):
    releases = deploy_on_pi.Releases(tmp_path, tmp_path / "venv", restarts=False)
    names = [tmp_path / f"tiny-{number}.0-00000000" for number in (1, 2)]
    for release in names:
        release.mkdir()
        (release / "manifest.json").touch()
    releases._link("current", names[0])
    misses, done = [], Event()

    def look() -> None:
        while not done.is_set():
            if not (tmp_path / "current/manifest.json").exists():
                misses.append(1)

    watcher = Thread(target=look)
    watcher.start()
    for turn in range(2000):
        releases._link("current", names[turn % 2])
    done.set()
    watcher.join()
    assert misses == []


# --- refused ----------------------------------------------------------------------------------------------------------


def add_link(archive: Path, name: str) -> Path:
    """A copy of the .tar.gz with a symbolic link in it."""
    target = archive.with_name("linked.tar.gz")
    with tarfile.open(archive) as old, tarfile.open(target, "w:gz") as new:
        for member in old.getmembers():
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
        link = tarfile.TarInfo(name)
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        new.addfile(link)
    return target


def outside(archive: Path) -> Path:
    """A .tar.gz with a file that would lie beside the release."""
    target = archive.with_name("outside.tar.gz")
    with tarfile.open(target, "w:gz") as tar:
        member = tarfile.TarInfo("tiny-0.1.0/../../evil")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    return target


def cut(archive: Path) -> Path:
    target = archive.with_name("cut.tar.gz")
    target.write_bytes(archive.read_bytes()[:-3000])
    return target


def words(archive: Path) -> Path:
    target = archive.with_name("words.tar.gz")
    target.write_text("no bundle at all")
    return target


def spoil_network(folder: Path) -> None:
    content = bytearray((folder / "embedding.tflite").read_bytes())
    content[1000] ^= 1
    (folder / "embedding.tflite").write_bytes(content)


@pytest.mark.parametrize(("change", "reason"), [
    (lambda make: make("2.0", spoil=spoil_network), "embedding.tflite is not the file that manifest.json names"),
    (lambda make: make("2.0", spoil=lambda folder: (folder / "prototypes.npy").unlink()), "missing: prototypes.npy"),
    (lambda make: make("2.0", spoil=lambda folder: (folder / "runtime/more.py").touch()), "not in manifest.json: runtime/more"),
    (lambda make: make("2.0", spoil=lambda folder: (folder / "manifest.json").write_text("{")), "manifest.json is missing or"),
    (lambda make: make("../2.0"), "cannot be the name of a folder"),
    (lambda make: make("2.0", lambda folder: (folder / "pi_install.sh").unlink()), "holds no pi_install.sh"),
    (lambda make: make("2.0", lambda folder: (folder / "runtime/pipeline.py").write_text("1/0")), "check ended with 1"),
    (lambda make: cut(make("2.0")), "the .tar.gz is damaged"),
    (lambda make: words(make("2.0")), "the .tar.gz is damaged"),
    (lambda make: add_link(make("2.0"), "tiny-0.1.0/link"), "tiny-0.1.0/link is not a plain file"),
    (lambda make: outside(make("2.0")), "evil is not a plain file in the one folder"),
])
def test_a_broken_bundle_is_refused_and_the_old_version_stays(pi, quick, make_bundle, change, reason):
    assert pi.deploy(quick[0]).returncode == 0
    before, current = pi.there(), pi.link("current")
    done = pi.deploy(change(make_bundle))
    assert done.returncode == (1 if "ended with 1" in reason else 3), done.stdout + done.stderr
    assert reason in done.stderr and f"{current} is still current" in done.stderr
    assert (pi.there(), pi.link("current"), pi.link("previous")) == (before, current, None)


@pytest.mark.parametrize(("fault", "reason"), [
    (f"head -c {BEHIND_PROGRAM}", "the upload broke off: 1000 of"),
    ("head -c 5000", "the upload broke off before anything was done"),
    ("{python} -c 'import sys; sent = bytearray(sys.stdin.buffer.read()); sent[-9] ^= 1; sys.stdout.buffer.write(sent)'",
     "altered on its way"),
])
def test_a_broken_upload_is_refused_and_removed(pi, quick, tmp_path, fault, reason):
    assert pi.deploy(quick[0]).returncode == 0
    before, current = pi.there(), pi.link("current")
    write_program(tmp_path / "bad-ssh", f'{fault.format(python=sys.executable)} | {pi.ssh} "$@"')
    done = pi.deploy(quick[1], ssh=str(tmp_path / "bad-ssh"))
    assert done.returncode == 3 and reason in done.stderr, done.stderr
    assert (pi.there(), pi.link("current")) == (before, current)


def test_a_refused_first_bundle_leaves_nothing(pi, make_bundle):
    done = pi.deploy(make_bundle("1.0", spoil=spoil_network))
    assert done.returncode == 3 and "nothing is current yet" in done.stderr
    assert pi.there() == set()


def test_an_interpreter_that_does_not_work_names_the_way_to_install(pi, quick):
    (pi.home / "unfit").touch()
    done = pi.deploy(quick[0])
    assert done.returncode == 5 and "ARGS=--install" in done.stderr and pi.there() == set()


def test_a_full_disk_is_said_and_what_was_sent_removed(pi, quick):
    pi.releases.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", pi.releases], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        done = pi.deploy(quick[0])
        assert done.returncode == 7 and "No space left on device" in done.stderr and "df -h" in done.stderr
        assert pi.there() == set()
    finally:
        subprocess.run(["umount", pi.releases], check=True)


def test_two_at_once_do_not_mix(pi, quick):
    pi.deploy(quick[0])
    with open(pi.releases / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = pi.deploy(quick[1])
    assert done.returncode == 1 and "another deploy is at work" in done.stderr
    assert pi.link("current").startswith("tiny-1.0-")


# --- back -------------------------------------------------------------------------------------------------------------


def test_rollback_goes_back_and_forth(pi, good, quick):
    for archive in (good, quick[1]):
        assert pi.deploy(archive).returncode == 0
    one, two = pi.link("previous"), pi.link("current")
    (pi.releases / one / "recorded.mp4").touch()  # a release that has been used may hold more
    done = pi.run("rollback")
    assert done.returncode == 0, done.stderr
    assert 'first result: {"frame": 0' in done.stdout and f"{one} is current again" in done.stdout
    assert (pi.link("current"), pi.link("previous")) == (one, two)
    assert pi.run("rollback").returncode == 0
    assert (pi.link("current"), pi.link("previous")) == (two, one)


def test_rollback_refuses_what_is_spoilt_or_not_there(pi, quick):
    done = pi.run("rollback")
    assert done.returncode == 1 and "no previous version" in done.stderr
    for archive in quick[:2]:
        pi.deploy(archive)
    current = pi.link("current")
    spoil_network(pi.releases / "previous")
    done = pi.run("rollback")
    assert done.returncode == 3 and "embedding.tflite" in done.stderr and f"{current} is still current" in done.stderr
    assert pi.link("current") == current


# --- the service ------------------------------------------------------------------------------------------------------

SYSTEMCTL = """
case $1 in
    cat) test -e "$HOME/janken.service";;
    restart)
        release=$(readlink "$HOME/janken-releases/current")
        echo "$2 $release" >> "$HOME/restarts"
        ! grep -qs "^$release$" "$HOME/fails";;
esac
"""


def restarts(pi: Pi) -> list[str]:
    return [line.split()[1][: len("tiny-1.0")] for line in (pi.home / "restarts").read_text().splitlines()]


def test_the_service_follows_and_one_that_does_not_start_brings_the_old_version_back(pi, quick):
    write_program(pi.bin / "systemctl", SYSTEMCTL)
    assert pi.deploy(quick[0]).returncode == 0
    assert not (pi.home / "restarts").exists()  # there is no service yet
    (pi.home / "janken.service").touch()
    assert pi.deploy(quick[1]).returncode == 0 and restarts(pi) == ["tiny-2.0"]
    before, current = pi.there(), pi.link("current")
    failing = f"tiny-3.0-{deploy_on_pi.hashlib.sha256(quick[2].read_bytes()).hexdigest()[:8]}"
    (pi.home / "fails").write_text(failing + "\n")
    done = pi.deploy(quick[2])
    assert done.returncode == 1 and "does not start with it" in done.stderr and "journalctl -u janken.service" in done.stderr
    assert restarts(pi) == ["tiny-2.0", "tiny-3.0", "tiny-2.0"]
    assert (pi.there(), pi.link("current")) == (before, current) and pi.link("previous").startswith("tiny-1.0-")
    assert pi.deploy(quick[3], "--no-restart").returncode == 0 and len(restarts(pi)) == 3
    assert pi.run("rollback").returncode == 0 and restarts(pi)[3:] == ["tiny-2.0"]


def test_a_deploy_can_make_the_service(pi, good):
    write_program(pi.bin / "systemctl", SYSTEMCTL)
    write_program(pi.bin / "id", "case $1 in -u) echo 1000;; *) echo pi;; esac")
    write_program(pi.bin / "sudo", 'echo "$*" >> "$HOME/sudo.log"; test "$1" != install || cp "$4" "$HOME/janken.service"')
    done = pi.deploy(good, "--service", "--source picamera2 --display web")
    assert done.returncode == 0, done.stdout + done.stderr
    unit = (pi.home / "janken.service").read_text()
    program = f'"{pi.venv}/bin/python" "{pi.releases}/current/runtime/janken.py"'
    assert f'ExecStart= {program} "--source" "picamera2" "--display" "web"\n' in unit and "\nUser=pi\n" in unit
    calls = (pi.home / "sudo.log").read_text()
    assert "systemctl enable janken.service" in calls and "systemctl restart janken.service" in calls


def test_a_sudo_that_asks_is_said_before_anything_changes(tmp_path, monkeypatch):
    write_program(tmp_path / "bin/sudo", "exit 1")
    write_program(tmp_path / "bin/systemctl", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(deploy_on_pi.os, "geteuid", lambda: 1000)
    releases = deploy_on_pi.Releases(tmp_path / "releases", tmp_path / "venv", restarts=True)
    release = releases.folder / "tiny-1.0-00000000"
    release.mkdir()
    with pytest.raises(deploy_on_pi.Stop, match="sudo systemctl restart") as stopped:
        releases.switch(release, None)
    assert stopped.value.code == 6 and not (releases.folder / "current").is_symlink()
    deploy_on_pi.Releases(releases.folder, releases.venv, restarts=False).switch(release, None)
    assert os.readlink(releases.folder / "current") == release.name


# --- what is said at the workstation ----------------------------------------------------------------------------------


def test_a_pi_without_python_is_told_so(make_pi, quick):
    done = make_pi(path="{bin}").deploy(quick[0])
    assert done.returncode == 5 and "no python3 on" in done.stderr and "sudo apt install python3" in done.stderr


def test_an_unreachable_host_and_a_refused_key(pi, quick, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, and nobody listens
        done = pi.deploy(quick[0], ssh=f"ssh -F none -p {closed.getsockname()[1]}")
    assert done.returncode == 4 and "cannot be reached" in done.stderr and "Connection refused" in done.stderr
    done = pi.deploy(quick[0], ssh=f"{pi.ssh} -o IdentityFile=none -o IdentitiesOnly=yes".replace("/user ", "/nobody "))
    assert done.returncode == 4 and "Permission denied" in done.stderr
    done = pi.deploy(quick[0], ssh=str(tmp_path / "no-ssh"))
    assert done.returncode == 2 and "openssh-client" in done.stderr


def test_which_bundle_is_sent(pi, tmp_path):
    done = pi.run("deploy", "--out", tmp_path)
    assert done.returncode == 2 and "`make dist` packs the shipped bundle" in done.stderr
    for name in ("a-1.tar.gz", "b-1.tar.gz"):
        (tmp_path / name).touch()
    done = pi.run("deploy", "--out", tmp_path)
    assert done.returncode == 2 and f"BUNDLE={tmp_path}/a-1.tar.gz or {tmp_path}/b-1.tar.gz" in done.stderr
    done = pi.deploy(tmp_path / "none.tar.gz")
    assert done.returncode == 2 and "none.tar.gz" in done.stderr


# --- all of it --------------------------------------------------------------------------------------------------------


def test_one_command_from_bundle_to_first_result(make_pi, tmp_path):
    """`make deploy` to a Pi with nothing but python3: the environment is made there, from PyPI."""
    small = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", tmp_path / "pip", "flatbuffers"]
    reached = subprocess.run(small, capture_output=True, text=True)
    if reached.returncode:
        pytest.skip(f"PyPI cannot be reached: {reached.stderr.strip().splitlines()[-1]}")
    pi = make_pi()
    run_python(pi.bin / "python3", sys._base_executable)
    archive = bundles.pack(ROOT / "models/janken", tmp_path / "dist")
    make = ["make", "deploy", f"HOST={pi.host}", f"SSH={pi.ssh}", f"BUNDLE={archive}.tar.gz", f"PYTHON={sys.executable}"]
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(make, cwd=ROOT, env=outer, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'first result: {"frame": 0' in done.stdout and "FAULT" not in done.stdout
    assert pi.link("current").startswith("janken-") and (pi.venv / "bin/python").exists()
