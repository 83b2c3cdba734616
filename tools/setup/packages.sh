# Build tools, installed as Debian packages in one go; sourced.

# name  why
packages_run='
gcc                   compiles the kernel and the user programs
libc6-dev             C library headers, for the host tools
binutils              assembler, linker, nm
python3               build scripts and the test runner
qemu-system-x86       runs Septum (AMD-V, emulated or nested)
grub-pc-bin           boot loader of the images for Bochs and real PCs
grub-common           makes these boot images
xorriso               writes them
mtools                used by the image maker
dpkg-dev              unpacks library sources
xz-utils              unpacks archives
e2fsprogs             makes file systems for guests
fakeroot              gives their files to root
util-linux            setpriv, flock: no emulator outlives its test
'
packages_test='
clang                 the second compiler; everything builds with both
libclang-rt-14-dev    its sanitizers, for the unit tests
g++                   builds Bochs, the machine with VT-x
patch                 applies our Bochs patch
python3-pytest        drives the host-side tests
cloc                  counts the kernel lines
acpica-tools          iasl: reads the ACPI tables that guests get
chromium              a real browser, for the status page and its picture
fonts-dejavu-core     letters for it
'

packages_names() {
    local list
    for list in "$@"; do
        list=packages_$list
        printf '%s\n' "${!list}" | awk 'NF { print $1 }'
    done
}

# packages_install LIST...: install what is missing of the named lists, or stop with the line.
packages_install() {
    command -v dpkg-query >/dev/null ||
        stop "this is not a Debian system: set-up knows Debian 12's packages only; needed are: $(packages_names "$@" | xargs)"
    local missing
    missing=$(comm -23 <(packages_names "$@" | sort -u) \
        <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null |
            awk '$1 == "installed" { print $2 }' | sort -u) | xargs)
    if [ -z "$missing" ]; then
        say "packages: all there."
        return
    fi
    local line="apt-get install --no-install-recommends -y $missing" list
    say "these packages are missing:"
    for list in "$@"; do
        list=packages_$list
        printf '%s\n' "${!list}" | while read -r name why; do
            case " $missing " in *" $name "*) [ -z "$name" ] || printf '    %-22s%s\n' "$name" "$why" ;; esac
        done
    done
    local as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || stop "please run this as root, then try again: $line"
        as_root=sudo
    fi
    say "running: $as_root $line"
    # A machine whose lists are old or absent can't install; refreshing costs seconds.
    $as_root apt-get -q update || warn "apt-get update failed; trying with the lists that are there"
    $as_root env DEBIAN_FRONTEND=noninteractive $line ||
        stop "that failed; please run it as root, then try again: $line"
}
