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
    arm64) machine='\xb7\x00' emulator=qemu-aarch64 cpu=${QEMU_CPU-cortex-a72} ;; # Pi 4
    armhf) machine='\x28\x00' emulator=qemu-arm cpu=${QEMU_CPU-cortex-a7} ;;      # Pi 2, the least that ARMv7 wheels run on
    *) echo "usage: pi_enter.sh arm64|armhf COMMAND..." >&2 && exit 2 ;;
esac
# What the kernel of such a Pi says of its processor: XNNPACK and ruy choose their kernels by it, and do without where it
# cannot be read. Part numbers: linux, arch/arm64/include/asm/cputype.h.
case $cpu in
    cortex-a72) part=0xd08 architecture=8 features="fp asimd evtstrm crc32 cpuid" ;;
    cortex-a53) part=0xd03 architecture=8 features="fp asimd evtstrm crc32 cpuid" ;;
    cortex-a7) part=0xc07 architecture=7 features="half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae" ;;
    *) echo "pi_enter.sh: QEMU_CPU is $cpu; known: cortex-a72, cortex-a53, cortex-a7" >&2 && exit 2 ;;
esac
root=$(cd "$(dirname "$0")/../build/pi/$1" && pwd) || { echo "make it first: python3 scripts/pi_root.py $1" >&2 && exit 1; }
emulator=$(command -v "$emulator")
libraries=usr/lib/$(uname -m)-linux-gnu
export root machine emulator cpu libraries
shift

for core in 0 1 2 3; do
    printf 'processor\t: %s\nFeatures\t: %s\nCPU implementer\t: 0x41\nCPU architecture: %s\n' $core "$features" "$architecture"
    printf 'CPU variant\t: 0x0\nCPU part\t: %s\nCPU revision\t: 3\n\n' "$part"
done > "$root/etc/cpuinfo"
echo 0-3 > "$root/etc/cores"

# shellcheck disable=SC2016 # expanded inside the namespace
exec unshare --user --map-root-user --mount bash -euc '
    mkdir -p "$root/mnt"
    mount -t binfmt_misc binfmt_misc "$root/mnt"
    printf "%s" ":pi:M:18:$machine::$emulator:F" > "$root/mnt/register"
    for folder in proc sys dev lib64 "$libraries" etc/ssl/certs; do
        mkdir -p "$root/$folder"
        mount --rbind "/$folder" "$root/$folder"
    done
    mount --bind "$root/etc/cpuinfo" "$root/proc/cpuinfo"
    for cores in possible present; do
        mount --bind "$root/etc/cores" "$root/sys/devices/system/cpu/$cores"
    done
    touch "$root/etc/resolv.conf"
    mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
    exec env -i PATH=/usr/sbin:/usr/bin HOME=/home/pi LANG=C.UTF-8 QEMU_CPU="$cpu" ${QEMU_PLUGIN+QEMU_PLUGIN="$QEMU_PLUGIN"} \
        chroot "$root" sh -c "cd && exec \"\$@\"" sh "$@"
' bash "$@"
