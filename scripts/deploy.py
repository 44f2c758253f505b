"""`make deploy HOST=pi@...` and `make rollback HOST=pi@...`: a bundle onto a Raspberry Pi over ssh, and back.

Everything goes through one ssh connection: deploy_on_pi.py, which python3 there runs, and behind it the .tar.gz. What is
asked of the Pi is an ssh server and python3; the first deploy installs the rest. Standard library only.
"""
from __future__ import annotations

import argparse
import hashlib
import shlex
import subprocess
import sys
from pathlib import Path

ON_PI = Path(__file__).with_name("deploy_on_pi.py")
CONNECT_SECONDS = 10
USAGE, REFUSED, UNREACHABLE, NO_PYTHON, INTERRUPTED = 2, 3, 4, 5, 130
SSH_FAILED, NOT_FOUND = 255, 127  # ssh's own failure; a shell's word for a program that is not there
BROKE_OFF = 126
# Run there: reads deploy_on_pi.py, and starts it only if all of it came; half of it might end well without doing anything.
START = ("import sys; program = sys.stdin.buffer.read({length}); len(program) == {length} or sys.exit({broke_off}); "
         "exec(compile(program, '{name}', 'exec'))")

EPILOG = """\
on the Pi:
  ~/janken-releases/NAME-VERSION-SHA8/   each bundle, unpacked and held against its manifest
  ~/janken-releases/current, previous    links; start the demo with runtime/janken.py in current
  ~/janken                               the Python environment, made by the first deploy
The last three releases are kept. A service that `pi_install.sh service` or --service made is restarted; if it does not
deliver a first frame, the old version comes back.

exit codes:
  0 done   1 failed there   2 usage   3 bundle refused, the old version is still current   4 host cannot be reached
  5 no python3 there, or no interpreter that works   6 sudo there asks for a password   7 disk full there"""


class UsageError(Exception):
    pass


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("verb", choices=["deploy", "rollback"])
    add("host", help="as for ssh: pi@raspberrypi.local")
    add("--bundle", type=Path, help="the .tar.gz (default: the one in --out)")
    add("--out", type=Path, default=Path("dist"), help="where `make dist` and `make export` put bundles (default: dist)")
    add("--ssh", default="ssh", help="ssh with options, such as \"ssh -p 2222 -i key\" (default: ssh)")
    add("--releases", default="~/janken-releases", help="folder on the Pi (default: %(default)s)")
    add("--venv", default="~/janken", help="Python environment on the Pi (default: %(default)s)")
    add("--install", action="store_true", help="install what the bundle needs although there is an environment already")
    add("--service", metavar="OPTIONS", default="", help="also start the demo at boot with these options: "
        "\"--source picamera2 --display web\"")
    add("--no-restart", action="store_true", help="leave a running service alone")
    return parser.parse_args()


def find_bundle(given: Path | None, out: Path) -> Path:
    """The .tar.gz to send. Raises UsageError when there is none, or no single one."""
    if given:
        if not given.is_file():
            raise UsageError(f"no bundle: given {given}, expected a .tar.gz; `make dist` packs one")
        return given
    found = sorted(out.glob("*.tar.gz"))
    if not found:
        raise UsageError(f"no .tar.gz in {out}/: `make dist` packs the shipped bundle, `make export` builds one")
    if len(found) > 1:
        raise UsageError(f"several bundles in {out}/: name one with BUNDLE={' or '.join(map(str, found))}")
    return found[0]


def on_pi(options: argparse.Namespace, content: bytes) -> int:
    """Run deploy_on_pi.py there with the bundle's bytes behind it; returns ssh's exit code, which is its own."""
    program = ON_PI.read_bytes()
    start = START.format(length=len(program), broke_off=BROKE_OFF, name=ON_PI.name)
    command = ["python3", "-c", start, options.verb, "--releases", options.releases, "--venv", options.venv]
    if options.verb == "deploy":
        command += ["--bytes", str(len(content)), "--sha256", hashlib.sha256(content).hexdigest()]
        command += [f"--service={options.service}"]
    command += [f"--{name}" for name in ("install", "no-restart") if getattr(options, name.replace("-", "_"))]
    ssh = [*shlex.split(options.ssh), "-o", f"ConnectTimeout={CONNECT_SECONDS}", "--", options.host, shlex.join(command)]
    try:
        return subprocess.run(ssh, input=program + content).returncode
    except FileNotFoundError as error:
        raise UsageError(f"{ssh[0]} was not found. Run: sudo apt install openssh-client") from error


def main() -> int:
    """Returns the exit code."""
    options = parse()
    try:
        content = b""
        if options.verb == "deploy":
            bundle = find_bundle(options.bundle, options.out)
            content = bundle.read_bytes()
            print(f"sending {bundle} ({len(content) / 1e6:.1f} MB) to {options.host}", flush=True)
        code = on_pi(options, content)
    except UsageError as error:
        print(f"{options.verb}: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print(f"\n{options.verb}: interrupted", file=sys.stderr)
        return INTERRUPTED
    if code == SSH_FAILED:
        print(f"{options.verb}: {options.host} cannot be reached, or the connection broke; ssh's own words are above. "
              f"Try: {options.ssh} {options.host} true", file=sys.stderr)
        return UNREACHABLE
    if code == NOT_FOUND:
        print(f"{options.verb}: no python3 on {options.host}. Run there: sudo apt install python3 python3-venv",
              file=sys.stderr)
        return NO_PYTHON
    if code == BROKE_OFF:
        print(f"{options.verb}: the upload broke off before anything was done", file=sys.stderr)
        return REFUSED
    return code


if __name__ == "__main__":
    sys.exit(main())
