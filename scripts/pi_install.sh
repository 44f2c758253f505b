#!/usr/bin/env bash
# Makes the bundle in this folder run on a Raspberry Pi; see usage. Facts about the machine come from commands on PATH.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin # ldconfig; an ordinary user has neither
UNIT=janken.service

usage() {
    cat << 'END'
usage: ./pi_install.sh [OPTION]... [install | check | service DEMO-OPTION...]

  install    get what the bundle in this folder needs, then check (the default; may be run again at any time)
  check      install nothing: precompile, `runtime doctor`, one frame through the bundle
  service    start the demo at boot and whenever it fails, with these options: service --source picamera2 --display web

  --venv FOLDER     the Python environment (default: ~/janken)
  --python PROGRAM  the Python it is made with (default: python3)
  --source S        where the one frame comes from, see runtime/janken.py --help (default: a grey one, made here)
  --no-opencv       leave OpenCV out: no cameras, videos or windows
  --dry-run         print the commands and change nothing

exit codes:
  0 done   1 a command failed, its own words are above   2 usage   3 bundle refused   4 no frame from --source
  5 no interpreter for this system, machine or Python, or none that works
  6 sudo would ask for a password where nobody can type it; the command to run first is printed
END
}

die() { # CODE WORDS...
    local code=$1
    shift
    echo "pi_install: $*" >&2
    exit "$code"
}

run() { # COMMAND...: print it, and run it unless --dry-run
    printf '+'
    printf ' %q' "$@"
    printf '\n'
    [ -n "$dry" ] || "$@"
}

may_be_root() { # not where sudo would ask for a password and nobody could type it
    [ -n "$dry" ] || [ "$(id -u)" = 0 ] || [ -t 0 ] || sudo -n true 2> /dev/null
}

as_root() { # COMMAND...
    if [ "$(id -u)" = 0 ]; then
        run "$@"
    else
        run sudo "$@"
    fi
}

# --- what is here -----------------------------------------------------------------------------------------------------

system_name() (
    # shellcheck source=/dev/null
    . /etc/os-release 2> /dev/null || true
    echo "${PRETTY_NAME:-$(uname -s)}"
)

version_of() { # PYTHON: 3.11
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null
}

# The interpreter that has a wheel for this userland and Python; nothing where neither has. By PyPI's files of
# tflite-runtime 2.14.0 and ai-edge-litert 2.3.0; requirements.txt holds the same table as markers.
interpreter_for() { # USERLAND PYTHON-VERSION
    case "$1 $2" in
        "arm64 3.9" | "armhf 3.9" | "amd64 3.9") echo tflite-runtime ;;
        "arm64 3."1[01] | "armhf 3."1[01] | "amd64 3."1[01]) echo tflite-runtime ;;
        "arm64 3."1[23] | "amd64 3."1[23]) echo ai-edge-litert ;;
    esac
}

why_none() { # KERNEL USERLAND PYTHON-VERSION: why there is no interpreter, and what to do
    local known="Raspberry Pi OS Bookworm has Python 3.11, Trixie 3.13"
    case "$2 $3" in
        "armhf 3."1[2-9])
            echo "32-bit programs on Python $3: tflite-runtime has 32-bit wheels up to Python 3.11, ai-edge-litert has none." \
                "Use the 64-bit Raspberry Pi OS (a Pi 3 or later runs it), or the 32-bit one of Bookworm."
            [ "$1" != aarch64 ] || echo "The kernel here is 64-bit already; the programs are not." ;;
        "arm64 "* | "armhf "* | "amd64 "*)
            echo "Python $3: tflite-runtime has wheels for 3.9 to 3.11, ai-edge-litert is used for 3.12 and 3.13." \
                "$known; or name another one with --python." ;;
        *) echo "programs for $2: neither tflite-runtime nor ai-edge-litert has wheels. Use the 64-bit Raspberry Pi OS." ;;
    esac
}

