# Private apt roots: download packages and sources of any Debian suite without touching the
# machine's own package state; sourced.
#
# The address comes from the machine's own sources (same address, other suite or deb-src), in
# either format that apt knows, or from SEPTUM_DEBIAN_MIRROR.

debian_suites=' bullseye bookworm trixie forky sid oldoldstable oldstable stable testing unstable '

# Print the lines "URIs: ..." and "Signed-By: ..." (and "Trusted: ...") of the first of the
# machine's package sources that is Debian's main archive. Fail if there is none.
debian_source() {
    if [ -n "${SEPTUM_DEBIAN_MIRROR:-}" ]; then
        echo "URIs: $SEPTUM_DEBIAN_MIRROR"
        if [ -f /usr/share/keyrings/debian-archive-keyring.gpg ]; then
            echo "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg"
        fi
        return
    fi
    local dir=${SEPTUM_APT_ETC:-/etc/apt}
    # awk takes both formats; a deb822 stanza ends at an empty line or at the end of its file.
    { find "$dir/sources.list" "$dir/sources.list.d" -maxdepth 1 \
        \( -name '*.list' -o -name '*.sources' \) 2>/dev/null || true; } | sort | xargs awk -v suites="$debian_suites" '
    function known(list,    n, w, i) {
        n = split(list, w, /[ \t]+/)
        for (i = 1; i <= n; i++) if (w[i] != "" && index(suites, " " w[i] " ")) return 1
        return 0
    }
    function stanza() {
        if (!done && types ~ /(^|[ \t])deb([ \t]|$)/ && enabled !~ /^(no|false|off|0)/ &&
            (" " components " ") ~ /[ \t]main[ \t]/ && known(names)) {
            split(uris, u, /[ \t]+/)
            print "URIs: " u[1]
            if (signed != "") printf "Signed-By: %s", signed
            if (trusted != "") print "Trusted: " trusted
            done = 1
        }
        types = uris = names = components = signed = trusted = enabled = field = ""
    }
    function value(line) { sub(/^[^:]*:[ \t]*/, "", line); sub(/[ \t]+$/, "", line); return line }
    FNR == 1 { stanza() }
    FILENAME ~ /\.sources$/ {
        if ($0 ~ /^[ \t]*$/) { stanza(); next }
        if ($0 ~ /^#/) next
        if ($0 ~ /^[ \t]/) {                       # a continuation line
            if (field == "signed-by") signed = signed $0 "\n"
            else if (field == "uris") uris = uris ? uris : $1
            else if (field == "suites") names = names " " $0
            else if (field == "components") components = components " " $0
            next
        }
        field = tolower($0); sub(/:.*/, "", field)
        if (field == "types") types = value($0)
        else if (field == "uris") uris = value($0)
        else if (field == "suites") names = value($0)
        else if (field == "components") components = value($0)
        else if (field == "signed-by") signed = value($0) "\n"
        else if (field == "trusted") trusted = value($0)
        else if (field == "enabled") enabled = tolower(value($0))
        next
    }
    /^[ \t]*deb[ \t]/ {                            # deb [option=value ...] URI SUITE COMPONENT...
        line = $0; sub(/#.*/, "", line); sub(/^[ \t]*deb[ \t]+/, "", line)
        if (match(line, /^\[[^]]*\]/)) {
            n = split(substr(line, 2, RLENGTH - 2), option, /[ \t]+/)
            line = substr(line, RLENGTH + 1); sub(/^[ \t]+/, "", line)
            for (i = 1; i <= n; i++) {
                if (option[i] ~ /^signed-by=/) signed = substr(option[i], 11) "\n"
                if (option[i] ~ /^trusted=/) trusted = substr(option[i], 9)
            }
        }
        n = split(line, word, /[ \t]+/)
        types = "deb"; uris = word[1]; names = word[2]; components = ""
        for (i = 3; i <= n; i++) components = components " " word[i]
        stanza()
    }
    END { stanza(); exit !done }'
}

# apt_root NAME TYPE SUITE...: make (or refresh, when older than a day) the private root NAME that
# knows the given suites; TYPE is deb or deb-src. Sets apt_root to its folder. apt_architecture, where it
# is set, is another one than this machine's: dpkg hears nothing of it.
apt_root() {
    local name=$1 type=$2 source
    shift 2
    apt_root=$cache/apt/$name
    source=$(debian_source) ||
        stop "this machine's package sources are not Debian's: set SEPTUM_DEBIAN_MIRROR=URL to the address of a Debian mirror and try again."
    mkdir -p "$apt_root"/lists/partial "$apt_root"/cache/archives/partial
    [ -f "$apt_root/status" ] || : >"$apt_root/status"
    local wanted
    wanted=$(printf 'Types: %s\n%s\nSuites: %s\nComponents: main\n' "$type" "$source" "$*")
    [ -z "${apt_architecture:-}" ] || wanted+=$(printf '\nArchitectures: %s' "$apt_architecture")
    cat >"$apt_root/apt.conf" <<CONF
APT::Architecture "${apt_architecture:-$(dpkg --print-architecture)}";
APT::Architectures { "${apt_architecture:-$(dpkg --print-architecture)}"; };
Dir::Etc::sourcelist "$apt_root/debian.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::State "$apt_root";
Dir::State::lists "$apt_root/lists";
Dir::State::status "$apt_root/status";
Dir::Cache "$apt_root/cache";
APT::Sandbox::User "$(id -un)";
APT::Get::List-Cleanup "true";
Acquire::Languages "none";
Acquire::Retries "3";
#clear APT::Update;
#clear DPkg::Post-Invoke;
CONF
    if [ "$wanted" != "$(cat "$apt_root/debian.sources" 2>/dev/null)" ] ||
        [ -z "$(find "$apt_root/updated" -mmin -1440 2>/dev/null)" ]; then
        printf '%s\n' "$wanted" >"$apt_root/debian.sources"
        say "reading the package lists of $* ($type)"
        apt_in "$apt_root" -q update >"$apt_root/update.log" 2>&1 || {
            cat "$apt_root/update.log" >&2
            return 1
        }
        touch "$apt_root/updated"
    fi
}

# apt_in ROOT ARGUMENTS...: apt-get within a private root.
apt_in() {
    local root=$1
    shift
    apt-get -c "$root/apt.conf" "$@"
}

# apt_unpack ROOT TARGET PACKAGE...: download packages and unpack them, scripts not run.
apt_unpack() {
    local root=$1 target=$2 deb
    shift 2
    rm -rf "$root/download" && mkdir -p "$root/download" "$target"
    (cd "$root/download" && apt_in "$root" -q download "$@" >download.log 2>&1) || {
        cat "$root/download/download.log" >&2
        return 1
    }
    for deb in "$root"/download/*.deb; do
        dpkg-deb -x "$deb" "$target"
    done
    rm -rf "$root/download"
}
