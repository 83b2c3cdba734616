# Linux guests from Debian's packages, unpacked into the cache and never installed (installing a
# kernel would run initramfs hooks and fill /boot); sourced. guests/linux/build.py makes the files
# that partitions boot out of them.
#
# Kernels are not pinned, because the archive drops old builds: set-up says which one it took.

guests_home=$cache/guests
guests_modules="guests/linux/modules guests/linux/modules-disk guests/linux/modules-pc"
guests_debian=guests/linux/debian/packages

# kind   suite                architecture   package whose first dependency is the kernel
guests_list='
cloud    bookworm             amd64   linux-image-cloud-amd64
generic  bookworm             amd64   linux-image-amd64
6.12     bookworm-backports   amd64   linux-image-cloud-amd64
686      bookworm             i386    linux-image-686
686-pae  bookworm             i386    linux-image-686-pae
'

# guests_setup KIND...: all of these kernels, and busybox.
guests_setup() {
    local kind
    guests_busybox amd64 busybox
    case " $* " in *" 686"*) guests_busybox i386 busybox-i386 ;; esac
    for kind in "$@"; do
        if guests_current "$kind"; then
            say "guest kernel $kind: unpacked already ($(cat "$guests_home/$kind/release"))."
        else
            guests_kernel "$kind" ||
                stop "the guest kernel $kind can't be had from Debian's archive; is the network there?"
        fi
    done
}

# guests_apt_root SUITE ARCHITECTURE
guests_apt_root() {
    local name=$1 suites=$1 apt_architecture=
    [ "$1" = bookworm ] || suites="bookworm $1"
    [ "$2" = amd64 ] || apt_architecture=$2 name=$1-$2
    apt_root "$name" deb $suites
}

# guests_busybox ARCHITECTURE NAME
guests_busybox() {
    [ ! -x "$guests_home/$2" ] || return 0
    say "busybox: the guests' shell and commands ($1)"
    guests_apt_root bookworm "$1" &&
        apt_unpack "$apt_root" "$guests_home/unpacked" busybox-static &&
        mv "$guests_home/unpacked/bin/busybox" "$guests_home/$2" ||
        stop "Debian's package busybox-static can't be had; is the network there? (try: apt-get download busybox-static)"
    rm -rf "$guests_home/unpacked"
}

guests_current() {
    [ -f "$guests_home/$1/release" ] && cat $guests_modules | cmp -s - "$guests_home/$1/wanted"
}

# Called where `set -e` is off, so every step is chained.
guests_kernel() {
    local kind=$1 suite architecture package image work=$guests_home/$1.new module
    read -r _ suite architecture package <<<"$(printf '%s\n' "$guests_list" | awk -v k="$kind" '$1 == k')"
    [ -n "$package" ] || return 1
    rm -rf "$work" && mkdir -p "$work/modules" || return 1
    guests_apt_root "$suite" "$architecture" || return 1
    image=$(apt-cache -c "$apt_root/apt.conf" show "$package" --no-all-versions -t "$suite" |
        sed -n 's/^Depends: *\(linux-image-[^ ,]*\).*/\1/p' | head -n 1)
    [ -n "$image" ] || return 1
    say "guest kernel $kind: downloading $image"
    apt_unpack "$apt_root" "$work/unpacked" "$image/$suite" || return 1
    cp "$work"/unpacked/boot/vmlinuz-* "$work/vmlinuz" || return 1
    sed 's/#.*//' $guests_modules | while read -r module; do
        [ -z "$module" ] || find "$work/unpacked/lib/modules" -name "$module.ko*" -exec cp {} "$work/modules/" \;
    done
    cat $guests_modules >"$work/wanted" && echo "$image" >"$work/release" &&
        rm -rf "$work/unpacked" "$guests_home/${kind:?}" && mv "$work" "$guests_home/$kind"
}

# The packages that the guests' disk is made of (guests/linux/disk.py), in one tree.
guests_disk_setup() {
    local home=$guests_home/debian packages
    if cmp -s "$guests_debian" "$home/wanted"; then
        say "packages of the guests' disk: unpacked already."
        return
    fi
    packages=$(sed 's/#.*//' "$guests_debian" | xargs)
    say "the guests' disk: downloading $packages"
    rm -rf "$home" "$home.new"
    apt_root bookworm deb bookworm && apt_unpack "$apt_root" "$home.new/root" $packages &&
        cp "$guests_debian" "$home.new/wanted" && mv "$home.new" "$home" ||
        stop "packages of the guests' disk can't be had from Debian's archive; is the network there?"
}

guests_describe() {
    echo "GUESTS=$guests_home"
}