require_machine() { # sets userland, version, interpreter
    local kernel glibc
    command -v dpkg > /dev/null || die 5 "no dpkg: this is for Raspberry Pi OS, Debian and Ubuntu. README.md has the way by hand"
    command -v "$python" > /dev/null || die 5 "$python was not found. Run: sudo apt install python3 python3-venv"
    kernel=$(uname -m)
    userland=$(dpkg --print-architecture) # and not the kernel's: a 64-bit kernel may run 32-bit programs
    version=$(version_of "$python") || die 5 "$python does not run"
    glibc=$(getconf GNU_LIBC_VERSION 2> /dev/null || echo "glibc 0")
    echo "system: $(system_name), kernel $kernel, programs $userland, Python $version, $glibc"
    [ "$kernel" != armv6l ] || die 5 "ARMv6 (Pi 1, Zero, Zero W): no interpreter has wheels for it. Use a Pi 3 or later."
    interpreter=$(interpreter_for "$userland" "$version")
    [ -n "$interpreter" ] || die 5 "$(why_none "$kernel" "$userland" "$version")"
    if [[ "$interpreter $userland" == "tflite-runtime arm"* ]] && ! at_least 2.34 "${glibc#glibc }"; then
        die 5 "$glibc: tflite-runtime's ARM wheels need 2.34. Use Raspberry Pi OS Bookworm or later, Bullseye is too old."
    fi
    echo "interpreter: $interpreter"
}

