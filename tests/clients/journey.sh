# shellcheck shell=bash
# What every journey has: a registry on a store of its own, clients without a past, and words to
# check with. Sourced by the journeys; run sets the variables.
set -Eeuo pipefail
trap 'echo "${BASH_SOURCE[0]}:$LINENO: \`$BASH_COMMAND\` exited with $?"' ERR
trap leave EXIT

# Each engine builds as its users do, with the classic builder or with BuildKit. Attestations would
# make an index of every image; where they matter a journey asks for them.
case $ENGINE in
moby) DOCKER_BUILDKIT=1 ;;
*) DOCKER_BUILDKIT=0 ;;
esac
export DOCKER_BUILDKIT BUILDX_NO_DEFAULT_ATTESTATIONS=1
HOST=127.0.0.1:$PORT
STORE=$JOURNEY/store
LOG=$JOURNEY/server.log
# What it keeps images on; a journey may say otherwise before it serves.
STORAGE="\
  filesystem:
    rootdirectory: $STORE"
# More of its configuration.
SETTINGS=
cd "$JOURNEY"
server=

fail() {
    echo "$*"
    exit 1
}

# same WHAT EXPECTED GOT
same() {
    [[ $2 == "$3" ]] || fail "$1 should be '$2' and is '$3'"
}

# Says something about this run that is worth a line even where it passes.
note() {
    echo "$*" >>"$JOURNEY/notes"
}

# skip REASON: ends a journey that can't be made here.
skip() {
    echo "$*" >"$JOURNEY/skipped"
    exit
}

# within SECONDS COMMAND…: waits until the command succeeds.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS <= deadline)) || fail "gave up waiting for: $*"
        sleep 0.05
    done
}

# shellcheck disable=SC2120
# serve [PROGRAM]: starts a registry on $STORE, by default the one under test.
serve() {
    cat >"$JOURNEY/config.yml" <<CONFIG
version: 0.1
log:
  level: info
storage:
$STORAGE
  delete:
    enabled: true
http:
  addr: 127.0.0.1:$PORT
$SETTINGS
CONFIG
    "${1:-$PROGRAM}" serve "$JOURNEY/config.yml" >>"$LOG" 2>&1 &
    server=$!
    within 15 answers
}

answers() {
    kill -0 "$server" || fail "the registry did not start"
    curl -fs -o /dev/null "http://127.0.0.1:$PORT/v2/"
}

# stop SIGNAL: ends the registry that serve started.
stop() {
    kill -s "$1" "$server"
    wait "$server" || true
    server=
}

# Ends whatever still runs.
leave() {
    [[ -z $server ]] || stop TERM
    jobs -p | xargs --no-run-if-empty kill 2>/dev/null || true
}

# The requests answered so far, a line `METHOD URI STATUS` each. The only place that knows what
# a line of the log looks like.
requests() {
    awk '/response completed/ {
        method = uri = status = ""
        for (i = 1; i <= NF; i++) {
            if (sub(/^http\.request\.method=/, "", $i)) method = $i
            if (sub(/^http\.request\.uri=/, "", $i)) { gsub(/"/, "", $i); uri = $i }
            if (sub(/^http\.response\.status=/, "", $i)) status = $i
        }
        print method, uri, status
    }' "$LOG"
}

# answered PATTERN: waits until such a request is in the log, which may come after its answer.
answered() {
    within 5 has_answered "$1"
}

has_answered() {
    requests | grep -E "$1" >/dev/null
}

# A docker daemon that has no image but busybox:latest.
forget_images() {
    docker system prune --all --force >/dev/null
    docker import "$BUSYBOX" busybox:latest >/dev/null
}

# build_layers IMAGE COUNT MIB: builds an image with a layer for each of COUNT random files.
build_layers() {
    local folder number
    folder=$(mktemp -d "$JOURNEY/layers.XXXXXX")
    echo 'FROM busybox:latest' >"$folder/Dockerfile"
    for ((number = 1; number <= $2; number++)); do
        head -c "$(($3 << 20))" /dev/urandom >"$folder/file$number"
        echo "COPY file$number /files/" >>"$folder/Dockerfile"
    done
    docker build --quiet --tag "$1" "$folder"
    FILES=$folder
}

# holds_files IMAGE: every file of the image that build_layers made last is in this one.
holds_files() {
    local container file
    container=$(docker create "$1" true)
    docker cp "$container:/files" "$JOURNEY/copied"
    docker rm "$container" >/dev/null
    for file in "$FILES"/file*; do
        cmp "$file" "$JOURNEY/copied/${file##*/}"
    done
    rm -r "$JOURNEY/copied"
}

# push_hello IMAGE: pushes an image that says `hello world`.
push_hello() {
    forget_images
    printf '%s\n' 'FROM busybox:latest' "CMD echo 'hello world'" >"$JOURNEY/Dockerfile"
    docker build --quiet --tag "$1" - <"$JOURNEY/Dockerfile"
    docker push --quiet "$1"
}

# says_hello IMAGE: pulls it into an empty daemon and runs it.
says_hello() {
    forget_images
    docker rmi --force busybox:latest >/dev/null
    docker pull --quiet "$1"
    same "what $1 says" 'hello world' "$(output_of "$1")"
}

# output_of IMAGE COMMAND…: what a container of it prints. On a busy machine today's engine loses
# all that one prints which ends at once, a few times in a hundred, from its own log as well: there
# it is run again.
output_of() {
    local printed
    for _ in 1 2 3; do
        printed=$(docker run --rm "$@")
        [[ -z $printed && $ENGINE == moby ]] || break
    done
    echo "$printed"
}

# digest_of REFERENCE: the digest of what the registry gives, computed from its bytes.
digest_of() {
    echo "sha256:$(skopeo inspect --raw --tls-verify=false "docker://$1" | sha256sum | cut -c-64)"
}

# tags REPOSITORY: its tags, sorted, on one line.
tags() {
    skopeo list-tags --tls-verify=false "docker://$HOST/$1" | jq -r '.Tags | sort | join(" ")'
}

# skopeo copy, without TLS on either side.
copy() {
    skopeo copy --quiet --src-tls-verify=false --dest-tls-verify=false "$@"
}

# podman with a storage of its own for each engine, and the runtime that docker uses.
podman() {
    local home=$WORK/podman-$ENGINE
    command podman --root "$home/images" --runroot "$home/run" --tmpdir "$home/tmp" \
        --runtime runc --cgroup-manager cgroupfs --events-backend none "$@"
}

# Every blob in the store is what its name says.
blobs_are_whole() {
    local blob
    find "$STORE" -path '*/blobs/sha256/*' -name data | while read -r blob; do
        same "the digest of $blob" "$(basename "$(dirname "$blob")")" \
            "$(sha256sum "$blob" | cut -c-64)"
    done
}
