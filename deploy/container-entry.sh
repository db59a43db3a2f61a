#!/bin/sh
# The entry point of the container: `ndfs` with what it is given. A node that is not to be started again by itself (exit code 4: removed from its
# cluster; 5: the cluster's format is not served by this release) leaves its container running with nothing in it until it is told to stop: engines
# know codes that are 0 and codes that are not, and the policy that brings a node back after a restart of the machine, `unless-stopped`, doesn't look.
# By systemd the same is RestartPreventExitStatus (ndfs.service).
case "$1" in
  node) ;;
  *) exec ndfs "$@" ;;
esac

stopped=
child=
trap 'stopped=yes; kill -TERM $child 2>/dev/null' TERM INT HUP

# Waits for the child, for its exit code. An order to stop ends `wait`, and not the child, which seals its logs; what has ended and was told of is unknown (127).
ended() {
  [ -z "$stopped" ] || kill -TERM "$child"
  wait "$child"
  code=$?
  while [ $code -gt 128 ]; do
    wait "$child"
    again=$?
    [ $again -ne 127 ] || break
    code=$again
  done
}

ndfs "$@" &
child=$!
ended
case $code in
  4) why='it was removed from its cluster. Remove the container' ;;
  5) why="its release does not serve the cluster's format. Make the container anew of the right release" ;;
  *) exit $code ;;
esac
[ -z "$stopped" ] || exit $code
# Not TERM: a process that was forked just now may still have our traps, and lose it.
trap 'kill -KILL $! 2>/dev/null; exit $code' TERM INT HUP
echo "The node has ended with exit code $code and is not started again: $why." >&2
sleep infinity >/dev/null 2>&1 &
wait
