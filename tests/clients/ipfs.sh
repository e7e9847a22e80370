# shellcheck shell=bash
# What the journeys through a Kubo node have in common. Sourced after journey.sh.

[[ -n ${IPFS_API:-} ]] ||
    skip 'no Kubo node runs; tests/ipfs/node run 5101 8180 make clients starts one'

# on_ipfs GATEWAY DISABLED: keeps nothing here that the node has; pulls are sent to it, or not.
on_ipfs() {
    # shellcheck disable=SC2034
    STORAGE="\
  kubo:
    api: $IPFS_API
    gateway: $1
    rootdirectory: $STORE
    cache:
      size: 0
  redirect:
    disable: $2"
}

# node CALL FIELD…: asks the node by its RPC.
node() {
    curl -fsS -X POST "$IPFS_API/api/v0/$1" "${@:2}"
}

# The blobs that are files on this disk. What is small is in the catalog, and stays.
blobs_here() {
    find "$STORE" -path '*/blobs/sha256/*' -name data
}

# No layer is left.
layers_left() {
    [[ -z $(blobs_here) ]]
}

# The layers of app:v1, a digest each.
layers_of_image() {
    curl -fsS -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' \
        "http://$HOST/v2/app/manifests/v1" | jq -r '.layers[].digest'
}

# cid_of PATH: what the registry calls it on the network.
cid_of() {
    curl -fsS -I "http://$HOST/v2/app/$1" | tr -d '\r' | awk '/^X-Lighthouse-Cid:/ { print $2 }'
}

# The node has pinned what is at that path, under the CID that it computes itself.
node_agrees() {
    local cid import='only-hash=true&cid-version=1&raw-leaves=true&chunker=size-1048576'
    cid=$(cid_of "$1")
    curl -fsSL -o "$JOURNEY/part" "http://$HOST/v2/app/$1"
    same "the node's CID of $1" "$cid" "$(
        node "add?$import&cid-base=base32" -F "file=@$JOURNEY/part" | jq -r .Hash
    )"
    node "pin/ls?type=recursive&arg=$cid" >/dev/null
}
