# Libraries in source form, pinned and unpacked into the cache; sourced.
#
# Zydis decodes the instructions that vmm-server executes; its headers need those of zycore. lwIP is net-server's
# own TCP/IP.

zydis_version=4.0.0-1
zydis_tarball=zydis_4.0.0.orig.tar.gz
zydis_sha256=e990107f80c62afc1deb51de230023a1098db801b8ea6bf483e296d45459e234
zycore_version=1.4.1-1
zycore_package=libzycore-dev_1.4.1-1_amd64.deb
zycore_sha256=20daa9552e632c9a08443690c6933c34f2f63a8d2eb60125688823a20f7322c3
zydis_home=$cache/zydis/$(echo $zydis_sha256 $zycore_sha256 | sha256sum | cut -c1-16)

lwip_version=2.1.3+dfsg1-2
lwip_tarball=lwip_2.1.3+dfsg1.orig.tar.xz
lwip_sha256=0a8276d09fc4e97bbba2f953d74af2388fc2195ea156be9d7589e297a68fde24
lwip_home=$cache/lwip/$(echo $lwip_sha256 | cut -c1-16)

libraries_setup() {
    library "Zydis $zydis_version" src/Decoder.c "$zydis_home" "the VMM's instruction decoder"
    library "lwIP $lwip_version" src/core/init.c "$lwip_home" "TCP/IP of the network server"
}

# library LABEL FILE HOME WHAT: a library whose unpacked source has FILE in HOME, or else the functions NAME_fetch and
# NAME_unpack, where NAME is the label in small letters, get it.
library() {
    local label=$1 file=$2 home=$3 what=$4 name
    name=$(echo "${label%% *}" | tr "[:upper:]" "[:lower:]")
    if [ -f "$home/$file" ]; then
        say "$label: unpacked already ($home)."
        return
    fi
    say "$label: unpacking its source ($what)"
    "${name}_fetch" && "${name}_unpack" ||
        stop "$label can't be had from Debian's archive, or is not the pinned one; is the network there?"
}

# library_file FILE SHA256 ROOT KIND COMMAND...: a file in the cache, by an apt command if it is not there. The checksum
# decides, not apt.
library_file() {
    local file=$1 sha256=$2 root=$3 kind=$4
    shift 4
    mkdir -p "$cache/sources"
    if ! sha256_is "$cache/sources/$file" "$sha256"; then
        apt_root "$root" "$kind" bookworm || return 1
        (cd "$cache/sources" && apt_in "$apt_root" -q "$@") >"$apt_root/library.log" 2>&1 ||
            tail -n 5 "$apt_root/library.log" >&2
    fi
    sha256_is "$cache/sources/$file" "$sha256"
}

lwip_fetch() {
    library_file "$lwip_tarball" $lwip_sha256 bookworm-src deb-src source --download-only "lwip=$lwip_version"
}

# As they are upstream: Debian's changes concern sockets and PPP, which are not built here.
lwip_unpack() {
    local work=$lwip_home.new
    rm -rf "$work" &&
        mkdir -p "$work" &&
        tar -xf "$cache/sources/$lwip_tarball" -C "$work" --strip-components=1 &&
        rm -rf "${lwip_home:?}" &&
        mv "$work" "$lwip_home"
}

zydis_fetch() {
    library_file "$zydis_tarball" $zydis_sha256 bookworm-src deb-src source --download-only "zydis=$zydis_version" &&
        library_file "$zycore_package" $zycore_sha256 bookworm deb download "libzycore-dev=$zycore_version"
}

# Called where `set -e` is off, so every step is chained.
zydis_unpack() {
    local work=$zydis_home.new
    rm -rf "$work" &&
        mkdir -p "$work/zycore" &&
        tar -xf "$cache/sources/$zydis_tarball" -C "$work" --strip-components=1 &&
        dpkg-deb -x "$cache/sources/$zycore_package" "$work/zycore" &&
        cp -r "$work/zycore/usr/include/Zycore" "$work/include/" &&
        rm -rf "$work/zycore" "${zydis_home:?}" &&
        mv "$work" "$zydis_home"
}

libraries_describe() {
    echo "ZYDIS=$zydis_home"
    echo "LWIP=$lwip_home"
}
