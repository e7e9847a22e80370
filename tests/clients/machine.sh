# shellcheck shell=bash
# The machine that the journeys share: the clients, two docker engines, an empty port.

# Installs what is missing of Debian's. Services that a package brings are not needed: RUNLEVEL=1
# tells its scripts that this is no time to start one. What can't be fetched is missed later.
install_packages() {
    local program package missing=() try
    while read -r program package; do
        command -v "$program" >/dev/null || missing+=("$package")
    done <<'PROGRAMS'
dockerd docker.io
docker docker.io
iptables iptables
skopeo skopeo
podman podman
runc runc
/usr/lib/podman/netavark netavark
docker-registry docker-registry
busybox busybox-static
curl curl
jq jq
python3 python3
PROGRAMS
    [[ ${#missing[@]} -gt 0 ]] || return 0
    for try in 1 2 3; do
        apt-get update -q && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -q --no-install-recommends "${missing[@]}" && break
        echo "apt-get failed, time $try"
    done
}

# lacks NAME: says why a journey can't have it, or nothing: a program of Debian's, a tool of
# tests/tools, or an engine, `debian` or `moby`.
lacks() {
    case $1 in
    debian) lacks dockerd ;;
    moby)
        local need
        for need in docker-cli docker containerd runc buildx; do lacks "$need"; done | sed -n 1p ;;
    docker-cli | dockerd | podman | docker-registry)
        [[ -n $(PATH=$DEBIAN_PATH type -P "${1%-cli}") ]] ||
            echo "Debian's $1 could not be fetched" ;;
    *)
        if [[ -f $TOOLS/$1.skipped ]]; then
            echo "$1: $(<"$TOOLS/$1.skipped")"
        elif [[ ! -f $TOOLS/$1.built ]]; then
            echo "$1 is not in $TOOLS: tests/tools/install $1 builds it"
        fi ;;
    esac
}

# start_engine NAME FLAG…: starts a docker daemon that shares nothing with one the machine may
# have. Pushes and pulls are the daemon's own, and no container here needs a network: it leaves the
# firewall alone. Which containerd and runc it has depends on PATH.
start_engine() {
    local home=$WORK/$1
    mkdir "$home"
    echo '{}' >"$home/daemon.json"
    dockerd --config-file "$home/daemon.json" --data-root "$home/images" \
        --exec-root "$home/exec" --pidfile "$home/pid" --host "unix://$home/socket" \
        --bridge none --iptables=false "${@:2}" >"$home/log" 2>&1 &
    ENGINES+=([$1]=$!)
}

# await_engine NAME: until it answers.
await_engine() {
    local deadline=$((SECONDS + 60))
    until docker --host "unix://$WORK/$1/socket" version; do
        if ! kill -0 "${ENGINES[$1]}" || ((SECONDS > deadline)); then
            cat "$WORK/$1/log"
            return 1
        fi
        sleep 0.1
    done >/dev/null 2>&1
}

# start_engines NAME…: those of them that can be had. Debian's has the classic store of images;
# today's has containerd's, and comes without libseccomp, so it can filter no system calls.
start_engines() {
    local engine
    for engine; do
        [[ -z $(lacks "$engine") ]] || continue
        case $engine in
        debian) PATH=$DEBIAN_PATH start_engine debian ;;
        moby) start_engine moby --ip6tables=false --seccomp-profile unconfined \
            --feature containerd-snapshotter=true ;;
        esac
    done
    for engine in "${!ENGINES[@]}"; do
        await_engine "$engine"
    done
}

# The file system of `busybox:latest` as a tar.
pack_busybox() {
    mkdir -p "$WORK/busybox/bin"
    cp "$(command -v busybox)" "$WORK/busybox/bin/busybox"
    chroot "$WORK/busybox" /bin/busybox --install -s /bin
    tar -C "$WORK/busybox" -cf "$BUSYBOX" .
}

# The first port on which nobody listens.
find_port() {
    PORT=${CLIENTS_PORT:-7150}
    while (: <>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; do
        PORT=$((PORT + 1))
    done
}

# prepare_machine ENGINE…
prepare_machine() {
    # Nothing of the caller's: no settings for a registry, no daemon, no credentials, no proxy
    # between us and this machine.
    unset "${!REGISTRY_@}" DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH \
        BUILDX_BUILDER REGISTRY_AUTH_FILE
    export DOCKER_CONFIG=$WORK/config REGCTL_CONFIG=$WORK/config/regctl.json
    export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost
    export BUSYBOX=$WORK/busybox.tar PORT
    mkdir -p "$DOCKER_CONFIG/cli-plugins"
    echo '{}' >"$DOCKER_CONFIG/config.json"
    ln -s "$TOOLS/buildx" "$DOCKER_CONFIG/cli-plugins/docker-buildx"
    install_packages
    # Today's programs come before Debian's of the same names.
    DEBIAN_PATH=$PATH
    export PATH=$TOOLS:$PATH
    find_port
    start_engines "$@"
    pack_busybox
}

# Ends the engines, which end their containerd, and removes what the journeys left.
clear_machine() {
    local engine mount
    for engine in "${ENGINES[@]}"; do
        kill "$engine" 2>/dev/null || true
        wait "$engine" || true
    done
    awk -v work="$WORK/" 'index($2, work) == 1 { print $2 }' /proc/mounts | sort -r |
        while read -r mount; do umount -l "$mount" || true; done
    rm -rf "${WORK:?}"
}
