#!/usr/bin/env bash
# Three hosts on this machine: network namespaces joined by a bridge, each with a `ray start` of its own, and a run over them.
#
#     sudo benchmarks/ray_hosts.sh FOLDER [flags of sac_dist --train …]
#
# The run's folder is FOLDER/run. Everything is taken down again at the end.
set -euo pipefail

folder=$1
shift
python=${PYTHON:-python}
ray=$(dirname "$(command -v "$python")")/ray
bridge=raybr0
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(head -c 24 /dev/urandom | base64 | tr -d '+/=')
export RAY_AUTH_TOKEN

take_down() {
    for host in 1 2 3; do
        for pid in $(ip netns pids "rayhost$host" 2>/dev/null); do kill -9 "$pid" 2>/dev/null || true; done
        ip link del "rayveth$host" 2>/dev/null || true # it outlives a namespace whose processes are still dying
        ip netns del "rayhost$host" 2>/dev/null || true
    done
    ip link del "$bridge" 2>/dev/null || true
    rm -rf /tmp/rayhost
}
trap take_down EXIT

ip link add "$bridge" type bridge
ip link set "$bridge" up
for host in 1 2 3; do
    ip netns add "rayhost$host"
    ip link add "rayveth$host" type veth peer name eth0 netns "rayhost$host"
    ip link set "rayveth$host" master "$bridge" up
    ip -n "rayhost$host" addr add "10.77.0.$host/24" dev eth0
    ip -n "rayhost$host" link set eth0 up
    ip -n "rayhost$host" link set lo up
done

at() { # HOST COMMAND…: in the host's network
    local host=$1
    shift
    ip netns exec "rayhost$host" "$@"
}
common=(--num-cpus 2 --object-store-memory 200000000 --disable-usage-stats)
at 1 "$ray" start --head --node-ip-address 10.77.0.1 --port 6379 --include-dashboard=false --temp-dir /tmp/rayhost/1 "${common[@]}" >/dev/null
for host in 2 3; do
    at "$host" "$ray" start --address 10.77.0.1:6379 --node-ip-address "10.77.0.$host" "${common[@]}" >/dev/null
done
mkdir -p "$folder"
cd "$folder"
at 1 "$python" -m sac_dist --train --engine ray --address 10.77.0.1:6379 --run-dir run "$@"
