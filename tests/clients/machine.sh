# shellcheck shell=bash
# The machine that the journeys share: the clients, a docker daemon of its own, an empty port.

# Installs what is missing. Services that a package brings are not needed: RUNLEVEL=1 tells
# its scripts that this is no time to start one.
install_clients() {
    local program package missing=()
    while read -r program package; do
        command -v "$program" >/dev/null || missing+=("$package")
    done <<'PROGRAMS'
dockerd docker.io
docker docker.io
iptables iptables
skopeo skopeo
podman podman
runc runc
netavark netavark
docker-registry docker-registry
busybox busybox-static
curl curl
jq jq
python3 python3
PROGRAMS
    if [[ ${#missing[@]} -gt 0 ]]; then
        apt-get update -q
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -q --no-install-recommends "${missing[@]}"
    fi
}

# Starts a docker daemon that shares nothing with one the machine may have. Pushes and pulls are
# the daemon's own, and no container here needs a network: it leaves the firewall alone.
start_docker() {
    mkdir "$WORK/docker"
    echo '{}' | tee "$DOCKER_CONFIG/config.json" >"$WORK/docker/daemon.json"
    dockerd --config-file "$WORK/docker/daemon.json" --data-root "$WORK/docker/images" \
        --exec-root "$WORK/docker/exec" --pidfile "$WORK/docker/pid" \
        --host "$DOCKER_HOST" --bridge none --iptables=false >"$WORK/docker/log" 2>&1 &
    daemon=$!
    local deadline=$((SECONDS + 60))
    until docker version >/dev/null 2>&1; do
        if ! kill -0 "$daemon" || ((SECONDS > deadline)); then
            cat "$WORK/docker/log"
            return 1
        fi
        sleep 0.1
    done
}

# The file system of `busybox:latest` as a tar.
pack_busybox() {
    mkdir -p "$WORK/busybox/bin"
    cp "$(command -v busybox)" "$WORK/busybox/bin/busybox"
    "$WORK/busybox/bin/busybox" --install -s "$WORK/busybox/bin"
    local applet
    for applet in "$WORK"/busybox/bin/*; do
        [[ ! -L $applet ]] || ln -sf busybox "$applet"
    done
    tar -C "$WORK/busybox" -cf "$BUSYBOX" .
}

# The first port on which nobody listens.
find_port() {
    PORT=${CLIENTS_PORT:-7150}
    while (: <>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; do
        PORT=$((PORT + 1))
    done
}

prepare_machine() {
    # Nothing of the caller's: no settings for a registry, no daemon, no credentials, no proxy
    # between us and 127.0.0.1.
    unset "${!REGISTRY_@}" DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH REGISTRY_AUTH_FILE
    export DOCKER_HOST="unix://$WORK/docker/socket" DOCKER_CONFIG="$WORK/docker"
    export DOCKER_BUILDKIT=0 NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
    export BUSYBOX="$WORK/busybox.tar" PORT
    install_clients
    find_port
    start_docker
    pack_busybox
}

# Ends the daemon, which ends its containerd, and removes what the journeys left.
clear_machine() {
    if [[ -n ${daemon:-} ]]; then
        kill "$daemon" 2>/dev/null || true
        wait "$daemon" || true
    fi
    local mount
    awk -v work="$WORK/" 'index($2, work) == 1 { print $2 }' /proc/mounts | sort -r |
        while read -r mount; do umount -l "$mount" || true; done
    rm -rf "${WORK:?}"
}
