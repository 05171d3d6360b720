# Shared by the start scripts of the peers; each begins with `. lib.sh`. It does not know the peers.
# shellcheck shell=bash

set -eu

[ $# = 2 ] || { echo "usage: $0 PORT REDIS_PORT" >&2; exit 2; }
port=$1
export PORT=$1 REDIS_PORT=$2 NODE_ENV=production
peers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Debian installs servers in folders outside of the PATH of ordinary users.
PATH=$PATH:/usr/sbin:/sbin
# Each subscriber needs a file descriptor, and the usual soft limit is 1,024.
ulimit -n "$(ulimit -Hn)"

# missing WHAT: exits with the code by which the harness leaves the peer out.
missing() {
    echo "$1 is not installed: run \`make setup-bench\`" >&2
    exit 3
}

# accepts PORT: whether a process listens on the port.
accepts() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# serve "PORT.." CLEANUP COMMAND..: runs a server that does not print "ready" itself, and cleans up after it.
serve() {
    local ports=$1 cleanup=$2 status=0 p
    shift 2
    trap "$cleanup" EXIT
    # The server ends with this script, even if the script is killed and cannot clean up.
    setpriv --pdeathsig TERM -- "$@" &
    server=$!
    trap 'kill "$server" 2>/dev/null || true' TERM INT HUP
    for p in $ports; do
        until accepts "$p"; do
            kill -0 "$server" 2>/dev/null || { echo "$1 ended before it listened on port $p" >&2; exit 1; }
            sleep 0.05
        done
    done
    echo ready
    # A signal interrupts `wait` before the server has ended.
    while kill -0 "$server" 2>/dev/null; do
        status=0
        wait "$server" || status=$?
    done
    exit "$status"
}
