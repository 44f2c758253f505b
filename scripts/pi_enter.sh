#!/usr/bin/env bash
# Runs a command inside build/pi/ARCH, a Debian root for another processor; every program in it is emulated by qemu-user:
#
#   scripts/pi_enter.sh arm64|armhf COMMAND...
#
# Needs no privilege: inside a namespace of its own an ordinary user may mount, chroot and, from Linux 6.7 on, tell the
# kernel what runs programs for another processor (binfmt_misc, F: the emulator is found now, outside of the root). The
# root sees the host's network, certificates and, for the emulator itself, its libraries. A QEMU_PLUGIN that is set is
# loaded into the emulator; its path is one inside the root.
set -euo pipefail

# The number in bytes 18 and 19 of an ELF file tells the processor: /usr/include/elf.h, EM_AARCH64 and EM_ARM.
case ${1-} in
    arm64) machine='\xb7\x00' emulator=qemu-aarch64 cpu=cortex-a72 ;; # Pi 4
    armhf) machine='\x28\x00' emulator=qemu-arm cpu=cortex-a7 ;;      # Pi 2, the least that ARMv7 wheels run on
    *) echo "usage: pi_enter.sh arm64|armhf COMMAND..." >&2 && exit 2 ;;
esac
root=$(cd "$(dirname "$0")/../build/pi/$1" && pwd) || { echo "make it first: python3 scripts/pi_root.py $1" >&2 && exit 1; }
emulator=$(command -v "$emulator")
libraries=usr/lib/$(uname -m)-linux-gnu
export root machine emulator cpu libraries
shift

# shellcheck disable=SC2016 # expanded inside the namespace
exec unshare --user --map-root-user --mount bash -euc '
    mkdir -p "$root/mnt"
    mount -t binfmt_misc binfmt_misc "$root/mnt"
    printf "%s" ":pi:M:18:$machine::$emulator:F" > "$root/mnt/register"
    for folder in proc dev lib64 "$libraries" etc/ssl/certs; do
        mkdir -p "$root/$folder"
        mount --rbind "/$folder" "$root/$folder"
    done
    touch "$root/etc/resolv.conf"
    mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
    exec env -i PATH=/usr/sbin:/usr/bin HOME=/home/pi LANG=C.UTF-8 QEMU_CPU="$cpu" ${QEMU_PLUGIN+QEMU_PLUGIN="$QEMU_PLUGIN"} \
        chroot "$root" sh -c "cd && exec \"\$@\"" sh "$@"
' bash "$@"