at_least() { # LEAST GIVEN: versions
    [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

# --- what is installed ------------------------------------------------------------------------------------------------

installed() { # PACKAGE
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null)" = installed ]
}

offered() { # PACKAGE
    apt-cache policy "$1" 2> /dev/null | grep -q 'Candidate: [0-9]'
}

imports() { # PYTHON MODULE...
    "$1" -c 'import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]' "${@:2}" 2> /dev/null
}

# Packages of the system that are missing. numpy and OpenCV have no 32-bit wheels. picamera2 comes from Raspberry Pi's
# archive alone, so that whoever is not offered it has no use for it.
system_packages() {
    imports "$python" ensurepip venv || echo python3-venv
    if [ "$userland" = armhf ]; then
        installed python3-numpy || echo python3-numpy
        [ -z "$opencv" ] || installed python3-opencv || echo python3-opencv
    fi
    ! offered python3-picamera2 || installed python3-picamera2 || echo python3-picamera2
}

opencv_wheel() { # nothing where cv2 is there, or comes from apt
    if [ -z "$opencv" ] || [ "$userland" = armhf ] || imports "$venv/bin/python" cv2; then
        return
    fi
    # The ordinary wheel cannot be imported where there is no desktop; the headless one opens no window.
    if ldconfig -p | grep -q 'libGL\.so\.1 '; then
        echo "opencv-python<4.12" # 4.12 and later want numpy 2, with which tflite-runtime cannot work
    else
        echo "opencv-python-headless<4.12"
    fi
}

install_system_packages() {
    local packages
    mapfile -t packages < <(system_packages)
    [ ${#packages[@]} -gt 0 ] || return 0
    may_be_root || die 6 "${packages[*]} missing, and sudo asks for a password. Run on this machine:" \
        "sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages[*]} ; and then this again"
    as_root apt-get update || die 1 "apt-get update failed; is there a network?"
    as_root apt-get install -y --no-install-recommends "${packages[@]}" || die 1 "apt-get could not install ${packages[*]}"
}

make_venv() {
    if [ -d "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
        die 2 "$venv is there and is no Python environment: name another folder with --venv"
    fi
    if [ "$(version_of "$venv/bin/python")" = "$version" ] && imports "$venv/bin/python" pip &&
        grep -q 'include-system-site-packages = true' "$venv/pyvenv.cfg"; then
        echo "environment: $venv, as it is"
    else
        # picamera2 comes from apt, hence the system's packages.
        run "$python" -m venv --clear --system-site-packages "$venv" || die 1 "$python could not make $venv"
    fi
}

install_wheels() {
    local wheels
    mapfile -t wheels < <(opencv_wheel)
    # Wheels only: building numpy from source takes a Pi hours, and mostly fails.
    run "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --only-binary=:all: \
        -r "$here/requirements.txt" "${wheels[@]}" ||
        die 1 "pip could not install the packages, its words are above. Once the network or the disk is mended, run this again."
}

# --- what is checked --------------------------------------------------------------------------------------------------

require_venv() {
    [ -n "$dry" ] || [ -x "$venv/bin/python" ] || die 5 "no Python environment at $venv. Run: $here/pi_install.sh --venv $venv"
}

check() {
    require_venv
    # By hash, because every file of a bundle has the same time. Where bytecode may not be written, starting takes longer.
    run "$venv/bin/python" -m compileall -q --invalidation-mode checked-hash "$here/runtime" ||
        echo "note: $here/runtime could not be precompiled, every start will take longer" >&2
    run "$venv/bin/python" "$here/runtime/janken.py" doctor --bundle "$here"
    first_result
}

first_result() {
    if [ -z "$source" ]; then
        source=$scratch/grey.npy
        run "$venv/bin/python" -c 'import numpy, sys; numpy.save(sys.argv[1], numpy.full((1, 240, 320, 3), 128, "u1"))' "$source"
    fi
    run "$venv/bin/python" "$here/runtime/janken.py" --bundle "$here" --source "$source" --display none \
        --frames 1 --json "$scratch/result.jsonl"
    [ -n "$dry" ] && return
    [ -s "$scratch/result.jsonl" ] || die 4 "no frame came from $source"
    echo "first result: $(< "$scratch/result.jsonl")"
}

quoted_for_systemd() { # OPTION...: one line
    local option
    for option; do
        option=${option//\\/\\\\}
        option=${option//\"/\\\"}
        option=${option//%/%%}
        option=${option//'$'/'$$'}
        printf ' "%s"' "$option"
    done
}

install_service() { # DEMO-OPTION...
    local unit
    [ "$(id -u)" != 0 ] || die 2 "service: run it as the ordinary user who is to run the demo, not as root"
    require_venv
    may_be_root || die 6 "service: sudo asks for a password. Run it in a terminal: $here/pi_install.sh --venv $venv service ..."
    unit=$(< "$here/$UNIT")
    unit=${unit//@USER@/"$(id -un)"}
    unit=${unit//@PROGRAM@/"$(quoted_for_systemd "$venv/bin/python" "$here/runtime/janken.py")"}
    unit=${unit//@OPTIONS@/"$(quoted_for_systemd "$@")"}
    echo "$unit" > "$scratch/$UNIT"
    as_root install -m 644 "$scratch/$UNIT" "/etc/systemd/system/$UNIT"
    as_root systemctl daemon-reload
    as_root systemctl enable "$UNIT"
    as_root systemctl restart "$UNIT" || die 1 "$UNIT does not start. Look: journalctl -u $UNIT -n 30"
    [ -z "$dry" ] || echo "$unit"
    echo "$UNIT starts at boot. Its words: journalctl -fu $UNIT ; off: sudo systemctl disable --now $UNIT"
}

main() {
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) # not the real path: `current` is to stay `current` in the unit
    venv=$HOME/janken python=python3 source='' opencv=1 dry=''
    while [[ ${1-} == -* ]]; do
        case $1 in
            --venv | --python | --source)
                [ $# -ge 2 ] || die 2 "$1 needs a value"
                printf -v "${1#--}" %s "$2"
                shift ;;
            --no-opencv) opencv='' ;;
            --dry-run) dry=1 ;;
            -h | --help) usage && exit ;;
            *) die 2 "unknown option $1; see --help" ;;
        esac
        shift
    done
    [[ $venv == /* ]] || venv=$PWD/$venv
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    case ${1-install} in
        install)
            require_machine
            install_system_packages
            make_venv
            install_wheels
            check
            echo "ready: $venv/bin/python $here/runtime/janken.py --source picamera2 --display web" ;;
        check) check ;;
        service) install_service "${@:2}" ;;
        *) die 2 "unknown command $1; see --help" ;;
    esac
}

main "$@"
